import copy
import io
import json
import subprocess
import sys
from itertools import combinations, product
from math import comb

import numpy as np
import pandas as pd
import pytest
from threadpoolctl import threadpool_limits

from il7ml.features.columns import to_columns
from il7ml.models import effect_model, fitted_effect, nuisance
from il7ml.models.effect_model import EffectModel
from il7ml.models.fitted_effect import FittedEffect, typical_profiles
from il7ml.models.stored_trees import load_booster
from il7ml.schema import Variable

N = 211


def trial(n=N, seed=0):
    rng = np.random.default_rng(seed)
    X = pd.DataFrame(
        {
            "age": rng.normal(60, 10, n),
            "count": rng.lognormal(0, 0.5, n),
            "ward": pd.Categorical(rng.choice(["burns", "medical", "surgical"], n)),
            "diabetes": rng.random(n) < 0.3,
        }
    )
    X.loc[rng.random(n) < 0.1, "count"] = np.nan
    arm = rng.permutation(np.arange(n) % 2)
    y = rng.binomial(1, 0.5 - 0.4 * arm * (X["age"] > 60).to_numpy())
    return X, y, arm


@pytest.fixture(scope="module", autouse=True)
def _quick():
    """Leave out repeats, which test_nuisance.py is about, and learn trees from few patients."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nuisance, "repeats_for", lambda n: 1)
        patch.setattr(effect_model, "_LEARNED_FROM", 400)
        patch.setattr(nuisance, "_TREES_FROM", 10**9)
        yield


@pytest.fixture(scope="module")
def fit():
    X, y, arm = trial()
    return EffectModel(spline=("age",)).fit(X, y, arm, propensity=0.5)


@pytest.fixture(scope="module")
def fit_with_trees():
    X, y, arm = trial(n=450)
    return EffectModel(scale="odds_ratio").fit(X, y, arm, propensity=0.5)


def columns_of(model, n=300, seed=9):
    X, _, _ = trial(n, seed)
    return to_columns(X, model.variables_)


def stored(model, folder):
    """Return the parts as they come back from files."""
    document, arrays, boosters = model.to_parts()
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **arrays)
    file.seek(0)
    read = dict(np.load(file, allow_pickle=False))
    back = []
    for number, booster in enumerate(boosters):
        booster.save_model(folder / f"{number}.ubj")
        back.append(load_booster((folder / f"{number}.ubj").read_bytes(), booster.num_features()))
    return json.loads(json.dumps(document, allow_nan=False)), read, back


@pytest.mark.parametrize("name", ["fit", "fit_with_trees"])
def test_a_stored_model_predicts_the_same_bits(name, request, tmp_path):
    model = request.getfixturevalue(name)
    fitted = model.fitted_
    back = FittedEffect.from_parts(*stored(fitted, tmp_path))
    columns = columns_of(model)
    assert len(fitted.trees) == (2 if name == "fit_with_trees" else 0)
    for ours, theirs in zip(back.effect(columns, 300), fitted.effect(columns, 300), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(back.interval(columns, 300, 0.1), fitted.interval(columns, 300, 0.1))
    base, shares = back.contributions(columns, 300)
    expected_base, expected = fitted.contributions(columns, 300)
    assert base == expected_base
    for variable, share in expected.items():
        np.testing.assert_array_equal(shares[variable], share)
    assert back.variables == fitted.variables == ("age", "count", "ward", "diabetes")


def test_a_small_trials_model_is_small(fit, tmp_path):
    document, arrays, _ = stored(fit.fitted_, tmp_path)
    assert len(json.dumps(document)) + sum(array.nbytes for array in arrays.values()) < 150_000


@pytest.mark.parametrize("name", ["fit", "fit_with_trees"])
def test_no_array_of_a_fitted_model_is_one_of_patients(name, request):
    model = request.getfixturevalue(name)
    n = N if name == "fit" else 450
    shapes = [array.shape for array in arrays_in(vars(model))]
    assert len(shapes) > 10
    assert not [shape for shape in shapes if n in shape]


def arrays_in(thing):
    """Yield all arrays that can be reached."""
    if isinstance(thing, np.ndarray | pd.Series | pd.DataFrame):
        yield np.asarray(thing)
    elif isinstance(thing, dict):
        for value in thing.values():
            yield from arrays_in(value)
    elif isinstance(thing, list | tuple):
        if len(thing) and all(isinstance(value, int | float) for value in thing):
            yield np.array(thing)
        for value in thing:
            yield from arrays_in(value)
    elif hasattr(thing, "__dict__") and not isinstance(thing, type):
        yield from arrays_in(vars(thing))


def test_sites_leave_no_trace():
    X, y, arm = trial()
    model = EffectModel().fit(X, y, arm, propensity=0.5, groups=np.arange(N) % 7)
    assert not [array.shape for array in arrays_in(vars(model)) if N in array.shape]


def test_it_predicts_without_training_libraries(fit, tmp_path):
    document, arrays, _ = stored(fit.fitted_, tmp_path)
    columns = columns_of(fit)
    np.savez(tmp_path / "arrays.npz", **arrays)
    np.savez(tmp_path / "columns.npz", **columns)
    (tmp_path / "document.json").write_text(json.dumps(document), encoding="utf-8")
    code = (
        "import json, sys, numpy as np\n"
        "from il7ml.models.fitted_effect import FittedEffect\n"
        "folder = sys.argv[1]\n"
        "model = FittedEffect.from_parts(json.load(open(f'{folder}/document.json')),"
        " dict(np.load(f'{folder}/arrays.npz')), [])\n"
        "moments = model.effect(dict(np.load(f'{folder}/columns.npz')), 300)\n"
        "assert not {'sklearn', 'xgboost', 'il7ml.evaluation', 'joblib'} & set(sys.modules)\n"
        "print(np.array(moments).tobytes().hex())\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    moments = np.frombuffer(bytes.fromhex(done.stdout.strip())).reshape(2, 300)
    np.testing.assert_allclose(moments, fit.fitted_.effect(columns, 300), rtol=1e-12)


@pytest.mark.parametrize("name", ["fit", "fit_with_trees"])
def test_the_number_of_threads_changes_nothing(name, request):
    model = request.getfixturevalue(name)
    columns = columns_of(model, n=3000)
    answers = []
    for threads in (1, 4):
        with threadpool_limits(threads):
            answers.append(
                [*model.fitted_.effect(columns, 3000), *model.fitted_.contributions(columns, 3000)[1].values()]
            )
    np.testing.assert_array_equal(answers[0], answers[1])


def test_limits_are_normal_ones_on_the_working_scale(fit_with_trees):
    fitted, columns = fit_with_trees.fitted_, columns_of(fit_with_trees)
    mean, variance = fitted.effect(columns, 300)
    low, high = fitted.interval(columns, 300)
    np.testing.assert_allclose(np.log(low), mean - 1.959963985 * np.sqrt(variance), atol=1e-8)
    np.testing.assert_allclose(np.log(high), mean + 1.959963985 * np.sqrt(variance), atol=1e-8)
    np.testing.assert_allclose(fit_with_trees.predict(trial(300, 9)[0]), np.exp(mean), rtol=1e-12)


@pytest.mark.parametrize("name", ["fit", "fit_with_trees"])
def test_contributions_add_up_to_the_mean(name, request):
    model = request.getfixturevalue(name)
    columns = columns_of(model)
    base, shares = model.fitted_.contributions(columns, 300)
    assert list(shares) == ["age", "count", "ward", "diabetes"]
    mean, _ = model.fitted_.effect(columns, 300)
    np.testing.assert_allclose(base + sum(shares.values()), mean, atol=1e-9)
    assert max(share.std() for share in shares.values()) > 1e-3


def test_nobodys_contributions_have_a_base_too(fit):
    columns = columns_of(fit)
    base, shares = fit.fitted_.contributions({variable: values[:0] for variable, values in columns.items()}, 0)
    assert base == pytest.approx(fit.fitted_.contributions(columns, 300)[0], abs=1e-12)
    assert all(share.size == 0 for share in shares.values())


def test_contributions_are_shapley_values_by_their_definition(monkeypatch):
    """Against enumeration of all coalitions, the other variables' values being averaged over reference patients."""
    monkeypatch.setattr(fitted_effect, "_PROFILES", 5)
    rng = np.random.default_rng(0)
    X, y, arm = trial()
    X = X[["age", "ward", "count"]]
    model = EffectModel(spline=("age",)).fit(X, y, arm, propensity=0.5)
    profiles = typical_profiles(to_columns(X, model.variables_), model.variables_)
    names = list(profiles)
    rows = np.array(list(product(range(5), repeat=3))).T
    combined = {name: profiles[name][row] for name, row in zip(names, rows, strict=True)}
    X_new = X.iloc[rng.permutation(N)[:6]]
    patients = to_columns(X_new, model.variables_)

    def value(patient, coalition):
        columns = {
            name: np.full(125, patients[name][patient]) if name in coalition else combined[name] for name in names
        }
        return model.fitted_.effect(columns, 125)[0].mean()

    base, shares = model.fitted_.contributions(patients, 6)
    for patient in range(6):
        worth = {c: value(patient, c) for size in range(4) for c in combinations(names, size)}
        assert base == pytest.approx(worth[()], abs=1e-10)
        for name in names:
            expected = sum(
                (worth[tuple(n for n in names if n in c or n == name)] - gain) / (3 * comb(2, len(c)))
                for c, gain in worth.items()
                if name not in c
            )
            assert shares[name][patient] == pytest.approx(expected, abs=1e-10)
    assert np.abs(np.array(list(shares.values()))).max() > 0.01


def test_a_variable_that_never_varied_contributes_nothing():
    X, y, arm = trial()
    model = EffectModel().fit(X.assign(constant=7.0), y, arm, propensity=0.5)
    new = to_columns(trial(20, 3)[0].assign(constant=99.0), model.variables_)
    _, shares = model.fitted_.contributions(new, 20)
    np.testing.assert_array_equal(shares["constant"], 0.0)


def test_no_variables_leave_the_average():
    _, y, arm = trial()
    model = EffectModel(variables={}).fit(pd.DataFrame({"unused": np.zeros(N)}), y, arm, propensity=0.5)
    base, shares = model.fitted_.contributions({}, 3)
    assert shares == {}
    np.testing.assert_allclose(model.fitted_.effect({}, 3)[0], base, atol=1e-12)
    document, arrays, boosters = model.fitted_.to_parts()
    np.testing.assert_array_equal(FittedEffect.from_parts(document, arrays, boosters).effect({}, 3)[0], [base] * 3)


def test_reference_patients_are_quantiles_and_shares():
    columns = {
        "age": np.array([*np.arange(101.0), *[np.nan] * 101]),
        "sex": np.array([0.0, 1.0] * 20 + [1.0] * 60),
        "lost": np.full(10, np.nan),
    }
    entry = {"term": "Something", "known": "before_randomisation", "role": "other"}
    variables = {
        "age": Variable(**entry, possible=(0, 120)),
        "sex": Variable(**entry, kind="binary"),
        "lost": Variable(**entry, possible=(0, 1)),
    }
    profiles = typical_profiles(columns, variables)
    assert {values.shape for values in profiles.values()} == {(50,)}
    np.testing.assert_allclose(profiles["age"][:25], np.linspace(5, 95, 25), atol=0.5)
    assert all(age == float(f"{age:.2g}") for age in profiles["age"][:25])  # nobody's value to the last digit
    assert np.isnan(profiles["age"][25:]).all()
    np.testing.assert_array_equal(np.unique(profiles["sex"], return_counts=True), [[0, 1], [10, 40]])
    assert np.isnan(profiles["lost"]).all()


def change(place, value):
    """Return a change of the parts: in the document, or of an array's first number or shape."""

    def make(document, arrays, boosters):
        target = document
        for key in place[:-1]:
            target = target[key]
        target[place[-1]] = value
        return document, arrays, boosters

    return make


def number(name, value, at=0):
    def make(document, arrays, boosters):
        arrays[name].flat[at] = value
        return document, arrays, boosters

    return make


def array(name, made):
    return lambda document, arrays, boosters: (document, {**arrays, name: made(arrays[name])}, boosters)


CHANGES = {
    "no field": lambda document, arrays, boosters: ({**document, "kind": None}, arrays, boosters),
    "one field less": lambda document, arrays, boosters: (
        {name: value for name, value in document.items() if name != "wide"},
        arrays,
        boosters,
    ),
    "one field more": change(["code"], "import os"),
    "a list for the document": lambda document, arrays, boosters: ([], arrays, boosters),
    "no arrays": lambda document, arrays, boosters: (document, {}, boosters),
    "unknown kind": change(["kind"], "survival"),
    "a list for the kind": change(["kind"], ["binary"]),
    "unknown scale": change(["scale"], "hazard_ratio"),
    "text for a number": change(["risk_offset"], "0.1"),
    "a truth value for a number": change(["tree_scale"], True),
    "infinite": change(["tree_offset"], float("inf")),
    "missing average": change(["average"], [0.1]),
    "negative variance": change(["average"], [0.1, -1.0]),
    "average not a number": change(["average"], [float("nan"), 1.0]),
    "no design": change(["design"], None),
    "design with a key more": change(["design", "code"], 1),
    "term with a key more": change(["design", "terms", 0, "code"], 1),
    "text for a fill": change(["design", "terms", 0, "fill"], "60"),
    "fill not a number": change(["design", "terms", 0, "fill"], float("nan")),
    "negative floor": change(["design", "terms", 0, "floor"], -1.0),
    "more levels than memory": change(["design", "terms", 2, "levels"], 10**12),
    "negative levels": change(["design", "terms", 2, "levels"], -3),
    "one level less": change(["design", "terms", 2, "levels"], 2),
    "a variable twice": change(["design", "terms", 0, "variable"], "count"),
    "knots that fall": change(["design", "terms", 0, "knots"], [60.0, 50.0, 70.0]),
    "one knot": change(["design", "terms", 0, "knots"], [60.0]),
    "centre not a number": change(["design", "centre", 0], float("nan")),
    "centre too short": change(["design", "centre"], [1.0]),
    "straight beyond the design": change(["straight", 0], 99),
    "straight twice": change(["straight", 0], 2),
    "straight negative": change(["straight", 0], -1),
    "straight not whole": change(["straight", 0], 0.5),
    "trees without boosters": change(["trees"], [["age", 0]]),
    "blocks that overlap": change(["wide", 1, 0], 0),
    "a block beyond the shapes": change(["wide", -2, 1], 10**6),
    "a block of another size": change(["wide", 0, 1], 2),
    "no blocks": change(["wide"], []),
    "a block that is no pair": change(["wide", 0], [1]),
    "not finite": number("layers", np.nan),
    "negative second moment": number("squares", -1.0),
    "a mean that the variance cannot have": number("layers", 1e3),
    "second moments of no distribution": number("wide", -1e3),
    "an atom of no column": number("atoms", 99),
    "an atom between columns": number("atoms", 0.5),
    "an atom of no kind": number("atoms", 7, at=2),
    "a feature of no atom": number("pairs", 10**9),
    "a feature of a negative atom": number("pairs", -1),
    "a feature of the constant alone": number("pairs", 0),
    "a wave in a product": number("pairs", 1, at=-1),
    "integers": array("pairs", lambda values: values.astype(int)),
    "objects": array("phase", lambda values: values.astype(object)),
    "a list": array("phase", list),
    "single precision": array("risk", lambda values: values.astype(np.float32)),
    "risk too short": array("risk", lambda values: values[1:]),
    "pairs of three": array("pairs", lambda values: np.column_stack([values, values[:, 0]])),
    "one feature less": array("pairs", lambda values: values[1:]),
    "centre too short in arrays": array("centre", lambda values: values[1:]),
    "layers too narrow": array("layers", lambda values: values[:, 1:]),
    "no layers": array("layers", lambda values: values[:0]),
    "waves of other columns": array("frequency", lambda values: values[1:]),
    "one wave less": array("phase", lambda values: values[1:]),
    "one second moment less": array("wide", lambda values: values[1:]),
    "no reference patients": array("background", lambda values: values[:0]),
    "reference patients of other columns": array("background", lambda values: values[:, 1:]),
    "atoms of four numbers": array("atoms", lambda values: np.column_stack([values, values[:, 0]])),
}


@pytest.mark.parametrize("made", CHANGES.values(), ids=CHANGES)
def test_altered_parts_are_refused(made, fit):
    document, arrays, boosters = copy.deepcopy(fit.fitted_.to_parts())
    with pytest.raises(ValueError, match="the effect model"):
        FittedEffect.from_parts(*made(document, arrays, boosters))


@pytest.mark.parametrize(
    ("variables", "kept"),
    [([["age", 0]], 2), ([["age", "3"]], 2), ([[7, 0]], 2), ([["age", -1]], 2), ([["age", 10**12]], 2), ([], 2)],
)
def test_trees_that_do_not_fit_their_columns_are_refused(variables, kept, fit_with_trees):
    document, arrays, boosters = fit_with_trees.fitted_.to_parts()
    with pytest.raises(ValueError, match="the effect model"):
        FittedEffect.from_parts({**document, "trees": variables}, arrays, boosters[:kept])
