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

from il7ml.errors import InputError, nearest
from il7ml.evaluation.effects import DoublyRobustScores, doubly_robust_scores
from il7ml.family import Family, Kind, family_of
from il7ml.features.columns import as_frame, infer_variables, to_columns
from il7ml.features.design import LinearDesign
from il7ml.models.arrays import arm_vector, exposure_vector, outcome_vector, vector, weight_vector
from il7ml.models.folds import outcome_strata, stratified_folds
from il7ml.models.propensity import estimate_propensity
from il7ml.parallel import stream
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
    overlap_ : DataFrame or None
        If the probability of treatment was estimated: how alike the arms are (see `propensity.Propensity`).

    Notes
    -----
    Columns are found by name. Values may be missing, all of a patient's too: linear models take the training median and
    the difference that gaps made in training, boosted trees the branch that they learned for gaps.
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
        propensity : float, array-like of shape (n,) or 'estimate', optional
            Known probability of treatment; by default the share of treated patients. 'estimate' is for cohorts, where
            nobody knows it: patients whose treatment was nearly certain are then left out (see `overlap_`).
        sample_weight : array-like of shape (n,), optional
            Censoring weights; 0 where the outcome is unknown.
        exposure : array-like of shape (n,), optional
            Time at risk, for counts.

        Raises
        ------
        InputError
            If a column is missing, an array is not finite, not of n values or outside what it can be, a probability
            is not inside (0, 1), or an arm has fewer than five patients or no information on the outcome, also after
            those without a choice are left out.
        """
        self._learn(*self._checked(X, y, treatment, propensity, sample_weight, exposure))
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
        return self._possible(centre - spread), self._possible(centre + spread)

    def _checked(
        self,
        X: pd.DataFrame | ArrayLike,
        y: ArrayLike,
        treatment: ArrayLike,
        propensity: ArrayLike | None,
        sample_weight: ArrayLike | None,
        exposure: ArrayLike | None,
        groups: ArrayLike | None = None,
    ) -> tuple[pd.DataFrame, Trial]:
        """Take note of the variables, and return patients and arrays that can be learned from."""
        frame = as_frame(X)
        self.variables_ = dict(self.variables) if self.variables is not None else infer_variables(frame)
        self.feature_names_in_ = np.array(list(map(str, frame.columns)), dtype=object)
        self.n_features_in_ = frame.shape[1]
        _check_settings(self.get_params(deep=False), self.variables_)
        self.overlap_: pd.DataFrame | None = None
        estimate = isinstance(propensity, str)
        if estimate and propensity != "estimate":
            raise InputError(
                f"propensity: expected probabilities or 'estimate', got {propensity!r}. Give one of these."
            )
        known = None if estimate else propensity
        trial = _checked(self.family, len(frame), y, treatment, known, sample_weight, exposure, groups)
        return self._overlapping(frame, trial) if estimate else (frame, trial)

    def _overlapping(self, frame: pd.DataFrame, trial: Trial) -> tuple[pd.DataFrame, Trial]:
        """Return patients who could have been in either arm, with the estimated probability."""
        columns = to_columns(frame, self.variables_)
        design = LinearDesign.learn(columns, self.variables_)
        rng = np.random.default_rng(stream(self.random_state, "propensity"))
        found = estimate_propensity(design.matrix(columns, len(frame)), design.names, trial.treatment, self.folds, rng)
        self.overlap_ = found.overlap
        trial.propensity = found.probability
        trial = trial.rows(found.kept)
        _check_outcomes(trial)
        return frame[found.kept], trial

    def _learn(self, frame: pd.DataFrame, trial: Trial) -> None:
        raise NotImplementedError

    def _refits(self, frame: pd.DataFrame) -> Floats:
        """Return each refit's effects, shape (bootstrap, n)."""
        raise NotImplementedError

    def _possible(self, effect: Floats) -> Floats:
        """Return effects within what differences of the outcome can be: -1 to 1 for risks."""
        return np.clip(effect, -1.0, 1.0) if self.family.kind == "binary" else np.asarray(effect)

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
        sites: NDArray[np.intp] | None = None,
    ) -> None:
        self.y, self.treatment, self.propensity = y, treatment, propensity
        self.weight, self.exposure, self.sites = weight, exposure, sites

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

    def rows(self, rows: NDArray[np.bool_]) -> Trial:
        """Return the trial of some of its patients."""
        return Trial(
            self.y[rows],
            self.treatment[rows],
            self.propensity[rows],
            self.weight[rows],
            self.exposure_of(rows),
            None if self.sites is None else np.unique(self.sites[rows], return_inverse=True)[1],
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


def _checked(
    family: Family,
    n: int,
    y: ArrayLike,
    treatment: ArrayLike,
    propensity: ArrayLike | None,
    weight: ArrayLike | None,
    exposure: ArrayLike | None,
    groups: ArrayLike | None,
) -> Trial:
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
    sites = None if groups is None else _sites(groups, n)
    trial = Trial(y, arm.astype(np.int8), known, weights, exposure_vector(exposure, n, family.kind), sites)
    _check_outcomes(trial)
    return trial


def _check_settings(settings: Mapping[str, Any], variables: Mapping[str, Variable]) -> None:
    for name, least in (("folds", 2), ("repeats", 1), ("bootstrap", 0)):
        value = settings.get(name)
        if value is not None and value < least:
            raise InputError(
                f"{name}: expected {least} or more, got {value}. Construct the learner with another value."
            )
    for name in settings.get("spline", ()):
        if name not in variables:
            raise InputError(f"spline: {name!r} is not among the variables.{nearest(name, variables)}")


def _check_outcomes(trial: Trial) -> None:
    for value, name in ((0, "control"), (1, "treated")):
        outcomes = trial.y[(trial.treatment == value) & (trial.weight > 0)]
        if outcomes.size == 0 or outcomes.min() == outcomes.max():
            raise InputError(
                f"y: the {name} arm shows no variation in the outcome, so an effect cannot be estimated. "
                "Choose another outcome."
            )


def _sites(groups: ArrayLike, n: int) -> NDArray[np.intp]:
    values = np.asarray(groups)
    if values.ndim == 1 and pd.isna(values).any():
        raise InputError("groups: expected a site for each patient; some are missing. Give these a site of their own.")
    codes, sites = pd.factorize(values)
    if codes.size != n:
        raise InputError(f"groups: expected {n} values, one a row of X, got {codes.size}. Align it with X.")
    if len(sites) < 2:
        raise InputError("groups: expected at least two sites, got one. Leave groups out.")
    return np.asarray(codes, dtype=np.intp)


def _repeated(propensity: ArrayLike, n: int) -> ArrayLike:
    return np.full(n, propensity) if np.ndim(propensity) == 0 else propensity
