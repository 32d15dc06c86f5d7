import json

import numpy as np
import pytest
import xgboost

from il7ml.models.stored_trees import load_booster, parse_ubjson

FEATURES = 4


def boosted(objective="binary:logistic", depth=2, rounds=8, **settings):
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(200, FEATURES)).astype(np.float32)
    matrix[rng.random(matrix.shape) < 0.1] = np.nan
    y = (np.nan_to_num(matrix[:, 0]) + rng.normal(size=200) > 0).astype(float)
    settings = {"objective": objective, "max_depth": depth, "nthread": 1, **settings}
    return xgboost.train(settings, xgboost.DMatrix(matrix, label=y), num_boost_round=rounds), matrix


def stored(booster):
    return bytes(booster.save_raw("ubj"))


def plain(value):
    """Return a parsed value with lists in place of arrays, as JSON has them."""
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    return [plain(part) for part in value] if isinstance(value, list) else getattr(value, "tolist", lambda: value)()


@pytest.mark.parametrize("objective", ["binary:logistic", "count:poisson", "reg:squarederror"])
@pytest.mark.parametrize("depth", [1, 2, 6])
def test_what_xgboost_wrote_is_loaded_unchanged(objective, depth):
    booster, matrix = boosted(objective, depth)
    loaded = load_booster(stored(booster), FEATURES)
    assert bytes(loaded.save_raw("ubj")) == stored(booster)
    data = xgboost.DMatrix(matrix)
    np.testing.assert_array_equal(loaded.predict(data, pred_contribs=True), booster.predict(data, pred_contribs=True))


@pytest.mark.parametrize("settings", [{"gamma": 5.0}, {"lambda": 1000.0, "min_child_weight": 50.0}, {"subsample": 0.5}])
def test_pruned_and_empty_trees_are_loaded(settings):
    booster, matrix = boosted(depth=4, **settings)
    loaded = load_booster(stored(booster), FEATURES)
    np.testing.assert_array_equal(loaded.inplace_predict(matrix), booster.inplace_predict(matrix))


def test_parsed_ubjson_is_what_xgboost_writes_as_json():
    booster, _ = boosted()
    parsed, expected = plain(parse_ubjson(stored(booster))), json.loads(bytes(booster.save_raw("json")))
    for mine, its in zip(
        parsed["learner"]["gradient_booster"]["model"]["trees"],
        expected["learner"]["gradient_booster"]["model"]["trees"],
        strict=True,
    ):
        assert mine.keys() == its.keys()
        for name in its:
            assert mine[name] == (its[name] if name in ("id", "tree_param") else pytest.approx(its[name], rel=1e-6))
    assert parsed["learner"]["learner_model_param"] == expected["learner"]["learner_model_param"]
    assert parsed["version"] == expected["version"]


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (b"i\xff", -1),
        (b"U\xff", 255),
        (b"I\x01\x00", 256),
        (b"l\x00\x01\x00\x00", 65536),
        (b"L" + (2**40).to_bytes(8, "big"), 2**40),
        (b"d?\x80\x00\x00", 1.0),
        (b"D?\xf0" + bytes(6), 1.0),
        (b"SL" + bytes(7) + b"\x02ok", "ok"),
        (b"{}", {}),
        (b"[#L" + bytes(7) + b"\x02i\x01i\x02", [1, 2]),
    ],
)
def test_values_of_the_format(content, value):
    assert parse_ubjson(content) == value


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"}",
        b"[",
        b"[]",
        b"[$",
        b"[#L" + b"\xff" * 8,
        b"[#L" + b"\x7f" + b"\xff" * 7,
        b"[$d#L" + b"\x7f" + b"\xff" * 7,
        b"[$S#L" + bytes(7) + b"\x01",
        b"SL" + bytes(7) + b"\x05abc",
        b"SL" + bytes(7) + b"\x01\xff",
        b"Si\x01a",
        b"T",
        b"Z",
        b"i\x01i\x01",
        b"{L" + bytes(7) + b"\x01ai\x01L" + bytes(7) + b"\x01ai\x01}",
        (b"[#L" + bytes(7) + b"\x01") * 1000,
        (b"{L" + bytes(7) + b"\x01a") * 1000,
    ],
)
def test_malformed_ubjson_is_refused(content):
    with pytest.raises(ValueError, match=r"."):
        parse_ubjson(content)
    with pytest.raises(ValueError, match=r"."):
        load_booster(content, FEATURES)


def replaced(content, old, new, count=1):
    assert content.count(old) >= 1
    return content.replace(old, new, count)


def numbers(name, marker, values):
    dtype = {"l": ">i4", "d": ">f4", "U": ">u1"}[marker]
    head = b"L" + len(name).to_bytes(8, "big") + name.encode()
    return head + b"[$" + marker.encode() + b"#L" + len(values).to_bytes(8, "big") + np.array(values, dtype).tobytes()


CHANGES = {
    "a child that is not there": ("left_children", "l", [1, 3, 5, -1, -1, -1, -1], [99, 3, 5, -1, -1, -1, -1]),
    "a negative child": ("left_children", "l", [1, 3, 5, -1, -1, -1, -1], [1, 3, -7, -1, -1, -1, -1]),
    "a circle": ("left_children", "l", [1, 3, 5, -1, -1, -1, -1], [1, 0, 5, -1, -1, -1, -1]),
    "a child of two": ("right_children", "l", [2, 4, 6, -1, -1, -1, -1], [2, 4, 4, -1, -1, -1, -1]),
    "a leaf with a child": ("right_children", "l", [2, 4, 6, -1, -1, -1, -1], [2, 4, 6, 2, -1, -1, -1]),
    "a wrong parent": ("parents", "l", [2**31 - 1, 0, 0, 1, 1, 2, 2], [2**31 - 1, 0, 0, 1, 1, 2, 9]),
    "too few nodes": ("left_children", "l", [1, 3, 5, -1, -1, -1, -1], [1, -1, -1]),
    "a split by category": ("split_type", "U", [0] * 7, [1] + [0] * 6),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_tree_with_a_fault_is_refused(change):
    name, marker, before, after = change
    content = stored(boosted()[0])
    with pytest.raises(ValueError, match="trees"):
        load_booster(replaced(content, numbers(name, marker, before), numbers(name, marker, after)), FEATURES)


def test_a_split_on_a_column_that_is_not_there_is_refused():
    content = stored(boosted()[0])
    split = parse_ubjson(content)["learner"]["gradient_booster"]["model"]["trees"][0]["split_indices"].tolist()
    with pytest.raises(ValueError, match="made for these columns"):
        load_booster(
            replaced(content, numbers("split_indices", "l", split), numbers("split_indices", "l", [1000, *split[1:]])),
            FEATURES,
        )


@pytest.mark.parametrize("leaf", [np.nan, np.inf])
def test_a_leaf_that_is_not_finite_is_refused(leaf):
    content = stored(boosted()[0])
    values = parse_ubjson(content)["learner"]["gradient_booster"]["model"]["trees"][0]["split_conditions"].tolist()
    with pytest.raises(ValueError, match="finite"):
        load_booster(
            replaced(
                content,
                numbers("split_conditions", "d", values),
                numbers("split_conditions", "d", [*values[:-1], leaf]),
            ),
            FEATURES,
        )


@pytest.mark.parametrize(
    ("objective", "settings", "features"),
    [
        ("binary:logistic", {}, 3),
        ("binary:logistic", {}, 5),
        ("binary:hinge", {}, FEATURES),
        ("binary:logistic", {"booster": "dart"}, FEATURES),
        ("binary:logistic", {"num_parallel_tree": 2}, FEATURES),
        ("multi:softprob", {"num_class": 2}, FEATURES),
    ],
)
def test_a_sound_model_of_another_kind_is_refused(objective, settings, features):
    content = stored(boosted(objective, rounds=2, **settings)[0])
    with pytest.raises(ValueError, match="trees"):
        load_booster(content, features)


def test_a_model_without_a_part_is_refused():
    with pytest.raises(ValueError, match="lacks a part"):
        load_booster(b"{}", FEATURES)
    with pytest.raises(ValueError, match="lacks a part"):
        load_booster(b"i\x01", FEATURES)


def test_random_damage_never_reaches_the_library_as_a_fault():
    content = stored(boosted()[0])
    matrix = xgboost.DMatrix(np.zeros((2, FEATURES), dtype=np.float32))
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        damaged = bytearray(content)
        for place in rng.integers(0, len(damaged), 3):
            damaged[place] = rng.integers(256)
        try:
            booster = load_booster(bytes(damaged[: rng.integers(0, 2 * len(damaged))]), FEATURES)
        except ValueError:
            refused += 1
            continue
        # What is left are other numbers in a sound tree.
        assert booster.predict(matrix, pred_contribs=True).shape == (2, FEATURES + 1)
    assert refused > 200
