import urllib.parse

import pytest
from tests.app.reading import read
from tests.app.running import model_of, running
from tests.small_bundles import PATIENT, make, with_card

from il7ml.app.comparison import COMPARED, compare, compared_inputs
from il7ml.predictor import Predictor

COUNT, ANTIVIRAL, STEROID = COMPARED
KNOWN = {**PATIENT, ANTIVIRAL: 0, STEROID: 1}
FORM = {name: str(value) for name, value in KNOWN.items()}
LABEL = "differences between patients, not effects of changing a treatment; only IL-7 was randomised"
PREDICTOR = Predictor(make(treatments=True).bundle)


@pytest.fixture(scope="module")
def ward(tmp_path_factory):
    """Return the service of a model that knows treatments at randomisation."""
    with running(model_of(make(treatments=True).bundle, tmp_path_factory.mktemp("ward"))) as found:
        yield found


def ask(service, **changes):
    return service.send_form(urllib.parse.urlencode({**FORM, **changes}), "/compare")


def cells(answer):
    """Return the table's cells of an answer."""
    return [
        "not given"
        if interval is None
        else "{:.1f} ({:.1f} to {:.1f})".format(*(100 * part for part in (interval.value, interval.low, interval.high)))
        for interval in (answer.untreated, answer.treated, answer.benefit)
    ]


def table(page):
    return [[cell.replace("\N{MINUS SIGN}", "-") for cell in row] for row in page.rows("Estimates with their")[1:]]


def test_each_row_is_the_answer_for_a_patient_who_differs_in_one_value(ward):
    page = read(ask(ward, but__absolute_lymphocyte_count="0.9", but__antiviral_at_randomisation="1"))
    others = [KNOWN, {**KNOWN, COUNT: 0.9}, {**KNOWN, ANTIVIRAL: 1}]
    assert table(page) == [
        [label, *cells(PREDICTOR.predict(patient))]
        for label, patient in zip(
            ("This patient", "Absolute lymphocyte count 0.9 10^9/L", "Antiviral at randomisation yes"),
            others,
            strict=True,
        )
    ]


def test_this_patients_entries_stand_below_so_that_a_printout_has_them(ward):
    assert ["Age", "62 years", "62 years"] in read(ask(ward)).rows("As entered")


def test_the_label_stands_before_the_numbers_and_word_for_word(ward):
    page = read(ask(ward))
    assert page.text_of("h1") == ["Patients like this one but with ..."]
    assert LABEL in page.text
    assert page.text.index(LABEL) < page.text.index("Side by side")
    assert LABEL in read(ward.send_form(urllib.parse.urlencode(FORM))).text


def test_without_other_values_some_are_suggested_in_the_chosen_unit(ward):
    middle = PREDICTOR.inputs[COUNT].quantiles[5]
    rows = table(read(ask(ward, absolute_lymphocyte_count="500", absolute_lymphocyte_count__unit="cells/uL")))
    assert [row[0] for row in rows] == [
        "This patient",
        f"Absolute lymphocyte count {1000 * middle:.3g} cells/uL",
        "Antiviral at randomisation yes",
        "Corticosteroid at randomisation no",
    ]
    assert rows[1][1:] == cells(PREDICTOR.predict({**KNOWN, COUNT: float(f"{1000 * middle:.3g}") / 1000}))


def test_outside_the_trial_no_benefit_is_given_and_the_warning_is_on_top(ward):
    page = read(ask(ward, but__absolute_lymphocyte_count="1.4"))
    assert page.text_of("h2")[0] == "To be aware of"
    assert "no benefit is given" in page.text
    assert table(page)[1][2:] == ["not given", "not given"]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"but__absolute_lymphocyte_count": "731"}, "The value looks like cells/uL, but 10^9/L was chosen."),
        ({"but__absolute_lymphocyte_count": "-7"}, "Impossible value. Expected 0 to 50 (10^9/L)."),
        ({"but__antiviral_at_randomisation": "7"}, "Expected 0 (no) or 1 (yes); another value came."),
    ],
)
def test_a_wrong_other_value_is_marked_and_the_rest_is_shown(ward, changes, problem):
    reply = ask(ward, but__corticosteroid_at_randomisation="0", **changes)
    page = read(reply)
    assert reply.status == 422
    assert problem in page.text
    (wrong,) = [one for one in page.of("input", "select") if one.attributes.get("aria-invalid") == "true"]
    assert wrong.attributes["name"] == next(iter(changes))
    assert [row[0] for row in table(page)] == ["This patient", "Corticosteroid at randomisation no"]


def test_a_wrong_patient_is_corrected_first(ward):
    reply = ask(ward, age="")
    assert reply.status == 422
    assert read(reply).text_of("title")[0].startswith("Error: ")


def test_a_value_that_changes_nothing_is_said_to(tmp_path):
    predictor = Predictor(make(model="prevalence", treatments=True).bundle)
    found = compare(predictor, FORM, {ANTIVIRAL: "1"}, predictor.predict(KNOWN))
    assert [one.is_same for one in found.alternatives] == [True]
    assert not compare(PREDICTOR, FORM, {ANTIVIRAL: "1"}, PREDICTOR.predict(KNOWN)).alternatives[0].is_same
    with running(model_of(predictor.bundle, tmp_path)) as service:
        assert "The same answer: this value changes nothing in this model." in read(ask(service)).text


def test_the_patient_goes_back_and_forth_unchanged(ward):
    page = read(ask(ward, patient_id="A1", but__absolute_lymphocyte_count="0.9"))
    hidden = [one.attributes for one in page.of("input") if one.attributes.get("type") == "hidden"]
    assert len(hidden) == 2 * len({**FORM, "patient_id": "A1"})
    assert {one["name"]: one["value"] for one in hidden} == {**FORM, "patient_id": "A1"}


def test_only_what_the_model_asks_for_is_compared(service):
    assert compared_inputs(PREDICTOR) == COMPARED
    form = urllib.parse.urlencode({name: str(value) for name, value in PATIENT.items()})
    page = read(service.send_form(form, "/compare"))
    _, (label, *_) = table(page)
    assert label.startswith("Absolute lymphocyte count ")
    assert {f"but__{name}" for name in (COUNT, f"{COUNT}__unit")} == {
        one.attributes["name"] for one in page.of("input", "select") if one.attributes["name"].startswith("but__")
    }


def test_a_simulated_model_says_so_first_here_too(simulated_service):
    form = urllib.parse.urlencode({name: str(value) for name, value in PATIENT.items()})
    assert read(simulated_service.send_form(form, "/compare")).of("p")[0].attributes["class"] == "notice"


@pytest.mark.parametrize("kind", ["count", "continuous"])
def test_other_outcomes_are_compared_in_their_unit(tmp_path, kind):
    bundle = with_card(make(kind).bundle, unit="days" if kind == "count" else "points")
    with running(model_of(bundle, tmp_path)) as service:
        form = {name: str(value) for name, value in PATIENT.items()}
        page = read(service.send_form(urllib.parse.urlencode(form), "/compare"))
    head = page.rows("Estimates with their")[0]
    assert head[1] == ("With Placebo, per days" if kind == "count" else "With Placebo, points")
