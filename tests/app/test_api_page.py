"""What docs/api.md shows runs as written, against a service on a port of its own."""

import doctest
import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.small_bundles import PATIENT, make, with_card

from il7ml.bundle import CardBeside, Estimate
from il7ml.predictor import Predictor

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
RISK = Estimate(value=0.25, low=0.15, high=0.4)
DEATH = CardBeside(endpoint="death", title="Death", harmful=True, control=RISK, treated=RISK, difference=RISK)
CURL = re.compile(r"^    \$ (curl .+)$", re.MULTILINE)


def here(service, text):
    return text.replace("127.0.0.1:8000", f"127.0.0.1:{service.port}")


@pytest.mark.parametrize("kind", ["service", "simulated_service"])
def test_python_examples_run(request, kind):
    text = here(request.getfixturevalue(kind), TEXT)
    examples = doctest.DocTestParser().get_doctest(text, {}, "api.md", "docs/api.md", 0)
    found = doctest.DocTestRunner(verbose=False).run(examples)
    assert found.attempted > 15
    assert found.failed == 0


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl on this machine: its examples were not tried")
def test_curl_examples_run(service):
    commands = CURL.findall(TEXT)
    assert len(commands) == 4
    for command in commands:
        done = subprocess.run(shlex.split(here(service, command)), cwd=ROOT, capture_output=True, check=True)
        answer = json.loads(done.stdout)
        assert answer.get("status", "ok") in ("ok", "ready"), command
        assert "detail" not in answer
        assert all(row["status"] == "ok" for row in answer.get("answers", []))


def test_every_way_in_is_on_the_pages(service):
    service_page = (ROOT / "docs" / "service.md").read_text(encoding="utf-8")
    for path, methods in service.get("/openapi.json").json()["paths"].items():
        for method in methods:
            assert f"`{method.upper()} {path}`" in service_page


@pytest.mark.parametrize("evidence", ["none", "suggestive"])
def test_every_key_of_an_answer_is_explained_and_no_other(evidence):
    explained = set(re.findall(r"`([a-z0-9_.\[\]]+)`", "".join(re.findall(r"^\| (`.*?) \|", TEXT, re.MULTILINE))))
    bundle = with_card(make(simulated=True, evidence=evidence).bundle, beside=(DEATH,))
    answer = Predictor(bundle).predict(PATIENT).to_dict()
    keys = set(answer)
    for name in ("reasons", "beside"):
        keys |= {f"{name}[].{key}" for key in answer[name][0]}
    keys |= {f"model.{key}" for key in answer["model"]}
    limits = {f"{key}{end}" for key in keys for end in ("_low", "_high") if f"{key}_low" in keys}
    assert explained == (keys - limits) | {"message"}
