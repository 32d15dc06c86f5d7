from functools import cache

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit
from sklearn.metrics import brier_score_loss, roc_auc_score
from statsmodels.stats.proportion import proportion_confint

from il7ml.assessment import assess_effect, assess_risk, sample_size_verdict
from il7ml.assessment.risk import _selection_reason
from il7ml.config import RunConfig
from il7ml.evaluation.effects import doubly_robust_scores
from il7ml.evaluation.selection import select_model
from il7ml.features.columns import to_columns
from il7ml.models.catalog import Setting
from il7ml.models.crossfit import OutOfFold
from il7ml.models.sample import Sample
from il7ml.schema import load_dictionary

NAMES = ("age", "absolute_lymphocyte_count", "respiratory_support", "diabetes")
VARIABLES = {name: load_dictionary()[name] for name in NAMES}
CONFIG = RunConfig(
    study="study.yaml",
    endpoint="outcome",
    seed=3,
    validation={"bootstrap": 50, "repeats": 2},
    effect={"permutations": 200},
    models=("prevalence", "logistic", "xgboost"),
)
N, REPEATS = 400, 2


@cache
def trial(kind="binary", modified=0.0, harmful=True, effect=-1.0):
    """Return a sample, the true untreated linear predictor and the true effect on the outcome's scale.

    `modified` is what one standard deviation of age adds to the effect on the link scale.
    """
    rng = np.random.default_rng(11)
    frame = pd.DataFrame(
        {
            "age": rng.normal(60, 10, N).round(1),
            "absolute_lymphocyte_count": rng.lognormal(-0.6, 0.4, N).round(2),
            "respiratory_support": rng.choice(["oxygen", "non_invasive", "invasive"], N),
            "diabetes": rng.integers(0, 2, N).astype(float),
        }
    )
    z = (frame["age"].to_numpy() - 60) / 10
    eta = 0.9 * z - 0.2
    shift = (effect if harmful else -effect) + modified * z
    arm = (rng.permutation(N) % 2).astype(np.int8)
    mean = {"binary": expit, "count": np.exp, "continuous": lambda value: value}[kind]
    draw = {
        "binary": lambda mean: rng.binomial(1, mean),
        "count": lambda mean: rng.poisson(2 * mean),
        "continuous": lambda mean: rng.normal(mean, 1.0),
    }[kind]
    y = draw(mean(eta + shift * arm)).astype(float)
    exposure = np.full(N, 2.0) if kind == "count" else None
    sample = Sample(frame, y, arm, np.full(N, 0.5), np.ones(N), exposure)
    return sample, mean(eta), mean(eta + shift)


def out_of_fold(sample, untreated, treated, effect=None):
    """Return what cross-validation would: the event rate, the truth as "logistic", and noise as "xgboost"."""
    rng = np.random.default_rng(5)
    rates = [
        (sample.y / (1 if sample.exposure is None else sample.exposure))[sample.treatment == arm].mean()
        for arm in (0, 1)
    ]
    noise = rng.permutation(N)

    def repeat(values):
        return np.tile(values, (REPEATS, 1))

    return OutOfFold(
        {
            "prevalence": repeat(np.full(N, rates[0])),
            "logistic": repeat(untreated),
            "xgboost": repeat(untreated[noise]),
        },
        {"prevalence": repeat(np.full(N, rates[1])), "logistic": repeat(treated), "xgboost": repeat(treated[noise])},
        {"effect_model": repeat((treated - untreated if effect is None else effect) - np.mean(treated - untreated))},
        np.full((REPEATS, N), 1),
    )


def setting(kind="binary", harmful=True):
    return Setting(kind, VARIABLES, "absolute_lymphocyte_count", harmful)


def risk(kind="binary", **options):
    sample, untreated, treated = trial(kind, **options)
    folds = out_of_fold(sample, untreated, treated)
    return assess_risk(sample, folds, setting(kind), CONFIG, "Outcome"), sample, folds


def effect(
    kind="binary",
    harmful=True,
    selected="logistic",
    modifiers=("age", "respiratory_support"),
    config=CONFIG,
    learner=None,
    larger_benefit=None,
    **options,
):
    sample, untreated, treated = trial(kind, harmful=harmful, **options)
    folds = out_of_fold(sample, untreated, treated, learner)
    columns = to_columns(sample.X, VARIABLES)
    return (
        assess_effect(
            sample,
            columns,
            folds,
            setting(kind, harmful)._replace(modifiers=modifiers),
            selected,
            config,
            "Outcome",
            larger_benefit or {},
        ),
        sample,
        folds,
    )


# Risk.


def test_metrics_are_those_of_the_predictions_under_the_arm_each_patient_was_in():
    found, sample, folds = risk()
    factual = np.where(sample.treatment == 1, folds.treated["logistic"][0], folds.untreated["logistic"][0])
    assert found.selected == "logistic"
    assert found.metrics["auroc"].value == pytest.approx(roc_auc_score(sample.y, factual))
    assert found.metrics["brier"].value == pytest.approx(brier_score_loss(sample.y, factual))
    assert all(estimate.low <= estimate.value <= estimate.high for estimate in found.metrics.values())
    assert {"auroc", "brier", "log_loss", "calibration_slope", "calibration_intercept"} <= set(found.metrics)


def test_the_true_model_is_chosen_and_the_reason_says_why():
    found, _, _ = risk()
    assert found.reason == "Penalised regression has the smallest out-of-fold loss."
    assert {candidate.name: candidate.selected for candidate in found.candidates} == {
        "prevalence": False,
        "logistic": True,
        "xgboost": False,
    }
    table = found.tables["risk_selection"].set_index("model")
    assert table.loc["logistic", "loss"] == table["loss"].min()


def test_a_model_that_loses_to_the_event_rate_is_not_chosen():
    sample, _, _ = trial()
    folds = out_of_fold(sample, np.full(N, 0.45), np.full(N, 0.25))
    # Not informative at all, and somewhat away from the event rate.
    z = np.random.default_rng(2).choice([-0.8, 0.8], N)
    for values in (folds.untreated, folds.treated):
        values["logistic"] = expit(logit(values["prevalence"]) + z)
        values["xgboost"] = values["prevalence"]
    found = assess_risk(sample, folds, setting(), CONFIG, "Outcome")
    assert found.selected == "prevalence"
    assert found.candidates[0].selected


def test_a_gain_within_one_and_a_half_standard_errors_is_left_and_said():
    _, sample, folds = risk()
    # Close to the truth, a little worse by chance: by less than half a standard error.
    near = expit(logit(folds.untreated["logistic"]) + 0.1 * np.random.default_rng(16).normal(size=N))
    folds.untreated["xgboost"], folds.treated["xgboost"] = folds.untreated["logistic"], folds.treated["logistic"]
    folds.untreated["logistic"] = near
    found = assess_risk(sample, folds, setting(), CONFIG, "Outcome")
    assert found.tables["risk_selection"].set_index("model")["loss"].idxmin() == "xgboost"
    assert found.selected == "logistic"
    assert found.reason == (
        "XGBoost has the smallest out-of-fold loss, but by less than 1.5 standard errors of the difference; "
        "Penalised regression is simpler."
    )


def test_a_simpler_model_that_is_hardly_better_is_said_to_be_so():
    losses = {"prevalence": np.array([0.5, 0.7, 0.61] * 40), "logistic": np.array([0.6, 0.6, 0.615] * 40)}
    selection = select_model(losses, ["prevalence", "logistic"], "logistic")
    assert _selection_reason(selection, "logistic") == (
        "Event rate alone has the smallest out-of-fold loss, but by less than 0.5 standard errors of the difference; "
        "Penalised regression stays."
    )


def test_the_event_rate_is_assessed_as_one_rate_an_arm():
    sample, _, _ = trial()
    folds = out_of_fold(sample, np.full(N, 0.45), np.full(N, 0.25))
    rng = np.random.default_rng(0)
    for values in (folds.untreated, folds.treated):
        # The rate differs a little from fold to fold; the others are made worse than it.
        values["prevalence"] = values["prevalence"] + rng.choice([-0.01, 0.01], (REPEATS, N))
        values["logistic"] = values["xgboost"] = np.full((REPEATS, N), 0.9)
    folds.choice[:] = 0
    found = assess_risk(sample, folds, setting(), CONFIG, "Outcome")
    assert found.selected == "prevalence"
    groups = found.tables["calibration_groups"]
    assert len(groups) == 2
    rates = [sample.y[sample.treatment == arm].mean() for arm in (1, 0)]
    np.testing.assert_allclose(sorted(groups["observed"]), sorted(rates))


def test_patients_of_weight_zero_do_not_count():
    _, sample, folds = risk()
    weight = np.where(np.arange(N) % 3 == 0, 0.0, 1.5)
    spoilt = np.where(weight == 0, 1 - sample.y, sample.y)
    first, second = (
        assess_risk(sample._replace(y=y, weight=weight), folds, setting(), CONFIG, "") for y in (sample.y, spoilt)
    )
    assert first.metrics == second.metrics
    known = weight > 0
    factual = folds.factual("logistic", sample.treatment)[0]
    assert first.metrics["auroc"].value == pytest.approx(roc_auc_score(sample.y[known], factual[known]))


@pytest.mark.parametrize(
    ("kind", "metric", "binary"),
    [("binary", "auroc", True), ("count", "poisson_deviance", False), ("continuous", "rmse", False)],
)
def test_tables_and_figures_suit_the_outcome(kind, metric, binary):
    found, _, _ = risk(kind)
    assert metric in found.metrics
    assert ("roc_curve" in found.tables) == ("decision_curve" in found.tables) == binary
    assert ({"roc", "decision_curve"} <= set(found.figures)) == binary
    assert "calibration" in found.figures
    assert all(content[:4] == b"\x89PNG" for content in found.figures.values())
    assert set(found.tables["risk_metrics"]["model"]) == {"prevalence", "logistic", "xgboost", "procedure"}


def test_the_headline_is_that_of_the_models_chosen_without_the_patients():
    sample, untreated, treated = trial()
    folds = out_of_fold(sample, untreated, treated)
    # In the first repeat every other fold would have taken the noise.
    folds.choice[0, ::2] = 2
    found = assess_risk(sample, folds, setting(), CONFIG, "Outcome")
    mixed = np.where(
        np.arange(N) % 2 == 0,
        folds.factual("xgboost", sample.treatment)[0],
        folds.factual("logistic", sample.treatment)[0],
    )
    expected = np.mean(
        [roc_auc_score(sample.y, mixed), roc_auc_score(sample.y, folds.factual("logistic", sample.treatment)[1])]
    )
    assert found.selected == "logistic"
    assert found.metrics["auroc"].value == pytest.approx(expected)
    candidate = next(each for each in found.candidates if each.name == "logistic")
    assert candidate.metrics["auroc"].value > expected
    shares = found.tables["risk_choices"].set_index("model")["cross_validation"]
    assert shares.to_dict() == pytest.approx({"prevalence": 0.0, "logistic": 0.75, "xgboost": 0.25})


def test_the_decision_curve_holds_the_model_against_treating_all_and_none():
    found, sample, folds = risk()
    table = found.tables["decision_curve"]
    assert set(table["strategy"]) == {"risk model", "treat all", "treat none"}
    row = table[table["strategy"] == "risk model"].iloc[10]
    control, cut = sample.treatment == 0, row["threshold"]
    y, positive = sample.y[control], folds.untreated["logistic"].mean(axis=0)[control] >= cut
    expected = np.mean(positive * y) - np.mean(positive * (1 - y)) * cut / (1 - cut)
    assert row["net_benefit"] == pytest.approx(expected)


def test_the_seed_decides():
    sample, untreated, treated = trial()
    folds = out_of_fold(sample, untreated, treated)
    other = CONFIG.model_copy(update={"seed": 4})
    first, same, different = (assess_risk(sample, folds, setting(), config, "") for config in (CONFIG, CONFIG, other))
    assert first.metrics == same.metrics
    assert first.metrics != different.metrics
    assert first.metrics["auroc"].value == different.metrics["auroc"].value


# Effect.


@pytest.mark.parametrize("kind", ["binary", "count", "continuous"])
@pytest.mark.parametrize("selected", ["prevalence", "logistic"])
def test_the_average_effect_is_adjusted_with_the_regression_whichever_model_was_chosen(kind, selected):
    found, sample, folds = effect(kind, selected=selected)
    scores = doubly_robust_scores(
        sample.y,
        sample.treatment,
        0.5,
        folds.untreated["logistic"][0],
        folds.treated["logistic"][0],
        exposure=sample.exposure,
    )
    np.testing.assert_allclose(found.scores.effect, scores.effect)
    assert found.average.value == pytest.approx(scores.effect.mean())
    half = 1.959964 * scores.effect.std(ddof=1) / np.sqrt(N)
    assert found.average.high - found.average.value == pytest.approx(half, rel=1e-3)
    assert found.metrics["ate"] == found.average


@pytest.mark.parametrize("kind", ["binary", "count", "continuous"])
def test_the_interval_holds_the_truth_and_is_narrower_than_the_unadjusted_one(kind):
    found, _, _ = effect(kind)
    _, untreated, treated = trial(kind)
    assert found.average.low < np.mean(treated - untreated) < found.average.high
    table = found.tables["average_effect"].query("scale == 'difference'").set_index("method")
    assert table.loc["adjusted (AIPW)", "std_error"] < table.loc["unadjusted", "std_error"]


def test_one_effect_for_all_gives_level_none():
    found, _, _ = effect()
    assert found.verdict.level == "none"
    assert found.metrics["heterogeneity_p"].value > 0.1


def test_a_strong_modifier_gives_level_credible():
    found, _, _ = effect(modified=1.5)
    assert found.verdict.level == "credible"
    p = found.metrics["heterogeneity_p"]
    assert p.value < 0.01
    assert found.tables["heterogeneity_modifiers"].set_index("modifier").loc["age", "p_holm"] < 0.05
    slope = found.tables["best_linear_predictor"].query("term == 'slope'")
    assert slope["low"].item() > 0


def test_a_modifier_without_a_slope_stays_suggestive():
    found, _, _ = effect(modified=1.5, learner=np.random.default_rng(0).normal(size=N) / 10)
    assert found.verdict.level == "suggestive"


def test_the_thresholds_are_the_configs():
    strict = CONFIG.model_copy(
        update={
            "verdict": CONFIG.verdict.model_copy(
                update=dict.fromkeys(
                    ("credible_omnibus", "credible_modifier", "suggestive_omnibus", "suggestive_modifier"), 1e-9
                )
            )
        }
    )
    assert effect(modified=1.5, config=strict)[0].verdict.level == "none"


@pytest.mark.parametrize("harmful", [True, False])
def test_autoc_is_positive_where_the_ranking_finds_those_who_benefit(harmful):
    good, _, _ = effect(modified=1.5, harmful=harmful)
    _, untreated, treated = trial(modified=1.5, harmful=harmful)
    bad, _, _ = effect(modified=1.5, harmful=harmful, learner=untreated - treated)
    assert good.metrics["autoc"].low > 0
    assert bad.metrics["autoc"].high < 0


@pytest.mark.parametrize("harmful", [True, False])
def test_the_number_needed_to_treat_is_to_benefit_whichever_way_the_outcome_points(harmful):
    found, _, _ = effect(harmful=harmful)
    row = found.tables["number_needed_to_treat"].iloc[0]
    assert (found.average.value < 0) == harmful
    assert row["estimate"] == pytest.approx(1 / abs(found.average.value))
    assert row["text"].startswith("NNTB ")
    assert row["low"] < row["estimate"]


@pytest.mark.parametrize("kind", ["count", "continuous"])
def test_there_is_no_number_needed_to_treat_without_risks(kind):
    assert "number_needed_to_treat" not in effect(kind)[0].tables


def test_modifiers_carry_the_names_of_their_levels():
    found, _, _ = effect()
    names = list(found.tables["heterogeneity_modifiers"]["modifier"])
    assert names == ["age", "respiratory_support[non_invasive]", "respiratory_support[invasive]"]


def test_a_trial_without_pre_specified_modifiers_is_still_tested():
    found, _, _ = effect(modified=1.5, modifiers=())
    assert len(found.tables["heterogeneity_modifiers"]) == 0
    assert found.metrics["heterogeneity_p"].value < 0.05
    assert "no pre-specified modifier" in found.verdict.reason


def test_both_null_hypotheses_are_shown():
    table = effect()[0].tables["heterogeneity_tests"]
    assert list(table["null_hypothesis"]) == ["one relative effect for all (omnibus)", "one difference for all"]
    assert table["p_value"].between(0, 1).all()


def test_the_p_values_interval_is_wilsons():
    p = effect()[0].metrics["heterogeneity_p"]
    low, high = proportion_confint(p.value * 200, 200, method="wilson")
    assert (p.low, p.high) == pytest.approx((low, high), rel=1e-3)


def test_groups_are_quarters_of_predicted_risk():
    found, _, folds = effect()
    groups = found.tables["effects_by_risk"]
    assert groups["n"].between(98, 102).all()
    order = np.argsort(folds.untreated["logistic"][0], kind="stable")
    quarters = np.split(found.scores.effect[order], np.cumsum(groups["n"])[:-1])
    np.testing.assert_allclose(groups["effect"], [quarter.mean() for quarter in quarters])
    assert found.figures["effects_by_risk"][:4] == b"\x89PNG"


def test_without_a_slope_above_0_differences_are_only_suggestive():
    sample, untreated, treated = trial(modified=1.5)
    turned = out_of_fold(sample, untreated, treated, untreated - treated)
    columns, given = to_columns(sample.X, VARIABLES), setting()._replace(modifiers=("age",))
    assert assess_effect(sample, columns, turned, given, "logistic", CONFIG, "", {}).verdict.level == "suggestive"


@pytest.mark.parametrize(
    ("harmful", "larger", "answer"),
    [(True, "high", "probably yes"), (True, "low", "definitely no"), (False, "high", "probably yes")],
)
def test_the_hypothesised_direction_is_held_against_what_was_seen(harmful, larger, answer):
    found, _, _ = effect(harmful=harmful, modified=-1.5 if harmful else 1.5, larger_benefit={"age": larger})
    table = found.tables["modifier_credibility"].set_index("modifier")
    assert table.loc["age", "direction_hypothesised"] == answer


# Sample size.


def test_the_sample_size_verdict_counts_the_parameters_of_the_full_regression():
    sample, _, _ = trial()
    text, table, far_too_small = sample_size_verdict(setting(), sample, to_columns(sample.X, VARIABLES))
    assert not far_too_small
    # Age and diabetes one each, two of three levels of support, four knots less one of the lymphocyte count, the arm.
    assert text.startswith(
        f"too small: 400 patients with {int(sample.y.sum())} events for 8 parameters (the treatment "
    )
    assert len(table) > 0


def test_less_than_half_of_the_patients_needed_are_far_too_few():
    sample, _, _ = trial()
    small = sample.rows(np.arange(120))
    verdict = sample_size_verdict(setting(), small, to_columns(small.X, VARIABLES))
    needed = int(verdict.text.split(" needed")[0].split()[-1])
    assert needed > 240
    assert verdict.far_too_small
    assert not sample_size_verdict(setting(), sample, to_columns(sample.X, VARIABLES)).far_too_small


def test_only_known_outcomes_count_for_the_sample_size():
    sample, _, _ = trial()
    weight = np.where(np.arange(N) < 100, 0.0, 1.0)
    text, *_ = sample_size_verdict(setting(), sample._replace(weight=weight), to_columns(sample.X, VARIABLES))
    assert f"300 patients with {int(sample.y[100:].sum())} events" in text


@pytest.mark.parametrize("kind", ["count", "continuous"])
def test_other_outcomes_sample_size_is_not_assessed(kind):
    sample, _, _ = trial(kind)
    text, table, far_too_small = sample_size_verdict(setting(kind), sample, to_columns(sample.X, VARIABLES))
    assert not far_too_small
    assert text.startswith("not assessed")
    assert table.empty
