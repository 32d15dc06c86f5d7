import importlib.resources
import re
import urllib.parse

import jinja2
import pytest
from tests.app.reading import read
from tests.app.running import model_of, running
from tests.small_bundles import PATIENT, make, with_card

from il7ml import texts
from il7ml.app.pages import style_sheet
from il7ml.bundle import CardBeside, Estimate

FORM = {name: str(value) for name, value in PATIENT.items()}


def encode(**changes):
    return urllib.parse.urlencode({**FORM, **changes})


def test_the_form_asks_for_every_input_by_group(service, current):
    page = read(service.get("/"))
    names = [control.attributes["name"] for control in page.of("input", "select")]
    assert {name for name in names if not name.endswith("__unit")} == {"patient_id", *current.state.predictor.inputs}
    assert page.text_of("legend") == [
        "Record", "Patient", "Other diseases", "Severity of illness", "Lymphocytes", "Inflammation",
    ]  # fmt: skip
    assert page.of("form")[0].attributes["method"] == "post"
    required = {one.attributes["name"] for one in page.of("input") if one.attributes.get("aria-required") == "true"}
    assert required == {"age", "absolute_lymphocyte_count"}


def test_ranges_stand_beside_the_entries_in_every_unit(service, current):
    text = read(service.get("/")).text
    assert "Trial's eligibility: 25 to 80 years." in text
    assert "Trial's eligibility: up to 1 10^9/L, or up to 1000 cells/uL." in text
    card = current.state.predictor.inputs["c_reactive_protein"]
    assert f"{card.low:.6g} to {card.high:.6g} mg/L, or {card.low / 10:.6g} to {card.high / 10:.6g} mg/dL" in text


def test_the_answer_on_the_page_is_the_predictors(service, current):
    answer = current.state.predictor.predict(PATIENT)
    page = read(service.send_form(encode()))
    outcomes = page.rows("Expected for patients like this one")
    for row, interval in zip(outcomes[1:], (answer.untreated, answer.treated), strict=True):
        value, low, high = (f"{100 * part:.1f}" for part in (interval.value, interval.low, interval.high))
        assert row[1:] == [value, f"{low} to {high}"]
    assert [row[0] for row in outcomes[1:]] == ["With Placebo", "With IL-7"]
    benefit = page.rows("Difference between the two")[1]
    assert float(benefit[1].replace("−", "-")) == pytest.approx(100 * answer.benefit.value, abs=0.051)
    assert f"Number needed to treat: {answer.number_needed_to_treat:.1f}" in page.text
    assert answer.evidence_sentence in page.text
    for reason in answer.reasons:
        assert reason.sentence("risk") in page.text
    assert texts.INTENDED_USE in page.text
    assert answer.model["digest"][:12] in page.text


def test_every_page_says_how_well_the_model_did(tmp_path):
    auroc = Estimate(value=0.694, low=0.6, high=0.755)
    with running(model_of(with_card(make().bundle, validation={"auroc": auroc}), tmp_path)) as service:
        for reply in (service.get("/"), service.send_form(encode()), service.send_form(encode(), "/compare")):
            assert "Cross-validated: AUROC 0.69 (0.60 to 0.76)." in read(reply).text_of("footer")[0]


def test_other_outcomes_of_the_trial_stand_on_the_page_but_not_out_of_scope(tmp_path):
    change, risk = Estimate(value=-0.05, low=-0.2, high=0.1), Estimate(value=0.25, low=0.15, high=0.4)
    death = CardBeside(
        endpoint="death", title="Death by day 30", harmful=True, control=risk, treated=risk, difference=change
    )
    with running(model_of(with_card(make().bundle, beside=(death,)), tmp_path)) as service:
        page = read(service.send_form(encode()))
        assert page.rows("Death by day 30")[1:] == [
            ["With Placebo (%)", "25.0", "15.0 to 40.0"],
            ["With IL-7 (%)", "25.0", "15.0 to 40.0"],
            ["Benefit (percentage points)", "5.0", "−10.0 to 20.0"],
        ]
        assert texts.BESIDE in page.text
        assert "Death by day 30" not in read(service.send_form(encode(age=85))).text


def test_bars_are_as_long_as_the_risks(service, current):
    answer = current.state.predictor.predict(PATIENT)
    drawing = service.send_form(encode()).text
    for kind, interval in (("untreated", answer.untreated), ("treated", answer.treated)):
        width = float(re.search(rf'<rect class="{kind}" x="20.0" [^>]*width="([0-9.]+)"', drawing)[1])
        assert width == pytest.approx(600 * interval.value, abs=0.06)


def test_units_are_converted_and_shown(service, current):
    changes = {"absolute_lymphocyte_count": "500", "absolute_lymphocyte_count__unit": "cells/uL"}
    page = read(service.send_form(encode(**changes)))
    assert ["Absolute lymphocyte count", "500 cells/uL", "0.5 10^9/L"] in page.rows("As entered")
    same = read(service.send_form(encode()))
    assert page.rows("Expected for") == same.rows("Expected for")
    chosen = [option.attributes["value"] for option in page.of("option") if "selected" in option.attributes]
    assert "cells/uL" in chosen


def test_a_wrong_entry_is_marked_and_told_on_top(service):
    reply = service.send_form(encode(absolute_lymphocyte_count="500", age=""))
    page = read(reply)
    assert reply.status == 422
    assert page.text_of("title")[0].startswith("Error: ")
    assert "2 entries need to be changed" in page.text
    wrong = {one.attributes["name"] for one in page.of("input") if one.attributes.get("aria-invalid") == "true"}
    assert wrong == {"age", "absolute_lymphocyte_count"}
    for control in page.of("input"):
        if control.attributes["name"] in wrong:
            assert f"{control.attributes['name']}-problem" in control.attributes["aria-describedby"]
    assert page.of("svg") == []


def test_out_of_scope_shows_the_warning_first_and_no_benefit(service):
    page = read(service.send_form(encode(age="85")))
    assert page.text_of("h2")[0] == "To be aware of"
    assert "Outside the trial's eligibility (age): no benefit is given." in page.text
    assert "Number needed to treat" not in page.text
    assert len(page.rows("Expected for patients like this one")) == 2


def test_what_was_entered_cannot_become_markup(service):
    attack = '"><script>alert(1)</script>'
    for changes in ({"patient_id": attack}, {"age": attack}, {"absolute_lymphocyte_count__unit": attack}):
        reply = service.send_form(encode(**changes))
        read(reply)
        assert "<script" not in reply.text


def test_a_simulated_model_says_so_before_anything_else(simulated_service):
    for reply in (simulated_service.get("/"), simulated_service.send_form(encode())):
        page = read(reply)
        assert page.text.startswith(f"To the contents {texts.SIMULATED}")
        assert page.of("p")[0].attributes["class"] == "notice"
    css = style_sheet()
    assert "position: sticky" in css[css.index(".notice") :]
    assert "position: fixed" in css[css.index("@media print") :]


@pytest.mark.parametrize("kind", ["count", "continuous"])
@pytest.mark.parametrize("evidence", ["none", "suggestive", "credible"])
def test_other_outcomes_and_evidence_levels_have_a_page(tmp_path, kind, evidence):
    current = model_of(with_card(make(kind).bundle, evidence=evidence), tmp_path)
    answer = current.state.predictor.predict(PATIENT)
    with running(current) as service:
        page = read(service.send_form(encode()))
    assert page.rows("Expected for")[1][1] == f"{answer.untreated.value:.3g}".replace("-", "−")
    assert texts.EVIDENCE[evidence] in page.text
    assert ("Individual estimate, exploratory" in page.text) == (evidence == "suggestive")


# Contrast as WCAG 2.2 defines it (success criteria 1.4.3 and 1.4.11).


def luminance(colour):
    parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first, second):
    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


def test_the_measure_of_contrast_is_right():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("theme", [0, 1, 2], ids=["light", "dark", "print"])
def test_contrast_suffices_in_every_theme(theme):
    colours = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", style_sheet().split(":root")[1]))
    colours |= dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", style_sheet().split(":root")[theme + 1]))
    texts_on = [("text", "ground"), ("muted", "ground"), ("link", "ground"), ("error", "ground"), ("text", "panel"),
                ("notice", "notice-ground")]  # fmt: skip
    if theme < 2:
        texts_on += [("error", "error-ground"), ("on-link", "link")]
    for text, ground in texts_on:
        assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    for part in ("untreated", "treated", "border"):
        assert contrast(colours[part], colours["ground"]) >= 3, part


def test_templates_hold_no_words_of_their_own():
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
    folder = importlib.resources.files("il7ml.app") / "templates"
    found = {}
    for template in folder.iterdir():
        data = "".join(
            text for _, kind, text in environment.lex(template.read_text(encoding="utf-8")) if kind == "data"
        )
        without = re.sub(r"<title>.*</title>", "", data)  # the program's name
        for markup in (r"<[^>]*>", r' [\w-]+="[^"]*"'):
            without = re.sub(markup, "", without)
        words = re.findall(r"\w\w+", without)
        found[template.name] = words
    assert {name: words for name, words in found.items() if words} == {}
    assert len(found) == 6
