"""What the effect learners share: input checks, interval from bootstrap refits, average effect from scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from il7ml.errors import InputError
from il7ml.evaluation.effects import DoublyRobustScores, doubly_robust_scores
from il7ml.family import Family, Kind, family_of
from il7ml.features.columns import infer_variables, to_columns
from il7ml.models.arrays import arm_vector, exposure_vector, outcome_vector, vector, weight_vector
from il7ml.models.folds import outcome_strata, stratified_folds
from il7ml.schema import Variable

Floats = NDArray[np.float64]

_SMALLEST_ARM = 5


class EffectLearner(BaseEstimator):  # type: ignore[misc]
    """Base of the learners of individual effects (treated minus control, on the outcome's own scale).

    Parameters
    ----------
    outcome : {'binary', 'count', 'continuous'}
    variables : mapping of str to Variable, optional
        Dictionary entries; by default columns are described by their dtypes.
    spline : tuple of str
        Variables that enter as restricted cubic splines.
    folds : int, default 5
        Folds of the internal cross-fitting.
    bootstrap : int, default 50
        Refits behind `predict_interval`; 0 leaves it out.
    random_state : int, default 0

    Attributes
    ----------
    ate_ : float
        Covariate-adjusted average effect (augmented inverse-probability weighting, cross-fitted).
    ate_interval_ : tuple of float
        Its 95 % interval.
    """

    def __init__(
        self,
        outcome: Kind = "binary",
        variables: Mapping[str, Variable] | None = None,
        spline: tuple[str, ...] = (),
        folds: int = 5,
        bootstrap: int = 50,
        random_state: int = 0,
    ) -> None:
        self.outcome = outcome
        self.variables = variables
        self.spline = spline
        self.folds = folds
        self.bootstrap = bootstrap
        self.random_state = random_state

    @property
    def family(self) -> Family:
        """The outcome's family."""
        return family_of(self.outcome)

    def fit(
        self,
        X: pd.DataFrame | ArrayLike,
        y: ArrayLike,
        treatment: ArrayLike,
        *,
        propensity: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        exposure: ArrayLike | None = None,
    ) -> Self:
        """Learn the individual effect.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n, k)
        y : array-like of shape (n,)
        treatment : array-like of shape (n,)
            1 for treated, 0 for control.
        propensity : float or array-like of shape (n,), optional
            Known probability of treatment; by default the share of treated patients.
        sample_weight : array-like of shape (n,), optional
            Censoring weights; 0 where the outcome is unknown.
        exposure : array-like of shape (n,), optional
            Time at risk, for counts.

        Raises
        ------
        InputError
            If a column is missing, an array is not finite, not of n values or outside what it can be, a probability
            is not inside (0, 1), or an arm has fewer than five patients or no information on the outcome.
        """
        frame = as_frame(X)
        self.variables_ = dict(self.variables) if self.variables is not None else infer_variables(frame)
        self.feature_names_in_ = np.array(list(map(str, frame.columns)), dtype=object)
        self.n_features_in_ = frame.shape[1]
        trial = _checked(self.family, frame, y, treatment, propensity, sample_weight, exposure)
        self._learn(frame, trial)
        return self

    def predict(self, X: pd.DataFrame | ArrayLike) -> Floats:
        """Return the individual effect, treated minus control, shape (n,)."""
        raise NotImplementedError

    def predict_interval(self, X: pd.DataFrame | ArrayLike, alpha: float = 0.05) -> tuple[Floats, Floats]:
        """Return lower and upper limits of the individual effect, each of shape (n,), from the bootstrap's spread.

        Raises
        ------
        InputError
            If `alpha` is not inside (0, 1), or the learner has fewer than two bootstrap refits.
        """
        check_is_fitted(self)
        if not 0 < alpha < 1:
            raise InputError(f"alpha: expected a number above 0 and below 1, got {alpha}. For 95 % limits give 0.05.")
        if self.bootstrap < 2:
            raise InputError("predict_interval needs bootstrap refits. Construct the learner with bootstrap=50 or so.")
        spread = self._refits(as_frame(X)).std(axis=0, ddof=1) * float(ndtri(1 - alpha / 2))
        centre = self.predict(X)
        return centre - spread, centre + spread

    def _learn(self, frame: pd.DataFrame, trial: Trial) -> None:
        raise NotImplementedError

    def _refits(self, frame: pd.DataFrame) -> Floats:
        """Return each refit's effects, shape (bootstrap, n)."""
        raise NotImplementedError

    def _columns(self, X: pd.DataFrame | ArrayLike) -> tuple[dict[str, Floats], int]:
        check_is_fitted(self)
        frame = as_frame(X)
        return to_columns(frame, self.variables_), len(frame)

    def _set_average(self, scores: DoublyRobustScores) -> None:
        self.ate_ = float(scores.effect.mean())
        half = float(ndtri(0.975)) * float(scores.effect.std(ddof=1)) / np.sqrt(scores.effect.size)
        self.ate_interval_ = (self.ate_ - half, self.ate_ + half)


class Trial:
    """Checked arrays of one fit."""

    def __init__(
        self,
        y: Floats,
        treatment: NDArray[np.int8],
        propensity: Floats,
        weight: Floats,
        exposure: Floats | None,
    ) -> None:
        self.y, self.treatment, self.propensity = y, treatment, propensity
        self.weight, self.exposure = weight, exposure

    def scores(self, untreated: Floats, treated: Floats) -> DoublyRobustScores:
        """Return doubly-robust scores for the given out-of-fold means."""
        return doubly_robust_scores(
            self.y,
            self.treatment,
            self.propensity,
            untreated,
            treated,
            weight=self.weight,
            exposure=self.exposure,
        )

    def exposure_of(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> Floats | None:
        """Return the exposure of the given rows."""
        return None if self.exposure is None else self.exposure[rows]


MeansModel = Callable[[pd.DataFrame], tuple[Floats, Floats]]


def cross_fit_means(
    fit: Callable[[NDArray[np.intp]], MeansModel],
    frame: pd.DataFrame,
    trial: Trial,
    kind: Kind,
    folds: int,
    rng: np.random.Generator,
) -> tuple[Floats, Floats]:
    """Return out-of-fold means without and with treatment; `fit` takes training rows and returns a predictor."""
    assignment = stratified_folds(outcome_strata(trial.y, trial.treatment, kind), folds, rng)
    untreated, treated = np.empty(trial.y.size), np.empty(trial.y.size)
    for fold in range(folds):
        held = assignment == fold
        untreated[held], treated[held] = fit(np.flatnonzero(~held))(frame[held])
    return untreated, treated


def as_frame(X: Any) -> pd.DataFrame:
    """Return `X` as a frame; a bare array's columns are called x0, x1, ..."""
    if isinstance(X, pd.DataFrame):
        return X
    try:
        array = np.asarray(X, dtype=float)
    except (TypeError, ValueError):
        raise InputError("X: expected a frame or an array of numbers; other values came. Use a DataFrame.") from None
    if array.ndim != 2:
        raise InputError(f"X: expected a frame or an array of shape (n, k), got {array.ndim} dimension(s). Reshape it.")
    return pd.DataFrame(array, columns=[f"x{k}" for k in range(array.shape[1])])


def _checked(
    family: Family,
    frame: pd.DataFrame,
    y: ArrayLike,
    treatment: ArrayLike,
    propensity: ArrayLike | None,
    weight: ArrayLike | None,
    exposure: ArrayLike | None,
) -> Trial:
    n = len(frame)
    y, arm, weights = outcome_vector(y, n, family.kind), arm_vector(treatment, n), weight_vector(weight, n)
    smallest = int(min((arm == 0).sum(), (arm == 1).sum()))
    if smallest < _SMALLEST_ARM:
        raise InputError(
            f"treatment: expected at least {_SMALLEST_ARM} patients in each arm, one has {smallest}. "
            "Effects need both arms."
        )
    known = vector(np.full(n, arm.mean()) if propensity is None else _repeated(propensity, n), n, "propensity")
    if not ((known > 0) & (known < 1)).all():
        raise InputError(
            "propensity: expected probabilities above 0 and below 1; others came. Leave out patients who had no choice."
        )
    for value, name in ((0, "control"), (1, "treated")):
        outcomes = y[(arm == value) & (weights > 0)]
        if outcomes.size == 0 or outcomes.min() == outcomes.max():
            raise InputError(
                f"y: the {name} arm shows no variation in the outcome, so an effect cannot be estimated. "
                "Choose another outcome."
            )
    return Trial(y, arm.astype(np.int8), known, weights, exposure_vector(exposure, n))


def _repeated(propensity: ArrayLike, n: int) -> ArrayLike:
    return np.full(n, propensity) if np.ndim(propensity) == 0 else propensity
