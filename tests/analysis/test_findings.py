from __future__ import annotations

import numpy as np
import pytest
from tests.small_course import small_course

from il7ml.analysis.findings import Findings, Line, Task, headline, share
from il7ml.endpoints.result import wald
from il7ml.errors import InputError

GAP = float("nan")


def result(p_value, name="x"):
    return wald(name, "raw", "difference", -0.1, 0.05, n=80, events=9)._replace(p_value=p_value)


def lines(**p_values):
    """Return a line for each P value; None stands for an endpoint that could not be compared."""
    return {
        name: Line(
            name, name.title(), "binary", "risk", "", True, "2/40", "1/40", None if p is None else result(p, name)
        )
        for name, p in p_values.items()
    }


def refuse():
    raise InputError("no events in the control arm.")


def test_what_is_found_is_kept_in_order():
    findings = Findings()
    assert findings.take("one", lambda: result(0.2)) == [result(0.2)]
    assert len(findings.take("two", lambda: (result(0.3), result(0.4)))) == 2
    assert [each.p_value for each in findings.results] == [0.2, 0.3, 0.4]
    assert findings.notes == []


def test_what_cannot_be_compared_is_noted_and_the_others_go_on():
    findings = Findings()
    assert findings.take("deaths, hazards", refuse) == []
    findings.take("deaths, risks", lambda: result(0.2))
    assert findings.notes == ["Not compared - deaths, hazards: no events in the control arm."]
    assert len(findings.results) == 1


def test_a_fault_of_the_program_is_not_taken_for_a_finding():
    with pytest.raises(ZeroDivisionError):
        Findings().take("deaths", lambda: [1 / 0])


def test_the_stated_order_comes_first():
    table = headline(lines(a=0.3, b=0.01, c=0.02, d=0.5), ["c", "a"])
    assert table["endpoint"].tolist() == ["c", "a", "b", "d"]
    assert table["p_value"].tolist() == [0.02, 0.3, 0.01, 0.5]


def test_adjusted_p_values_within_the_order():
    # Holm: 3 x 0.01, 2 x 0.03, 1 x 0.04 (not below the one before). Benjamini-Hochberg: 3 x 0.01, 3/2 x 0.03, 0.04,
    # each at most the next. Sequence: the largest so far.
    table = headline(lines(far=0.0001, a=0.03, b=0.01, c=0.04), ["a", "b", "c"]).set_index("endpoint")
    assert table.loc[["a", "b", "c"], "p_holm"].tolist() == pytest.approx([0.06, 0.03, 0.06])
    assert table.loc[["a", "b", "c"], "p_benjamini_hochberg"].tolist() == pytest.approx([0.04, 0.03, 0.04])
    assert table.loc[["a", "b", "c"], "p_hierarchical"].tolist() == pytest.approx([0.03, 0.03, 0.04])
    # The smallest P value stands outside the order: it neither counts nor is adjusted.
    assert table.loc["far", ["p_holm", "p_benjamini_hochberg", "p_hierarchical"]].isna().all()
    assert table.loc["far", "p_value"] == 0.0001


@pytest.mark.parametrize("missing", [None, GAP])
def test_an_endpoint_of_the_order_without_a_p_value_stops_the_sequence(missing):
    table = headline(lines(a=0.01, b=missing, c=0.001), ["a", "b", "c"])
    assert table["p_hierarchical"].tolist() == [0.01, 1.0, 1.0]
    # The other two adjustments are for the tests that there are.
    assert table["p_holm"].tolist() == pytest.approx([0.01, GAP, 0.002], nan_ok=True)
    assert table["p_benjamini_hochberg"].tolist() == pytest.approx([0.01, GAP, 0.002], nan_ok=True)


def test_without_an_order_nothing_is_adjusted():
    table = headline(lines(a=0.01, b=0.02), [])
    assert table["endpoint"].tolist() == ["a", "b"]
    assert table[["p_hierarchical", "p_holm", "p_benjamini_hochberg"]].isna().to_numpy().all()


def test_an_endpoint_that_was_not_compared_keeps_its_line():
    row = headline(lines(a=0.01, b=None), ["a", "b"]).set_index("endpoint").loc["b"]
    assert (row["control"], row["treated"], row["n"]) == ("2/40", "1/40", 0)
    assert np.isnan(row["estimate"])
    assert np.isnan(row["p_value"])


def test_columns_are_those_that_are_documented():
    first = ["endpoint", "title", "kind", "measure", "unit", "harmful", "control", "treated", "method", "scale"]
    then = ["estimate", "low", "high", "p_value", "p_hierarchical", "p_holm", "p_benjamini_hochberg", "n", "events"]
    assert list(headline(lines(a=0.01), ["a"]).columns) == [*first, *then]


def test_an_unknown_endpoint_in_the_order_is_refused():
    with pytest.raises(InputError, match=r"analysis.order: there is no endpoint 'deaht'. Did you mean 'death'\?"):
        headline(lines(death=0.1, infection=0.2), ["infection", "deaht"])


def test_known_endpoints_are_listed_once():
    with pytest.raises(InputError) as caught:
        headline(lines(death=0.1, infection=0.2), ["absolute"])
    assert str(caught.value) == "analysis.order: there is no endpoint 'absolute'. Known: death, infection."


def test_an_endpoint_twice_in_the_order_is_refused():
    with pytest.raises(InputError, match=r"analysis.order: 'a' stands twice"):
        headline(lines(a=0.1, b=0.2), ["a", "b", "a"])


@pytest.mark.parametrize(
    ("happened", "text"),
    [([1, 0, 0, 1], "2/4 (50 %)"), ([1, 0, GAP], "1/2 (50 %)"), ([0, 0, 0], "0/3 (0 %)"), ([GAP], "-"), ([], "-")],
)
def test_shares_leave_unknown_patients_out(happened, text):
    assert share(np.array(happened, dtype=float)) == text


def test_a_task_adjusts_only_where_there_are_covariates():
    cohort = small_course().load()
    assert Task(cohort, None, 0.95).adjustments == (None,)
    table = cohort.baseline[["age"]]
    plain, adjusted = Task(cohort, table, 0.95).adjustments
    assert plain is None
    assert adjusted is table
