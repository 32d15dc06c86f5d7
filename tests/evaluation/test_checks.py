"""Every function of the evaluation refuses what it cannot use, with one error that names it."""

import numpy as np
import pytest

from il7ml import evaluation
from il7ml.errors import InputError

N = 60
_RNG = np.random.default_rng(1)
Y = _RNG.binomial(1, 0.4, N).astype(float)
ARM = np.arange(N) % 2
RISK = np.clip(0.4 + 0.2 * _RNG.normal(size=N), 0.05, 0.95)
EFFECT = 0.1 * _RNG.normal(size=N)
SCORES = evaluation.doubly_robust_scores(Y, ARM, 0.5, RISK, 0.8 * RISK)
SITE = np.repeat(["a", "b"], N // 2)
COUNTS = np.array([np.bincount(_RNG.integers(0, N, N), minlength=N) for _ in range(4)])
WEIGHT = np.ones(N)

# What each function is called with. Every argument below is spoilt in turn.
CALLS = {
    "risk_metrics": {"y": Y, "predicted": RISK, "kind": "binary", "weight": WEIGHT, "bootstrap": 5, "level": 0.95},
    "roc_curve": {"y": Y, "predicted": RISK, "weight": WEIGHT},
    "decision_curve": {"y": Y, "predicted": {"m": RISK}, "thresholds": [0.3], "bootstrap": 5, "level": 0.95},
    "calibration_curve": {"y": Y, "predicted": RISK, "kind": "binary", "groups": 4, "level": 0.95},
    "compare_models": {"y": Y, "first": RISK, "second": RISK[::-1], "kind": "binary", "level": 0.95},
    "corrected_metrics": {
        **{"y": Y, "kind": "binary", "apparent": RISK, "refits": np.tile(RISK, (4, 1)), "counts": COUNTS},
        **{"out_of_fold": RISK, "bootstrap": 5, "level": 0.95},
    },
    "performance_by_group": {"y": Y, "predicted": RISK, "groups": {"site": SITE}, "kind": "binary", "level": 0.95},
    "internal_external": {"y": Y, "predicted": RISK, "site": SITE, "kind": "binary", "level": 0.95},
    "recalibrate": {"y": Y, "predicted": RISK, "kind": "binary"},
    "prediction_instability": {"predicted": RISK, "bootstrap": np.tile(RISK, (3, 1)), "groups": 4},
    "unadjusted_effect": {"y": Y, "treatment": ARM, "kind": "binary", "weight": WEIGHT, "level": 0.95},
    "average_effect": {"scores": SCORES, "kind": "binary", "level": 0.95},
    "doubly_robust_scores": {
        **{"y": Y, "treatment": ARM, "propensity": np.full(N, 0.5), "untreated": RISK, "treated": RISK},
        "weight": WEIGHT,
    },
    "best_linear_predictor": {"effect_scores": SCORES.effect, "effect": EFFECT, "level": 0.95},
    "group_effects": {"scores": SCORES, "ranking": RISK, "groups": 4, "level": 0.95},
    "rank_weighted_effect": {"effect_scores": EFFECT, "priority": RISK, "bootstrap": 5, "level": 0.95},
    "targeting_curve": {"benefit_scores": EFFECT, "priority": RISK, "points": 4, "bootstrap": 5, "level": 0.95},
    "benefit_calibration": {"benefit_scores": EFFECT, "benefit": RISK, "groups": 3, "level": 0.95},
    "policy_value": {"scores": SCORES, "benefit": EFFECT, "thresholds": [0.0], "level": 0.95},
    "random_effects": {"estimate": [0.1, 0.2, 0.3], "std_error": [0.1, 0.1, 0.1], "level": 0.95},
    "poisson_crps": {"y": [1.0, 2.0], "mean": [1.0, 2.0]},
    "negative_binomial_crps": {"y": [1.0, 2.0], "mean": [1.0, 2.0], "dispersion": [0.5, 0.5]},
    "normal_crps": {"y": [1.0, 2.0], "mean": [1.0, 2.0], "std_dev": [1.0, 1.0]},
    "split_level": {"level": 0.95, "splits": 3},
}
_RANDOM = ("risk_metrics", "decision_curve", "corrected_metrics", "rank_weighted_effect", "targeting_curve")
_RISKS = ("predicted", "apparent", "refits", "out_of_fold", "first", "second")


def spoilt(name, value):
    """Yield what the argument cannot be."""
    if name == "level":
        yield from (0, 1, 95, -0.5, np.nan, "high", None)
    elif name == "kind":
        yield "weekly"
    elif name in ("bootstrap", "groups", "splits", "points") and isinstance(value, int):
        yield from (0, -1)
        if name != "points":
            yield from (1.5, "many")
    elif isinstance(value, np.ndarray | list) and not isinstance(value[0], str):
        array = np.asarray(value, dtype=float)
        yield np.full(array.shape, "x").tolist()
        if name != "thresholds":
            yield array[..., :0]
            yield np.tile(array, (2, 2, 1, 2))
        impossible = [np.nan, np.inf] + [-1.0] * (name in ("weight", "counts")) + [1.5, -0.5] * (name in _RISKS)
        for number in impossible:
            one = array.copy()
            one.flat[0] = number
            yield one


def called(function, arguments):
    further = {"rng": np.random.default_rng(0)} if function in _RANDOM else {}
    return getattr(evaluation, function)(**arguments, **further)


@pytest.mark.parametrize("function", CALLS)
def test_what_it_can_use_is_used_and_what_not_is_refused_by_name(function):
    arguments = CALLS[function]
    called(function, arguments)
    refused = 0
    for name, value in arguments.items():
        if function == "prediction_instability" and name in ("predicted", "bootstrap") and not isinstance(value, int):
            bad = list(spoilt("values", value))
        else:
            bad = list(spoilt(name, value))
        for each in bad:
            with pytest.raises(InputError) as error:
                called(function, {**arguments, name: each})
            assert ": expected" in str(error.value) or "not known" in str(error.value) or "missing" in str(error.value)
            refused += 1
    assert refused


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n": 0}, "n: expected a whole number of 2 or more"),
        ({"n": np.inf}, "n: expected a whole number"),
        ({"events": 0}, "expected some patients with and some without"),
        ({"events": 100}, "expected some patients with and some without"),
        ({"parameters": 0}, "parameters: expected a whole number of 1 or more"),
        ({"nagelkerke_r2": 0.0}, "nagelkerke_r2: expected a number strictly between 0 and 1"),
        ({"shrinkage": 1.0}, "shrinkage: expected a number strictly between 0 and 1"),
        ({"margin": 0.0}, "margin: expected a number strictly between 0 and 1"),
        ({"margin": np.nan}, "margin: expected a number strictly between 0 and 1"),
        ({"shrinkage": 0.01}, "shrinkage: expected more than"),
    ],
)
def test_a_sample_size_that_cannot_be_computed_is_refused(change, message):
    with pytest.raises(InputError, match=message):
        evaluation.sample_size(**{"n": 100, "events": 30, "parameters": 5, **change})


def test_an_arm_without_anybody_cannot_be_compared():
    with pytest.raises(InputError, match="too few patients with a known outcome in arm 1"):
        evaluation.unadjusted_effect(Y, np.zeros(N, dtype=int), "binary")
    with pytest.raises(InputError, match="too few patients with a known outcome in arm 1"):
        evaluation.unadjusted_effect(Y, ARM, "binary", weight=1.0 - ARM)


def test_rounding_errors_of_risks_are_let_pass():
    risk = RISK.copy()
    risk[0] = 1 + 1e-12
    evaluation.roc_curve(Y, risk)
