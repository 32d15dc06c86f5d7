import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import expit
from tests.small_bundles import make

from il7ml.features.columns import take, to_columns
from il7ml.models.catalog import Setting
from il7ml.models.crossfit import bootstrap_rows
from il7ml.models.effect_model import EffectModel
from il7ml.models.final import fit_final_effect, fit_final_risk, fit_whole
from il7ml.models.risk import LinearRiskModel
from il7ml.parallel import spawn

INVERSE = {"binary": expit, "count": np.exp, "continuous": lambda eta: eta}


def setup(kind="binary"):
    made = make(kind)
    variables = {name: entry.variable for name, entry in made.bundle.card.variables.items()}
    setting = Setting(kind, variables, "absolute_lymphocyte_count", True)
    return made.sample, setting, made.scores, to_columns(made.sample.X, variables)


def final(kind, model, **options):
    sample, setting, scores, _ = setup(kind)
    return fit_final_risk(model, sample, setting, scores, **{"refits": 10, "seed": 5, **options})


@pytest.mark.parametrize("kind", ["binary", "count", "continuous"])
@pytest.mark.parametrize("model", ["prevalence", "lymphocyte", "logistic", "xgboost"])
def test_theta_gives_the_average_effect_in_the_sample_and_in_each_refit(kind, model):
    sample, _, scores, columns = setup(kind)
    found, mean = final(kind, model), INVERSE[kind]
    n = sample.y.size

    def effect(fitted, theta, rows):
        eta = fitted.linear_predictor(take(columns, rows), rows.size)
        return (mean(eta + theta) - mean(eta)).mean()

    assert effect(found.fitted, found.theta, np.arange(n)) == pytest.approx(scores.effect.mean(), abs=1e-9)
    draws = [bootstrap_rows(sample.treatment, np.random.default_rng(seed)) for seed in spawn(5, 10)]
    assert len(found.refits) == found.refit_theta.size == 10
    averages = [
        effect(refit, theta, rows) for refit, theta, rows in zip(found.refits, found.refit_theta, draws, strict=True)
    ]
    assert np.mean(averages) == pytest.approx(scores.effect.mean(), abs=1e-9)
    assert np.std(averages, ddof=1) == pytest.approx(scores.effect.std(ddof=1) / np.sqrt(n), rel=1e-6)
    # Draws keep their order: the one with the largest average of scores has the largest effect.
    raw = [scores.effect[rows].mean() for rows in draws]
    assert np.corrcoef(raw, averages)[0, 1] == pytest.approx(1, abs=1e-9)


def test_theta_solves_the_equation_as_another_solver_does():
    sample, _, scores, columns = setup()
    found = final("binary", "logistic")
    eta = found.fitted.linear_predictor(columns, sample.y.size)
    theta = brentq(lambda t: (expit(eta + t) - expit(eta)).mean() - scores.effect.mean(), -9, 9)
    assert found.theta == pytest.approx(theta)


@pytest.mark.parametrize("model", ["prevalence", "logistic", "xgboost"])
def test_the_fitted_model_is_the_one_fitted_to_all_patients(model):
    sample, setting, _, columns = setup()
    whole = fit_whole(model, sample, setting).fitted_
    found = final("binary", model).fitted
    n = sample.y.size
    np.testing.assert_array_equal(found.linear_predictor(columns, n), whole.linear_predictor(columns, n))
    assert found.arm_effect == whole.arm_effect


def test_linear_refits_share_the_design_and_differ_in_coefficients():
    found = final("binary", "logistic")
    assert all(refit.design is found.fitted.design for refit in found.refits)
    assert len({refit.intercept for refit in found.refits}) == 10


def test_refits_of_the_event_rate_are_those_of_each_bootstrap_sample():
    sample, _, _, _ = setup()
    found = final("binary", "prevalence")
    for refit, seed in zip(found.refits, spawn(5, 10), strict=True):
        rows = bootstrap_rows(sample.treatment, np.random.default_rng(seed))
        control = sample.y[rows][sample.treatment[rows] == 0].mean()
        assert expit(refit.intercept) == pytest.approx(control, abs=1e-3)  # the arm is hardly penalised at all


def test_the_spread_of_the_refits_is_the_standard_error():
    # For the event rate alone the standard error of the control arm's log odds is known: 1 / sqrt(n p (1 - p)).
    sample, _, _, _ = setup()
    found = final("binary", "prevalence", refits=150)
    control = sample.y[sample.treatment == 0]
    expected = 1 / np.sqrt(control.size * control.mean() * (1 - control.mean()))
    assert np.std([refit.intercept for refit in found.refits], ddof=1) == pytest.approx(expected, rel=0.2)


@pytest.mark.parametrize("model", ["logistic", "xgboost"])
def test_the_same_seed_gives_the_same_refits(model):
    _, _, _, columns = setup()
    results = [final("binary", model, seed=seed) for seed in (5, 5, 6)]
    predictions = [np.array([refit.linear_predictor(columns, 160) for refit in result.refits]) for result in results]
    np.testing.assert_array_equal(predictions[0], predictions[1])
    np.testing.assert_array_equal(results[0].refit_theta, results[1].refit_theta)
    assert not np.array_equal(predictions[0], predictions[2])


def test_progress_counts_the_refits():
    seen = []
    final("binary", "prevalence", progress=lambda done, total: seen.append((done, total)))
    assert seen == [(number, 10) for number in range(1, 11)]


@pytest.mark.parametrize("model", ["logistic", "xgboost"])
def test_patients_of_weight_zero_do_not_shape_the_model(model):
    sample, setting, _, columns = setup()
    weight = np.ones(sample.y.size)
    weight[::4] = 0
    other = np.where(weight == 0, 1 - sample.y, sample.y)
    first, second = (
        fit_whole(model, sample._replace(y=y, weight=weight), setting).fitted_.linear_predictor(columns, 160)
        for y in (sample.y, other)
    )
    np.testing.assert_allclose(first, second, atol=1e-12)
    assert not np.allclose(first, fit_whole(model, sample, setting).fitted_.linear_predictor(columns, 160))


@pytest.mark.parametrize("kind", ["binary", "count", "continuous"])
def test_the_final_effect_is_that_of_the_whole_sample(kind):
    sample, setting, _, _ = setup(kind)
    setting = setting._replace(modifiers=tuple(setting.variables)[:1])
    found = fit_final_effect(sample, setting, seed=3)
    same = EffectModel(
        kind,
        modifiers=setting.modifiers,
        variables=dict(setting.variables),
        spline=setting.spline,
        random_state=3,
    ).fit(
        sample.X,
        sample.y,
        sample.treatment,
        propensity=sample.propensity,
        sample_weight=sample.weight,
        exposure=sample.exposure,
    )
    np.testing.assert_array_equal(found.predict(sample.X), same.predict(sample.X))


def test_fit_whole_gives_an_estimator():
    sample, setting, _, _ = setup()
    model = fit_whole("lymphocyte", sample, setting)
    assert isinstance(model, LinearRiskModel)
    assert set(model.variables_) == {"absolute_lymphocyte_count"}


@pytest.mark.parametrize("kind", ["binary", "count"])
def test_an_average_effect_beyond_the_risk_stops_at_half_an_event(kind):
    sample, chosen, scores, columns = setup(kind)
    beyond = scores._replace(effect=scores.effect - scores.effect.mean() - 2 * scores.untreated.mean())
    found = fit_final_risk("prevalence", sample, chosen, beyond, refits=10, seed=5)
    eta = found.fitted.linear_predictor(columns, sample.y.size)
    total = sample.y.size if sample.exposure is None else sample.exposure.sum()
    assert INVERSE[kind](eta + found.theta).mean() == pytest.approx(0.5 / total, rel=1e-6)
    assert np.isfinite(found.refit_theta).all()
    assert found.refit_theta.min() > -15
