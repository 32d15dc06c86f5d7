from functools import cache

import pytest
from tests.small_bundles import make

from il7ml import plots, texts
from il7ml.assessment.explanations import assess_explanations
from il7ml.config import RunConfig
from il7ml.features.columns import to_columns
from il7ml.models.catalog import Setting
from il7ml.models.final import FinalRisk, fit_final_effect

EFFECT = {"shap_effect", "shap_effect_groups", "shap_effect_beeswarm", "shap_effect_dependence"}
RISK = {"shap_risk", "shap_risk_groups", "shap_risk_beeswarm", "shap_risk_dependence"}


def config(**explanation):
    return RunConfig(study="study.yaml", endpoint="outcome", explanation=explanation)


@cache
def fitted(kind="binary", model="logistic"):
    made = make(kind, model)
    variables = {name: entry.variable for name, entry in made.bundle.card.variables.items()}
    setting = Setting(
        kind, variables, "absolute_lymphocyte_count", True, modifiers=("absolute_lymphocyte_count", "diabetes")
    )
    risk = FinalRisk(made.bundle.risk, 0.0, made.bundle.refits.models, made.bundle.refits.theta)
    return to_columns(made.sample.X, variables), setting, risk, fit_final_effect(made.sample, setting, 3, 10)


def assess(kind="binary", model="logistic", settings=None, **options):
    return assess_explanations(*fitted(kind, model), settings or config(), average=-0.1, **options)


@cache
def usual():
    return assess()


def titles(monkeypatch, **options):
    """Return the titles of the figures by name."""
    seen = []

    def note(figure):
        seen.append(figure.get_suptitle())
        return str(len(seen) - 1).encode()

    monkeypatch.setattr(plots, "to_png", note)
    found = assess(**options)
    return found, {name: seen[int(number)] for name, number in found.figures.items()}


@pytest.mark.parametrize(
    ("kind", "model"), [("binary", "logistic"), ("binary", "stack"), ("count", "logistic"), ("continuous", "xgboost")]
)
def test_every_kind_of_model_is_explained_with_limits(kind, model):
    found = usual() if (kind, model) == ("binary", "logistic") else assess(kind, model)
    assert found.tables.keys() >= RISK | EFFECT | {"explanation_checks", "shap_risk_interactions"}
    assert ("shap_risk_outcome" in found.tables) == (kind != "continuous")
    for name in ("shap_risk", "shap_effect", "shap_risk_groups", "shap_effect_groups"):
        table = found.tables[name]
        assert table[["low", "high", "rank_low", "rank_high"]].notna().all(axis=None)
        assert (table["rank_low"] <= table["rank"]).all()
        assert (table["rank"] <= table["rank_high"]).all()
    checks = found.tables["explanation_checks"]
    assert checks["model"].tolist() == ["risk", "effect", *([] if kind == "continuous" else ["risk"])]
    assert (checks["largest_gap"] <= checks["tolerance"]).all()
    assert all(picture[:4] == b"\x89PNG" for picture in found.figures.values())
    assert {"shap_risk_bar", "shap_effect_bar"} | RISK - {"shap_risk"} | EFFECT - {"shap_effect"} <= set(found.figures)


@pytest.mark.parametrize("model", ["logistic", "xgboost"])
def test_the_order_on_the_outcomes_scale_has_limits_or_says_that_it_has_none(monkeypatch, model):
    found, shown = titles(monkeypatch, kind="binary", model=model)
    table = found.tables["shap_risk_outcome"]
    if model == "logistic":
        assert table[["low", "high", "rank_low", "rank_high"]].notna().all(axis=None)
        assert ((table["low"] <= table["mean_abs_shap"]) & (table["mean_abs_shap"] <= table["high"])).all()
    else:
        assert "rank_low" not in table
    assert (texts.NO_INTERVALS in shown["shap_risk_outcome"].replace("\n", " ")) == (model == "xgboost")


def test_without_credible_heterogeneity_every_table_and_figure_of_the_effect_says_exploratory(monkeypatch):
    found, shown = titles(monkeypatch, exploratory_effect=True)
    for name in EFFECT:
        assert set(found.tables[name]["note"]) == {"exploratory: no credible heterogeneity"}
    for name in RISK:
        assert not found.tables[name]["note"].str.contains("exploratory").any()
    for name, title in shown.items():
        assert (texts.EXPLORATORY_EFFECT in title) == name.startswith("shap_effect"), name


def test_a_regression_that_did_not_beat_the_event_rate_says_exploratory(monkeypatch):
    found, shown = titles(monkeypatch, exploratory_risk=True)
    for name in RISK | {"shap_risk_outcome"}:
        assert found.tables[name]["note"].str.contains(texts.EXPLORATORY_RISK).all()
    for name, title in shown.items():
        assert (texts.EXPLORATORY_RISK in title) == name.startswith("shap_risk"), name


def test_simulated_patients_are_marked_in_every_title(monkeypatch):
    _, shown = titles(monkeypatch, mark=" (simulated patients)")
    assert all(" (simulated patients)" in title for title in shown.values())


def test_no_table_holds_a_single_patient():
    columns = fitted()[0]
    found = usual()
    ratio = columns["neutrophil_lymphocyte_ratio"]
    exact = set(ratio[ratio != ratio.round()].tolist())
    assert len(exact) > 100
    for name, table in found.tables.items():
        assert exact.isdisjoint(table.select_dtypes("number").to_numpy().ravel().tolist()), name
        assert len(table) < columns["age"].size, name
    for name in ("shap_risk_beeswarm", "shap_effect_beeswarm"):
        assert found.tables[name]["n"].min() >= 10
        assert list(found.tables[name]) == ["variable", "label", "place", "level", "n", "mean_shap", "scale", "note"]


def test_single_patients_are_not_drawn_unless_the_config_says_so(monkeypatch):
    drawn = []
    for name in ("beeswarm_figure", "patient_groups_figure", "dependence_figure"):
        real = getattr(plots, name)

        def record(*given, name=name, real=real, **options):
            drawn.append((name, options.get("points") is not None))
            return real(*given, **options)

        monkeypatch.setattr(plots, name, record)
    monkeypatch.setattr(plots, "to_png", lambda figure: b"")
    assess()
    assert set(drawn) == {("patient_groups_figure", False), ("dependence_figure", False)}
    drawn.clear()
    assess(settings=config(log_patients=True))
    assert set(drawn) == {("beeswarm_figure", False), ("dependence_figure", True)}


def test_where_the_config_says_so_a_table_has_every_patient_and_no_identifier():
    columns = fitted()[0]
    table = assess(settings=config(log_patients=True)).tables["shap_risk_beeswarm"]
    n = columns["age"].size
    assert table["patient"].nunique() == n
    ages = table[table["variable"] == "age"].sort_values("patient")["value"].to_numpy()
    assert sorted(ages) == sorted(columns["age"])
    assert (ages != columns["age"]).any()  # the number is no row of the data


def test_patients_are_capped_and_the_cap_is_said():
    checks = assess(settings=config(rows=30)).tables["explanation_checks"]
    assert checks["patients"].tolist() == [30, 30, 30]
    assert checks["refit_patients"].tolist() == [30, 30, 30]
    assert checks["reference_patients"].tolist() == [0, 0, 50]


def test_pairs_that_go_together_are_named_in_a_warning():
    found = usual()
    pairs = found.tables["correlated_features"]
    assert ["neutrophil_count", "neutrophil_lymphocyte_ratio"] in pairs[["first", "second"]].to_numpy().tolist()
    [warning] = found.warnings
    assert "Neutrophil count and Neutrophil-lymphocyte ratio" in warning
    assert "0.7" in warning


def test_the_lymphocyte_count_and_the_binary_modifier_are_asked_for_whatever_their_strength():
    [row] = usual().tables["shap_risk_interactions"].to_dict("records")
    assert (row["first"], row["second"]) == ("absolute_lymphocyte_count", "diabetes")
    curves = usual().tables["shap_effect_dependence"]
    assert list(dict.fromkeys(curves["group"])) == ["Diabetes: no", "Diabetes: yes"]


def test_without_a_lymphocyte_count_there_is_no_dependence():
    columns, setting, risk, effect = fitted()
    found = assess_explanations(
        columns, setting._replace(lymphopenia_variable=None), risk, effect, config(), average=-0.1
    )
    assert not any("dependence" in name for name in (*found.tables, *found.figures))
    assert "shap_risk_interactions" not in found.tables
