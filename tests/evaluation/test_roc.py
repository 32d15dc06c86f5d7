import numpy as np
from sklearn import metrics

from il7ml.evaluation.roc import roc_curve


def test_points_against_scikit_learn():
    rng = np.random.default_rng(1)
    risk = rng.random(100).round(1)
    y, weight = (rng.random(100) < risk).astype(float), rng.uniform(0.5, 2, 100)
    table = roc_curve(y, risk, weight=weight)
    false, true, thresholds = metrics.roc_curve(y, risk, sample_weight=weight, drop_intermediate=False)
    np.testing.assert_allclose(table, np.column_stack([thresholds, false, true]), atol=1e-12)
    area = metrics.roc_auc_score(y, risk, sample_weight=weight)
    np.testing.assert_allclose(np.trapezoid(table["true_positive_rate"], table["false_positive_rate"]), area)


def test_repeats_are_averaged_and_unknown_outcomes_left_out():
    table = roc_curve([0, 1, np.nan], [[0.2, 0.6, 0.5], [0.4, 0.8, 0.5]], weight=[1, 1, 0])
    np.testing.assert_allclose(table["threshold"], [np.inf, 0.7, 0.5, 0.3])
    np.testing.assert_allclose(table["true_positive_rate"], [0, 1, 1, 1])


def test_without_events_there_is_no_sensitivity():
    table = roc_curve([0, 0], [0.1, 0.2])
    assert table["true_positive_rate"][1:].isna().all()


def test_a_coarse_curve_lies_on_the_exact_one_and_shows_no_single_patient():
    rng = np.random.default_rng(4)
    risk = rng.random(55)
    risk[:12] = 0.5  # ties stay together
    y = (rng.random(55) < risk).astype(float)
    exact, coarse = roc_curve(y, risk), roc_curve(y, risk, smallest=10)
    assert list(coarse) == ["false_positive_rate", "true_positive_rate"]
    points = list(map(tuple, exact[["false_positive_rate", "true_positive_rate"]].to_numpy()))
    patients = []
    for point in map(tuple, coarse.to_numpy()):
        threshold = exact["threshold"].iloc[points.index(point)]
        patients.append(int((risk >= threshold).sum()))
    assert (patients[0], patients[-1]) == (0, 55)
    assert np.diff(patients).min() >= 10


def test_few_patients_make_one_straight_line():
    coarse = roc_curve([0, 1, 1], [0.2, 0.5, 0.1], smallest=10)
    np.testing.assert_array_equal(coarse, [[0, 0], [1, 1]])
