from __future__ import annotations

import pytest

from il7ml import texts
from il7ml.checking import check
from il7ml.errors import DataError


def part(text, title):
    """Return the lines of a part, from its title's line to the next empty one."""
    lines = text.split("\n")
    start = next(place for place, line in enumerate(lines) if line.startswith(title))
    end = next(place for place in range(start, len(lines) + 1) if place == len(lines) or not lines[place])
    return lines[start + 1 : end]


def test_the_parts_of_a_description(small_study):
    small_study.patients.loc[0, "age"] = 17
    text = check(small_study.write())
    assert text.startswith("A small trial\n60 patients in the table, 0 of other arms, 60 analysed\n")
    titles = ["Table 1", "Missing data", "Endpoints", "Notes", "Data digest"]
    places = [text.index(f"\n{title}") for title in titles]
    assert places == sorted(places)
    assert "- known only after randomisation, never a feature: c_reactive_protein_day7" in part(text, "Notes")
    assert "- 1 patients lie outside the eligibility limits of age" in part(text, "Notes")
    assert texts.SIMULATED not in text


def test_simulated_is_said_first(small_study):
    small_study.raw["simulated"] = True
    assert check(small_study.write()).startswith(f"{texts.SIMULATED}\n")


def test_words_stand_left_and_numbers_right(small_study):
    lines = part(check(small_study.folder), "Table 1")
    header = lines[0]
    for word in ("level", "Placebo (30)", "Drug (30)"):
        start = header.index(word)
        assert all(line[start - 2 : start] == "  " and (line[start] != " " or word == "level") for line in lines)
    end = len(header)
    # Levels have no difference of their own.
    with_difference = [line for line in lines[1:] if not line.startswith((" ", "Lymphocyte count decreased"))]
    assert len(with_difference) == 5
    assert {len(line.rstrip()) for line in with_difference} == {end}
    assert lines[1].startswith("Age (years)")


def test_a_variable_is_named_once_for_all_its_levels(small_study):
    lines = part(check(small_study.folder), "Table 1")
    female = next(place for place, line in enumerate(lines) if line.startswith("Sex"))
    assert lines[female].split()[1] == "female"
    assert lines[female + 1].split()[0] == "male"


def test_two_variables_of_one_name_are_both_named(small_study):
    small_study.raw["define"]["other_age"] = {
        "term": "Age",
        "unit": "years",
        "possible": [0, 200],
        "known": "before_randomisation",
        "role": "other",
    }
    small_study.raw["variables"] = {
        "age": {"unit": "years"},
        "other_age": {"column": "alc", "unit": "years"},
        **small_study.raw["variables"],
    }
    small_study.patients["alc"] = small_study.patients["alc"] / 10
    small_study.raw["variables"]["absolute_lymphocyte_count"] = {"column": "days_from", "unit": "cells/uL"}
    small_study.patients["days_from"] = small_study.patients["alc"] * 10
    lines = part(check(small_study.write()), "Table 1")
    assert sum(line.startswith("Age (years)") for line in lines) == 2


def test_small_differences_have_no_minus_zero(small_study):
    small_study.patients["age"] = [40.0, 40.0, 60.0, 60.0] * 15
    small_study.patients.loc[1, "age"] = 39.9
    assert "-0.00" not in check(small_study.write())


@pytest.mark.parametrize("title", ["word " * 100, "w" * 500, "two\nlines", "Überleben 生存"])
def test_long_and_strange_titles_keep_the_table_readable(small_study, title):
    small_study.raw["endpoints"]["infected"]["title"] = title
    lines = part(check(small_study.write()), "Endpoints")
    assert len(lines) == 1 + len(small_study.raw["endpoints"])
    assert max(map(len, lines)) < 200
    assert title[:3] in "".join(lines)


def test_nothing_missing_is_said(small_study):
    small_study.patients["crp"] = small_study.patients["crp"].fillna(50.0)
    assert part(check(small_study.write()), "Missing data") == ["none"]


def test_an_endpoint_that_cannot_be_learned_is_a_note_with_its_remedy(small_study):
    small_study.patients["infected"] = 0
    small_study.raw["endpoints"]["survival"]["by_day"] = None
    notes = part(check(small_study.write()), "Notes")
    assert any(note.startswith("- endpoint 'infected': no events in arm Placebo") for note in notes)
    assert any(note.startswith("- endpoint 'survival' is a time to event without by_day") for note in notes)


def test_no_identifier_is_shown(small_study):
    text = check(small_study.folder)
    assert not any(identifier in text for identifier in small_study.patients["patient_id"])


def test_all_problems_are_raised(small_study):
    small_study.patients.loc[0, "age"] = 300
    small_study.patients.loc[0, "infected"] = None
    with pytest.raises(DataError, match="2 problems in the data"):
        check(small_study.write())
