"""A trained model as a folder of plain data: a JSON card, numeric arrays, XGBoost's UBJSON, and a manifest.

Nothing in a bundle can run code. Loading checks the manifest's digests and the list of trusted file names before any
content is read; everything else is refused.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from il7ml import __version__
from il7ml.errors import BundleRefusedError, InputError
from il7ml.family import Kind
from il7ml.features.design import LinearDesign, TreeDesign
from il7ml.models.fitted import Fitted, FittedLinear, FittedTrees
from il7ml.schema import Closed, Variable

Floats = NDArray[np.float64]

FORMAT = 1
_TRUSTED = re.compile(r"card\.json|designs\.json|arrays\.npz|risk\.ubj|refit_[0-9]{2}\.ubj")
_LARGEST = 256 * 2**20


class Estimate(Closed):
    """A number with its interval."""

    value: float
    low: float
    high: float


class CardVariable(Closed):
    """A variable as the model knows it: dictionary entry and what training data looked like (summaries, no rows).

    Attributes
    ----------
    required : bool
        Training had no gaps in it, or eligibility rests on it.
    low, high : float or None
        Training range, rounded outward.
    quantiles : tuple of float
        Training quantiles (5 % to 95 %), from which a missing value is drawn for the interval.
    shares : tuple of float
        Shares of the levels, for categorical variables.
    """

    variable: Variable
    required: bool
    low: float | None = None
    high: float | None = None
    quantiles: tuple[float, ...] = ()
    shares: tuple[float, ...] = ()


class Card(Closed):
    """Everything about a model that is not an array. Published as JSON; holds no patient's data."""

    format: int
    il7ml_version: str
    model_name: str
    study: str
    study_title: str
    simulated: bool
    endpoint: str
    endpoint_title: str
    estimand: str
    kind: Kind
    harmful: bool
    horizon: float | None
    unit: str
    control_label: str
    treated_label: str
    n: int
    n_treated: int
    events: int
    risk_model: str
    evidence: Literal["none", "suggestive", "credible"]
    evidence_sentence: str
    theta: float
    average_effect: Estimate
    validation: dict[str, Estimate]
    variables: dict[str, CardVariable]
    eligibility: dict[str, tuple[float | None, float | None]]
    distance_quantiles: tuple[float, ...]
    level: float
    data_digest: str
    seed: int


@dataclass(frozen=True)
class Refits:
    """Bootstrap refits of the risk model, with the relative effect that each implies.

    Attributes
    ----------
    models : tuple of Fitted
        For linear models they share one design.
    theta : ndarray of shape (refits,)
    """

    models: tuple[Fitted, ...]
    theta: Floats


@dataclass(frozen=True)
class EffectRefits:
    """The effect model's refits on its own design."""

    coefficients: Floats
    intercepts: Floats


@dataclass(frozen=True)
class Bundle:
    """A trained model, complete: card, risk and effect model with refits, and the yardstick of distance."""

    card: Card
    risk: Fitted
    refits: Refits
    effect: FittedLinear
    effect_refits: EffectRefits
    reference: LinearDesign
    precision: Floats
    digest: str = field(default="", compare=False)


def save_bundle(bundle: Bundle, folder: Path) -> str:
    """Write a bundle; the folder appears complete or not at all.

    Returns
    -------
    str
        The model's digest: SHA-256 of its manifest.

    Raises
    ------
    InputError
        If the folder exists already or cannot be written.
    """
    folder = Path(folder)
    if folder.exists():
        raise InputError(f"{folder} exists already. Name a new folder for the bundle.")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=".bundle-", dir=folder.parent))
    except OSError as error:
        raise InputError(f"{folder} cannot be written: {error.strerror}. Choose another place.") from None
    try:
        _write_files(bundle, work)
        manifest = {
            "format": FORMAT,
            "files": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(work.iterdir())},
        }
        text = json.dumps(manifest, indent=1, sort_keys=True)
        (work / "manifest.json").write_text(text, encoding="utf-8")
        work.chmod(0o755)
        work.replace(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return hashlib.sha256(text.encode()).hexdigest()


def load_bundle(folder: str | Path) -> Bundle:
    """Read a bundle after checking its manifest, its digests and the list of trusted files.

    Raises
    ------
    InputError
        If the folder does not exist.
    BundleRefusedError
        If a file was added, removed, altered or is a link, or if the format is of another version.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such bundle folder. Name the folder that holds manifest.json.")
    digest, files = _verified(folder)
    try:
        card = Card.model_validate_json(files["card.json"])
        designs = json.loads(files["designs.json"])
        return _assemble(card, designs, _read_arrays(files["arrays.npz"]), files, digest)
    except (
        ValidationError,
        KeyError,
        IndexError,
        TypeError,
        ValueError,
        OSError,
        zipfile.BadZipFile,
    ) as error:
        raise _refused(folder, f"its content is not of the expected form ({type(error).__name__})") from None


def _verified(folder: Path) -> tuple[str, dict[str, bytes]]:
    """Return the digest of the manifest and the files' bytes, read once, after checking names and digests."""
    path = folder / "manifest.json"
    if path.is_symlink() or not path.is_file() or path.stat().st_size > 2**20:
        raise _refused(folder, "manifest.json is missing")
    content = path.read_bytes()
    try:
        manifest = json.loads(content)
        version, digests = manifest["format"], dict(manifest["files"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise _refused(folder, "manifest.json is not readable") from None
    if version != FORMAT:
        raise _refused(folder, f"it is not of format {FORMAT}, the one that this il7ml reads")
    present = {entry.name for entry in folder.iterdir()} - {"manifest.json"}
    if unknown := [name for name in present | set(digests) if not _TRUSTED.fullmatch(name)]:
        raise _refused(folder, f"it holds files that il7ml does not trust ({len(unknown)})")
    if present != set(digests):
        raise _refused(folder, "files were added or removed since it was made")
    return hashlib.sha256(content).hexdigest(), {
        name: _verified_file(folder, name, digest) for name, digest in digests.items()
    }


def _verified_file(folder: Path, name: str, digest: object) -> bytes:
    file = folder / name
    if file.is_symlink() or not file.is_file() or file.stat().st_size > _LARGEST:
        raise _refused(folder, f"{name} is not a plain file of reasonable size")
    content = file.read_bytes()
    if hashlib.sha256(content).hexdigest() != digest:
        raise _refused(folder, f"{name} was altered since it was made")
    return content


def _read_arrays(content: bytes) -> dict[str, Floats]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > _LARGEST:
            raise ValueError("the arrays are larger than any model's")
    with np.load(io.BytesIO(content), allow_pickle=False) as loaded:
        arrays = {name: loaded[name] for name in loaded.files}
    for name, array in arrays.items():
        if array.dtype != np.float64 or not np.isfinite(array).all():
            raise ValueError(f"{name} holds numbers that are not finite")
    return arrays


def _refused(folder: Path, reason: str) -> BundleRefusedError:
    return BundleRefusedError(
        f"bundle {folder.name} refused: {reason}. Expected an unaltered bundle of il7ml {__version__}; "
        "get a fresh copy or train again."
    )


def _write_files(bundle: Bundle, work: Path) -> None:
    arrays: dict[str, Floats] = {
        "theta": bundle.refits.theta,
        "effect": _packed(bundle.effect),
        "effect_refits": np.column_stack([bundle.effect_refits.intercepts, bundle.effect_refits.coefficients]),
        "precision": bundle.precision,
    }
    designs: dict[str, Any] = {
        "effect": bundle.effect.design.to_dict(),
        "reference": bundle.reference.to_dict(),
    }
    if isinstance(bundle.risk, FittedLinear):
        designs["risk"] = bundle.risk.design.to_dict()
        arrays["risk"] = _packed(bundle.risk)
        arrays["risk_refits"] = np.array([_packed(model) for model in bundle.refits.models])
    elif isinstance(bundle.risk, FittedTrees):
        designs["risk_trees"] = [list(pair) for pair in bundle.risk.design.variables]
        arrays["risk"] = np.array([bundle.risk.arm_effect, bundle.risk.intercept])
        arrays["risk_refits"] = np.array([[model.arm_effect, _intercept(model)] for model in bundle.refits.models])
        bundle.risk.booster.save_model(work / "risk.ubj")
        for number, model in enumerate(bundle.refits.models):
            model.booster.save_model(work / f"refit_{number:02d}.ubj")  # type: ignore[attr-defined]
    (work / "card.json").write_text(bundle.card.model_dump_json(indent=1), encoding="utf-8")
    (work / "designs.json").write_text(json.dumps(designs, indent=1), encoding="utf-8")
    np.savez(work / "arrays.npz", **arrays)  # type: ignore[arg-type]


def _intercept(model: Any) -> float:
    return float(model.intercept)


def _packed(model: Any) -> Floats:
    """Return arm effect, intercept and coefficients of a linear model in one row."""
    return np.concatenate([[model.arm_effect, model.intercept], model.coefficients])


def _unpacked(design: LinearDesign, row: Floats) -> FittedLinear:
    if row.size != 2 + design.centre.size:
        raise ValueError("coefficients do not fit the design")
    return FittedLinear(design, np.asarray(row[2:], dtype=float), float(row[1]), float(row[0]))


def _assemble(
    card: Card,
    designs: Mapping[str, Any],
    arrays: Mapping[str, Floats],
    files: Mapping[str, bytes],
    digest: str,
) -> Bundle:
    effect = LinearDesign.from_dict(designs["effect"])
    packed = arrays["effect_refits"]
    models: tuple[Fitted, ...]
    risk: Fitted
    if "risk" in designs:
        design = LinearDesign.from_dict(designs["risk"])
        risk = _unpacked(design, arrays["risk"])
        models = tuple(_unpacked(design, row) for row in arrays["risk_refits"])
    else:
        trees = TreeDesign(tuple((str(name), int(levels)) for name, levels in designs["risk_trees"]))
        risk = _load_trees(files["risk.ubj"], trees, arrays["risk"])
        models = tuple(
            _load_trees(files[f"refit_{number:02d}.ubj"], trees, row)
            for number, row in enumerate(arrays["risk_refits"])
        )
    return Bundle(
        card=card,
        risk=risk,
        refits=Refits(models, arrays["theta"]),
        effect=_unpacked(effect, arrays["effect"]),
        effect_refits=EffectRefits(packed[:, 1:], packed[:, 0]),
        reference=LinearDesign.from_dict(designs["reference"]),
        precision=arrays["precision"],
        digest=digest,
    )


def _load_trees(content: bytes, design: TreeDesign, row: Floats) -> FittedTrees:
    import xgboost

    booster = xgboost.Booster({"nthread": 1})
    try:
        booster.load_model(bytearray(content))
    except xgboost.core.XGBoostError:
        raise ValueError("the trees are not a model") from None
    return FittedTrees(design, booster, float(row[1]), float(row[0]))
