import math

import numpy as np
import pandas as pd
import pytest

from il7ml.family import BINARY
from il7ml.features.columns import infer_variables, to_columns
from il7ml.models.fitted import FittedStack
from il7ml.models.risk import BoostedRiskModel, LinearRiskModel
from il7ml.report.full_model import full_model
from il7ml.report.page import Facts, Paragraph, Table
from il7ml.schema import Variable


def trial(n=150):
    rng = np.random.default_rng(3)
    X = pd.DataFrame(
        {
            "age": rng.normal(60, 12, n),
            "ferritin": rng.lognormal(6, 1, n),
            "smoker": rng.random(n) < 0.4,
            "support": pd.Categorical(rng.choice(["oxygen", "high_flow", "tube"], n)),
        }
    )
    X.loc[::9, "ferritin"] = np.nan
    variables = infer_variables(X)
    variables["ferritin"] = Variable(
        term="Ferritin", unit="ug/L", possible=(0, 1e6), known="before_randomisation", role="other", scale="log"
    )
    y = (X["age"].to_numpy() + 8 * rng.normal(size=n) > 62).astype(float)
    return X, variables, y, np.arange(n) % 2


def spline_term(x, knots, number):
    first, before_last, last = knots[number - 1], knots[-2], knots[-1]

    def cube(knot):
        return max(x - knot, 0.0) ** 3

    value = cube(first) - (cube(before_last) * (last - first) - cube(last) * (before_last - first)) / (
        last - before_last
    )
    return value / (last - knots[0]) ** 2


def by_hand(parts, patient, treated):
    """Work a patient's log odds out from the printed table alone."""
    facts = dict(next(part for part in parts if isinstance(part, Facts)).pairs)
    rows = next(part for part in parts if isinstance(part, Table)).groups[0].rows
    total = float(facts["Intercept"]) + treated * float(facts["Treatment"])
    for term, enters, gap, coefficient in rows:
        if term == "age":
            x = patient["age"]
        elif term.startswith("age, spline"):
            knots = [float(knot) for knot in enters.partition("knots ")[2].split(", ")]
            x = spline_term(patient["age"], knots, int(enters.split()[1]))
        elif term == "Ferritin":
            value = float(gap) if math.isnan(patient["ferritin"]) else patient["ferritin"]
            x = math.log(max(value, float(enters.partition("at least ")[2])))
        elif term == "Ferritin: not known":
            x = math.isnan(patient["ferritin"])
        elif term == "smoker":
            x = patient["smoker"]
        else:
            x = patient["support"].replace("_", " ") == term.partition(": ")[2]
        total += float(coefficient) * x
    return total


def test_a_regression_can_be_worked_out_by_hand():
    X, variables, y, arm = trial()
    model = LinearRiskModel("binary", variables, spline=("age",)).fit(X, y, arm)
    parts = list(full_model(model.fitted_, variables, BINARY, model.fitted_.arm_effect))
    for row in (0, 1, 9, 77):
        linear = by_hand(parts, X.iloc[row], 1)
        columns = to_columns(X.iloc[[row]], variables)
        expected = model.fitted_.linear_predictor(columns, 1)[0] + model.fitted_.arm_effect
        assert linear == pytest.approx(expected, abs=2e-3)


def test_the_event_rate_has_no_table():
    X, _, y, arm = trial()
    model = LinearRiskModel("binary", {}).fit(X, y, arm)
    parts = list(full_model(model.fitted_, {}, BINARY, -0.4))
    assert [type(part) for part in parts] == [Facts, Paragraph]
    assert float(dict(parts[0].pairs)["Intercept"]) == pytest.approx(
        np.log(y[arm == 0].mean() / (1 - y[arm == 0].mean())), rel=1e-4
    )


def test_trees_and_stacks_say_what_they_are_made_of():
    X, variables, y, arm = trial()
    trees = BoostedRiskModel("binary", variables, rounds=12).fit(X, y, arm).fitted_
    assert ("Boosted trees", "12") in next(full_model(trees, variables, BINARY, -0.4)).pairs
    line = LinearRiskModel("binary", variables).fit(X, y, arm).fitted_
    parts = list(full_model(FittedStack((trees, line), np.array([0.25, 0.75]), 0.1, -0.5), variables, BINARY, -0.5))
    texts = [part.text for part in parts if isinstance(part, Paragraph)]
    assert "is 0.1, plus the weighted sum of the parts below, plus -0.5 for the treated" in texts[0]
    assert {"Part 1, weight 0.25:", "Part 2, weight 0.75:"} <= set(texts)
    assert sum(isinstance(part, Table) for part in parts) == 1
