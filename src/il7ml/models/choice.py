"""The choice among candidate risk models, made from some patients alone: one more step that a validation repeats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from il7ml.config import RiskModelName
from il7ml.evaluation.selection import Selection, select_model
from il7ml.family import FAMILIES
from il7ml.models.catalog import REFERENCE, SIMPLICITY, Setting, make_risk_model
from il7ml.models.inner_folds import inner_folds
from il7ml.models.sample import Sample

Floats = NDArray[np.float64]

INNER_FOLDS = 5
# Beyond this many patients candidates are told apart by two folds, which cost what one fit to all patients does.
_LARGE = 20_000


def choose_by_losses(
    losses: Mapping[str, Floats] | Mapping[RiskModelName, Floats], weight: Floats | None = None
) -> Selection:
    """Choose among candidates of the catalog by their out-of-fold losses; see `select_model`.

    The reference is the penalised regression; without it the simplest candidate.

    Parameters
    ----------
    losses : mapping of str to ndarray of shape (repeats, n) or (n,)
    weight : ndarray of shape (n,), optional
    """
    order = [name for name in SIMPLICITY if name in losses]
    return select_model({name: losses[name] for name in order}, order, reference_among(order), weight)


def reference_among(candidates: Sequence[RiskModelName]) -> RiskModelName:
    """Return the candidate that stays unless another is better."""
    return REFERENCE if REFERENCE in candidates else next(name for name in SIMPLICITY if name in candidates)


def choose_among(
    candidates: Sequence[RiskModelName], sample: Sample, setting: Setting, rng: np.random.Generator
) -> RiskModelName:
    """Choose from these patients alone: cross-validate the candidates among them and apply the rule.

    This is what a validation must repeat in each of its training sets, or its figures are those of a model that was
    picked with knowledge of the patients held out. Five folds are dealt once (two beyond 20,000 patients); copies of a
    patient, as a bootstrap sample has them, share one.

    Parameters
    ----------
    candidates : sequence of str
        Names of the catalog.
    sample : Sample
        The training patients.
    setting : Setting
    rng : Generator
        Deals the folds.

    References
    ----------
    Varma and Simon, BMC Bioinformatics 2006;7:91, doi 10.1186/1471-2105-7-91. Cawley and Talbot, J Mach Learn Res
    2010;11:2079 (choosing a model is part of fitting it).
    """
    order = [name for name in SIMPLICITY if name in candidates]
    if len(order) < 2:
        return order[0]
    known = sample.rows(np.flatnonzero(sample.weight > 0))  # nothing can be learned from the others
    folds = INNER_FOLDS if known.y.size <= _LARGE else 2
    arm = known.treatment.astype(float)
    fold = inner_folds(known.X, known.y, arm, known.exposure, setting.outcome, folds, rng)
    chosen = choose_by_losses({name: _losses(name, known, setting, fold) for name in order}, known.weight).name
    return next(name for name in order if name == chosen)


def _losses(name: RiskModelName, sample: Sample, setting: Setting, fold: NDArray[np.intp]) -> Floats:
    """Return each patient's loss out of fold, under the arm that each was in."""
    predicted = np.empty(sample.y.size)
    for held in np.unique(fold):
        train, test = sample.rows(np.flatnonzero(fold != held)), np.flatnonzero(fold == held)
        model = make_risk_model(name, setting).fit(
            train.X, train.y, train.treatment, sample_weight=train.weight, exposure=train.exposure
        )
        predicted[test] = model.predict(sample.X.iloc[test], sample.treatment[test])
    return FAMILIES[setting.outcome].loss(sample.y, predicted, sample.exposure)
