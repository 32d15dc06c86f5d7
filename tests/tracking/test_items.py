import dataclasses
import json
import math
from importlib.metadata import version

import pandas as pd
import pytest
import yaml
from tests.small_bundles import make, with_card

from il7ml import texts
from il7ml.bundle import Estimate
from il7ml.config import RunConfig
from il7ml.result import Candidate, TrainingResult
from il7ml.tracking.items import (
    Child,
    Dataset,
    Metric,
    Param,
    Picture,
    Table,
    Tag,
    Text,
    metric_items,
    run_items,
    summary,
)
from il7ml.versions import versions

METRICS = {
    "auroc": Estimate(value=0.7, low=0.6, high=0.8),
    "calibration_slope": Estimate(value=math.nan, low=math.nan, high=math.nan),
    "ate": Estimate(value=-0.16, low=-0.3, high=-0.02),
}
RESULT = TrainingResult(
    config=RunConfig(study="study.yaml", endpoint="infection", seed=7, features={"include": ("age", "sex")}, workers=3),
    study="trial",
    title="A trial",
    simulated=False,
    endpoint="infection",
    endpoint_title="Infection by day 30",
    estimand="At least one infection.",
    kind="binary",
    data_digest="d" * 64,
    counts={"n": 109, "events": 40},
    selected="logistic",
    selection_reason="Penalised regression has the smallest out-of-fold loss.",
    evidence="none",
    evidence_reason="No evidence.",
    sample_size="too small: 109 patients.",
    metrics=METRICS,
    candidates=(
        Candidate("prevalence", {"brier": Estimate(value=0.25, low=0.2, high=0.3)}, False),
        Candidate("logistic", METRICS, True),
    ),
    tables={"table_one": pd.DataFrame({"variable": ["Age"]})},
    figures={"roc": b"\x89PNG"},
    bundle=make().bundle,
    example={"age": 60.0},
    notes=("A note.",),
)
SIMULATED = dataclasses.replace(
    RESULT, simulated=True, bundle=with_card(make().bundle, simulated=True), notes=(texts.SIMULATED,)
)


def items_of(result):
    return run_items(result, "<html></html>")


def of(kind, result=RESULT):
    return [item for item in items_of(result) if isinstance(item, kind)]


def named(kind, result=RESULT):
    items = of(kind, result)
    assert len({item.name for item in items}) == len(items)
    return {item.name: item[1] for item in items}


def test_metrics_carry_their_limits_and_nothing_undefined():
    assert named(Metric) == {
        "auroc": 0.7,
        "auroc_low": 0.6,
        "auroc_high": 0.8,
        "ate": -0.16,
        "ate_low": -0.3,
        "ate_high": -0.02,
    }
    half = {"slope": Estimate(value=1.0, low=math.nan, high=2.0)}
    assert list(metric_items(half)) == [Metric("slope", 1.0), Metric("slope_high", 2.0)]


def test_params_are_the_flattened_config_and_the_counts():
    params = named(Param)
    assert params["seed"] == "7"
    assert params["validation.folds"] == "5"
    assert params["features.include"] == "age, sex"
    assert params["features.exclude"] == ""
    assert params["tracking.model_name"] == ""
    assert (params["n"], params["events"]) == ("109", "40")
    # Neither where the files lie nor how many processes worked decides a result.
    assert not any(name.startswith(("study", "workers")) for name in params)


def test_a_password_in_the_servers_address_is_not_logged():
    tracking = RESULT.config.tracking.model_copy(update={"uri": "https://ann:secret@mlflow.example.org"})
    result = dataclasses.replace(RESULT, config=RESULT.config.model_copy(update={"tracking": tracking}))
    assert named(Param, result)["tracking.uri"] == "https://mlflow.example.org"
    assert "secret" not in str(list(items_of(result)))


def test_tags_hold_the_verdicts():
    tags = named(Tag)
    assert tags["verdict.heterogeneity"] == "none"
    assert tags["verdict.sample_size"] == "too small"
    assert tags["data"] == "real"
    assert tags["data_digest"] == "d" * 64
    assert tags["mlflow.note.content"] == summary(RESULT)


def test_texts_are_config_summary_versions_and_card():
    files = named(Text)
    assert RunConfig.model_validate(yaml.safe_load(files["config.yaml"])) == RESULT.config.model_copy(
        update={"workers": 0}
    )
    assert files["summary.md"] == summary(RESULT)
    assert json.loads(files["versions.json"]) == versions()
    assert json.loads(files["card.json"])["model_name"] == RESULT.bundle.card.model_name


def test_the_data_are_named_by_digest_and_columns():
    (dataset,) = of(Dataset)
    assert dataset == (
        "trial",
        "d" * 64,
        (
            ("age", "double"),
            ("absolute_lymphocyte_count", "double"),
            ("neutrophil_count", "double"),
            ("c_reactive_protein", "double"),
            ("respiratory_support", "string"),
            ("diabetes", "double"),
        ),
        RESULT.bundle.card.n,
        "training",
    )


def test_tables_and_figures_go_along():
    assert [(item.name, item.frame is RESULT.tables["table_one"]) for item in of(Table)] == [("table_one", True)]
    assert named(Picture) == {"roc": b"\x89PNG"}


ORIGIN = (
    Tag("study", RESULT.study),
    Tag("endpoint", RESULT.endpoint),
    Tag("data", "simulated" if RESULT.simulated else "real"),
)


def test_each_candidate_is_a_child_with_metrics_of_its_own():
    children = of(Child)
    assert [child.name for child in children] == ["candidate prevalence", "candidate logistic"]
    assert children[0].items == (
        *ORIGIN,
        Param("risk_model", "prevalence"),
        Tag("selected", "false"),
        Metric("brier", 0.25),
        Metric("brier_low", 0.2),
        Metric("brier_high", 0.3),
    )
    assert Tag("selected", "true") in children[1].items


def test_each_learner_of_effects_is_a_child_with_the_slope_of_its_estimates():
    table = pd.DataFrame(
        {
            "learner": ["t_learner"] * 2 + ["dr_learner"] * 2,
            "term": ["mean", "slope"] * 2,
            "estimate": [-0.1, 0.4, -0.1, math.nan],
            "low": [-0.2, -0.2, -0.2, math.nan],
            "high": [0.0, 1.0, 0.0, math.nan],
        }
    )
    children = of(Child, dataclasses.replace(RESULT, tables={"best_linear_predictor": table}))[2:]
    assert [(child.name, child.items) for child in children] == [
        (
            "learner t_learner",
            (
                *ORIGIN,
                Param("effect_learner", "t_learner"),
                Metric("effect_calibration_slope", 0.4),
                Metric("effect_calibration_slope_low", -0.2),
                Metric("effect_calibration_slope_high", 1.0),
            ),
        ),
        ("learner dr_learner", (*ORIGIN, Param("effect_learner", "dr_learner"))),
    ]


def test_children_come_last():
    kinds = [type(item) for item in items_of(RESULT)]
    assert Child not in kinds[: kinds.index(Child)]
    assert set(kinds[kinds.index(Child) :]) == {Child}


def test_versions_are_those_installed():
    found = versions()
    assert found["numpy"] == version("numpy")
    assert {"python", "il7ml", "mlflow", "xgboost", "shap"} <= set(found)


def test_the_summary_gives_verdicts_before_figures_and_says_for_what_it_is():
    text = summary(RESULT)
    order = [
        "# A trial",
        "Heterogeneity of the effect: **none**. No evidence.",
        "Sample size: too small: 109 patients.",
        "Risk model: **logistic**.",
        "Endpoint: Infection by day 30. At least one infection.",
        "| figure | estimate | 95 % interval |",
        "| auroc | 0.7 | 0.6 to 0.8 |",
        "| ate | -0.16 | -0.3 to -0.02 |",
        "- A note.",
        texts.INTENDED_USE,
    ]
    places = [text.index(part) for part in order]
    assert places == sorted(places)
    assert "calibration_slope" not in text
    assert texts.SIMULATED not in text


def test_the_summary_names_the_level_of_its_intervals():
    validation = RESULT.config.validation.model_copy(update={"level": 0.9})
    config = RESULT.config.model_copy(update={"validation": validation})
    assert "| figure | estimate | 90 % interval |" in summary(dataclasses.replace(RESULT, config=config))


def test_a_simulated_result_says_so_first():
    assert summary(SIMULATED).splitlines()[0] == f"**{texts.SIMULATED}**"
    assert named(Tag, SIMULATED)["data"] == "simulated"
    assert json.loads(named(Text, SIMULATED)["card.json"])["simulated"] is True


@pytest.mark.parametrize("result", [RESULT, SIMULATED])
def test_the_stream_is_pure(result):
    first, second = list(items_of(result)), list(items_of(result))
    assert [item[0] for item in first] == [item[0] for item in second]
    assert len(first) > 40
