"""XGBoost's UBJSON, read with care: the library trusts a file's indices and lengths, so they are checked before.

A model file that was cut short makes XGBoost 3.2 read on for ever, and a wrong index in one makes it crash the process.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_NUMBERS = {"U": ">u1", "i": ">i1", "I": ">i2", "l": ">i4", "L": ">i8", "d": ">f4", "D": ">f8"}
_DEEPEST = 12
_NO_PARENT = 2**31 - 1
_OBJECTIVES = ("binary:logistic", "count:poisson", "reg:squarederror")
_PER_NODE = {
    "left_children": "i4",
    "right_children": "i4",
    "parents": "i4",
    "split_indices": "i4",
    "default_left": "u1",
    "split_type": "u1",
    "base_weights": "f4",
    "loss_changes": "f4",
    "split_conditions": "f4",
    "sum_hessian": "f4",
}
_CATEGORIES = ("categories", "categories_nodes", "categories_segments", "categories_sizes")


def load_booster(content: bytes, features: int) -> Any:
    """Return the boosted trees that `content` holds.

    Parameters
    ----------
    content : bytes
        What `Booster.save_model` writes to a file named ``.ubj``.
    features : int
        Columns of the matrix that the trees will see.

    Returns
    -------
    xgboost.Booster
        With one thread.

    Raises
    ------
    ValueError
        If it is not a sound model of numeric splits on that many columns. No value is repeated.

    References
    ----------
    Universal Binary JSON, draft 12 (ubjson.org); XGBoost's model schema (xgboost.readthedocs.io, "Introduction to
    Model IO").
    """
    try:
        _check_model(parse_ubjson(content), features)
    except (KeyError, TypeError, AttributeError):
        raise ValueError("the trees' file lacks a part of the model") from None
    import xgboost

    booster = xgboost.Booster({"nthread": 1})
    try:
        booster.load_model(bytearray(content))
    except xgboost.core.XGBoostError:
        raise ValueError("the trees' file is not a model") from None
    return booster


def parse_ubjson(content: bytes) -> Any:
    r"""Return the value that UBJSON stands for, in the subset that XGBoost writes; typed arrays become ndarrays.

    Raises
    ------
    ValueError
        If it is cut short, goes on after its end, is nested too deeply, or is of another form.

    Examples
    --------
    >>> parse_ubjson(b"{L" + bytes(7) + b"\x01ai\x05}")
    {'a': 5}
    """
    reader = _Reader(content)
    value = reader.value(reader.marker(), 0)
    if reader.place != len(content):
        raise ValueError("the file goes on after its end")
    return value


class _Reader:
    """A place in UBJSON and what stands there."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.place = 0

    def take(self, size: int) -> bytes:
        end = self.place + size
        if end > len(self.content):
            raise ValueError("the file is cut short")
        taken, self.place = self.content[self.place : end], end
        return taken

    def marker(self) -> str:
        return chr(self.take(1)[0])

    def count(self) -> int:
        if self.take(1) != b"L":
            raise ValueError("a length is not of the expected form")
        return int.from_bytes(self.take(8), "big")

    def text(self) -> str:
        return self.take(self.count()).decode("utf-8")

    def value(self, marker: str, depth: int) -> Any:
        if depth > _DEEPEST:
            raise ValueError("the file is nested too deeply")
        if marker == "{":
            return self._object(depth)
        if marker == "[":
            return self._array(depth)
        if marker == "S":
            return self.text()
        return self._numbers(marker, 1)[0].item()

    def _object(self, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while self.content[self.place : self.place + 1] != b"}":
            name = self.text()
            if name in found:
                raise ValueError("a key stands twice")
            found[name] = self.value(self.marker(), depth + 1)
        self.place += 1
        return found

    def _array(self, depth: int) -> Any:
        marker = self.marker()
        kind = self.marker() if marker == "$" else ""
        if (self.marker() if kind else marker) != "#":
            raise ValueError("an array without its length")
        count = self.count()
        return self._numbers(kind, count) if kind else [self.value(self.marker(), depth + 1) for _ in range(count)]

    def _numbers(self, kind: str, count: int) -> NDArray[Any]:
        if kind not in _NUMBERS:
            raise ValueError("a value of an unexpected type")
        dtype = np.dtype(_NUMBERS[kind])
        return np.frombuffer(self.take(count * dtype.itemsize), dtype)


def _check_model(model: dict[str, Any], features: int) -> None:
    learner = model["learner"]
    settings, boosted = learner["learner_model_param"], learner["gradient_booster"]
    trees, shape = boosted["model"]["trees"], boosted["model"]["gbtree_model_param"]
    rounds = list(range(len(trees) + 1))
    _demand(learner["objective"]["name"] in _OBJECTIVES and boosted["name"] == "gbtree", "of the expected kind")
    _demand(
        settings["num_feature"] == str(features) and settings["num_class"] == "0" and settings["num_target"] == "1",
        "made for these columns",
    )
    _demand(
        shape["num_trees"] == str(len(trees))
        and shape["num_parallel_tree"] == "1"
        and boosted["model"]["iteration_indptr"] == rounds
        and boosted["model"]["tree_info"] == [0] * len(trees),
        "complete",
    )
    for number, tree in enumerate(trees):
        _check_tree(tree, number, features)


def _check_tree(tree: dict[str, Any], number: int, features: int) -> None:
    nodes = len(tree["left_children"])
    for name, kind in _PER_NODE.items():
        array = tree[name]
        _demand(array.shape == (nodes,) and array.dtype == np.dtype(f">{kind}"), "of the expected form")
    shape = tree["tree_param"]
    _demand(
        tree["id"] == number
        and shape["num_nodes"] == str(nodes)
        and shape["num_deleted"] == "0"
        and shape["num_feature"] == str(features)
        and shape["size_leaf_vector"] == "1",
        "of the expected form",
    )
    _demand(not tree["split_type"].any() and all(len(tree[name]) == 0 for name in _CATEGORIES), "numeric")
    left, right, parents = tree["left_children"], tree["right_children"], tree["parents"]
    inner = np.flatnonzero(left != -1)
    children = np.concatenate([left[inner], right[inner]])
    # Each node but the root is the child of one other that stands before it: whoever walks down arrives.
    _demand(
        nodes > 0
        and bool((right[left == -1] == -1).all())
        and np.array_equal(np.sort(children), np.arange(1, nodes))
        and bool((children > np.tile(inner, 2)).all())
        and parents[0] == _NO_PARENT
        and np.array_equal(parents[children], np.tile(inner, 2)),
        "whole",
    )
    split = tree["split_indices"]
    _demand(bool(((split >= 0) & (split < features)).all()), "made for these columns")
    _demand(bool(np.isfinite(tree["split_conditions"]).all() and (tree["default_left"] <= 1).all()), "finite")


def _demand(holds: bool, form: str) -> None:
    if not holds:
        raise ValueError(f"the trees are not {form}")
