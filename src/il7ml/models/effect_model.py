"""The recommended effect estimator: an average over simple models of the heterogeneity, none included."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import NamedTuple, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import logit, stdtrit
from sklearn.utils.validation import check_is_fitted

from il7ml.errors import InputError, nearest
from il7ml.evaluation.effects import DoublyRobustScores, average_effect
from il7ml.family import Kind
from il7ml.features.columns import Columns, as_frame, to_columns
from il7ml.features.design import LinearDesign, TreeDesign
from il7ml.models.arrays import vector
from il7ml.models.average_prior import average_prior, shrink_average
from il7ml.models.effect_learner import EffectLearner, Trial
from il7ml.models.fitted import FittedTrees
from il7ml.models.fitted_effect import SCALES, FittedEffect, Scale, reference_patients, slices
from il7ml.models.glm import fit_glm
from il7ml.models.learned_effect import learn_effect
from il7ml.models.nuisance import cross_fitted_means
from il7ml.models.score_posterior import ScorePosterior, fit_posterior, sum_scores
from il7ml.models.shapes import Family, ShapeColumns, limited, make_shapes
from il7ml.parallel import spawn
from il7ml.schema import Variable

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

# Standard deviations of a logistic variable: a log odds ratio of 1 is a standardised mean difference of 0.55 (Chinn,
# Stat Med 2000;19:3127).
_LOGISTIC_SD = float(np.pi / np.sqrt(3))
# Patients from which boosted trees on the scores are one of the shapes; below, they find more noise than signal.
_LEARNED_FROM = 50_000
_SMALLEST_MEAN = 0.01


class _WorkingScores(NamedTuple):
    """Scores on the scale of the model (logarithms for ratios) and their relative precision."""

    effect: Floats
    weight: Floats


class _Prior(NamedTuple):
    """Of the working scores: posterior of their average, what a log odds ratio of 1 is worth, and the sites' toll."""

    average: tuple[float, float]
    unit: float
    design_effect: float


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
        Of the cross-fitting.
    repeats : int, optional
        Of the cross-fitting; by default 8 below 300 patients, 3 below 5,000, else 1.
    bootstrap : int, default 0
        Number of refits to bootstrap samples, drawn within arms, of patients with their scores. Outcome regressions and
        thresholds stay as they are: errors in the former move the scores' regression only at second order.
    random_state : int, default 0
    device : str, default 'cpu'
        XGBoost's device.

    Attributes
    ----------
    ate_ : float
        Covariate-adjusted average effect on the chosen scale, not shrunken.
    ate_interval_ : tuple of float
        Its 95 % interval, from Student's t; with `groups`, robust to dependence within them.
    heterogeneity_probability_ : float
        Posterior probability that effects differ at all, under a prior of 0.4.
    design_effect_ : float
        By how much dependence within sites inflates the variance of the average; 1 without sites.
    fitted_ : FittedEffect
        What predicts, as plain arrays: numbers that patients add up to, and no patient's.
    refits_ : tuple of FittedEffect
        One a bootstrap sample, around the same average effect.

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
        repeats: int | None = None,
        bootstrap: int = 0,
        random_state: int = 0,
        device: str = "cpu",
    ) -> None:
        self.outcome = outcome
        self.scale = scale
        self.modifiers = modifiers
        self.variables = variables
        self.spline = spline
        self.folds = folds
        self.repeats = repeats
        self.bootstrap = bootstrap
        self.random_state = random_state
        self.device = device

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
        if self.scale not in SCALES[known]:
            raise InputError(
                f"scale: {self.scale!r} does not suit a {known} outcome.{nearest(self.scale, SCALES[known])}"
            )
        logarithmic = known == "continuous" and self.scale == "ratio"
        if logarithmic:
            y = _logarithm(vector(y, len(as_frame(X)), "y"))
        self._learn(*self._checked(X, y, treatment, propensity, sample_weight, exposure, groups))
        return self

    def predict(self, X: pd.DataFrame | ArrayLike) -> Floats:
        """Return the individual effect on the chosen scale, shape (n,)."""
        columns, n = self._columns(X)
        return self.fitted_.to_scale(self.fitted_.linear_predictor(columns, n))

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
        return self.fitted_.interval(*self._columns(X), alpha)

    def _learn(self, frame: pd.DataFrame, trial: Trial) -> None:
        unknown = [name for name in self.modifiers if name not in self.variables_]
        if unknown:
            raise InputError(
                f"modifiers: {unknown[0]!r} is not among the variables.{nearest(unknown[0], self.variables_)}"
            )
        for_means, for_shapes, for_draws = map(np.random.default_rng, spawn(self.random_state, 3))
        columns = to_columns(frame, self.variables_)
        design = LinearDesign.learn(columns, self.variables_, spline=self.spline, weight=trial.weight)
        matrix = design.matrix(columns, len(frame))
        repeats = [
            (trial.scores(*means), *means)
            for means in cross_fitted_means(
                frame,
                matrix,
                trial,
                self.outcome,
                self.variables_,
                trial.sites,
                self.folds,
                for_means,
                self.repeats,
                self.device,
            )
        ]
        scores = DoublyRobustScores(*np.mean([each[0] for each in repeats], axis=0))
        untreated, treated = (np.mean([each[k] for each in repeats], axis=0) for k in (1, 2))
        working = self._working_scores(scores, untreated, treated, trial)
        arm = trial.treatment[:, None].astype(float)
        risk = fit_glm(self.family, matrix, trial.y, free=arm, weight=trial.weight, exposure=trial.exposure)
        self.ate_, self.ate_interval_ = self._average_effect(scores, trial, risk.effective_df)
        prior = self._prior(working, trial)
        self.design_effect_ = prior.design_effect
        draws = (_drawn_weight(working.weight, trial.treatment, for_draws) for _ in range(self.bootstrap))
        self.fitted_, self.refits_, self.heterogeneity_probability_ = self._fitted(
            columns, design, risk.coefficients[1:], working, prior, for_shapes, draws
        )

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

    def _average_effect(
        self, scores: DoublyRobustScores, trial: Trial, effective_df: float
    ) -> tuple[float, tuple[float, float]]:
        """Return the average effect and its 95 % limits.

        In small trials the scores' spread understates the error, since all share the regression that adjusts them.
        Without sites, limits therefore have the degrees of freedom that its effective ones leave.
        """
        geometric = self.outcome == "continuous" and self.scale == "ratio"
        table = average_effect(scores, self.outcome, clusters=trial.sites).set_index("scale")
        columns = ["estimate", "std_error", "low", "high"]
        row = table.loc["difference" if geometric else self.scale, columns].to_numpy(dtype=float)
        estimate, std_error, low, high = row
        if trial.sites is None:
            known = int((trial.weight > 0).sum())
            degrees = max(known - effective_df, 1.0)
            half = float(stdtrit(degrees, 0.975)) * std_error * np.sqrt(known / degrees)
            if self.scale == "difference" or geometric:
                low, high = estimate - half, estimate + half
            else:
                low, high = estimate * np.exp(-half), estimate * np.exp(half)
        if geometric:
            estimate, low, high = np.exp([estimate, low, high])
        return float(estimate), (float(low), float(high))

    def _prior(self, working: _WorkingScores, trial: Trial) -> _Prior:
        mean = float(np.average(working.effect, weights=working.weight))
        error, design_effect = _standard_error(working, mean, trial.sites)
        overall, spread = _overall(trial)
        unit = {
            "difference": {"binary": overall * (1 - overall), "count": overall, "continuous": spread / _LOGISTIC_SD},
            "ratio": {"binary": 1 - overall, "count": 1.0, "continuous": spread / _LOGISTIC_SD},
            "odds_ratio": {"binary": 1.0},
        }[self.scale][self.outcome]
        average = shrink_average(mean, error, *average_prior(self.outcome, self.scale, overall, spread))
        return _Prior(average, unit, design_effect)

    def _fitted(
        self,
        columns: Columns,
        design: LinearDesign,
        coefficients: Floats,
        working: _WorkingScores,
        prior: _Prior,
        rng: np.random.Generator,
        draws: Iterable[Floats],
    ) -> tuple[FittedEffect, tuple[FittedEffect, ...], float]:
        """Return what predicts, its refits to the `draws`, and the posterior probability of heterogeneity.

        `coefficients` are the risk's; a draw is each patient's weight.
        """
        n = working.effect.size
        matrix = limited(design.matrix(columns, n))
        centre, scale = _standard(matrix @ coefficients)
        coefficients, offset = coefficients * scale, -centre * scale
        extra = (matrix @ coefficients + offset)[:, None]
        trees: tuple[FittedTrees, ...] = ()
        families: tuple[Family, ...] = ("risk",)
        tree_centre = tree_scale = 0.0
        if n >= _LEARNED_FROM and self.variables_:
            trees, effect = learn_effect(
                TreeDesign.learn(self.variables_), columns, working.effect, working.weight, rng, self.device
            )
            tree_centre, tree_scale = _standard(effect)
            extra = np.column_stack([extra, (effect - tree_centre) * tree_scale])
            families = ("risk", "learned")
        straight = _straight(design)
        base = matrix[:, straight]
        owners = tuple(design.owners[column] for column in straight)
        shapes = make_shapes(ShapeColumns(base, owners, extra, families), self.modifiers, rng)

        def learn(weight: Floats) -> ScorePosterior:
            sums = sum_scores(
                (shapes.features(base[rows], extra[rows]), working.effect[rows], weight[rows]) for rows in slices(n)
            )
            return fit_posterior(sums.scaled(1 / prior.design_effect), shapes, prior.unit)

        posterior = learn(working.weight)
        moments, needed = posterior.moments()
        fitted = FittedEffect(
            kind=self.outcome,
            scale=self.scale,
            average=prior.average,
            design=design,
            straight=straight,
            risk_coefficients=coefficients,
            risk_offset=offset,
            trees=trees,
            tree_offset=-tree_centre * tree_scale,
            tree_scale=tree_scale,
            atoms=shapes.atoms,
            pairs=shapes.pairs[needed],
            moments=moments,
            background=reference_patients(design, columns, self.variables_),
        )
        refits = []
        for weight in draws:
            moments, needed = learn(weight).moments()
            refits.append(replace(fitted, pairs=shapes.pairs[needed], moments=moments))
        return fitted, tuple(refits), posterior.probability


def _straight(design: LinearDesign) -> Indices:
    """Return the columns of the design without the curved parts of splines."""
    straight = replace(design, terms=tuple(replace(term, knots=()) for term in design.terms))
    return np.array([design.names.index(name) for name in straight.names], dtype=np.intp)


def _standard(values: Floats) -> tuple[float, float]:
    """Return the mean and the inverse of the standard deviation, 0 where that is 0."""
    spread = float(values.std())
    return float(values.mean()), 1 / spread if spread > 0 else 0.0


def _logarithm(values: Floats) -> Floats:
    if not (values > 0).all():
        raise InputError("y: expected positive values for a ratio of means; others came. Use scale='difference'.")
    return np.asarray(np.log(values))


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


def _drawn_weight(weight: Floats, treatment: NDArray[np.int8], rng: np.random.Generator) -> Floats:
    """Return the patients' weights in a bootstrap sample drawn within arms, of mean 1."""
    counts = np.zeros(weight.size)
    for arm in (0, 1):
        members = np.flatnonzero(treatment == arm)
        counts[members] = rng.multinomial(members.size, np.full(members.size, 1 / members.size))
    drawn = counts * weight
    return np.asarray(drawn / drawn.mean())
