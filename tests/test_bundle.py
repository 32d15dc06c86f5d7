import hashlib
import io
import json
import os
import pickle
import zipfile

import numpy as np
import pytest
import xgboost
from tests.small_bundles import make, with_card

from il7ml.bundle import load_bundle, save_bundle
from il7ml.errors import BundleRefusedError, InputError
from il7ml.features.columns import to_columns
from il7ml.predictor import Predictor


def made_with(kind, model):
    """Return the bundle of a kind; a stack with few refits, each of which holds a cross-validation."""
    return make(kind, model, refits=3) if model == "stack" else make(kind, model)


@pytest.fixture(params=["logistic", "xgboost", "stack"])
def saved(request, tmp_path):
    folder = tmp_path / "bundle"
    save_bundle(made_with("binary", request.param).bundle, folder)
    return folder


@pytest.fixture
def linear(tmp_path):
    save_bundle(make().bundle, tmp_path / "bundle")
    return tmp_path / "bundle"


@pytest.fixture
def trees(tmp_path):
    save_bundle(make("binary", "xgboost").bundle, tmp_path / "bundle")
    return tmp_path / "bundle"


@pytest.fixture
def stack(tmp_path):
    save_bundle(made_with("binary", "stack").bundle, tmp_path / "bundle")
    return tmp_path / "bundle"


def seal(folder, **changes):
    """Make the manifest fit the folder again, as somebody would who alters a bundle on purpose."""
    files = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
        if path.name != "manifest.json"
    }
    (folder / "manifest.json").write_text(json.dumps({"format": 2, "files": files, **changes}), encoding="utf-8")


def refused(folder):
    with pytest.raises(BundleRefusedError) as caught:
        load_bundle(folder)
    assert caught.value.exit_code == 4
    return str(caught.value)


def arrays_of(folder):
    with np.load(folder / "arrays.npz") as loaded:
        return {name: loaded[name] for name in loaded.files}


def edit_json(folder, name, change):
    path = folder / name
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")
    seal(folder)


# What is saved comes back.


@pytest.mark.parametrize("model", ["prevalence", "lymphocyte", "firth", "logistic", "xgboost", "stack"])
@pytest.mark.parametrize("kind", ["binary", "count", "continuous"])
def test_round_trip_is_exact(tmp_path, kind, model):
    made = made_with(kind, model)
    digest = save_bundle(made.bundle, tmp_path / "bundle")
    loaded = load_bundle(tmp_path / "bundle")
    assert loaded.digest == digest == hashlib.sha256((tmp_path / "bundle" / "manifest.json").read_bytes()).hexdigest()
    assert loaded.card == made.bundle.card
    before, after = Predictor(made.bundle), Predictor(loaded)
    columns = to_columns(made.sample.X, {name: entry.variable for name, entry in loaded.card.variables.items()})
    n = len(made.sample.X)
    for first, second in zip(
        (made.bundle.risk, *made.bundle.refits.models), (loaded.risk, *loaded.refits.models), strict=True
    ):
        np.testing.assert_array_equal(second.linear_predictor(columns, n), first.linear_predictor(columns, n))
        assert second.arm_effect == first.arm_effect
    np.testing.assert_array_equal(loaded.refits.theta, made.bundle.refits.theta)
    np.testing.assert_array_equal(loaded.precision, made.bundle.precision)
    same, here = after.predict_table(made.sample.X), before.predict_table(made.sample.X)
    assert same.drop(columns="model_digest").equals(here.drop(columns="model_digest"))
    assert set(same["model_digest"]) == {digest}


def test_the_same_bundle_gives_the_same_files(tmp_path):
    digests = {save_bundle(make("binary", "xgboost").bundle, tmp_path / name) for name in "ab"}
    assert len(digests) == 1


def test_other_users_may_read_a_bundle(linear):
    assert linear.stat().st_mode & 0o777 == 0o755


def test_an_existing_folder_is_not_overwritten(tmp_path):
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "mine.txt").write_text("keep")
    with pytest.raises(InputError, match="exists already"):
        save_bundle(make().bundle, tmp_path / "bundle")
    assert [path.name for path in (tmp_path / "bundle").iterdir()] == ["mine.txt"]


def test_saving_is_all_or_nothing(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(InputError, match="No space left on device"):
        save_bundle(make().bundle, tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_save_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_bundle(make().bundle, tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_an_input_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        save_bundle(make().bundle, tmp_path / "file" / "bundle")


def test_a_missing_folder_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="no such bundle folder"):
        load_bundle(tmp_path / "nowhere")


# Whatever was altered is refused, whether or not the manifest was made to fit.


@pytest.mark.parametrize("name", ["card.json", "designs.json", "arrays.npz"])
def test_an_altered_byte_is_refused(saved, name):
    content = bytearray((saved / name).read_bytes())
    content[len(content) // 2] ^= 1
    (saved / name).write_bytes(content)
    assert f"{name} was altered" in refused(saved)


def test_an_altered_tree_is_refused(trees):
    content = (trees / "refit_03.ubj").read_bytes()
    (trees / "refit_03.ubj").write_bytes(content[:-1] + b"]")
    assert "refit_03.ubj was altered" in refused(trees)


@pytest.mark.parametrize("name", ["card.json", "arrays.npz"])
def test_a_removed_file_is_refused(saved, name):
    (saved / name).unlink()
    assert "added or removed" in refused(saved)
    seal(saved)
    assert "not of the expected form" in refused(saved)


def test_a_removed_refit_is_refused(trees):
    (trees / "refit_11.ubj").unlink()
    seal(trees)
    assert "not of the expected form" in refused(trees)


@pytest.mark.parametrize("name", ["model.pkl", "run.py", "card.json.bak", "refit_100.ubj", ".hidden", "sub"])
def test_an_added_file_is_refused(linear, name):
    (linear / name).mkdir() if name == "sub" else (linear / name).write_bytes(b"x")
    assert "does not trust" in refused(linear)
    if name != "sub":
        seal(linear)
        assert "does not trust" in refused(linear)


def test_a_trusted_name_that_the_manifest_lacks_is_refused(linear):
    (linear / "risk.ubj").write_bytes(b"x")
    assert "added or removed" in refused(linear)


@pytest.mark.parametrize("name", ["../card.json", "/etc/passwd", "sub/card.json", "card.json/..", "card.json\n", ""])
def test_a_name_outside_the_folder_is_refused(linear, name):
    (linear.parent / "card.json").write_bytes((linear / "card.json").read_bytes())
    manifest = json.loads((linear / "manifest.json").read_text())
    manifest["files"][name] = manifest["files"]["card.json"]
    (linear / "manifest.json").write_text(json.dumps(manifest))
    assert "does not trust" in refused(linear)


@pytest.mark.parametrize(("name", "reason"), [("card.json", "not a plain file"), ("manifest.json", "is missing")])
def test_a_link_is_refused(linear, name, reason):
    (linear / name).rename(linear.parent / "elsewhere")
    (linear / name).symlink_to(linear.parent / "elsewhere")
    assert f"{name} is {reason.removeprefix('is ')}" in refused(linear)


def test_a_pipe_is_refused_and_not_waited_for(linear):
    (linear / "card.json").unlink()
    os.mkfifo(linear / "card.json")
    assert "not a plain file" in refused(linear)


@pytest.mark.parametrize(
    "manifest",
    [
        b"",
        b"[]",
        b"{",
        b'"text"',
        b'{"format": 2}',
        b'{"format": 2, "files": [["card.json", "x"]]}',
        b'{"format": 2, "files": [[1, 2]]}',
        b'{"format": 2, "files": "card.json"}',
        b"\xff\xfe",
        b"[" * 200_000,
    ],
)
def test_a_manifest_of_another_form_is_refused(linear, manifest):
    (linear / "manifest.json").write_bytes(manifest)
    assert "manifest.json is not readable" in refused(linear)


def test_a_missing_manifest_is_refused(linear):
    (linear / "manifest.json").unlink()
    assert "manifest.json is missing" in refused(linear)


def test_a_huge_manifest_is_refused_unread(linear, monkeypatch):
    with (linear / "manifest.json").open("r+b") as file:
        file.truncate(2**40)
    assert "larger than any" in refused(linear)


def test_a_huge_file_is_refused_unread(linear):
    with (linear / "arrays.npz").open("r+b") as file:
        file.truncate(2**40)
    assert "reasonable size" in refused(linear)


@pytest.mark.parametrize("version", [0, 1, "2", None, [2]])
def test_another_format_is_refused(linear, version):
    seal(linear, format=version)
    assert "not of format 2" in refused(linear)


@pytest.mark.parametrize("digest", [None, 5, "", ["x"]])
def test_a_digest_that_is_none_is_refused(linear, digest):
    manifest = json.loads((linear / "manifest.json").read_text())
    manifest["files"]["card.json"] = digest
    (linear / "manifest.json").write_text(json.dumps(manifest))
    assert "card.json was altered" in refused(linear)


@pytest.mark.parametrize(
    "change",
    [
        lambda card: card.update(kind="survival"),
        lambda card: card.update(evidence="certain"),
        lambda card: card.pop("simulated"),
        lambda card: card.update(run="import os"),
        lambda card: card.update(theta="much"),
        lambda card: card.update(theta=float("nan")),
        lambda card: card.update(theta="NaN"),
        lambda card: card["average_effect"].update(low="Infinity"),
        lambda card: card.update(level=1.0),
        lambda card: card.update(distance_quantiles=[]),
        lambda card: card["variables"].pop("age"),
        lambda card: card["variables"]["age"].update(quantiles=[]),
        lambda card: card["eligibility"].update(height=[100, 200]),
    ],
)
def test_a_card_that_does_not_fit_is_refused(linear, change):
    edit_json(linear, "card.json", change)
    assert "not of the expected form" in refused(linear)


@pytest.mark.parametrize(
    "change",
    [
        lambda designs: designs.pop("effect"),
        lambda designs: designs.update(risk=[]),
        lambda designs: designs["risk"]["terms"].pop(),
        lambda designs: designs["risk"]["centre"].pop(),
        lambda designs: designs["risk"].update(scale=float("inf")),
        lambda designs: designs["reference"]["scale"].pop(),
        lambda designs: designs["effect"]["design"]["terms"][0].update(variable="height"),
        lambda designs: designs["effect"]["design"]["terms"][0].update(levels=10**6),
    ],
)
def test_designs_that_do_not_fit_are_refused(linear, change):
    edit_json(linear, "designs.json", change)
    assert "not of the expected form" in refused(linear)


@pytest.mark.parametrize("name", ["card.json", "designs.json"])
@pytest.mark.parametrize("content", [b"[" * 200_000, b"\xff", b"", b'{"format": 1e999}'])
def test_json_that_cannot_be_read_is_refused(linear, name, content):
    (linear / name).write_bytes(content)
    seal(linear)
    assert "not of the expected form" in refused(linear)


# The arrays: nothing but finite floats in an archive that holds what it says.


def write_arrays(folder, write=np.savez, **changes):
    write(folder / "arrays.npz", **{**arrays_of(folder), **changes})
    seal(folder)


@pytest.mark.parametrize(
    "array",
    [
        np.array([np.nan]),
        np.array([np.inf]),
        np.array([1, 2]),
        np.array(["text"]),
        np.array([1 + 2j]),
        np.array([1.0], dtype=np.float32),
        np.array([1.0], dtype=">f8"),
    ],
)
def test_arrays_of_anything_but_finite_floats_are_refused(linear, array):
    write_arrays(linear, theta=array)
    assert "not of the expected form" in refused(linear)


class Trap:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_pickle_in_the_arrays_is_refused_and_not_run(linear, tmp_path):
    trap = tmp_path / "sprung"
    write_arrays(linear, theta=np.array([Trap(trap)], dtype=object))
    refused(linear)
    with zipfile.ZipFile(linear / "arrays.npz", "w") as archive:
        archive.writestr("theta.npy", pickle.dumps(Trap(trap)))
    seal(linear)
    refused(linear)
    (linear / "arrays.npz").write_bytes(pickle.dumps(Trap(trap)))
    seal(linear)
    refused(linear)
    assert not trap.exists()


def test_a_zip_bomb_is_refused(linear):
    with zipfile.ZipFile(linear / "arrays.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("theta.npy", bytes(2**26))
    seal(linear)
    assert (linear / "arrays.npz").stat().st_size < 2**20
    refused(linear)


def npy(header):
    header = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header


@pytest.mark.parametrize(
    "member",
    [
        npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }"),
        npy("{'descr': '<f8', 'fortran_order': False, 'shape': (999999999, 999999999, 999999999), }"),
        npy("{'descr': '<f8', 'fortran_order': False, 'shape': (2,), }") + bytes(8),
        npy("{'descr': '<f8', 'fortran_order': False, 'shape': (2, "),
        npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"),
        npy("__import__('os').mkdir('sprung')"),
        b"no array at all",
        b"",
    ],
)
def test_an_array_with_a_false_header_is_refused(linear, member):
    arrays = arrays_of(linear)
    with zipfile.ZipFile(linear / "arrays.npz", "w") as archive:
        for name, array in arrays.items():
            buffer = io.BytesIO()
            np.save(buffer, array)
            archive.writestr(f"{name}.npy", member if name == "theta" else buffer.getvalue())
    seal(linear)
    assert "not of the expected form" in refused(linear)


@pytest.mark.parametrize(
    "changes",
    [
        {"theta": np.zeros(3)},
        {"theta": np.zeros((12, 1))},
        {"risk": np.zeros(2)},
        {"risk_refits": np.zeros((12, 3))},
        {"precision": np.eye(2)},
        {"effect.risk": np.zeros(2)},
        {"effect.squares": np.zeros(0)},
        {"effect.surplus": np.zeros(2)},
    ],
)
def test_arrays_that_do_not_fit_are_refused(linear, changes):
    write_arrays(linear, **changes)
    assert "not of the expected form" in refused(linear)


def test_a_damaged_archive_is_refused_whatever_the_damage(linear):
    content = (linear / "arrays.npz").read_bytes()
    expected = arrays_of(linear)["theta"]
    rng = np.random.default_rng(0)
    for _ in range(150):
        damaged = bytearray(content)
        for place in rng.choice([*range(200), *range(len(damaged) - 400, len(damaged))], 3):
            damaged[place] = rng.integers(256)
        (linear / "arrays.npz").write_bytes(bytes(damaged))
        seal(linear)
        try:
            loaded = load_bundle(linear)
        except BundleRefusedError:
            continue
        # A date or a comment in the archive may differ, never a number.
        np.testing.assert_array_equal(loaded.refits.theta, expected)


# The trees: XGBoost itself would hang or crash on most of these.


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_truncated_trees_are_refused(trees, share):
    content = (trees / "risk.ubj").read_bytes()
    (trees / "risk.ubj").write_bytes(content[: int(share * len(content))])
    seal(trees)
    assert "not of the expected form" in refused(trees)


def test_trees_for_other_columns_are_refused(trees):
    booster = xgboost.train({"max_depth": 1}, xgboost.DMatrix(np.eye(3), label=np.arange(3.0)), num_boost_round=2)
    booster.save_model(trees / "risk.ubj")
    seal(trees)
    assert "not of the expected form" in refused(trees)


def test_a_bundle_of_any_evidence_level_loads(tmp_path):
    for level in ("suggestive", "credible"):
        save_bundle(with_card(make().bundle, evidence=level), tmp_path / level)
        assert load_bundle(tmp_path / level).card.evidence == level


# The stack: its parts are checked as if each stood alone, and so are the weights.


@pytest.mark.parametrize(
    "changes",
    [
        {"stack": np.zeros(3)},
        {"stack": np.array([0.0, 0.0, 0.5, -0.1])},
        {"stack_refits": np.zeros((2, 4))},
        {"stack_refits": np.full((3, 4), -1.0)},
        {"risk": np.zeros(2)},
        {"trees": np.zeros((1, 2))},
        {"trees_refits": np.zeros((2, 2))},
    ],
)
def test_a_stack_whose_arrays_do_not_fit_is_refused(stack, changes):
    write_arrays(stack, **changes)
    assert "not of the expected form" in refused(stack)


@pytest.mark.parametrize("design", ["risk", "risk_trees"])
def test_a_stack_without_the_design_of_a_part_is_refused(stack, design):
    edit_json(stack, "designs.json", lambda designs: designs.pop(design))
    assert "not of the expected form" in refused(stack)


def test_two_parts_without_weights_are_refused(stack):
    arrays = {name: array for name, array in arrays_of(stack).items() if not name.startswith("stack")}
    np.savez(stack / "arrays.npz", **arrays, trees_alone=np.zeros(1))
    seal(stack)
    assert "not of the expected form" in refused(stack)


def test_truncated_trees_of_a_stack_are_refused(stack):
    content = (stack / "refit_01.ubj").read_bytes()
    (stack / "refit_01.ubj").write_bytes(content[: len(content) // 2])
    seal(stack)
    assert "not of the expected form" in refused(stack)


# Recalibration to a new setting.


def columns_of(made):
    return to_columns(made.sample.X, {name: entry.variable for name, entry in made.bundle.card.variables.items()})


@pytest.mark.parametrize("model", ["prevalence", "logistic", "xgboost", "stack"])
@pytest.mark.parametrize("kind", ["binary", "count", "continuous"])
def test_recalibration_moves_model_and_refits_and_survives_saving(tmp_path, kind, model):
    made = made_with(kind, model)
    bundle, columns, n = made.bundle, columns_of(made), len(made.sample.X)
    changed = bundle.recalibrated(-0.4, 0.8, "120 patients, Lyon 2025")
    for before, after in zip((bundle.risk, *bundle.refits.models), (changed.risk, *changed.refits.models), strict=True):
        expected = -0.4 + 0.8 * before.linear_predictor(columns, n)
        np.testing.assert_allclose(after.linear_predictor(columns, n), expected, atol=1e-12)
        base, shares = after.contributions(columns, n)
        np.testing.assert_allclose(base + sum(shares.values(), np.zeros(n)), expected, atol=1e-10)
    assert (changed.card.theta, changed.card.average_effect) == (bundle.card.theta, bundle.card.average_effect)
    save_bundle(changed, tmp_path / "bundle")
    loaded = load_bundle(tmp_path / "bundle")
    assert loaded.card.recalibration.model_dump() == {
        "intercept": -0.4,
        "slope": 0.8,
        "data": "120 patients, Lyon 2025",
    }
    answers = [Predictor(each).predict_table(made.sample.X).drop(columns="model_digest") for each in (changed, loaded)]
    assert answers[0].equals(answers[1])
    assert changed.digest == ""


def test_recalibrated_odds_are_the_trained_ones_shifted_and_stretched():
    made = make()
    shifted, same = made.bundle.recalibrated(0.7, 1.0, "elsewhere"), made.bundle.recalibrated(0.0, 1.0, "elsewhere")
    answers = [Predictor(bundle).predict_table(made.sample.X) for bundle in (made.bundle, shifted, same)]
    odds = [answer["risk_untreated"] / (1 - answer["risk_untreated"]) for answer in answers]
    np.testing.assert_allclose(odds[1] / odds[0], np.exp(0.7))
    np.testing.assert_allclose(odds[2], odds[0])
    # One relative effect for all: the odds ratio of the treatment stays, the absolute benefit does not.
    treated = answers[1]["risk_treated"] / (1 - answers[1]["risk_treated"])
    known = answers[1]["status"] == "ok"
    np.testing.assert_allclose((treated / odds[1])[known], np.exp(made.bundle.card.theta))
    assert not np.allclose(answers[1]["benefit"][known], answers[0]["benefit"][known], atol=1e-3)


def test_recalibrating_twice_is_shown_as_one_step():
    made = make("binary", "xgboost")
    twice = made.bundle.recalibrated(0.5, 0.8, "first").recalibrated(-0.2, 1.5, "second")
    once = made.bundle.recalibrated(-0.2 + 1.5 * 0.5, 0.8 * 1.5, "second")
    assert twice.card.recalibration.intercept == pytest.approx(once.card.recalibration.intercept)
    assert twice.card.recalibration.slope == pytest.approx(once.card.recalibration.slope)
    assert twice.card.recalibration.data == "second"
    columns, n = columns_of(made), len(made.sample.X)
    np.testing.assert_allclose(twice.risk.linear_predictor(columns, n), once.risk.linear_predictor(columns, n))


@pytest.mark.parametrize(("intercept", "slope"), [(np.nan, 1.0), (0.0, np.inf), (0.0, 0.0), (0.0, -1.0)])
def test_a_recalibration_that_is_none_is_refused(intercept, slope):
    with pytest.raises(InputError, match="expected a finite intercept and a slope above 0"):
        make().bundle.recalibrated(intercept, slope, "elsewhere")


def test_a_recalibration_names_its_patients():
    with pytest.raises(InputError, match="Name them"):
        make().bundle.recalibrated(0.1, 1.0, " ")


def test_a_recalibration_that_does_not_fit_is_refused(linear):
    edit_json(linear, "card.json", lambda card: card.update(recalibration={"intercept": 0, "slope": -1, "data": "x"}))
    assert "not of the expected form" in refused(linear)
