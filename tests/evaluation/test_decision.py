import numpy as np
import pytest
from scipy import stats

from il7ml.errors import InputError
from il7ml.evaluation.decision import decision_curve

Y = np.array([1, 1, 1, 0, 0, 0, 0, 0, 0, 0.0])
RISK = np.array([0.9, 0.5, 0.2, 0.6, 0.5, 0.1, 0.1, 0.1, 0.1, 0.1])


def net_benefits(*arguments, **options):
    table = decision_curve(*arguments, bootstrap=2, rng=np.random.default_rng(0), **options)
    return table.pivot_table(index="threshold", columns="strategy", values="net_benefit", sort=False)


def test_a_table_worked_by_hand():
    table = net_benefits(Y, {"model": RISK}, [0.2, 0.5, 0.55], rules={"low count": RISK > 0.15})
    # At 0.2: 3 true and 2 false positives; at 0.5: 2 and 2; at 0.55: 1 and 1. All: 3 and 7.
    np.testing.assert_allclose(table["model"], [0.3 - 0.2 / 4, 0.2 - 0.2, 0.1 - 0.1 * 0.55 / 0.45])
    np.testing.assert_allclose(table["treat all"], [0.3 - 0.7 / 4, 0.3 - 0.7, 0.3 - 0.7 * 0.55 / 0.45])
    np.testing.assert_allclose(table["low count"], [0.3 - 0.2 / 4, 0.3 - 0.2, 0.3 - 0.2 * 0.55 / 0.45])
    np.testing.assert_allclose(table["treat none"], 0)


def test_weights_act_like_numbers_of_patients():
    weight = np.array([2, 1, 1, 1, 3, 1, 1, 0, 1, 1.0])
    rows = np.repeat(np.arange(10), weight.astype(int))
    weighted = net_benefits(np.where(weight == 0, np.nan, Y), {"model": RISK}, [0.15, 0.5], weight=weight)
    repeated = net_benefits(Y[rows], {"model": RISK[rows]}, [0.15, 0.5])
    np.testing.assert_allclose(weighted, repeated)


def test_repeats_are_averaged():
    other = RISK[::-1]
    joint = net_benefits(Y, {"model": [RISK, other]}, [0.3])
    single = [net_benefits(Y, {"model": risk}, [0.3]) for risk in (RISK, other)]
    np.testing.assert_allclose(joint, (single[0] + single[1]) / 2)


def test_the_interval_of_treating_all_is_binomial():
    rng = np.random.default_rng(1)
    y = (rng.random(400) < 0.3).astype(float)
    table = decision_curve(y, {}, [0.25], bootstrap=4000, rng=rng).set_index("strategy")
    # The net benefit of treating all is linear in the share with the outcome: p - (1 - p) / 3.
    p = y.mean()
    limits = stats.norm.ppf([0.025, 0.975]) * np.sqrt(p * (1 - p) / 400) + p
    np.testing.assert_allclose(
        table.loc["treat all", ["low", "high"]].astype(float), limits - (1 - limits) / 3, atol=0.006
    )
    assert table.loc["treat none", ["low", "high"]].tolist() == [0, 0]


def test_a_perfect_model_gains_the_prevalence():
    table = net_benefits(Y, {"model": Y}, [0.1, 0.5, 0.9])
    np.testing.assert_allclose(table["model"], 0.3)


@pytest.mark.parametrize("thresholds", [[], [0.0, 0.5], [1.0], [np.nan]])
def test_thresholds_must_lie_inside_the_unit_interval(thresholds):
    with pytest.raises(InputError, match="thresholds"):
        decision_curve(Y, {"model": RISK}, thresholds, rng=np.random.default_rng(0))
