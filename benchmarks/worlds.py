"""Worlds with known individual risks and effects: simulated two-arm trials on which estimators are judged.

A world returns training data and can draw new patients from the same population, each with the true effect. Covariates
are correlated, binary outcomes are drawn from the exact risks, and the true effect is treated minus control on the
outcome's own scale.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit, logit, ndtr
from scipy.stats import norm

from il7ml.family import Kind

Floats = NDArray[np.float64]

_CONTINUOUS = (
    "log_lymphocyte_count",
    "age",
    "sofa",
    "log_creatinine",
    "log_crp",
    "temperature",
    "bmi",
    "log_neutrophils",
    "days_in_icu",
)
#: Binary covariates and their prevalence.
_BINARY = {"antiviral": 0.46, "ventilated": 0.6, "diabetes": 0.25}
_CORRELATION = 0.3
#: Weights of the standardised covariates in the prognostic score.
_PROGNOSTIC = {"age": 0.5, "sofa": 0.6, "log_lymphocyte_count": -0.4, "log_crp": 0.3, "ventilated": 0.3}
_LOWEST, _HIGHEST = 0.01, 0.99

Covariates = pd.DataFrame
Effect = Callable[[Covariates, Floats], Floats]


class Trial(NamedTuple):
    """A simulated trial.

    Attributes
    ----------
    X : DataFrame of shape (n, k)
    y : ndarray of shape (n,)
        Events for counts.
    treatment : ndarray of shape (n,)
    propensity : ndarray of shape (n,)
        Known probability of treatment.
    exposure : ndarray of shape (n,) or None
        Time at risk, for counts.
    effect : ndarray of shape (n,)
        The true individual effect.
    """

    X: pd.DataFrame
    y: Floats
    treatment: NDArray[np.int8]
    propensity: Floats
    exposure: Floats | None
    effect: Floats


@dataclass(frozen=True)
class World:
    """A population and its individual effects.

    Attributes
    ----------
    effect : callable
        Takes covariates and the mean outcome without treatment, returns the effect.
    outcome : {'binary', 'count', 'continuous'}
    base : float
        Mean outcome without treatment of the median patient (risk or rate); continuous outcomes have mean 0, SD 1.
    allocation : callable
        Takes covariates, returns the probability of treatment.
    noise_covariates : int
        Further covariates without influence.
    missing : float
        Share of covariate values that are missing, completely at random.
    strength : float
        How strongly the prognostic score, whose standard deviation is about 1, moves the log odds of a binary outcome.
    """

    effect: Effect
    outcome: Kind = "binary"
    base: float = 0.33
    allocation: Callable[[Covariates], Floats] = lambda X: np.full(len(X), 0.5)
    noise_covariates: int = 0
    missing: float = 0.0
    strength: float = 0.8

    def draw(self, n: int, rng: np.random.Generator) -> Trial:
        """Return a trial of n patients."""
        complete = _covariates(n, self.noise_covariates, rng)
        propensity = self.allocation(complete)
        untreated, effect = self._means(complete)
        treatment = (rng.random(n) < propensity).astype(np.int8)
        mean = untreated + treatment * effect
        exposure = None
        if self.outcome == "binary":
            y = (rng.random(n) < mean).astype(float)
        elif self.outcome == "count":
            exposure = rng.uniform(0.3, 1.0, n)
            y = rng.poisson(mean * exposure).astype(float)
        else:
            y = mean + rng.normal(0.0, 1.0, n)
        X = complete.mask(rng.random(complete.shape) < self.missing) if self.missing else complete
        return Trial(X, y, treatment, propensity, exposure, effect)

    def _means(self, X: Covariates) -> tuple[Floats, Floats]:
        score = _prognostic_score(X)
        if self.outcome == "continuous":
            return 0.7 * score, self.effect(X, 0.7 * score)
        if self.outcome == "count":
            rate = self.base * np.exp(0.5 * np.clip(score, -3, 3))
            effect = self.effect(X, rate)
            return np.maximum(rate, 0.02 - effect), effect
        untreated = expit(logit(self.base) + self.strength * score)
        effect = self.effect(X, untreated)
        # A patient whose risk could not change by the effect gets the nearest risk that can, so the effect is exact.
        return np.clip(
            untreated, np.maximum(_LOWEST, _LOWEST - effect), np.minimum(_HIGHEST, _HIGHEST - effect)
        ), effect


def _covariates(n: int, noise: int, rng: np.random.Generator) -> Covariates:
    """Draw covariates from a Gaussian copula with equal correlations; continuous ones are standardised."""
    names = [*_CONTINUOUS, *_BINARY, *(f"noise_{k}" for k in range(noise))]
    shared = rng.normal(size=(n, 1))
    normal = np.sqrt(_CORRELATION) * shared + np.sqrt(1 - _CORRELATION) * rng.normal(size=(n, len(names)))
    frame = pd.DataFrame(normal, columns=names)
    for name, prevalence in _BINARY.items():
        frame[name] = (frame[name] > norm.isf(prevalence)).astype(float)
    return frame


def _prognostic_score(X: Covariates) -> Floats:
    """Return the prognostic score, with a curved and an interacting part, standardised to unit variance roughly."""
    linear = sum(weight * X[name].to_numpy() for name, weight in _PROGNOSTIC.items())
    curved = 0.2 * (X["temperature"].to_numpy() ** 2 - 1)
    return np.asarray(linear - 0.18 + curved, dtype=float)


def constant(size: float) -> Effect:
    """Return the same absolute effect for all."""
    return lambda X, untreated: np.full(len(X), size)


def linear_in_count(mean: float, spread: float) -> Effect:
    """Return an effect linear in the logarithm of the lymphocyte count: low counts benefit."""
    return lambda X, untreated: mean + spread * np.clip(X["log_lymphocyte_count"].to_numpy(), -2.5, 2.5)


def step(outside: float, inside: float) -> Effect:
    """Return one effect for patients with a low count on antivirals, and another for the rest."""

    def effect(X: Covariates, untreated: Floats) -> Floats:
        low = X["log_lymphocyte_count"].to_numpy() < _STEP_COUNT
        return np.where(low & (X["antiviral"].to_numpy() == 1), inside, outside)

    return effect


#: Puts about 23 % of patients below it and on antivirals at once.
_STEP_COUNT = 0.27


def complex_effect(mean: float, spread: float) -> Effect:
    """Return a smooth, curved, interacting effect of five covariates within mean -2.25 to +2.75 spreads."""

    def effect(X: Covariates, untreated: Floats) -> Floats:
        count, age, crp = (X[name].to_numpy() for name in ("log_lymphocyte_count", "age", "log_crp"))
        antiviral, sofa = X["antiviral"].to_numpy(), X["sofa"].to_numpy()
        shape = (
            np.tanh(1.5 * count) * (0.4 + 0.8 * antiviral)
            + 0.7 * np.cos(1.5 * age)
            + 0.5 * np.tanh(crp * sofa)
            + 0.4 * (ndtr(sofa) > 0.7)
        )
        return np.asarray(mean + spread * np.clip((shape - 0.49) / 0.82, -2.25, 2.75))

    return effect


def constant_odds_ratio(log_odds_ratio: float) -> Effect:
    """Return one odds ratio for all."""
    return lambda X, untreated: np.asarray(expit(logit(untreated) + log_odds_ratio) - untreated)


def harm_for_half(size: float) -> Effect:
    """Return benefit for patients below the median of the count and the same harm above it."""
    return lambda X, untreated: np.where(X["log_lymphocyte_count"].to_numpy() < 0, -size, size)


def proportional(log_ratio: Effect) -> Effect:
    """Turn individual log ratios into differences."""
    return lambda X, untreated: np.asarray(untreated * np.expm1(log_ratio(X, untreated)))


def _stratified(X: Covariates) -> Floats:
    """Return a probability of treatment that differs by stratum (ventilated or not)."""
    return np.where(X["ventilated"].to_numpy() == 1, 0.6, 0.4)


#: The four worlds of the result table.
MAIN: dict[str, World] = {
    "constant": World(constant(-0.12)),
    "linear": World(linear_in_count(-0.10, 0.08)),
    "step": World(step(-0.02, -0.27)),
    "complex": World(complex_effect(-0.10, 0.08)),
}

#: Worlds that settings were checked on.
OTHER: dict[str, World] = {
    "none": World(constant(0.0)),
    "odds_ratio": World(constant_odds_ratio(-0.7)),
    "odds_ratio_3%": World(constant_odds_ratio(-0.7), base=0.02),
    "constant_60%": World(constant(-0.12), base=0.62),
    "step_60%": World(step(-0.02, -0.27), base=0.62),
    "linear_10%": World(linear_in_count(-0.03, 0.02), base=0.08),
    "harm_for_half": World(harm_for_half(0.12)),
    "linear_2:1": World(linear_in_count(-0.10, 0.08), allocation=lambda X: np.full(len(X), 2 / 3)),
    "step_stratified": World(step(-0.02, -0.27), allocation=_stratified),
    "constant_50_covariates": World(constant(-0.12), noise_covariates=38),
    "linear_50_covariates": World(linear_in_count(-0.10, 0.08), noise_covariates=38),
    "linear_missing": World(linear_in_count(-0.10, 0.08), missing=0.25),
    "step_missing": World(step(-0.02, -0.27), missing=0.25),
    "count_constant_ratio": World(proportional(constant(-0.5)), outcome="count", base=0.9),
    "count_linear": World(proportional(linear_in_count(-0.5, 0.4)), outcome="count", base=0.9),
    "continuous_constant": World(constant(0.3), outcome="continuous"),
    "continuous_step": World(step(0.1, 0.7), outcome="continuous"),
    "continuous_complex": World(complex_effect(0.3, 0.25), outcome="continuous"),
}

WORLDS: dict[str, World] = {**MAIN, **OTHER}

#: Worlds that risk models are judged on, by how well the true risk ranks patients of an arm: area under the curve 0.50,
#: 0.60, 0.71 and 0.81, with 28 to 33 % events.
RISK: dict[str, World] = {
    "none": World(constant_odds_ratio(-0.5), strength=0.0),
    "weak": World(constant_odds_ratio(-0.5), strength=0.35),
    "moderate": World(constant_odds_ratio(-0.5), strength=0.8),
    "strong": World(constant_odds_ratio(-0.5), strength=1.4),
}
