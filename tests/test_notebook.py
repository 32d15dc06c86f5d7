import json
import re
from pathlib import Path

import pandas as pd
import pytest
from tests.small_bundles import PATIENT, make, with_card
from tests.trained_store import empty_store

from il7ml import texts
from il7ml.comparing import Comparison
from il7ml.data.loading import load_cohort
from il7ml.predictor import Predictor

ROOT = Path(__file__).parents[1]
TUTORIAL = ROOT / "docs" / "tutorial.ipynb"


def text_of(html):
    assert not re.search(r"<(?!/?(table|thead|tbody|tr|th|td|ul|li|p|strong|h4)>)", html), "a tag that is not ours"
    return re.sub(r"<[^>]+>", " ", html)


def test_a_cohort_shows_itself_without_a_patient():
    cohort = load_cohort(ROOT / "data" / "cgd", course=False)
    shown = text_of(cohort._repr_html_())
    assert "Placebo" in shown
    assert "65" in shown
    assert "Any serious infection during follow-up" in shown
    assert texts.SIMULATED_DATA not in shown
    assert texts.SIMULATED_DATA in text_of(load_cohort(ROOT / "data" / "il7_trial", course=False)._repr_html_())


def test_a_prediction_shows_what_its_text_says():
    answer = Predictor(with_card(make().bundle, simulated=True, endpoint_title="A < B")).predict(PATIENT)
    html = answer._repr_html_()
    assert html.startswith(f"<p><strong>{texts.SIMULATED}</strong></p><h4>A &lt; B</h4>")
    shown = " ".join(text_of(html).split())
    for line in answer.to_text().splitlines()[2:]:
        assert " ".join(line.removeprefix("! ").replace("<", "&lt;").split()) in shown.replace("&#x27;", "'")


def test_a_comparison_shows_its_table():
    table = pd.DataFrame(
        {
            "metric": ["auroc"],
            "threshold": [float("nan")],
            "difference": [0.01234567],
            "std_error": [1.0],
            "p_value": [0.5],
        }
    )
    html = Comparison("a1", "b2", ("Regression", "XGBoost"), "A study", True, "0" * 64, table)._repr_html_()
    shown = text_of(html)
    assert texts.SIMULATED in shown
    assert "first: Regression (run a1)" in shown
    assert "0.01235" in shown
    assert "nan" not in shown


@pytest.mark.slow
def test_the_tutorial_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    empty_store(tmp_path)  # which makes the folder a project of its own
    cells = json.loads(TUTORIAL.read_text(encoding="utf-8"))["cells"]
    names = {}
    for cell in cells:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), names)
    shown = text_of(names["run"]._repr_html_())
    assert names["run"].result.evidence_reason.split(":")[0] in shown
    assert f"Run {names['run'].run_id}" in shown
    assert "Death by day 30" in text_of(names["prediction"]._repr_html_())
    assert (names["answers"]["status"] == "ok").mean() > 0.9
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mlruns", "tutorial"]
