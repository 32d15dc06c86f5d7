"""Recalibration: adapting predictions to a new setting by an intercept and a slope on the link scale."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import chdtrc

from il7ml.errors import InputError, nearest
from il7ml.evaluation.outcome import Outcome, as_outcome, as_repeats
from il7ml.evaluation.weighted_glm import fit_weighted
from il7ml.family import FAMILIES, Family, Kind

Floats = NDArray[np.float64]
Method = Literal["none", "intercept", "intercept_slope"]

_METHODS: tuple[Method, ...] = ("none", "intercept", "intercept_slope")


class Recalibration(NamedTuple):
    """A map from predictions to predictions in the new setting.

    Attributes
    ----------
    kind : {'binary', 'count', 'continuous'}
    method : {'none', 'intercept', 'intercept_slope'}
    intercept, slope : float
        Linear predictor in the new setting: intercept + slope * linear predictor (log-odds, log rate or mean).
    table : DataFrame
        A row a method: method, intercept, slope, deviance, p_value (of the test against the last
        row; NaN there).
    """

    kind: Kind
    method: Method
    intercept: float
    slope: float
    table: pd.DataFrame

    def apply(self, predicted: ArrayLike) -> Floats:
        """Return recalibrated risks, rates or means, of the shape of `predicted`."""
        if self.method == "none":
            return np.asarray(predicted, dtype=float)
        family = FAMILIES[self.kind]
        return family.mean(self.intercept + self.slope * family.link(predicted))


def recalibrate(
    y: ArrayLike,
    predicted: ArrayLike,
    kind: Kind,
    *,
    method: Method | Literal["test"] = "test",
    weight: ArrayLike | None = None,
    exposure: ArrayLike | None = None,
    significance: float = 0.05,
) -> Recalibration:
    """Recalibrate a model's predictions to patients of a new setting.

    By default a closed testing procedure chooses: the predictions stay as they are unless intercept and slope together
    fit better; then the intercept alone is taken unless the slope adds to it. Tests are likelihood-ratio tests. Weights
    are scaled to Kish's effective number of patients; for counts that vary more than Poisson counts the statistic is
    divided by their dispersion.

    Parameters
    ----------
    y : array-like of shape (n,)
        Outcome in the new setting; may be NaN where `weight` is 0.
    predicted : array-like of shape (n,)
        Risk, rate per unit of exposure, or mean by the model as it is, which never saw these patients.
    kind : {'binary', 'count', 'continuous'}
    method : {'test', 'none', 'intercept', 'intercept_slope'}
        What to adapt.
    weight : array-like of shape (n,), optional
        Inverse probability that the outcome is observed.
    exposure : array-like of shape (n,), optional
        Time at risk, for counts.
    significance : float
        Level of the tests.

    Returns
    -------
    Recalibration
        Its `apply` maps predictions. A slope at or below 0 says that the model does not rank patients of this setting
        rightly: build another one.

    Raises
    ------
    InputError
        If the method is not known, the arrays do not fit together, there are fewer than 3 patients, nobody has or lacks
        the outcome, the predictions are all equal and a slope is asked for, or they separate those with the outcome
        from those without.

    References
    ----------
    Vergouwe et al., Stat Med 2017;36:4529, doi 10.1002/sim.7179 (closed testing; here without refitting the whole
    model). Cox, Biometrika 1958;45:562, doi 10.1093/biomet/45.3-4.562 (recalibration).

    Examples
    --------
    >>> import numpy as np
    >>> risk = np.repeat([0.2, 0.5], 50)
    >>> y = np.concatenate([np.arange(50) < 20, np.arange(50) < 36])
    >>> result = recalibrate(y, risk, "binary")
    >>> result.method, result.apply([0.2, 0.5]).round(2).tolist()
    ('intercept', [0.4, 0.72])
    """
    if method not in ("test", *_METHODS):
        raise InputError(f"method: {method!r} is not known.{nearest(method, ('test', *_METHODS))}")
    outcome, linear = _checked(kind, y, predicted, weight, exposure)
    family = FAMILIES[kind]
    constant = bool(np.ptp(linear) < 1e-9)
    separated = kind == "binary" and not constant and _separated(outcome.y, linear)
    if constant and method == "intercept_slope":
        raise InputError(
            "predicted: all predictions are equal, so a slope cannot be estimated. Use method 'intercept'."
        )
    if separated and method in ("test", "intercept_slope"):
        raise InputError(
            "predicted: they separate patients with the outcome from those without, so the slope has no finite "
            "estimate. Use method 'intercept' or more patients."
        )
    coefficients = _coefficients(family, outcome, linear, with_slope=not (constant or separated))
    table = _tests(family, outcome, linear, coefficients)
    # The largest method has no test (P is NaN): it is taken when all smaller ones are rejected.
    kept = table["method"] == method if method != "test" else ~(table["p_value"] < significance)
    chosen = _METHODS[int(np.argmax(kept))]
    return Recalibration(kind, chosen, *coefficients[chosen], table)


def _checked(
    kind: Kind, y: ArrayLike, predicted: ArrayLike, weight: ArrayLike | None, exposure: ArrayLike | None
) -> tuple[Outcome, Floats]:
    """Return the patients with a known outcome, weights scaled to their effective number, and linear predictors."""
    outcome = as_outcome(y, kind, weight, exposure)
    repeats = as_repeats(predicted, outcome.y.size, kind=kind)
    known = outcome.weight > 0
    outcome = Outcome(*(column[known] for column in outcome))
    if len(repeats) != 1 or outcome.y.size < 3:
        raise InputError(
            f"recalibration: expected one prediction for each of 3 or more patients, got {len(repeats)} for "
            f"{outcome.y.size}. Pass shape (n,)."
        )
    if kind != "continuous" and (not outcome.y.any() or (kind == "binary" and outcome.y.all())):
        raise InputError(
            "recalibration: expected some patients with and some without the outcome. Use more patients or keep the "
            "model as it is."
        )
    effective = outcome.weight * outcome.weight.sum() / (outcome.weight @ outcome.weight)
    return outcome._replace(weight=effective), FAMILIES[kind].link(repeats[0, known])


def _separated(y: Floats, linear: Floats) -> bool:
    sick, healthy = linear[y == 1], linear[y == 0]
    return bool(sick.min() >= healthy.max() or sick.max() <= healthy.min())


def _coefficients(
    family: Family, outcome: Outcome, linear: Floats, *, with_slope: bool
) -> dict[Method, tuple[float, float]]:
    """Return intercept and slope of each method that can be estimated."""
    weights, ones = outcome.weight[None, :], np.ones((linear.size, 1))
    shift = float(fit_weighted(family, ones, outcome, weights, linear)[0, 0])
    found: dict[Method, tuple[float, float]] = {"none": (0.0, 1.0), "intercept": (shift, 1.0)}
    if with_slope:
        centre = float(linear.mean())
        level, slope = fit_weighted(family, np.column_stack([ones, linear - centre]), outcome, weights)[0].tolist()
        found["intercept_slope"] = (level - slope * centre, slope)
    return found


def _tests(
    family: Family, outcome: Outcome, linear: Floats, coefficients: dict[Method, tuple[float, float]]
) -> pd.DataFrame:
    """Test each method against the largest one by the likelihood ratio."""
    means = {name: family.mean(intercept + slope * linear) for name, (intercept, slope) in coefficients.items()}
    deviances = {name: _deviance(family, outcome, mean) for name, mean in means.items()}
    largest, parameters = list(coefficients)[-1], len(coefficients) - 1
    dispersion = _dispersion(outcome, means[largest], parameters) if family.kind == "count" else 1.0
    rows = []
    for position, (name, pair) in enumerate(coefficients.items()):
        statistic = (deviances[name] - deviances[largest]) / dispersion
        freedom = parameters - position
        p_value = float(chdtrc(freedom, max(statistic, 0.0))) if freedom else np.nan
        rows.append((name, *pair, deviances[name], p_value))
    return pd.DataFrame(rows, columns=["method", "intercept", "slope", "deviance", "p_value"])


def _deviance(family: Family, outcome: Outcome, mean: Floats) -> float:
    """Return -2 log likelihood up to a constant; for continuous outcomes with the variance that fits best."""
    loss = float(outcome.weight @ family.loss(outcome.y, mean, outcome.exposure))
    if family.kind != "continuous":
        return 2 * loss
    size = float(outcome.weight.sum())
    return size * float(np.log(max(loss / size, np.finfo(float).tiny)))


def _dispersion(outcome: Outcome, rate: Floats, parameters: int) -> float:
    """Return Pearson's dispersion of counts, at least 1."""
    expected = rate * outcome.exposure
    chi_square = float(outcome.weight @ ((outcome.y - expected) ** 2 / expected))
    return max(chi_square / max(float(outcome.weight.sum()) - parameters, 1.0), 1.0)
