"""What the documents show works: Python examples run, commands parse, links lead somewhere."""

from __future__ import annotations

import doctest
import re
import shlex
from pathlib import Path

import pytest
import yaml

from il7ml import cli
from il7ml.data.study import parse_study

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "data").rglob("*.md")])
LINK = re.compile(r"\]\((?!https?:)([^)#]+)")
COMMAND = re.compile(r"^(?:    |\$ |    \$ )(il7ml [^#\n]+)", re.MULTILINE)
YAML = re.compile(r"```yaml\n(.*?)```", re.DOTALL)


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_to_files(page: Path) -> None:
    broken = [link for link in LINK.findall(page.read_text(encoding="utf-8")) if not (page.parent / link).exists()]
    assert not broken


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_commands_parse(page: Path) -> None:
    for command in COMMAND.findall(page.read_text(encoding="utf-8")):
        _, *arguments = shlex.split(command)
        cli._parser().parse_args(arguments)


def test_python_examples_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    found = doctest.testfile(str(ROOT / "docs" / "python.md"), module_relative=False)
    assert found.attempted > 10
    assert found.failed == 0


def test_the_example_study_is_valid() -> None:
    study, config = (yaml.safe_load(block) for block in YAML.findall((ROOT / "docs/data.md").read_text("utf-8"))[:2])
    assert config["endpoint"] in parse_study(study, ROOT).endpoints


def test_every_dictionary_entry_is_in_the_table() -> None:
    from il7ml.schema import load_dictionary

    text = (ROOT / "docs/data.md").read_text(encoding="utf-8")
    for key, variable in load_dictionary().items():
        assert f"| `{key}` | {variable.term} | " in text
