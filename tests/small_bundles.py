"""Small bundles of every kind, made from invented patients without a training, for the tests of what comes after it."""

from dataclasses import replace
from functools import cache
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from il7ml import texts
from il7ml.bundle import FORMAT, Bundle, Card, CardVariable, Estimate, Refits
from il7ml.evaluation.effects import DoublyRobustScores, doubly_robust_scores
from il7ml.features.columns import to_columns, with_derived
from il7ml.models.catalog import Setting
from il7ml.models.final import fit_final_effect, fit_final_risk
from il7ml.models.reference import fit_reference
from il7ml.models.sample import Sample
from il7ml.schema import load_dictionary

NAMES = (
    "age",
    "absolute_lymphocyte_count",
    "neutrophil_count",
    "c_reactive_protein",
    "respiratory_support",
    "diabetes",
)
TREATMENTS = ("antiviral_at_randomisation", "corticosteroid_at_randomisation")
PATIENT = {
    "age": 62,
    "absolute_lymphocyte_count": 0.5,
    "neutrophil_count": 9.0,
    "c_reactive_protein": 120,
    "respiratory_support": "invasive",
    "diabetes": 1,
}


class Made(NamedTuple):
    """A bundle and what it was made from."""

    bundle: Bundle
    sample: Sample
    scores: DoublyRobustScores


def patients(n: int, rng: np.random.Generator) -> pd.DataFrame:
    """Invent baseline values; the C-reactive protein has gaps."""
    frame = pd.DataFrame(
        {
            "age": rng.normal(60, 12, n).clip(26, 79).round(),
            "absolute_lymphocyte_count": rng.lognormal(-0.6, 0.4, n).clip(0.1, 1.0).round(2),
            "neutrophil_count": rng.lognormal(2, 0.5, n).round(1),
            "c_reactive_protein": rng.lognormal(4.5, 0.7, n).round(),
            "respiratory_support": rng.choice(["oxygen", "non_invasive", "invasive"], n),
            "diabetes": rng.integers(0, 2, n).astype(float),
        }
    )
    frame.loc[rng.random(n) < 0.15, "c_reactive_protein"] = np.nan
    return frame


def linear_predictor(frame: pd.DataFrame) -> np.ndarray:
    """Return the truth that the outcomes are drawn from, without treatment."""
    return (
        0.06 * (frame["age"].to_numpy() - 60)
        - 1.0 * np.log(frame["absolute_lymphocyte_count"].to_numpy() / 0.5)
        + 0.8 * (frame["respiratory_support"] == "invasive").to_numpy()
    )


@cache
def make(
    kind: str = "binary",
    model: str = "logistic",
    *,
    evidence: str = "none",
    harmful: bool = True,
    simulated: bool = False,
    n: int = 160,
    refits: int = 12,
    treatments: bool = False,
) -> Made:
    """Fit the final models to invented patients, half of them treated, and pack them up.

    With `treatments` the models also know `TREATMENTS`, which have nothing to do with the outcome.
    """
    rng = np.random.default_rng(7)
    frame = patients(n, rng)
    names = (*NAMES, *TREATMENTS) if treatments else NAMES
    for name in names[len(NAMES) :]:
        frame[name] = np.random.default_rng(len(name)).integers(0, 2, n).astype(float)
    treatment = (rng.permutation(n) % 2).astype(np.int8)
    eta = linear_predictor(frame) - (0.8 if harmful else -0.8) * treatment
    exposure = np.full(n, 2.0) if kind == "count" else None
    y = {
        "binary": lambda: rng.binomial(1, expit(eta - 0.4)).astype(float),
        "count": lambda: rng.poisson(2 * np.exp(eta / 2)).astype(float),
        "continuous": lambda: 40 + 10 * eta + rng.normal(0, 5, n),
    }[kind]()
    variables = with_derived({name: load_dictionary()[name] for name in names})
    setting = Setting(kind, variables, "absolute_lymphocyte_count", harmful)
    sample = Sample(frame, y, treatment, np.full(n, 0.5), np.ones(n), exposure)
    means = [(y / (2.0 if kind == "count" else 1.0))[treatment == arm].mean() for arm in (0, 1)]
    scores = doubly_robust_scores(y, treatment, 0.5, np.full(n, means[0]), np.full(n, means[1]), exposure=exposure)
    final = fit_final_risk(model, sample, setting, scores, refits=refits, seed=1)
    learner = fit_final_effect(sample, setting, seed=2)
    columns = to_columns(frame, variables)
    reference = fit_reference(columns, variables, n, np.random.default_rng(3))
    card = Card(
        format=FORMAT,
        il7ml_version="0.1.0",
        model_name=f"invented-{kind}",
        study="invented",
        study_title="Invented patients",
        simulated=simulated,
        endpoint="outcome",
        endpoint_title="Invented outcome",
        estimand="Mean of an invented outcome.",
        kind=kind,
        harmful=harmful,
        horizon=30.0,
        unit="patient" if kind == "count" else "",
        control_label="Placebo",
        treated_label="IL-7",
        n=n,
        n_treated=int(treatment.sum()),
        events=int(y.sum()) if kind != "continuous" else n,
        risk_model=model,
        evidence=evidence,
        evidence_sentence=texts.EVIDENCE[evidence],
        theta=final.theta,
        average_effect=Estimate(value=float(scores.effect.mean()), low=-1.0, high=1.0),
        validation={"brier": Estimate(value=0.2, low=0.1, high=0.3)},
        variables={name: _entry(name, variables[name], columns[name]) for name in variables},
        eligibility={"age": (25.0, 80.0), "absolute_lymphocyte_count": (None, 1.0)},
        distance_quantiles=reference.quantiles,
        level=0.95,
        data_digest="0" * 64,
        seed=1,
    )
    bundle = Bundle(
        card,
        final.fitted,
        Refits(final.refits, final.refit_theta),
        learner.fitted_,
        reference.design,
        reference.precision,
    )
    return Made(bundle, sample, scores)


def with_card(bundle: Bundle, **changes: object) -> Bundle:
    """Return the bundle with other entries in its card."""
    return replace(bundle, card=bundle.card.model_copy(update=changes))


def _entry(name: str, variable: object, values: np.ndarray) -> CardVariable:
    known = values[~np.isnan(values)]
    required = name in ("age", "absolute_lymphocyte_count")
    if variable.kind == "continuous":
        return CardVariable(
            variable=variable,
            required=required,
            low=float(known.min()),
            high=float(known.max()),
            quantiles=tuple(float(value) for value in np.quantile(known, np.linspace(0.05, 0.95, 10))),
        )
    shares = np.bincount(known.astype(int), minlength=max(len(variable.levels), 2)) / known.size
    return CardVariable(variable=variable, required=required, shares=tuple(float(share) for share in shares))


def assert_alike(one, other):
    """Compare answers; their last digits depend on how many are computed at once."""
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_alike(one[key], other[key])
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for first, second in zip(one, other, strict=True):
            assert_alike(first, second)
    else:
        assert one == (pytest.approx(other, rel=1e-9, abs=1e-12) if isinstance(one, float) else other)
