"""Walks the imports of the package and holds them against the floors: one direction, no cycles, sole importers."""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "il7ml"

# From the ground up. A string is a room: a folder or a single file; a tuple is a room of several files. A file may
# import from lower floors and from its own room, and never from another room of its floor.
FLOORS = (
    (
        (
            "errors",
            "family",
            "schema",
            "parallel",
            "cluster",
            "state",
            "config",
            "sweep_config",
            "texts",
            "notebook",
            "versions",
        ),
    ),
    ("data",),
    ("features", "evaluation", "endpoints"),
    ("models",),
    ("explanation", "bundle", ("answer", "answer_schema")),
    ("plots", "result", "trial_result", "patient"),
    ("assessment", "tracking", "report"),
    (
        ("training", "streaming", "comparing", "sweeping", "sweep_search"),
        "analysis",
        ("predictor", "recalibrating"),
        "checking",
        ("power", "planning"),
    ),
    (("cli", "app", "asking", "demo", "progress", "__main__"),),
)
PLACE = {
    name: (floor, room)
    for floor, rooms in enumerate(FLOORS)
    for room in rooms
    for name in (room if isinstance(room, tuple) else (room,))
}

# Who may import what from outside, and whether a single file must do so.
IMPORTERS = {
    "mlflow": (("tracking",), True),
    "shap": (("explanation",), True),
    "matplotlib": (("plots",), False),
    "fastapi": (("app",), False),
    "jinja2": (("report", "app"), False),
    "starlette": (("app",), False),
    "uvicorn": (("app",), False),
    "h11": (("app",), True),
    "joblib": (("parallel",), True),
    "dask": (("cluster",), True),
    "distributed": (("cluster",), True),
    "zipfile": (("bundle", "state"), False),
    "skops": (("bundle",), True),
    "xgboost": (("models", "bundle"), False),
    "sklearn": (("features", "models"), False),
    "pyarrow": (("data",), False),
    "pyreadstat": (("data",), True),
    "sqlalchemy": (("data", "tracking"), False),
    "optuna": (("models", "sweep_search"), False),
    "yaml": (("config", "schema", "data"), False),
    "statsmodels": (("endpoints",), False),
    "pickle": ((), False),
}

# What the floors alone would allow. Through others counts as well.
NEVER = {
    "evaluation": ("data", "features", "models", "endpoints"),
    "features": ("evaluation", "models", "endpoints"),
    "predictor": ("training", "comparing", "sweeping", "assessment", "evaluation"),
}


def read_package(root):
    """Return the imports of each module of the package in `root`: dict of module name to set of module names.

    Imports inside functions and under TYPE_CHECKING count. Names are given without the package's own, so that
    'models.glm' is a module of the package and 'numpy.linalg' one from outside, prefixed by '/'.
    """
    modules = {module_name(path, root): path for path in sorted(root.rglob("*.py"))}
    return {name: imports_of(path.read_text(encoding="utf-8"), root.name, modules) for name, path in modules.items()}


def module_name(path, root):
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def imports_of(text, package, modules):
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {resolve(alias.name, package, modules) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports are not used"
            found |= {resolve(f"{node.module}.{alias.name}", package, modules) for alias in node.names}
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) == "import_module":
            found |= {resolve(part.value, package, modules) for part in node.args[:1] if isinstance(part, ast.Constant)}
    return found - {f"{package}.__version__"}


def resolve(name, package, modules):
    """Return the module that `name`, a module or a name in one, stands for."""
    if name.split(".")[0] != package:
        return f"/{name}"
    inner = name.removeprefix(package).removeprefix(".")
    if name == f"{package}.__version__":
        return name
    while inner and inner not in modules:
        inner = inner.rpartition(".")[0]
    return inner or "__init__"


def top(module):
    return module.split(".")[0]


def order_violations(graph):
    """Return the imports that do not go down, as 'a -> b'; the package's own __init__ lies above all."""
    found = []
    for module, imports in graph.items():
        if module == "__init__":
            continue
        for target in sorted(name for name in imports if not name.startswith("/")):
            here, there = PLACE[top(module)], PLACE.get(top(target), (len(FLOORS), "__init__"))
            if there[0] > here[0] or (there[0] == here[0] and there[1] != here[1]):
                found.append(f"{module} -> {target}")
    return found


def importers(graph, system):
    return sorted(
        module for module, imports in graph.items() if any(name[1:].split(".")[0] == system for name in imports)
    )


def reached(graph, module):
    """Return all modules of the package that `module` imports, through others as well."""
    seen, waiting = set(), [module]
    while waiting:
        for target in graph[waiting.pop()]:
            if not target.startswith("/") and target not in seen:
                seen.add(target)
                waiting.append(target)
    return seen


def find_cycle(graph):
    inner = {module: {target for target in imports if target in graph} for module, imports in graph.items()}
    try:
        graphlib.TopologicalSorter(inner).prepare()
    except graphlib.CycleError as error:
        return error.args[1]
    return []


GRAPH = read_package(SOURCE)


def test_every_file_has_a_floor():
    unknown = [module for module in GRAPH if module != "__init__" and top(module) not in PLACE]
    assert not unknown, f"not in the table of floors: {unknown}"


def test_imports_go_down_and_siblings_do_not_see_each_other():
    assert order_violations(GRAPH) == []


def test_there_are_no_cycles():
    assert find_cycle(GRAPH) == []


@pytest.mark.parametrize("system", IMPORTERS)
def test_outside_systems_have_their_importers(system):
    places, single = IMPORTERS[system]
    found = importers(GRAPH, system)
    assert [module for module in found if top(module) not in places] == []
    if single:
        assert len(found) <= 1


@pytest.mark.parametrize("room", [room for room in NEVER if any(top(module) == room for module in GRAPH)])
def test_rooms_that_must_not_meet_do_not(room):
    met = {top(target) for module in GRAPH if top(module) == room for target in reached(GRAPH, module)}
    assert met.isdisjoint(NEVER[room])


@pytest.mark.skipif("predictor" not in GRAPH, reason="the predictor is not in the tree")
def test_a_predictor_loads_no_training_library():
    heavy = {"sklearn", "mlflow", "shap", "matplotlib", "xgboost", "joblib", "il7ml.training", "il7ml.evaluation"}
    code = f"import sys, il7ml.predictor; print(sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# The walk itself, on small packages with a fault in each.


def package(folder, **files):
    root = folder / "il7ml"
    for name, text in {"__init__": "", **files}.items():
        path = root / f"{name.replace('__in__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return read_package(root)


@pytest.mark.parametrize(
    ("files", "violations"),
    [
        ({"errors": "", "bundle": "from il7ml.errors import InputError"}, []),
        ({"errors": "from il7ml.bundle import Bundle", "bundle": ""}, ["errors -> bundle"]),
        ({"errors": "def f():\n    import il7ml.bundle", "bundle": ""}, ["errors -> bundle"]),
        ({"errors": "if TYPE_CHECKING:\n    from il7ml import bundle", "bundle": ""}, ["errors -> bundle"]),
        ({"errors": "import_module('il7ml.bundle')", "bundle": ""}, ["errors -> bundle"]),
        ({"bundle": "from il7ml.explanation import x", "explanation": ""}, ["bundle -> explanation"]),
        ({"errors": "", "config": "from il7ml.errors import InputError"}, []),
        ({"data__in__a": "", "data__in__b": "from il7ml.data import a"}, []),
        ({"data__in__a": "", "models__in__a": "", "features__in__b": "from il7ml.models.a import x"},
         ["features.b -> models.a"]),
        ({"features__in__a": "", "evaluation__in__b": "import il7ml.features.a"}, ["evaluation.b -> features.a"]),
        ({"bundle": "from il7ml import __version__"}, []),
        ({"bundle": "from il7ml import train"}, ["bundle -> __init__"]),
    ],
)  # fmt: skip
def test_a_planted_fault_of_order_is_found(tmp_path, files, violations):
    assert order_violations(package(tmp_path, **files)) == violations


def test_a_planted_cycle_is_found(tmp_path):
    graph = package(tmp_path, errors="import il7ml.schema", schema="def f():\n    from il7ml.errors import x")
    assert set(find_cycle(graph)) == {"errors", "schema"}
    assert find_cycle(package(tmp_path, errors="", schema="from il7ml.errors import x")) == []


def test_a_planted_importer_is_found(tmp_path):
    graph = package(tmp_path, errors="import numpy", bundle="def f():\n    from xgboost.core import Booster")
    assert importers(graph, "xgboost") == ["bundle"]
    assert importers(graph, "numpy") == ["errors"]
    assert importers(graph, "shap") == []


def test_what_is_reached_through_others_is_found(tmp_path):
    graph = package(tmp_path, answer="import il7ml.models.a", models__in__a="import il7ml.errors", errors="")
    assert reached(graph, "answer") == {"models.a", "errors"}
