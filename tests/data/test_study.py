from __future__ import annotations

import copy
from pathlib import Path

import pytest
import yaml

from il7ml.data.sources import as_code, as_text
from il7ml.data.study import load_study, parse_study
from il7ml.errors import InputError

FOLDER = Path("folder")


def parsed(raw, *path, value=None, remove=False):
    """Parse a copy of `raw` in which the entry at `path` was set or removed."""
    raw = copy.deepcopy(raw)
    entry = raw
    for key in path[:-1]:
        entry = entry[key]
    if remove:
        del entry[path[-1]]
    elif path:
        entry[path[-1]] = value
    return parse_study(raw, FOLDER, "study.yaml")


def refusal(*arguments, **keywords):
    with pytest.raises(InputError) as caught:
        parsed(*arguments, **keywords)
    return str(caught.value)


def test_columns_arms_and_defaults(small_study):
    study = parsed(small_study.raw)
    assert study.column_of("absolute_lymphocyte_count") == "alc"
    assert study.column_of("age") == "age"
    assert study.arms.treated.values == ("drug",)
    assert study.arms.other_arms == "refuse"
    assert study.folder == FOLDER
    assert not study.simulated
    assert not study.mapped["c_reactive_protein_day7"].is_baseline


def test_a_folder_stands_for_its_study_file(small_study):
    study = load_study(small_study.folder)
    assert study == load_study(small_study.folder / "study.yaml")
    assert study.folder == small_study.folder


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("titel",), "x", "study.yaml: unknown key 'titel'. Did you mean 'title'?"),
        (
            ("endpoints", "infected", "evnt"),
            1,
            "study.yaml: unknown key 'endpoints.infected.evnt'. Did you mean 'event'?",
        ),
        (("variables", "age", "units"), "years", "study.yaml: unknown key 'variables.age.units'. Did you mean 'unit'?"),
        (("folder",), "x", "study.yaml: unknown key 'folder'. Table paths are relative to the study file."),
        (("name",), "a b", "study.yaml: key 'name': string should match pattern '^[A-Za-z0-9_-]+$'."),
        (("allocation", "probability"), 1, "study.yaml: key 'allocation.probability': input should be less than 1."),
        (("endpoints", "infected", "kind"), "yesno", "'endpoints.infected'"),
        (("endpoints",), {}, "endpoints must name at least one endpoint"),
        (("tables", "events", "path"), "", "key 'tables.events.path': string should have at least 1 character"),
        # One fault is one line, although several types would have been accepted.
        (
            ("arms", "control", "value"),
            {"a": 1},
            "study.yaml: key 'arms.control.value': expected a word, a number or yes/no, or a list of them.",
        ),
        (
            ("arms", "control", "value"),
            None,
            "study.yaml: key 'arms.control.value': expected a word, a number or yes/no, or a list of them.",
        ),
        (
            ("tables", "patients", "missing"),
            [[1]],
            "study.yaml: key 'tables.patients.missing.0': expected a word, a number or yes/no.",
        ),
    ],
)
def test_unusable_keys_are_named(small_study, path, value, message):
    assert message in refusal(small_study.raw, *path, value=value)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("variables", "aeg"), None, "variable 'aeg' is not in the dictionary. Did you mean 'age'?"),
        (("modifiers",), ["sofa_score"], "'sofa_score' is used but not listed under 'variables'"),
        (("larger_benefit",), {"sofa_score": "low"}, "larger_benefit 'sofa_score' is not one of the modifiers"),
        (("eligibility", "lactate"), [0, 1], "'lactate' is used but not listed under 'variables'"),
        (
            ("modifiers",),
            ["c_reactive_protein_day7"],
            "modifier 'c_reactive_protein_day7' is known only after randomisation",
        ),
        (("eligibility", "sex"), [0, 1], "eligibility 'sex' needs a number that is known at or before randomisation"),
        (
            ("eligibility", "c_reactive_protein_day7"),
            [0, 1],
            "eligibility 'c_reactive_protein_day7' needs a number that is known at or before randomisation",
        ),
        (("eligibility", "age"), [90, 18], "eligibility 'age' needs its lower end first"),
        (
            ("endpoints", "infection_day30", "events", "table"),
            "event",
            "event table 'event' is not listed under 'tables'",
        ),
        (("tables",), {"people": {"path": "p.csv", "key": "id"}}, "tables must contain 'patients'"),
        (("arms", "treated", "value"), "placebo", "control and treated share a value"),
        (("arms", "control", "value"), ["placebo", "drug"], "control and treated share a value"),
        (("variables", "corticosteroid_at_randomisation", "absent"), "Yes", "present and absent share a value"),
        (("endpoints", "survival", "event_value"), 0, "event_value and censored_value share a value"),
        (("endpoints", "survival", "competing_value"), 1.0, "event_value and competing_value share a value"),
        (("endpoints", "survival", "competing_value"), [2, "0"], "censored_value and competing_value share a value"),
        (("endpoints", "infected", "events"), {"table": "events", "day": "day"}, "give either column or events"),
        (("endpoints", "infected", "by_day"), 30, "by_day and until go with events, not with column"),
        (("allocation", "stratum"), "centre", "give either probability, or stratum (a column) with by_stratum"),
        (
            ("allocation", "by_stratum"),
            {"north": 0.5},
            "give either probability, or stratum (a column) with by_stratum",
        ),
        (("allocation",), {}, "give either probability, or stratum (a column) with by_stratum"),
        (("allocation",), {"stratum": "centre"}, "give either probability, or stratum (a column) with by_stratum"),
    ],
)
def test_contradictions_are_refused(small_study, path, value, message):
    assert message in refusal(small_study.raw, *path, value=value)


@pytest.mark.parametrize(
    ("column", "is_what"),
    [
        ("infected", "the outcome of endpoint 'infected'"),
        ("days_at_risk", "the outcome of endpoint 'infections'"),
        ("sofa7", "the outcome of endpoint 'sofa_day7'"),
        ("days", "the outcome of endpoint 'survival'"),
        ("died", "the outcome of endpoint 'survival'"),
        ("arm", "the arm"),
        ("patient_id", "the patient's identifier"),
    ],
)
def test_a_column_of_the_outcome_cannot_pass_as_known_before(small_study, column, is_what):
    message = refusal(small_study.raw, "variables", "lactate", value={"column": column, "unit": "mmol/L"})
    assert message == (
        f"study.yaml: variable 'lactate' stands in column {column!r}, which is {is_what}, "
        "so it cannot be known before randomisation."
    )


def test_an_outcome_may_be_mapped_as_known_later(small_study):
    study = parsed(small_study.raw, "variables", "c_reactive_protein_day7", "column", value="sofa7")
    assert study.column_of("c_reactive_protein_day7") == "sofa7"


def test_an_events_value_is_no_column(small_study):
    assert parsed(small_study.raw, "endpoints", "infected", "event", value="age").mapped["age"].is_baseline


def test_a_missing_key_is_named(small_study):
    assert refusal(small_study.raw, "arms", remove=True) == "study.yaml: key 'arms' is missing. Add it."


def test_own_variables_are_checked_like_the_dictionary(small_study):
    entry = {"term": "x", "known": "before_randomisation", "role": "other", "unt": "kg"}
    message = refusal(small_study.raw, "define", "own", value=entry)
    assert "study small, define: variable 'own'" in message
    assert "Did you mean 'unit'?" in message


def test_several_faults_come_at_once(small_study):
    raw = {**small_study.raw, "colour": 1, "allocation": {"probability": 2}}
    del raw["title"]
    message = refusal(raw)
    assert message.startswith("study.yaml: 3 problems:")
    for part in ("unknown key 'colour'", "key 'title' is missing", "key 'allocation.probability'"):
        assert part in message


def test_unknown_endpoint_names_the_nearest(small_study):
    with pytest.raises(InputError, match=r"study small has no endpoint 'infectoins'. Did you mean 'infections'\?"):
        parsed(small_study.raw).endpoint("infectoins")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "found nothing"),
        (b"- a\n- b\n", "found list"),
        (b"just words\n", "found str"),
        (b"name: small\n\ttitle: x\n", "is not valid YAML (line 2)"),
        (b"name: [1\n", "is not valid YAML"),
        (b"\x00\x01\x02PK", "is not valid YAML"),
        (b"name: \xff\xfe\n", "it is not UTF-8 text"),
        (b"1: x\n", "key '1': keys should be strings"),
    ],
)
def test_unreadable_study_files_are_refused(tmp_path, content, message):
    path = tmp_path / "study.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        load_study(path)
    assert message in str(caught.value)


def test_places_without_a_study_file_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"study file .*none.yaml cannot be read: No such file or directory"):
        load_study(tmp_path / "none.yaml")
    with pytest.raises(InputError, match=r"study file .*study.yaml cannot be read: No such file or directory"):
        load_study(tmp_path)
    with pytest.raises(InputError, match="cannot be read: File name too long"):
        load_study(tmp_path / ("x" * 300))


def test_a_byte_order_mark_and_windows_line_ends_do_not_matter(small_study):
    path = small_study.folder / "study.yaml"
    plain = load_study(path)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert load_study(path) == plain


def test_unicode_names_are_kept(small_study):
    raw = copy.deepcopy(small_study.raw)
    raw["arms"]["treated"]["label"] = "Médicament β 薬"
    assert load_study_text(small_study.folder, raw).arms.treated.label == "Médicament β 薬"


def load_study_text(folder, raw):
    path = folder / "other.yaml"
    path.write_text(yaml.safe_dump(raw, allow_unicode=True), encoding="utf-8")
    return load_study(path)


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ((1, 1.0, "1", "1.0", "01", " 1 ", "+1", True, "yes", "TRUE", "on"), "1"),
        ((0, 0.0, -0.0, "0", "00", "-0", False, "No", "false", "OFF"), "0"),
        ((-1, "-1", "-01.0", -1.0), "-1"),
        ((2.5, "2.5", "2.50", "02.5"), "2.5"),
        (("IL-7", " IL-7"), "IL-7"),
        (("123456789012345678901",), "123456789012345678901"),
        (("1_0",), "1_0"),
        (("1e5",), "1e5"),
        (("١",), "١"),
        (("",), ""),
    ],
)
def test_codes_do_not_depend_on_how_a_table_was_typed(values, code):
    assert {as_code(value) for value in values} == {code}


def test_text_keeps_what_is_written():
    assert [as_text(value) for value in ("007", "1.0", "yes", 7.0, 7, True)] == ["007", "1.0", "yes", "7", "7", "1"]
