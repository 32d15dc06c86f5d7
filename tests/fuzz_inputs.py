"""Change tables, study files and run configs at random: il7ml must answer, or say clearly what is wrong.

``python -m tests.fuzz_inputs --inputs 20000`` prints a table. What is changed, and how, is drawn by hypothesis. An
input keeps the promise if it ends, within a minute, in a cohort that can be trained on (now and then in a training,
all of whose numbers are finite or left out) or in one of il7ml's own errors, which repeats no value of a table.
"""

import argparse
import copy
import math
import shutil
import signal
import sys
import tempfile
import warnings
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import yaml
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from il7ml.checking import describe
from il7ml.config import RunConfig
from il7ml.data.loading import load_cohort
from il7ml.data.simulator import write_trial
from il7ml.data.study import load_study
from il7ml.errors import InputError
from il7ml.training import fit, prepare

PATIENTS = 60
#: Stands in changed values and must not come back in a message.
SECRET = "SECRETZQX"
SECRET_NUMBER = "73154731"
KINDS = ("table", "study", "config")
_SECONDS = 60
_TRAINING_SECONDS = 600
_EACH_TRAINED = 2000  # every so many inputs one is trained on, if it is usable
_CONFIG = {
    "study": "study.yaml",
    "endpoint": "infection_day30",
    "seed": 1,
    "models": ["prevalence", "logistic"],
    "validation": {"folds": 2, "repeats": 1, "refits": 10, "bootstrap": 50},
    "effect": {"learners": ["effect_model"], "repeats": 1, "permutations": 200},
    "explanation": {"rows": 20},
    "workers": 1,
}
_ENDPOINTS = ("infection_day30", "death_day30", "infections", "infections_at_risk")
_CELLS = (
    "", " ", "NA", "nan", "inf", "-inf", "1e400", "-1", "0", "1", "2", "0.5", "1,5", "1e-320", "9" * 40, SECRET,
    SECRET_NUMBER, "true", "yes", "1900-01-01", "\x00", "\ud7ff", "\u202e", "é", "'", '"', "=1+1", "x" * 10_000, "[1]",
)  # fmt: skip
_VALUES = (
    None, True, False, 0, 1, -1, 2, 10**30, 0.5, 1e308, float("nan"), float("inf"), "", "../../etc/passwd", "a" * 5000,
    [], {}, [1], ["age"], {"age": 1}, [[[[]]]], "event", "patients", "age", "\x00", "1/2", "2020-01-01",
)  # fmt: skip


class Outcome(NamedTuple):
    """What became of one input: 'usable', 'trained' or 'refused', and the fault if it broke the promise."""

    end: str
    fault: str = ""


class _TookTooLong(BaseException):
    """Not an `Exception`, so that nothing under test catches it."""


@contextmanager
def limited(seconds):
    """Interrupt what takes too long."""

    def stop(*_):
        raise _TookTooLong

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def make_trial(folder):
    """Write a small simulated trial with all its tables, and a config that trains fast."""
    write_trial(PATIENTS, 3, "published", folder, format="csv")
    (folder / "run.yaml").write_text(yaml.safe_dump(_CONFIG))


def ends_well(folder, train=False):
    """Run one input as the commands do: config, study, cohort, description, preparation, sometimes a training."""
    try:
        with limited(_TRAINING_SECONDS if train else _SECONDS), warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            config = RunConfig.from_file(folder / "run.yaml")
            cohort = load_cohort(load_study(config.study))
            describe(cohort)
            prepared = prepare(config, cohort)
            if not train:
                return Outcome("usable")
            return _numbers_of(fit(prepared))
    except InputError as error:
        said = [text for text in (SECRET, SECRET_NUMBER) if text in str(error)]
        return Outcome("refused", "a value was repeated" if said else "")
    except _TookTooLong:
        return Outcome("refused", "took too long")
    except Exception as error:  # noqa: BLE001 - anything else is what is looked for
        place = error.__traceback__
        while place.tb_next is not None:
            place = place.tb_next
        code = place.tb_frame.f_code
        return Outcome(
            "refused", f"{type(error).__name__}: {error} ({Path(code.co_filename).name}:{place.tb_lineno})"[:300]
        )


def _numbers_of(result):
    # A figure that is not defined is left out of the metrics; what stands there is a number.
    wrong = [name for name, value in result.metrics.items() if not all(map(math.isfinite, value.model_dump().values()))]
    return Outcome("trained", f"not finite: {', '.join(sorted(wrong))}" if wrong else "")


# Changes. Each takes hypothesis' draw and what is changed, and returns or writes the result.


def change_table(draw, path):
    """Change the text of a CSV file: cells, columns, rows, or bytes."""
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    for _ in range(draw(st.integers(1, 2))):
        frame = draw(st.sampled_from(_TABLE_CHANGES))(draw, frame)
    frame.to_csv(path, index=False)
    if draw(st.integers(0, 4)) == 0:
        path.write_bytes(change_bytes(draw, path.read_bytes()))


def _cells(draw, frame):
    if frame.empty or not frame.columns.size:
        return frame
    column = draw(st.integers(0, frame.columns.size - 1))
    value = draw(st.sampled_from(_CELLS) | st.text(max_size=8) | st.floats().map(repr) | st.integers().map(str))
    rows = (
        draw(st.lists(st.integers(0, len(frame) - 1), min_size=1, max_size=3)) if draw(st.booleans()) else slice(None)
    )
    values = frame.iloc[:, column].to_numpy(dtype=object, copy=True)
    values[rows] = value
    columns = [frame.iloc[:, place] for place in range(frame.columns.size)]
    columns[column] = pd.Series(values, index=frame.index, name=frame.columns[column])
    return pd.concat(columns, axis=1)


def _columns(draw, frame):
    places = list(range(frame.columns.size))
    if not places:
        return frame
    how, place = draw(st.sampled_from(["drop", "twice", "rename", "order", "blank"])), draw(st.sampled_from(places))
    if how == "drop":
        return frame.iloc[:, [other for other in places if other != place]]
    if how == "twice":
        return frame.iloc[:, [*places, place]]
    if how == "order":
        return frame.iloc[:, draw(st.permutations(places))]
    names = list(frame.columns)
    names[place] = "" if how == "blank" else draw(st.sampled_from([*names, "age", "Age ", "x"]) | st.text(max_size=6))
    return frame.set_axis(names, axis=1)


def _rows(draw, frame):
    if frame.empty:
        return frame
    keep = draw(st.lists(st.integers(0, len(frame) - 1), max_size=2 * PATIENTS))
    return frame.iloc[keep] if draw(st.booleans()) else pd.concat([frame, frame.iloc[keep[:5]]])


def _shuffled(draw, frame):
    """Deal one column's values anew, which leaves a good table."""
    if frame.empty or not frame.columns.size:
        return frame
    column = draw(st.integers(0, frame.columns.size - 1))
    order = draw(st.permutations(range(len(frame))))
    columns = [frame.iloc[:, place] for place in range(frame.columns.size)]
    columns[column] = pd.Series(columns[column].to_numpy()[list(order)], index=frame.index, name=frame.columns[column])
    return pd.concat(columns, axis=1)


_TABLE_CHANGES = (_cells, _cells, _cells, _columns, _rows, _shuffled)


def change_bytes(draw, content):
    """Cut, insert or replace bytes, or turn the text into another encoding."""
    how = draw(st.sampled_from(["cut", "insert", "replace", "encoding", "separator", "line ends"]))
    if how == "encoding":
        return content.decode("utf-8", "replace").encode(
            draw(st.sampled_from(["utf-16", "utf-8-sig", "latin-1"])), "replace"
        )
    if how == "separator":
        return content.replace(b",", draw(st.sampled_from([b";", b"\t", b"|", b" "])))
    if how == "line ends":
        return content.replace(b"\n", draw(st.sampled_from([b"\r", b"\r\n", b"\n\n", b""])))
    place = draw(st.integers(0, len(content)))
    if how == "cut":
        return content[:place]
    piece = draw(
        st.binary(min_size=1, max_size=6)
        | st.sampled_from([b'"', b"\x00", b",,,", b"\n", b"{", b"&a *a", b"!!python/x", b"- "])
    )
    return content[:place] + piece + content[place + (len(piece) if how == "replace" else 0) :]


def change_tree(draw, tree):
    """Return a copy of nested data with some nodes replaced, dropped, added, renamed or nested."""
    tree = copy.deepcopy(tree)
    for _ in range(draw(st.integers(1, 2))):
        holder, key = draw(st.sampled_from(_nodes(tree)))
        how = draw(st.sampled_from(["value", "value", "value", "drop", "add", "rename", "nest", "sibling"]))
        if how == "drop":
            del holder[key]
        elif how == "nest":
            for _ in range(draw(st.sampled_from([1, 3, 60]))):
                holder[key] = {"x": holder[key]} if draw(st.booleans()) else [holder[key]]
        elif how == "sibling":
            holder[key] = copy.deepcopy(draw(st.sampled_from([node[place] for node, place in _nodes(tree)])))
        elif how in ("add", "rename") and isinstance(holder, dict):
            name = draw(st.sampled_from(["age", "kind", "", 1, None, "levels"]) | st.text(max_size=8))
            holder[name] = draw(st.sampled_from(_VALUES)) if how == "add" else holder.pop(key)
        else:
            holder[key] = draw(st.sampled_from(_VALUES) | st.floats() | st.integers() | st.text(max_size=8))
        if not tree:
            return tree
    return tree


def _nodes(tree):
    """Return every (holder, key) of nested dicts and lists."""
    found, open_nodes = [], [tree]
    while open_nodes:
        node = open_nodes.pop()
        for key in list(node) if isinstance(node, dict) else range(len(node)):
            found.append((node, key))
            if isinstance(node[key], dict | list):
                open_nodes.append(node[key])
    return found


def _read(path):
    return yaml.load(path.read_text(encoding="utf-8"), yaml.CSafeLoader)


def change_yaml(draw, path):
    """Change a YAML file: mostly what it holds, sometimes its bytes."""
    if draw(st.integers(0, 5)) == 0:
        path.write_bytes(change_bytes(draw, path.read_bytes()))
    else:
        tree = change_tree(draw, _read(path))
        path.write_text(
            yaml.dump(tree, Dumper=yaml.CSafeDumper, allow_unicode=True), encoding="utf-8", errors="replace"
        )


def fuzz(inputs, folder, start=0):
    """Return the ends of that many inputs by (kind, end), and the faults with how often each came."""
    folder.mkdir(parents=True, exist_ok=True)
    original = folder / "original"
    make_trial(original)
    tables = sorted(path.name for path in original.glob("*.csv"))
    ends, faults = Counter(), Counter()
    work = folder / "work"

    @seed(start)
    @settings(
        max_examples=inputs,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(data=st.data())
    def one(data):
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(original, work)
        kind = data.draw(st.sampled_from(KINDS))
        config = _read(work / "run.yaml")
        config["endpoint"] = data.draw(st.sampled_from(_ENDPOINTS))
        (work / "run.yaml").write_text(yaml.dump(config, Dumper=yaml.CSafeDumper))
        if kind == "table":
            change_table(data.draw, work / data.draw(st.sampled_from([*["patients.csv"] * 4, *tables])))
        else:
            change_yaml(data.draw, work / ("study.yaml" if kind == "study" else "run.yaml"))
        found = ends_well(work, train=(sum(ends.values()) + 1) % _EACH_TRAINED == 0)
        ends[kind, found.end] += 1
        if found.fault:
            faults[f"{kind}: {found.fault}"] += 1
        if sum(ends.values()) % 500 == 0:
            print(sum(ends.values()), dict(faults), file=sys.stderr, flush=True)

    one()
    return ends, faults


def main():
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        ends, faults = fuzz(options.inputs, Path(folder), options.seed)
    print("| input | usable | trained | refused |\n|---|---|---|---|")
    for kind in KINDS:
        print(f"| {kind} | {' | '.join(str(ends[kind, end]) for end in ('usable', 'trained', 'refused'))} |")
    for fault, times in faults.most_common():
        print(f"{times} x {fault}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
