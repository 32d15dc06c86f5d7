"""A trained model as a folder of plain data: a JSON card, numeric arrays, XGBoost's UBJSON, and a manifest.

Nothing in a bundle can run code. Loading checks the manifest's digests and the list of trusted file names before any
content is read; everything else is refused.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import re
import shutil
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from il7ml import __version__
from il7ml.errors import BundleRefusedError, InputError
from il7ml.family import Kind
from il7ml.features.columns import DERIVED
from il7ml.features.design import LinearDesign, TreeDesign
from il7ml.models.fitted import Fitted, FittedLinear, FittedStack, FittedTrees
from il7ml.models.fitted_effect import FittedEffect
from il7ml.models.stored_trees import load_booster, load_trees
from il7ml.schema import Closed, Variable

Floats = NDArray[np.float64]

FORMAT = 2
_TRUSTED = re.compile(r"card\.json|designs\.json|arrays\.npz|risk\.ubj|refit_[0-9]{2}\.ubj|effect_[0-9]{2}\.ubj")
# What the names of the effect model's arrays begin with.
_EFFECT = "effect."
_LARGEST = 256 * 2**20
_LARGEST_MANIFEST = 2**20
_ENCRYPTED = 0x1
_SHAPE = rb"\(([0-9]{0,9}(?:, ?[0-9]{0,9})*)\)"
_HEADER = re.compile(
    rb"\x93NUMPY\x01\x00..\{'descr': '<f8', 'fortran_order': False, 'shape': " + _SHAPE + rb", \} *\n", re.DOTALL
)


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
        Eligibility rests on it, or it is a pre-specified modifier and the effect individual.
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


class CardBeside(Closed):
    """What became of another outcome in the trial as a whole: risks of the arms, treated less control."""

    endpoint: str
    title: str
    harmful: bool
    control: Estimate
    treated: Estimate
    difference: Estimate


class CardRecalibration(Closed):
    """How risks were adapted to a new setting: on the link scale, from the model as it was trained.

    Attributes
    ----------
    intercept, slope : float
        The linear predictor is `intercept` + `slope` times the trained model's.
    data : str
        The patients that the numbers come from.
    """

    intercept: float
    slope: float = Field(gt=0)
    data: str = Field(min_length=1)


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
    beside: tuple[CardBeside, ...] = ()
    recalibration: CardRecalibration | None = None


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
class Bundle:
    """A trained model, complete: card, risk model with refits, effect model, and the yardstick of distance."""

    card: Card
    risk: Fitted
    refits: Refits
    effect: FittedEffect
    reference: LinearDesign
    precision: Floats
    digest: str = field(default="", compare=False)

    def recalibrated(self, intercept: float, slope: float, data: str) -> Bundle:
        """Return the model adapted to a new setting: risks without treatment change, the relative effect stays.

        The linear predictors of the model and of its refits become `intercept` + `slope` times what they were; the card
        says so. Whoever gets the same relative effect from another risk gets another absolute one. An individual effect
        model, being on the absolute scale, stays as it is, and validation figures remain those of the training.

        Parameters
        ----------
        intercept, slope : float
            As estimated on the new setting's patients, on the link scale; 0 and 1 change nothing.
        data : str
            What patients these were: study, place, years, number.

        Returns
        -------
        Bundle
            To be saved under a new name; applied to a recalibrated bundle, the card shows both steps as one.

        Raises
        ------
        InputError
            If the numbers are not finite, the slope is not above 0, or `data` is empty.

        References
        ----------
        Steyerberg et al., Stat Med 2004;23:2567, doi 10.1002/sim.1844. Janssen et al., J Clin Epidemiol 2008;61:76,
        doi 10.1016/j.jclinepi.2007.04.018.
        """
        if not (math.isfinite(intercept) and math.isfinite(slope) and slope > 0):
            raise InputError(
                f"recalibration: expected a finite intercept and a slope above 0, got {intercept} and {slope}. A slope "
                "of 0 or less says that the model does not rank the new patients: train one for them."
            )
        if not data.strip():
            raise InputError("recalibration: expected words on the patients that it comes from, got none. Name them.")
        before = self.card.recalibration
        made = CardRecalibration(
            intercept=intercept + slope * (before.intercept if before else 0.0),
            slope=slope * (before.slope if before else 1.0),
            data=data,
        )
        return replace(
            self,
            card=self.card.model_copy(update={"recalibration": made}),
            risk=self.risk.recalibrated(intercept, slope),
            refits=replace(
                self.refits, models=tuple(model.recalibrated(intercept, slope) for model in self.refits.models)
            ),
            digest="",
        )


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
        try:
            _write_files(bundle, work)
            digest = _write_manifest(work)
            work.chmod(0o755)
            work.replace(folder)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    except OSError as error:
        raise InputError(f"{folder} cannot be written: {error.strerror}. Choose another place.") from None
    return digest


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
    try:
        digest, files = _verified(folder)
        _read_json(files["card.json"])  # pydantic alone would take numbers that are not finite
        card = Card.model_validate_json(files["card.json"], strict=True)
        arrays = _read_arrays(files["arrays.npz"])
        bundle = _assemble(card, _read_json(files["designs.json"]), arrays, files, digest)
        _check_parts(bundle)
    except OSError as error:
        raise _refused(folder, f"a file cannot be read ({error.strerror})") from None
    except (LookupError, TypeError, ValueError, RuntimeError, EOFError, zipfile.BadZipFile) as error:
        raise _refused(folder, f"its content is not of the expected form ({type(error).__name__})") from None
    return bundle


def _verified(folder: Path) -> tuple[str, dict[str, bytes]]:
    """Return the digest of the manifest and the files' bytes, read once, after checking names and digests."""
    path = folder / "manifest.json"
    if path.is_symlink() or not path.is_file():
        raise _refused(folder, "manifest.json is missing")
    if path.stat().st_size > _LARGEST_MANIFEST:
        raise _refused(folder, "manifest.json is larger than any bundle's")
    content = path.read_bytes()
    try:
        manifest = json.loads(content)
        version, digests = manifest["format"], manifest["files"]
    except (ValueError, LookupError, TypeError, RecursionError):
        raise _refused(folder, "manifest.json is not readable") from None
    if not isinstance(digests, dict):
        raise _refused(folder, "manifest.json is not readable")
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
        entries = archive.infolist()
        if any(entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & _ENCRYPTED for entry in entries):
            raise ValueError("the arrays are compressed or encrypted, which il7ml never does")
        if sum(entry.file_size for entry in entries) > len(content):
            raise ValueError("the arrays are larger than the file that holds them")
        return {entry.filename.removesuffix(".npy"): _read_array(archive.read(entry)) for entry in entries}


def _read_array(content: bytes) -> Floats:
    """Return the finite numbers of a ``.npy`` file; its header must be as NumPy writes it for an array of floats.

    NumPy's own reader takes headers of more forms, and its errors of more kinds.
    """
    header = _HEADER.match(content)
    if header is None:
        raise ValueError("an array is not one of floats")
    shape = tuple(int(size) for size in header[1].replace(b",", b" ").split())
    array = np.frombuffer(content, dtype="<f8", offset=header.end()).reshape(shape)
    if not np.isfinite(array).all():
        raise ValueError("an array holds numbers that are not finite")
    return array.astype(float)


def _read_json(content: bytes) -> Any:
    return json.loads(content, parse_float=_finite, parse_constant=_finite)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number is not finite")
    return number


def _refused(folder: Path, reason: str) -> BundleRefusedError:
    return BundleRefusedError(
        f"bundle {folder.name} refused: {reason}. Expected an unaltered bundle of il7ml {__version__}; "
        "get a fresh copy or train again."
    )


def _write_manifest(work: Path) -> str:
    """Write the manifest of a folder's files and return its digest."""
    manifest = {
        "format": FORMAT,
        "files": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(work.iterdir())},
    }
    content = json.dumps(manifest, indent=1, sort_keys=True).encode()
    (work / "manifest.json").write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def _write_files(bundle: Bundle, work: Path) -> None:
    effect, effect_arrays, boosters = bundle.effect.to_parts()
    arrays: dict[str, Floats] = {
        "theta": bundle.refits.theta,
        "precision": bundle.precision,
        **{f"{_EFFECT}{name}": array for name, array in effect_arrays.items()},
    }
    designs: dict[str, Any] = {"effect": effect, "reference": bundle.reference.to_dict()}
    for name, booster in zip(_effect_files(len(boosters)), boosters, strict=True):
        booster.save_model(work / name)
    _write_risk([bundle.risk, *bundle.refits.models], work, designs, arrays)
    (work / "card.json").write_text(bundle.card.model_dump_json(indent=1), encoding="utf-8")
    (work / "designs.json").write_text(json.dumps(designs, indent=1), encoding="utf-8")
    np.savez(
        work / "arrays.npz",
        allow_pickle=False,
        **{name: np.ascontiguousarray(array, dtype="<f8") for name, array in arrays.items()},
    )


def _write_risk(models: list[Any], work: Path, designs: dict[str, Any], arrays: dict[str, Floats]) -> None:
    """Add risk model and refits, all of one form; a stack is its weights and its parts, each as if it stood alone."""
    trees = "risk"
    if isinstance(models[0], FittedStack):
        _add_rows(arrays, "stack", [[model.arm_effect, model.intercept, *model.weights] for model in models])
        trees = "trees"
    for parts in zip(*(_parts(model) for model in models), strict=True):
        if isinstance(parts[0], FittedLinear):
            designs["risk"] = parts[0].design.to_dict()
            _add_rows(arrays, "risk", [_packed(part) for part in parts])
        else:
            designs["risk_trees"] = [list(pair) for pair in parts[0].design.variables]
            _add_rows(arrays, trees, [[part.arm_effect, part.intercept] for part in parts])
            for name, part in zip(_tree_files(len(parts) - 1), parts, strict=True):
                part.booster.save_model(work / name)


def _parts(model: Any) -> tuple[Any, ...]:
    return model.parts if isinstance(model, FittedStack) else (model,)


def _add_rows(arrays: dict[str, Floats], name: str, rows: Sequence[Any]) -> None:
    """Add the model's row, and beside it those of the refits."""
    arrays[name], arrays[f"{name}_refits"] = np.array(rows[0], dtype=float), np.array(rows[1:], dtype=float)


def _tree_files(refits: int) -> list[str]:
    return ["risk.ubj", *(f"refit_{number:02d}.ubj" for number in range(refits))]


def _effect_files(trees: int) -> list[str]:
    return [f"effect_{number:02d}.ubj" for number in range(trees)]


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
    risk, *models = _read_risk(designs, arrays, files)
    return Bundle(
        card=card,
        risk=risk,
        refits=Refits(tuple(models), arrays["theta"]),
        effect=_read_effect(designs["effect"], arrays, files),
        reference=LinearDesign.from_dict(designs["reference"]),
        precision=arrays["precision"],
        digest=digest,
    )


def _read_effect(document: Mapping[str, Any], arrays: Mapping[str, Floats], files: Mapping[str, bytes]) -> FittedEffect:
    own = {name.removeprefix(_EFFECT): array for name, array in arrays.items() if name.startswith(_EFFECT)}
    features = sum(max(int(levels), 1) for _, levels in document["trees"])
    trees = sum(name.startswith("effect_") for name in files)
    return FittedEffect.from_parts(
        document, own, [load_booster(files[name], features) for name in _effect_files(trees)]
    )


def _read_risk(designs: Mapping[str, Any], arrays: Mapping[str, Floats], files: Mapping[str, bytes]) -> list[Fitted]:
    """Return risk model and refits."""
    parts: list[list[Fitted]] = []
    if "risk" in designs:
        linear = LinearDesign.from_dict(designs["risk"])
        parts.append([_unpacked(linear, row) for row in _rows(arrays, "risk")])
    if "risk_trees" in designs:
        trees = TreeDesign(tuple((str(name), int(levels)) for name, levels in designs["risk_trees"]))
        rows = _rows(arrays, "trees" if "stack" in arrays else "risk")
        parts.append(
            [_load_trees(files[name], trees, row) for name, row in zip(_tree_files(len(rows) - 1), rows, strict=True)]
        )
    if "stack" in arrays:
        models = zip(*parts, strict=True)
        return [_stacked(each, row) for each, row in zip(models, _rows(arrays, "stack"), strict=True)]
    if len(parts) != 1:
        raise ValueError("a risk model of more than one part, or of none, without weights")
    return parts[0]


def _stacked(parts: tuple[Fitted, ...], row: Floats) -> FittedStack:
    if row.shape != (2 + len(parts),) or (row[2:] < 0).any():
        raise ValueError("the weights of a stack are not those of its parts")
    return FittedStack(parts, row[2:], float(row[1]), float(row[0]))


def _rows(arrays: Mapping[str, Floats], name: str) -> list[Floats]:
    return [arrays[name], *arrays[f"{name}_refits"]]


def _load_trees(content: bytes, design: TreeDesign, row: Floats) -> FittedTrees:
    booster, nodes = load_trees(content, len(design.owners))
    return FittedTrees(design, booster, float(row[1]), float(row[0]), nodes)


def _check_parts(bundle: Bundle) -> None:
    """Refuse parts that do not fit each other, which would fail at the first prediction only."""
    card, refits = bundle.card, bundle.refits
    linear = [bundle.reference]
    needed = {source for name in card.variables if name in DERIVED for source in DERIVED[name].sources}
    for part in _parts(bundle.risk):
        if isinstance(part, FittedLinear):
            linear.append(part.design)
        else:
            needed |= set(part.design.owners)
    needed |= {*card.eligibility, *bundle.effect.variables, *(name for design in linear for name in design.owners)}
    columns = len(bundle.reference.owners)
    fits = (
        needed <= set(card.variables)
        and all(design.centre.shape == design.scale.shape == (len(design.owners),) for design in linear)
        and len(refits.models) >= 2
        and refits.theta.shape == (len(refits.models),)
        and (bundle.effect.kind, bundle.effect.scale) == (card.kind, "difference")
        and bundle.precision.shape == (columns, columns)
        and len(card.distance_quantiles) >= 2
        and 0.5 < card.level < 1
        and all(bool(entry.quantiles) != bool(entry.shares) for entry in card.variables.values())
    )
    if not fits:
        raise ValueError("the parts do not fit each other")
