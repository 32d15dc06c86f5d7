"""The recommended effect estimator: an average over simple models of the heterogeneity, none included."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import logit, ndtri
from sklearn.utils.validation import check_is_fitted

from il7ml.errors import InputError, nearest
from il7ml.evaluation.effects import DoublyRobustScores, average_effect
from il7ml.family import Kind
from il7ml.features.columns import Columns, to_columns
from il7ml.features.design import LinearDesign, TreeDesign
from il7ml.models.arrays import vector
from il7ml.models.average_prior import average_prior, shrink_average
from il7ml.models.effect_learner import EffectLearner, Trial, as_frame
from il7ml.models.glm import fit_glm
from il7ml.models.learned_effect import LearnedEffect, learn_effect
from il7ml.models.nuisance import cross_fitted_means
from il7ml.models.score_posterior import ScorePosterior, fit_posterior, sum_scores
from il7ml.models.shapes import Family, ShapeColumns, Shapes, make_shapes
from il7ml.parallel import spawn
from il7ml.schema import Variable

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
Scale = Literal["difference", "ratio", "odds_ratio"]

_SCALES: dict[Kind, tuple[Scale, ...]] = {
    "binary": ("difference", "ratio", "odds_ratio"),
    "count": ("difference", "ratio"),
    "continuous": ("difference", "ratio"),
}
# Standard deviations of a logistic variable: a log odds ratio of 1 is a standardised mean difference of 0.55 (Chinn,
# Stat Med 2000;19:3127).
_LOGISTIC_SD = float(np.pi / np.sqrt(3))
_BLOCK = 8192
# Patients from which boosted trees on the scores are one of the shapes; below, they find more noise than signal.
_LEARNED_FROM = 50_000
_SMALLEST_MEAN = 0.01


class _WorkingScores(NamedTuple):
    """Scores on the scale of the model (logarithms for ratios) and their relative precision."""

    effect: Floats
    weight: Floats


class _Average(NamedTuple):
    """Posterior of the average of the working scores."""

    mean: float
    variance: float


class EffectModel(EffectLearner):
    """Average over many small models of the individual effect, weighted by what the trial's data bear.

    Cross-fitted doubly-robust scores measure each patient's effect without bias but with much noise. The model lets
    them differ from their average by nothing at all, or by a sum of simple shapes (linear in a variable, a step, a
    subgroup, curves, products, the patient's own risk, ...), and averages over all of these by their posterior
    probability. In a small trial without strong heterogeneity every patient gets nearly the average effect.

    Parameters
    ----------
    outcome : {'binary', 'count', 'continuous'}
    scale : {'difference', 'ratio', 'odds_ratio'}
        Of the effect: treated minus control, or treated over control. The ratio of a continuous outcome is that of
        geometric means.
    modifiers : tuple of str
        Pre-specified effect modifiers: shapes made of these alone get half of the prior mass of their kind.
    variables : mapping of str to Variable, optional
        Dictionary entries; by default columns are described by their dtypes.
    spline : tuple of str
        Variables that enter the outcome's regression as restricted cubic splines.
    folds : int, default 5
        Folds of the cross-fitting; it is repeated 8 times below 300 patients, 3 times below 5,000.
    random_state : int, default 0

    Attributes
    ----------
    ate_ : float
        Covariate-adjusted average effect on the chosen scale, not shrunken.
    ate_interval_ : tuple of float
        Its 95 % interval; with `groups`, robust to dependence within them.
    heterogeneity_probability_ : float
        Posterior probability that effects differ at all, under a prior of 0.4.

    Notes
    -----
    Predictions shrink the average by a sceptical prior (see `average_prior`). Intervals are posterior ones that take
    some heterogeneity for certain; they are to cover 95 % of patients on average, not at each point.

    References
    ----------
    Kennedy, Electron J Stat 2023;17:3008, doi 10.1214/23-EJS2157 (regression of doubly-robust scores). Hoeting et al.,
    Stat Sci 1999;14:382, doi 10.1214/ss/1009212519 (model averaging). Wang et al., J R Stat Soc B 2020;82:1273,
    doi 10.1111/rssb.12388 (sums of single effects).

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> rng = np.random.default_rng(0)
    >>> X = pd.DataFrame({"x": rng.normal(size=400), "z": rng.normal(size=400)})
    >>> arm = rng.integers(0, 2, 400)
    >>> y = X["x"] * arm + 0.1 * rng.normal(size=400)
    >>> model = EffectModel("continuous").fit(X, y, arm, propensity=0.5)
    >>> model.predict(pd.DataFrame({"x": [1.0], "z": [0.0]})).round(1).tolist()
    [1.0]
    """

    def __init__(
        self,
        outcome: Kind = "binary",
        scale: Scale = "difference",
        modifiers: tuple[str, ...] = (),
        variables: Mapping[str, Variable] | None = None,
        spline: tuple[str, ...] = (),
        folds: int = 5,
        random_state: int = 0,
    ) -> None:
        self.outcome = outcome
        self.scale = scale
        self.modifiers = modifiers
        self.variables = variables
        self.spline = spline
        self.folds = folds
        self.random_state = random_state

    def fit(
        self,
        X: pd.DataFrame | ArrayLike,
        y: ArrayLike,
        treatment: ArrayLike,
        *,
        propensity: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        exposure: ArrayLike | None = None,
        groups: ArrayLike | None = None,
    ) -> Self:
        """Learn the individual effect.

        Parameters
        ----------
        X, y, treatment, propensity, sample_weight, exposure
            As in `EffectLearner.fit`.
        groups : array-like of shape (n,), optional
            Site of each patient: sites are not split between folds, and errors allow for dependence within them.

        Raises
        ------
        InputError
            As in `EffectLearner.fit`; if the scale does not suit the outcome, a modifier is not among the variables,
            or there is only one site.
        """
        known = self.family.kind
        if self.scale not in _SCALES[known]:
            raise InputError(
                f"scale: {self.scale!r} does not suit a {known} outcome.{nearest(self.scale, _SCALES[known])}"
            )
        logarithmic = known == "continuous" and self.scale == "ratio"
        if logarithmic:
            y = _logarithm(vector(y, len(as_frame(X)), "y"))
        self.sites_ = None if groups is None else _sites(groups, len(as_frame(X)))
        return super().fit(X, y, treatment, propensity=propensity, sample_weight=sample_weight, exposure=exposure)

    def predict(self, X: pd.DataFrame | ArrayLike) -> Floats:
        """Return the individual effect on the chosen scale, shape (n,)."""
        return self._to_scale(self._moments(X)[0])

    def predict_interval(self, X: pd.DataFrame | ArrayLike, alpha: float = 0.05) -> tuple[Floats, Floats]:
        """Return lower and upper limits of the individual effect, each of shape (n,).

        Raises
        ------
        InputError
            If `alpha` is not inside (0, 1).
        """
        check_is_fitted(self)
        if not 0 < alpha < 1:
            raise InputError(f"alpha: expected a number above 0 and below 1, got {alpha}. For 95 % limits give 0.05.")
        mean, variance = self._moments(X)
        half = float(ndtri(1 - alpha / 2)) * np.sqrt(variance)
        return self._to_scale(mean - half), self._to_scale(mean + half)

    def _learn(self, frame: pd.DataFrame, trial: Trial) -> None:
        unknown = [name for name in self.modifiers if name not in self.variables_]
        if unknown:
            raise InputError(
                f"modifiers: {unknown[0]!r} is not among the variables.{nearest(unknown[0], self.variables_)}"
            )
        for_means, for_shapes = map(np.random.default_rng, spawn(self.random_state, 2))
        columns = to_columns(frame, self.variables_)
        self.design_ = LinearDesign.learn(columns, self.variables_, spline=self.spline, weight=trial.weight)
        self.shape_design_ = LinearDesign.learn(columns, self.variables_)
        matrix = self.design_.matrix(columns, len(frame))
        repeats = [
            (trial.scores(*means), *means)
            for means in cross_fitted_means(
                frame, matrix, trial, self.outcome, self.variables_, self.sites_, self.folds, for_means
            )
        ]
        scores = DoublyRobustScores(*np.mean([each[0] for each in repeats], axis=0))
        untreated, treated = (np.mean([each[k] for each in repeats], axis=0) for k in (1, 2))
        working = self._working_scores(scores, untreated, treated, trial)
        self._set_averages(scores, working, trial)
        self._learn_risk(matrix, trial)
        self._learn_shapes(columns, working, for_shapes)

    def _working_scores(
        self, scores: DoublyRobustScores, untreated: Floats, treated: Floats, trial: Trial
    ) -> _WorkingScores:
        """Return the scores themselves, or the log ratio with its influence function as correction."""
        if self.scale == "difference" or self.outcome == "continuous":
            return _WorkingScores(scores.effect, np.ones_like(scores.effect))
        highest = 1 - _SMALLEST_MEAN if self.outcome == "binary" else np.inf
        effect, variance = np.zeros_like(untreated), np.zeros_like(untreated)
        for sign, score, mean, share in (
            (-1, scores.untreated, untreated, 1 - trial.propensity),
            (1, scores.treated, treated, trial.propensity),
        ):
            mean = np.clip(mean, _SMALLEST_MEAN * trial.y.mean(), highest)
            slope = 1 / (mean * (1 - mean)) if self.scale == "odds_ratio" else 1 / mean
            effect += sign * ((logit(mean) if self.scale == "odds_ratio" else np.log(mean)) + slope * (score - mean))
            variance += slope**2 * self.family.variance(mean) / share
        weight = 1 / variance
        return _WorkingScores(effect, weight / weight.mean())

    def _set_averages(self, scores: DoublyRobustScores, working: _WorkingScores, trial: Trial) -> None:
        table = average_effect(scores, self.outcome, clusters=self.sites_).set_index("scale")
        logarithmic = self.outcome == "continuous" and self.scale == "ratio"
        row = table.loc["difference" if logarithmic else self.scale, ["estimate", "low", "high"]].to_numpy(dtype=float)
        estimate, low, high = np.exp(row) if logarithmic else row
        self.ate_, self.ate_interval_ = float(estimate), (float(low), float(high))
        mean = float(np.average(working.effect, weights=working.weight))
        error, self.design_effect_ = _standard_error(working, mean, self.sites_)
        overall, spread = _overall(trial)
        prior = average_prior(self.outcome, self.scale, overall, spread)
        self.average_ = _Average(*shrink_average(mean, error, *prior))
        self.unit_ = {
            "difference": {"binary": overall * (1 - overall), "count": overall, "continuous": spread / _LOGISTIC_SD},
            "ratio": {"binary": 1 - overall, "count": 1.0, "continuous": spread / _LOGISTIC_SD},
            "odds_ratio": {"binary": 1.0},
        }[self.scale][self.outcome]

    def _learn_risk(self, matrix: Floats, trial: Trial) -> None:
        fit = fit_glm(
            self.family,
            matrix,
            trial.y,
            free=trial.treatment[:, None].astype(float),
            weight=trial.weight,
            exposure=trial.exposure,
        )
        self.risk_coefficients_ = fit.coefficients[1:]
        self.risk_centre_, self.risk_scale_ = _standard(matrix @ self.risk_coefficients_)

    def _learn_shapes(self, columns: Columns, working: _WorkingScores, rng: np.random.Generator) -> None:
        n = working.effect.size
        base, risk = self._base(columns, n)
        self.learned_: LearnedEffect | None = None
        learned = np.empty((n, 0))
        if n >= _LEARNED_FROM and self.variables_:
            self.tree_design_ = TreeDesign.learn(self.variables_)
            self.learned_, effect = learn_effect(
                self.tree_design_.matrix(columns, n), working.effect, working.weight, rng
            )
            self.learned_centre_, self.learned_scale_ = _standard(effect)
            learned = ((effect - self.learned_centre_) * self.learned_scale_)[:, None]
        extra = np.hstack([risk, learned])
        families: tuple[Family, ...] = ("risk",) if self.learned_ is None else ("risk", "learned")
        self.shapes_: Shapes = make_shapes(
            ShapeColumns(base, self.shape_design_.owners, extra, families), self.modifiers, rng
        )
        sums = sum_scores(
            (self.shapes_.features(base[rows], extra[rows]), working.effect[rows], working.weight[rows])
            for rows in _slices(n)
        )
        self.posterior_: ScorePosterior = fit_posterior(sums.scaled(1 / self.design_effect_), self.shapes_, self.unit_)
        self.heterogeneity_probability_ = self.posterior_.probability

    def _base(self, columns: Columns, n: int) -> tuple[Floats, Floats]:
        """Return the standardised columns and the standardised risk, shape (n, 1)."""
        risk = self.design_.matrix(columns, n) @ self.risk_coefficients_
        return self.shape_design_.matrix(columns, n), ((risk - self.risk_centre_) * self.risk_scale_)[:, None]

    def _extra(self, columns: Columns, risk: Floats) -> Floats:
        if self.learned_ is None:
            return risk
        effect = self.learned_.predict(self.tree_design_.matrix(columns, len(risk)))
        return np.column_stack([risk, (effect - self.learned_centre_) * self.learned_scale_])

    def _moments(self, X: pd.DataFrame | ArrayLike) -> tuple[Floats, Floats]:
        """Return mean and variance of each patient's effect on the working scale."""
        columns, n = self._columns(X)
        base, risk = self._base(columns, n)
        extra = self._extra(columns, risk)
        mean, variance = np.empty(n), np.empty(n)
        for rows in _slices(n):
            mean[rows], variance[rows] = self.posterior_.moments(self.shapes_.features(base[rows], extra[rows]))
        return mean + self.average_.mean, variance + self.average_.variance

    def _to_scale(self, effect: Floats) -> Floats:
        if self.scale != "difference":
            return np.exp(effect)
        return np.clip(effect, -1.0, 1.0) if self.outcome == "binary" else effect


def _standard(values: Floats) -> tuple[float, float]:
    """Return the mean and the inverse of the standard deviation, 0 where that is 0."""
    spread = float(values.std())
    return float(values.mean()), 1 / spread if spread > 0 else 0.0


def _slices(n: int) -> Iterator[slice]:
    yield from (slice(start, start + _BLOCK) for start in range(0, n, _BLOCK))


def _logarithm(values: Floats) -> Floats:
    if not (values > 0).all():
        raise InputError("y: expected positive values for a ratio of means; others came. Use scale='difference'.")
    return np.asarray(np.log(values))


def _sites(groups: ArrayLike, n: int) -> Indices:
    codes, sites = pd.factorize(np.asarray(groups))
    if codes.size != n:
        raise InputError(f"groups: expected {n} values, one a row of X, got {codes.size}. Align it with X.")
    if len(sites) < 2:
        raise InputError("groups: expected at least two sites, got one. Leave groups out.")
    return np.asarray(codes, dtype=np.intp)


def _standard_error(working: _WorkingScores, mean: float, sites: Indices | None) -> tuple[float, float]:
    """Return the standard error of the average and by how much sites inflate its variance (at least 1)."""
    influence = working.weight * (working.effect - mean) / working.weight.sum()
    n = influence.size
    independent = float(influence @ influence) * n / (n - 1)
    if sites is None:
        return float(np.sqrt(independent)), 1.0
    by_site = np.bincount(sites, weights=influence)
    inflation = max(1.0, float(by_site @ by_site) * by_site.size / (by_site.size - 1) / independent)
    return float(np.sqrt(independent * inflation)), inflation


def _overall(trial: Trial) -> tuple[float, float]:
    """Return the overall mean (per unit of exposure) and the standard deviation within the arms."""
    time = trial.weight if trial.exposure is None else trial.weight * trial.exposure
    squares = 0.0
    for arm in (0, 1):
        y, weight = trial.y[trial.treatment == arm], trial.weight[trial.treatment == arm]
        squares += float(weight @ (y - np.average(y, weights=weight)) ** 2)
    return float(trial.weight @ trial.y / time.sum()), float(np.sqrt(squares / trial.weight.sum()))
