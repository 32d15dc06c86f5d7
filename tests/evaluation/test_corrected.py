import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit
from scipy.stats import norm
from sklearn.metrics import brier_score_loss, root_mean_squared_error

from il7ml.errors import InputError
from il7ml.evaluation.corrected import corrected_metrics, point_632_plus
from il7ml.evaluation.resampling import resampling_counts
from il7ml.evaluation.risk import risk_metrics


def draws(n, bootstrap, seed):
    return np.vstack(list(resampling_counts(n, bootstrap, np.random.default_rng(seed)))).astype(int)


@pytest.fixture
def validated():
    """Return outcomes, and predictions of a model, its refits and its folds that follow the outcome too closely."""
    rng = np.random.default_rng(1)
    risk = rng.uniform(0.05, 0.9, 60).round(2)
    y = (rng.random(60) < risk).astype(float)
    counts = draws(60, 20, 2)
    seen = np.vstack([np.ones((1, 60)), counts > 0])
    # A patient who was drawn is predicted with a look at his outcome.
    predicted = expit(logit(risk) + rng.normal(0, 0.5, (21, 60)) + 1.5 * seen * (y - 0.5))
    folds = expit(logit(risk) + rng.normal(0, 0.5, (3, 60)))
    return y, {"apparent": predicted[0], "refits": predicted[1:], "counts": counts, "out_of_fold": folds}


def table_of(y, arrays, kind="binary", seed=0, bootstrap=60, **options):
    table = corrected_metrics(y, kind, **arrays, bootstrap=bootstrap, rng=np.random.default_rng(seed), **options)
    return table.set_index("metric")


def auroc(y, risk):
    # Pairs are counted one by one, which shares nothing with the sorting of the code under test.
    above = risk[y == 1][:, None] - risk[y == 0]
    return float(((above > 0) + 0.5 * (above == 0)).mean())


def test_optimism_and_out_of_bag_figures_against_patients_drawn_one_by_one(validated):
    y, arrays = validated
    table = table_of(y, arrays)
    rows = [np.repeat(np.arange(60), times) for times in arrays["counts"]]
    for metric, score in (("auroc", auroc), ("brier", brier_score_loss)):
        bag = [score(y[drawn], risk[drawn]) for drawn, risk in zip(rows, arrays["refits"], strict=True)]
        test = [score(y, risk) for risk in arrays["refits"]]
        left_out = [
            score(y[times == 0], risk[times == 0])
            for times, risk in zip(arrays["counts"], arrays["refits"], strict=True)
        ]
        optimism = np.mean(np.subtract(bag, test))
        apparent = score(y, arrays["apparent"])
        assert table.loc[metric, "apparent"] == pytest.approx(apparent)
        assert table.loc[metric, "harrell"] == pytest.approx(apparent - optimism)
        assert table.loc[metric, "out_of_bag"] == pytest.approx(np.mean(left_out))
        # Noma's location-shifted interval: the bootstrap interval of the apparent figure, moved by the optimism.
        limits = table.loc[metric, ["harrell_low", "harrell_high"]].to_numpy(float)
        np.testing.assert_allclose(limits, np.quantile(bag, [0.025, 0.975]) - optimism)


def test_632_plus_by_hand():
    # Error rates 0.1 apparent, 0.3 out of the bag, 0.5 without information: overfitting 1/2, share 0.632 / 0.816.
    assert point_632_plus([0.1], [0.3], [0.5])[0] == pytest.approx(0.1 + 0.2 * 0.632 / 0.816)
    # The same as areas under the curve, where more is better.
    assert point_632_plus([0.9], [0.7], [0.5])[0] == pytest.approx(0.9 - 0.2 * 0.632 / 0.816)
    # Without overfitting it is the .632 figure, and a figure out of the bag beyond no information counts as none.
    assert point_632_plus([0.7], [0.8], [0.5])[0] == pytest.approx(0.368 * 0.7 + 0.632 * 0.8)
    assert point_632_plus([0.9], [0.4], [0.5])[0] == pytest.approx(0.5)


def test_632_plus_of_a_brier_score_uses_all_pairs_of_outcome_and_prediction(validated):
    y, arrays = validated
    table = table_of(y, arrays)
    all_pairs = ((y[:, None] - arrays["apparent"]) ** 2).mean()
    expected = point_632_plus(*table.loc["brier", ["apparent", "out_of_bag"]].astype(float), all_pairs)
    assert table.loc["brier", "point_632_plus"] == pytest.approx(float(expected), abs=0.003)
    expected = point_632_plus(*table.loc["auroc", ["apparent", "out_of_bag"]].astype(float), 0.5)
    assert table.loc["auroc", "point_632_plus"] == pytest.approx(float(expected), abs=0.01)


@pytest.mark.parametrize("kind", ["binary", "count", "continuous"])
def test_the_reported_figure_is_that_of_repeated_cross_validation(kind):
    rng = np.random.default_rng(3)
    means = rng.uniform(0.1, 0.9, (5, 40))
    y = {"binary": rng.random(40) < means[0], "count": rng.poisson(means[0]), "continuous": means[0]}[kind].astype(
        float
    )
    weight = rng.uniform(0.5, 2, 40)
    arrays = {"apparent": means[0], "refits": means[1:3], "counts": draws(40, 2, 4), "out_of_fold": means[3:]}
    table = table_of(y, arrays, kind, weight=weight)
    plain = risk_metrics(y, means[3:], kind, weight=weight, bootstrap=2, rng=rng).set_index("metric")["estimate"]
    np.testing.assert_allclose(table["estimate"], plain)
    assert list(table.index) == list(plain.index)


def test_refits_that_agree_add_nothing_to_the_interval_and_others_their_spread(validated):
    y, arrays = validated
    plain = risk_metrics(y, arrays["out_of_fold"], "binary", bootstrap=4000, rng=np.random.default_rng(0))
    plain = plain.set_index("metric")
    agreeing = table_of(y, {**arrays, "refits": np.tile(arrays["apparent"], (20, 1))}, bootstrap=4000)
    np.testing.assert_allclose(agreeing[["low", "high"]], plain[["low", "high"]])
    table = table_of(y, arrays, bootstrap=4000)
    learned = np.std([auroc(y, risk) for risk in arrays["refits"]])
    drawn = draws(60, 4000, 0)
    judged = np.std([np.mean([auroc(*np.repeat([y, fold], times, axis=1)) for fold in arrays["out_of_fold"]])
                     for times in drawn[:1000]])  # fmt: skip
    stretch = np.sqrt(1 + learned / judged + (learned / judged) ** 2)
    estimate = plain.loc["auroc", "estimate"]
    for limit in ("low", "high"):
        expected = estimate + stretch * (plain.loc["auroc", limit] - estimate)
        assert table.loc["auroc", limit] == pytest.approx(expected, abs=0.004)


def test_the_interval_is_that_of_the_chosen_model_and_the_other_figures_of_the_procedure(validated):
    y, arrays = validated
    wavering = {**arrays, "refits": np.where(np.arange(20)[:, None] % 2, 0.5, arrays["refits"])}
    own, procedure = table_of(y, arrays), table_of(y, wavering, chosen_refits=arrays["refits"])
    interval = ["estimate", "low", "high"]
    pd.testing.assert_frame_equal(procedure[interval], own[interval])
    corrected = ["harrell", "harrell_low", "harrell_high", "out_of_bag"]
    pd.testing.assert_frame_equal(procedure[corrected], table_of(y, wavering)[corrected])
    assert (table_of(y, wavering).loc["auroc", "low"]) < own.loc["auroc", "low"]


def test_a_single_refit_of_the_chosen_model_is_refused(validated):
    y, arrays = validated
    with pytest.raises(InputError, match="chosen_refits: expected at least two"):
        table_of(y, arrays, chosen_refits=arrays["refits"][:1])


def test_limits_stay_where_the_metric_can_be():
    rng = np.random.default_rng(8)
    y = np.tile([0.0, 1.0], 20)
    risk = expit(3.5 * (y - 0.5) + rng.normal(size=40))
    arrays = {"apparent": risk, "refits": [risk, 1 - risk], "counts": draws(40, 2, 0), "out_of_fold": risk}
    table = table_of(y, arrays)
    assert table.loc["auroc", "high"] == 1
    assert table.loc["auroc", "low"] < table.loc["auroc", "estimate"] < 1
    assert table.loc["brier", "low"] == 0


def test_unknown_outcomes_do_not_count(validated):
    y, arrays = validated
    known = np.arange(60) % 4 > 0
    table = table_of(np.where(known, y, np.nan), arrays, weight=known.astype(float))
    fewer = table_of(y[known], {name: values[..., known] for name, values in arrays.items()})
    columns = ["estimate", "apparent", "harrell", "out_of_bag"]
    np.testing.assert_allclose(table[columns], fewer[columns])


def test_a_constant_prediction_has_no_slope(validated):
    y, arrays = validated
    constant = {name: values if name == "counts" else np.full(values.shape, 0.4) for name, values in arrays.items()}
    table = table_of(y, constant)
    assert table.loc["calibration_slope"].isna().all()
    assert table.loc["auroc", ["estimate", "low", "high", "harrell", "out_of_bag", "point_632_plus"]].eq(0.5).all()


def test_bags_without_the_outcome_or_without_anybody_left_out_are_left_aside():
    y = np.tile([1.0, 0.0, 0.0, 1.0], 5)
    counts = np.ones((3, 20))  # nobody is out of the bag, then one without the outcome, then one of each
    counts[1, 1] = counts[2, 0] = counts[2, 2] = 0
    risk = np.tile([0.2, 0.1, 0.3, 0.6], 5)
    arrays = {"apparent": risk, "refits": np.tile(risk, (3, 1)), "counts": counts, "out_of_fold": risk}
    table = table_of(y, arrays)
    assert table.loc["auroc", "out_of_bag"] == 0  # 0.2 with the outcome, 0.3 without
    assert table.loc["brier", "out_of_bag"] == pytest.approx((0.1**2 + (0.8**2 + 0.3**2) / 2) / 2)


@pytest.mark.parametrize("rows", [1, 3])
def test_refits_without_their_counts_are_refused(validated, rows):
    y, arrays = validated
    with pytest.raises(InputError, match="at least two, each with its counts"):
        table_of(y, {**arrays, "refits": arrays["refits"][:rows], "counts": arrays["counts"][: min(rows, 2)]})


def test_root_mean_squared_error_of_refits():
    rng = np.random.default_rng(5)
    y = rng.normal(size=30)
    refits, counts = rng.normal(size=(4, 30)), draws(30, 4, 6)
    arrays = {"apparent": y + 0.1, "refits": refits, "counts": counts, "out_of_fold": refits}
    table = table_of(y, arrays, "continuous")
    left_out = [
        root_mean_squared_error(y[times == 0], mean[times == 0]) for times, mean in zip(counts, refits, strict=True)
    ]
    assert table.loc["rmse", "out_of_bag"] == pytest.approx(np.mean(left_out))
    assert table.loc["rmse", "apparent"] == pytest.approx(0.1)


def test_the_interval_covers_the_performance_in_new_patients():
    # Two Gaussian classes and the rule of nearest mean: the area under its curve in new patients is known exactly.
    rng = np.random.default_rng(7)
    n, p, gap = 80, 6, np.array([0.9, 0, 0, 0, 0, 0])
    y = np.tile([0.0, 1.0], n // 2)
    covered, errors, apparent_errors = 0, [], []
    trials = 100
    for _ in range(trials):
        x = rng.normal(size=(n, p)) + y[:, None] * gap
        counts = draws(n, 20, int(rng.integers(2**30)))

        def fit(times, x=x):
            weights = np.column_stack([times * y, times * (1 - y)])
            return (weights / weights.sum(axis=0)).T @ x

        def predict(means, x=x):
            return expit((x - means.mean(axis=0)) @ (means[0] - means[1]))

        whole = fit(np.ones(n))
        direction = whole[0] - whole[1]
        truth = norm.cdf(direction @ gap / np.sqrt(2) / np.linalg.norm(direction))
        folds = np.empty((2, n))
        for repeat in folds:
            fold = rng.permutation(n) % 5
            for held in range(5):
                repeat[fold == held] = predict(fit((fold != held).astype(float)))[fold == held]
        refits = np.array([predict(fit(times)) for times in counts])
        arrays = {"apparent": predict(whole), "refits": refits, "counts": counts, "out_of_fold": folds}
        row = table_of(y, arrays, bootstrap=100).loc["auroc"].astype(float)
        covered += row["low"] <= truth <= row["high"]
        errors.append(row["estimate"] - truth)
        apparent_errors.append(row["apparent"] - truth)
    assert covered / trials >= 0.91  # 0.95 less two standard errors
    assert abs(np.mean(errors)) < 0.02
    assert np.mean(apparent_errors) > 0.05
