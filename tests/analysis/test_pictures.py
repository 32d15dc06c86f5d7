from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pytest
from tests.small_course import small_course

from il7ml import plots
from il7ml.analysis import pictures
from il7ml.analysis.course import compare_course
from il7ml.analysis.findings import Findings, Task, headline
from il7ml.analysis.flow import patient_flow
from il7ml.analysis.outcomes import compare_outcomes
from il7ml.analysis.subgroups import compare_subgroups

LABELS = {"control": "Placebo", "treated": "Drug"}
ORDER = ("infected", "sofa", "absolute_lymphocyte_count_final")


@dataclass
class Drawn:
    """What the drawing functions were given, in place of what they draw."""

    calls: list[tuple[str, tuple[object, ...], dict[str, object]]] = field(default_factory=list)

    def stand_in(self, name):
        def figure(*arguments, **options):
            self.calls.append((name, arguments, options))
            return name

        return figure

    def titles(self, name):
        return [
            next(each for each in reversed(arguments) if isinstance(each, str))
            for kind, arguments, _ in self.calls
            if kind == name
        ]


@pytest.fixture(scope="module")
def analysis():
    trial = small_course()
    trial.course["stays"] = {}
    for name in ("c_reactive_protein", "interleukin_6"):
        del trial.course["measurements"][name]
    trial.course["rules"] = {}
    cohort = trial.load()
    findings, task = Findings(), Task(cohort, None, 0.95)
    compare_outcomes(task, findings)
    compare_course(task, cohort.course, findings)
    overview = headline(findings.lines, ORDER)
    subgroups = compare_subgroups(task, findings, {"sex": (), "age": (50,)}, ORDER)
    tables = {"flow": patient_flow(cohort), **{name: table for name, table in findings.tables.items() if len(table)}}
    return overview, subgroups, tables, findings.lines, cohort.course


def draw(analysis, mark="", **changes):
    overview, subgroups, tables, lines, course = analysis
    given = {"overview": overview, "subgroups": subgroups, "tables": tables, "lines": lines, "course": course} | changes
    return pictures.draw(
        given["overview"], given["subgroups"], given["tables"], given["lines"], LABELS, ORDER, mark, given["course"], 80
    )


@pytest.fixture
def drawn(monkeypatch):
    drawn = Drawn()
    for name in plots.__all__:
        if name.endswith("_figure"):
            monkeypatch.setattr(plots, name, drawn.stand_in(name))
    monkeypatch.setattr(plots, "to_png", lambda figure: str(figure).encode())
    return drawn


def test_every_table_that_has_a_figure_gets_it(analysis, drawn):
    figures = draw(analysis)
    curves = {f"incidence_{name}" for name in ("infected", "relapse", "death", "absolute_lymphocyte_count_recovery")}
    assert set(figures) == {
        "endpoints",
        "flow",
        "course",
        "adverse_events",
        *(f"subgroups_{name}" for name in ORDER),
        *curves,
        "visits_absolute_lymphocyte_count",
        "visits_ferritin",
    }


def test_a_study_without_a_course_has_fewer(analysis, drawn):
    kept = {
        name: table for name, table in analysis[2].items() if name in ("flow", "incidence_infected", "at_risk_infected")
    }
    figures = draw(analysis, tables=kept, course=None, subgroups=analysis[1].iloc[:0])
    assert set(figures) == {"endpoints", "flow", "incidence_infected"}


def test_every_title_says_that_patients_are_simulated(analysis, drawn):
    draw(analysis, mark=" (simulated patients)")
    titles = [title for name in plots.__all__ for title in drawn.titles(name)]
    assert len(titles) == len(drawn.calls) == 13
    assert all(title.endswith(" (simulated patients)") for title in titles)


def test_subgroups_are_drawn_on_one_scale_beside_the_overall_effect(analysis, drawn):
    draw(analysis)
    calls = [arguments for name, arguments, _ in drawn.calls if name == "subgroup_forest_figure"]
    assert [set(arguments[0]["scale"]) for arguments in calls] == [{"ratio"}, {"difference"}, {"ratio"}]
    for endpoint, (_, overall, treated, control, _) in zip(ORDER, calls, strict=True):
        assert overall["endpoint"] == endpoint
        assert (treated, control) == ("Drug", "Placebo")


def test_the_overall_effect_beside_subgroups_is_unadjusted_as_they_are(analysis, drawn):
    overview = analysis[0].copy()
    overview.loc[overview["endpoint"] == "infected", "estimate"] = 99.0  # an adjusted headline
    draw(analysis, overview=overview)
    first = next(arguments for name, arguments, _ in drawn.calls if name == "subgroup_forest_figure")
    everyone = analysis[3]["infected"].in_subgroup(np.ones(80, dtype=bool))
    assert first[1]["estimate"] == next(each.estimate for each in everyone if each.scale == "ratio")


def test_an_overall_effect_on_another_scale_is_not_drawn_beside_them(analysis, drawn):
    line = analysis[3]["infected"]
    lines = {**analysis[3], "infected": line._replace(in_subgroup=lambda rows: line.in_subgroup(rows)[:1])}
    draw(analysis, lines=lines)
    first = next(arguments for name, arguments, _ in drawn.calls if name == "subgroup_forest_figure")
    assert first[1] is None


def test_competing_ends_are_named_only_where_there_are_any(analysis, drawn):
    draw(analysis)
    causes = {arguments[-1]: arguments[3] for name, arguments, _ in drawn.calls if name == "incidence_figure"}
    assert set(causes["Infection by day 30"]) == {1, 2}
    assert set(causes["Death during follow-up"]) == {1}


def test_recovery_is_drawn_with_its_threshold_and_unit(analysis, drawn):
    draw(analysis)
    options = {
        arguments[2]: chosen["threshold"] for name, arguments, chosen in drawn.calls if name == "recovery_figure"
    }
    assert options == {"Lymphocytes (10^9/L)": pytest.approx(1.0), "Ferritin (ng/mL)": None}


def test_pictures_are_png(analysis):
    kept = {name: analysis[2][name] for name in ("flow", "incidence_relapse", "at_risk_relapse")}
    figures = draw(analysis, tables=kept, subgroups=pd.DataFrame(columns=analysis[1].columns))
    assert set(figures) == {"endpoints", "flow", "incidence_relapse"}
    assert all(content.startswith(b"\x89PNG") for content in figures.values())
