"""A stored model adapted to a new setting: its patients' outcomes against its predictions, and the bundle that fits."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from il7ml import texts
from il7ml.bundle import Bundle, save_bundle
from il7ml.data.loading import load_cohort
from il7ml.data.tables import numbers, read_table
from il7ml.endpoints.outcome import learning_outcome
from il7ml.errors import InputError, nearest
from il7ml.evaluation.recalibration import Recalibration, recalibrate
from il7ml.evaluation.risk import risk_metrics
from il7ml.family import FAMILIES, Kind
from il7ml.models.folds import outcome_strata, stratified_folds
from il7ml.parallel import spawn, stream
from il7ml.predictor import Predictor, load_predictor

Floats = NDArray[np.float64]
Method = Literal["test", "intercept", "intercept_slope"]

#: Patients with the outcome, and without it, below whom not even a level can be told: its standard error would exceed
#: 0.4 on the log-odds scale.
FEWEST = 10
_FOLDS, _REPEATS = 5, 10
_STUDIES = (".yaml", ".yml")


class Recalibrated(NamedTuple):
    """A model adapted to a new setting, and what speaks for it.

    Attributes
    ----------
    bundle : Bundle
    recalibration : Recalibration
    figures : DataFrame
        A row a metric: metric; before, before_low, before_high; after, after_low, after_high. Those after are
        cross-validated: each patient's recalibration was found without the patient.
    n, events : int
        Patients used, and those with the outcome (events, for counts; 0 for continuous outcomes).
    notes : tuple of str
    """

    bundle: Bundle
    recalibration: Recalibration
    figures: pd.DataFrame
    n: int
    events: int
    notes: tuple[str, ...]

    def to_text(self) -> str:
        """Return the result as text, under the notice where patients are simulated."""
        card, found = self.bundle.card, self.recalibration
        said = {
            "none": "The predictions fit as they are: nothing was changed.",
            "intercept": f"The level was changed: linear predictor + {found.intercept:.3f}.",
            "intercept_slope": f"Level and spread were changed: {found.intercept:.3f} + {found.slope:.3f} x linear "
            "predictor.",
        }
        lines = [
            *([texts.SIMULATED] if card.simulated else []),
            f"{card.model_name}, {card.endpoint_title}",
            f"{self.n} untreated patients{f', {self.events} events' if card.kind != 'continuous' else ''}",
            *self.notes,
            said[found.method],
            "",
            self.figures.to_string(index=False, na_rep="", float_format="{:.3f}".format),
            "",
            f"{100 * card.level:g} % intervals; figures after are cross-validated.",
        ]
        return "\n".join(lines)


def recalibrate_model(
    source: Path,
    target: Path,
    *,
    model: str | Path = "champion",
    outcome: str | None = None,
    place: str | None = None,
    method: Method = "test",
    uri: str | None = None,
) -> Recalibrated:
    """Adapt a stored model to untreated patients of a new setting, and write the bundle.

    The relative effect of the treatment stays that of the trial, so only risks without treatment are compared with what
    happened: of a study its control arm, of a table all patients. Patients outside the trial's eligibility, for whom
    the model is not meant, are left out, as are those whom it cannot answer.

    Parameters
    ----------
    source : Path
        Study file or the folder that holds ``study.yaml``, or a table as ``il7ml predict --in`` takes it, with a column
        for the outcome.
    target : Path
        Folder of the new bundle.
    model : str or Path
        As in `load_predictor`.
    outcome : str, optional
        Endpoint of the study, or column of the table; by default named as the model's endpoint.
    place : str, optional
        What patients these are; needed for a table, by default the study's title.
    method : {'test', 'intercept', 'intercept_slope'}
        By default tests decide whether nothing, the level, or level and spread change (see `recalibrate`).
    uri : str, optional
        Tracking store.

    Raises
    ------
    InputError
        If model or patients cannot be used, these are the patients that the model was trained on, or fewer than 10
        have, or lack, the outcome (20 patients, where it is continuous). Nothing is written then.

    References
    ----------
    Vergouwe et al., Stat Med 2017;36:4529, doi 10.1002/sim.7179. Janssen et al., J Clin Epidemiol 2008;61:76,
    doi 10.1016/j.jclinepi.2007.04.018.
    """
    if target.exists():
        raise InputError(f"{target} exists already. Name a new folder for the bundle.")
    predictor = load_predictor(model, uri=uri)
    card = predictor.bundle.card
    is_study = source.suffix in _STUDIES or (source / "study.yaml").exists()
    patients = (_of_study if is_study else _of_table)(source, predictor.bundle, outcome or card.endpoint)
    where = (place or patients.title).strip()
    if not where:
        raise InputError("--place: expected words on the patients of the table (hospital, years). Name them.")
    predicted, kept, notes = _predicted(predictor, patients)
    y, weight = patients.y[kept], patients.weight[kept]
    exposure = None if patients.exposure is None else patients.exposure[kept]
    _check_enough(y[weight > 0], card.kind)
    found = recalibrate(y, predicted, card.kind, method=method, weight=weight, exposure=exposure)
    n = int((weight > 0).sum())
    events = 0 if card.kind == "continuous" else int(y[weight > 0].sum())
    counted = f"{n} untreated patients" + (f", {events} events" if card.kind != "continuous" else "")
    bundle = predictor.bundle.recalibrated(found.intercept, found.slope, f"{where}: {counted}")
    after = _cross_validated(y, predicted, card.kind, method, weight, exposure, card.seed)
    figures = pd.concat(
        [
            risk_metrics(
                y,
                values,
                card.kind,
                weight=weight,
                exposure=exposure,
                level=card.level,
                rng=np.random.default_rng(stream(card.seed, "recalibration figures")),
            )
            .set_index("metric")
            .rename(columns={"estimate": name, "low": f"{name}_low", "high": f"{name}_high"})
            for name, values in (("before", predicted), ("after", after))
        ],
        axis=1,
    ).reset_index()
    save_bundle(bundle, target)
    return Recalibrated(bundle, found, figures, n, events, notes)


class _Patients(NamedTuple):
    title: str
    frame: pd.DataFrame
    y: Floats
    weight: Floats
    exposure: Floats | None


def _of_study(source: Path, bundle: Bundle, endpoint: str) -> _Patients:
    """Return the control arm of a study."""
    card = bundle.card
    cohort = load_cohort(source, course=False)
    if cohort.digest == card.data_digest:
        raise InputError(
            f"{source}: the model was trained on these very patients, which it fits already. Name patients of another "
            "setting."
        )
    found = learning_outcome(cohort, endpoint)
    if found.kind != card.kind:
        raise InputError(
            f"endpoint {endpoint!r} is {found.kind}, the model's ({card.endpoint}) is {card.kind}. Name one like it "
            "with --outcome."
        )
    control = cohort.treatment == 0
    used = [name for name in card.variables if name in cohort.baseline]
    frame = cohort.baseline.loc[control, used].reset_index(drop=True)
    exposure = None if found.exposure is None else found.exposure[control]
    return _Patients(cohort.study.title, frame, found.y[control], found.weight[control], exposure)


def _of_table(source: Path, bundle: Bundle, column: str) -> _Patients:
    """Return the patients of a table; those without an outcome have weight 0."""
    kind = bundle.card.kind
    if kind == "count":
        raise InputError(f"{source}: counts need their time at risk, which a study file describes. Name a study.")
    table = read_table(source, text=("patient_id",))
    if column not in table.columns:
        raise InputError(
            f"{source}: expected the outcome in a column {column!r}.{nearest(column, map(str, table.columns))} Name "
            "it with --outcome."
        )
    y, unreadable = numbers(table[column])
    known = ~np.isnan(y)
    if unreadable.any() or np.isinf(y).any() or (kind == "binary" and not np.isin(y[known], (0, 1)).all()):
        expected = "0 (no), 1 (yes)" if kind == "binary" else "finite numbers"
        raise InputError(f"{source}: column {column!r}: expected {expected} or nothing; other values came. Recode it.")
    return _Patients("", table.drop(columns=column), np.where(known, y, 0.0), known.astype(float), None)


def _predicted(predictor: Predictor, patients: _Patients) -> tuple[Floats, NDArray[np.bool_], tuple[str, ...]]:
    """Return predictions without treatment, which patients have one, and what is to be said of the others."""
    measure = FAMILIES[predictor.bundle.card.kind].measure
    answers = predictor.predict_table(patients.frame)
    status = answers["status"].to_numpy()
    wrong = int((status == "error").sum())
    if 2 * wrong > len(status):
        raise InputError(
            f"{wrong} of {len(status)} patients cannot be predicted. Let il7ml predict --in answer the same table: its "
            "column 'message' says why."
        )
    kept = status == "ok"
    left = {
        "without a required value, or with an impossible one,": wrong,
        "outside the trial's eligibility": int((status == "out_of_scope").sum()),
    }
    notes = tuple(f"{count} patients {why} are left out" for why, count in left.items() if count)
    return answers[f"{measure}_untreated"].to_numpy(dtype=float)[kept], kept, notes


def _check_enough(y: Floats, kind: Kind) -> None:
    if kind == "continuous":
        if y.size < 2 * FEWEST:
            raise InputError(f"recalibration: expected {2 * FEWEST} patients at least, got {y.size}. Collect more.")
        return
    having, lacking = int((y > 0).sum()), int((y == 0).sum())
    if min(having, lacking) < FEWEST:
        raise InputError(
            f"recalibration: expected {FEWEST} patients at least with and without the outcome among those who can be "
            f"used, got {having} with and {lacking} without. Collect more, or keep the model as it is."
        )


def _cross_validated(
    y: Floats, predicted: Floats, kind: Kind, method: Method, weight: Floats, exposure: Floats | None, seed: int
) -> Floats:
    """Return what recalibrations without the patient make of each prediction, shape (repeats, n)."""
    result = np.empty((_REPEATS, y.size))
    strata = outcome_strata(y, (weight > 0).astype(np.int8), kind)
    for repeat, each in enumerate(spawn(stream(seed, "recalibration folds"), _REPEATS)):
        fold = stratified_folds(strata, _FOLDS, np.random.default_rng(each))
        for held in range(_FOLDS):
            train = fold != held
            found = recalibrate(
                y[train],
                predicted[train],
                kind,
                method=method,
                weight=weight[train],
                exposure=None if exposure is None else exposure[train],
            )
            result[repeat, ~train] = found.apply(predicted[~train])
    return result
