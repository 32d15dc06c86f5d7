import json
from pathlib import Path

import pytest
from tests.json_schema import problems
from tests.small_bundles import PATIENT, make, with_card

from il7ml.answer_schema import MEASURES, answer_schema, prediction_schema
from il7ml.family import FAMILIES
from il7ml.predictor import Predictor

PUBLISHED = Path(__file__).parents[1] / "docs" / "prediction.schema.json"
GOOD = json.loads(json.dumps(Predictor(make().bundle).predict(PATIENT).to_dict()))


def test_the_published_schema_is_the_present_one():
    # Written anew by: python -c "import json; from il7ml.answer_schema import prediction_schema as schema;
    # print(json.dumps(schema(), indent=1))" > docs/prediction.schema.json
    assert json.loads(PUBLISHED.read_text(encoding="utf-8")) == prediction_schema()


@pytest.mark.parametrize("kind", ["binary", "count", "continuous"])
@pytest.mark.parametrize("evidence", ["none", "suggestive", "credible"])
@pytest.mark.parametrize("simulated", [False, True])
@pytest.mark.parametrize("changes", [{}, {"age": 85}, {"c_reactive_protein": None, "patient_id": 7}])
def test_every_answer_fits(kind, evidence, simulated, changes):
    predictor = Predictor(with_card(make(kind).bundle, evidence=evidence, simulated=simulated))
    answer = json.loads(json.dumps(predictor.predict({**PATIENT, **changes}).to_dict()))
    schema = answer_schema(FAMILIES[kind].measure)
    assert problems(answer, schema) == []
    assert [name for name in schema["properties"] if name != "notice"] == [name for name in answer if name != "notice"]
    assert problems(answer, prediction_schema()) == []


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"risk_untreated": 1.2}, "answer.risk_untreated: maximum"),
        ({"risk_untreated": None}, "answer.risk_untreated: type"),
        ({"benefit_low": "0.1"}, "answer.benefit_low: type"),
        ({"status": "error"}, "answer.status: enum"),
        ({"number_needed_to_treat": 0.5}, "answer.number_needed_to_treat: minimum"),
        ({"more": 1}, "answer.more: not known"),
        ({"arms": {"untreated": "Placebo"}}, "answer.arms: required"),
        ({"reasons": [{}]}, "answer.reasons[0]: required"),
        ({"intended_use": ""}, "answer.intended_use: const"),
        (
            {"model": {**GOOD["model"], "validation": {"brier": {"value": 1}}}},
            "answer.model.validation.brier: required",
        ),
    ],
)
def test_another_answer_does_not(changes, place):
    assert problems({**GOOD, **changes}, answer_schema("risk")) == [place]
    assert problems({**GOOD, **changes}, prediction_schema()) == ["answer: anyOf"]


def test_there_is_a_schema_for_each_measure():
    assert {family.measure for family in FAMILIES.values()} == set(MEASURES)
