"""What the documents show works: examples run, commands parse, keys exist, tables are complete, links lead on."""

from __future__ import annotations

import doctest
import json
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.trained_store import empty_store

from il7ml import cli
from il7ml.checking import check
from il7ml.config import RunConfig
from il7ml.data.study import parse_study
from il7ml.schema import Closed, Variable, load_dictionary

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "data").rglob("*.md")])
LINK = re.compile(r"\]\((?!https?:)([^)#]+)")
COMMAND = re.compile(r"^(?:    |\$ |    \$ )(il7ml [^#\n]+)|`(il7ml [^`]+)`", re.MULTILINE)
YAML = re.compile(r"```yaml\n(.*?)```", re.DOTALL)
ROW = re.compile(r"^\| `([\w.]+)` \| (.+?) \| .+ \|$", re.MULTILINE)
TAGS = {"verdict.heterogeneity", "verdict.sample_size"}


def keys(record: type[Closed] = RunConfig, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each key of a config with its default, those of sections with the section's name before them."""
    for name, field in record.model_fields.items():
        if isinstance(field.default, Closed):
            yield from keys(type(field.default), f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", "required" if field.is_required() else field.default


KEYS = dict(keys())
SECTIONS = sorted({key.partition(".")[0] for key in KEYS if "." in key})
SET = re.compile(r"--set ([a-z][\w.]*)=")
INLINE = re.compile(rf"`((?:{'|'.join(SECTIONS)})\.(?!py`)\w+)`")  # a section and a module can share a name


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_to_files(page: Path) -> None:
    broken = [link for link in LINK.findall(page.read_text(encoding="utf-8")) if not (page.parent / link).exists()]
    assert not broken


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_commands_parse(page: Path) -> None:
    for block, inline in COMMAND.findall(page.read_text(encoding="utf-8")):
        _, *arguments = shlex.split(block or inline)
        if len(arguments) > 1:
            cli._parser().parse_args(arguments)
        else:  # a command that is only named
            with pytest.raises(SystemExit, match="0"):
                cli._parser().parse_args([*arguments, "--help"])


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_config_keys_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    unknown = {*SET.findall(text), *INLINE.findall(text)} - set(KEYS) - TAGS
    assert not unknown


def test_the_patterns_find_what_they_look_for() -> None:
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert len(COMMAND.findall(text)) > 10
    assert {"tracking.uri", "verdict.heterogeneity"} <= {*SET.findall(text), *INLINE.findall(text)}


@pytest.mark.slow
def test_python_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A project of its own, so that the training on the page does not write into this one's store.
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    (tmp_path / "data").symlink_to(ROOT / "data")
    empty_store(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    found = doctest.testfile(str(ROOT / "docs" / "python.md"), module_relative=False)
    assert found.attempted > 40
    assert found.failed == 0


def test_the_table_of_config_keys_is_complete() -> None:
    rows = ROW.findall((ROOT / "docs" / "python.md").read_text(encoding="utf-8"))
    shown = {key: yaml.safe_load(default.strip("`")) for key, default in rows}
    assert shown == {key: list(value) if isinstance(value, tuple) else value for key, value in KEYS.items()}


def test_the_example_study_and_its_variants_are_valid() -> None:
    text = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    study, config, *variants = (yaml.safe_load(block) for block in YAML.findall(text))
    assert RunConfig.model_validate(config).endpoint in parse_study(study, ROOT).endpoints
    assert variants
    for variant in variants:
        parse_study({**study, **variant}, ROOT)


def test_what_check_shows_is_what_the_page_shows() -> None:
    text = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    shown = text.partition("    il7ml check data/cgd\n\n```text\n")[2].partition("```")[0]
    assert doctest.OutputChecker().check_output(shown, f"{check(ROOT / 'data' / 'cgd')}\n", doctest.ELLIPSIS)


@pytest.mark.parametrize(("key", "variable"), load_dictionary().items())
def test_every_dictionary_entry_is_in_the_table(key: str, variable: Variable) -> None:
    unit = variable.unit or ", ".join(variable.levels) or ("yes/no" if variable.kind == "binary" else "-")
    known = variable.known.replace("_", " ")
    cells = [f"`{key}`", variable.term, unit, ", ".join(variable.accepted_units) or "-", known, variable.role]
    code = variable.loinc.code if variable.loinc else "-"
    row = f"| {' | '.join([*cells, code])} |"
    assert row in (ROOT / "docs/data.md").read_text(encoding="utf-8").splitlines()


def test_the_example_answer_is_the_same_everywhere():
    page = (ROOT / "docs" / "clinician.md").read_text(encoding="utf-8")
    answer = json.loads(page.partition("```json\n")[2].partition("```")[0])
    for text in (page, (ROOT / "README.md").read_text(encoding="utf-8")):
        for line, name in (
            (r"with Placebo", "risk_untreated"),
            (r"with IL-7 \(CYT107\)", "risk_treated"),
            (r"benefit", "benefit"),
        ):
            [shown] = re.findall(rf"^      {line} +(\S+) \((\S+) to (\S+)\) ", text, re.MULTILINE)
            expected = (answer[name], answer[f"{name}_low"], answer[f"{name}_high"])
            assert shown == tuple(f"{100 * number:.1f}" for number in expected), name
        [need] = re.findall(r"^      number needed to treat +(\S+)$", text, re.MULTILINE)
        assert need == f"{answer['number_needed_to_treat']:.1f}"
    assert page.count(answer["notice"]) == 2
