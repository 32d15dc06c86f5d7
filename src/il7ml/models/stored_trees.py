"""XGBoost's UBJSON, read with care: the library trusts a file's indices and lengths, so they are checked before.

A model file that was cut short makes XGBoost 3.2 read on for ever, and a wrong index in one makes it crash the process.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

_NUMBERS = {
    marker: np.dtype(kind)
    for marker, kind in {"U": ">u1", "i": ">i1", "I": ">i2", "l": ">i4", "L": ">i8", "d": ">f4", "D": ">f8"}.items()
}
#: How an array of one type of numbers begins, after its bracket.
_TYPED = {f"${marker}#".encode(): dtype for marker, dtype in _NUMBERS.items()}
_DEEPEST = 12
_NO_PARENT = 2**31 - 1
_OBJECTIVES = ("binary:logistic", "count:poisson", "reg:squarederror")
_PER_NODE = {
    "left_children": _NUMBERS["l"],
    "right_children": _NUMBERS["l"],
    "parents": _NUMBERS["l"],
    "split_indices": _NUMBERS["l"],
    "default_left": _NUMBERS["U"],
    "split_type": _NUMBERS["U"],
    "base_weights": _NUMBERS["d"],
    "loss_changes": _NUMBERS["d"],
    "split_conditions": _NUMBERS["d"],
    "sum_hessian": _NUMBERS["d"],
}
_CATEGORIES = ("categories", "categories_nodes", "categories_segments", "categories_sizes")


class StoredTrees(NamedTuple):
    """The nodes of a model's trees, one tree after the other; children are numbered within their tree.

    Attributes
    ----------
    sizes : ndarray of shape (trees,)
        Nodes of each tree.
    left, right : ndarray of shape (nodes,)
        Children, -1 for those of a leaf.
    feature : ndarray of shape (nodes,)
    value : ndarray of shape (nodes,)
        Threshold, or the value of a leaf.
    missing_left : ndarray of shape (nodes,)
        Where a gap goes.
    """

    sizes: NDArray[np.intp]
    left: NDArray[np.intp]
    right: NDArray[np.intp]
    feature: NDArray[np.intp]
    value: NDArray[np.float32]
    missing_left: NDArray[np.bool_]


def load_booster(content: bytes, features: int) -> Any:
    """Return the boosted trees that `content` holds; see `load_trees`."""
    return load_trees(content, features)[0]


def load_trees(content: bytes, features: int) -> tuple[Any, StoredTrees]:
    """Return the boosted trees that `content` holds, and their nodes.

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
    StoredTrees

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
        trees = _check_model(parse_ubjson(content), features)
    except (KeyError, TypeError, AttributeError):
        raise ValueError("the trees' file lacks a part of the model") from None
    import xgboost

    booster = xgboost.Booster({"nthread": 1})
    try:
        booster.load_model(bytearray(content))
    except xgboost.core.XGBoostError:
        raise ValueError("the trees' file is not a model") from None
    return booster, trees


def trees_of(booster: Any) -> StoredTrees:
    """Return the nodes of a fitted booster's trees."""
    return _joined(parse_ubjson(bytes(booster.save_raw("ubj")))["learner"]["gradient_booster"]["model"]["trees"])


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
        if self.content[self.place : self.place + 1] != b"L":
            raise ValueError("a length is not of the expected form")
        return int.from_bytes(self.take(9)[1:], "big")

    def text(self) -> str:
        # Half of a file is names, so they are taken in one step.
        place, begin = self.place, self.place + 9
        if self.content[place : place + 1] != b"L":
            raise ValueError("a length is not of the expected form")
        self.place = begin + int.from_bytes(self.content[place + 1 : begin], "big")
        if self.place > len(self.content):
            raise ValueError("the file is cut short")
        return self.content[begin : self.place].decode("utf-8")

    def value(self, marker: str, depth: int) -> Any:
        if depth > _DEEPEST:
            raise ValueError("the file is nested too deeply")
        if marker == "{":
            return self._object(depth)
        if marker == "[":
            return self._array(depth)
        if marker == "S":
            return self.text()
        if marker not in _NUMBERS:
            raise ValueError("a value of an unexpected type")
        return self._numbers(_NUMBERS[marker], 1)[0].item()

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
        dtype = _TYPED.get(self.content[self.place : self.place + 3])
        if dtype is not None:
            self.place += 3
            return self._numbers(dtype, self.count())
        if self.marker() != "#":
            raise ValueError("an array without its length")
        return [self.value(self.marker(), depth + 1) for _ in range(self.count())]

    def _numbers(self, dtype: np.dtype[Any], count: int) -> NDArray[Any]:
        return np.frombuffer(self.take(count * dtype.itemsize), dtype)


def _check_model(model: dict[str, Any], features: int) -> StoredTrees:
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
        _check_tree(tree, number, str(features))
    joined = _joined(trees)
    _check_nodes(joined, _column(trees, "parents").astype(np.intp), features)
    return joined


def _check_tree(tree: dict[str, Any], number: int, features: str) -> None:
    nodes = len(tree["left_children"])
    for name, dtype in _PER_NODE.items():
        array = tree[name]
        _demand(array.shape == (nodes,) and array.dtype == dtype, "of the expected form")
    shape = tree["tree_param"]
    _demand(
        tree["id"] == number
        and shape["num_nodes"] == str(nodes)
        and shape["num_deleted"] == "0"
        and shape["num_feature"] == features
        and shape["size_leaf_vector"] == "1",
        "of the expected form",
    )
    _demand(nodes > 0, "whole")
    _demand(not any(tree["split_type"].tobytes()) and not any(len(tree[name]) for name in _CATEGORIES), "numeric")


def _check_nodes(trees: StoredTrees, parents: NDArray[np.intp], features: int) -> None:
    sizes, left, right = trees.sizes, trees.left, trees.right
    roots = np.cumsum(sizes) - sizes
    start, size = np.repeat(roots, sizes), np.repeat(sizes, sizes)
    within = np.arange(left.size) - start
    inner = np.flatnonzero(left != -1)
    twice = np.tile(inner, 2)
    children = np.concatenate([left[inner], right[inner]])
    # Each node but the root is the child of one other of its tree that stands before it: whoever walks down arrives.
    _demand(
        bool((right[left == -1] == -1).all() and (children > within[twice]).all() and (children < size[twice]).all())
        and np.array_equal(np.sort(children + start[twice]), np.flatnonzero(within > 0))
        and bool((parents[roots] == _NO_PARENT).all())
        and np.array_equal(parents[children + start[twice]], within[twice]),
        "whole",
    )
    _demand(bool(((trees.feature >= 0) & (trees.feature < features)).all()), "made for these columns")
    _demand(bool(np.isfinite(trees.value).all()), "finite")


def _column(trees: list[dict[str, Any]], name: str) -> NDArray[Any]:
    return np.concatenate([np.empty(0, _PER_NODE[name]), *(tree[name] for tree in trees)])


def _joined(trees: list[dict[str, Any]]) -> StoredTrees:
    missing = _column(trees, "default_left")
    _demand(bool((missing <= 1).all()), "finite")
    return StoredTrees(
        sizes=np.array([len(tree["left_children"]) for tree in trees], dtype=np.intp),
        left=_column(trees, "left_children").astype(np.intp),
        right=_column(trees, "right_children").astype(np.intp),
        feature=_column(trees, "split_indices").astype(np.intp),
        value=_column(trees, "split_conditions").astype(np.float32),
        missing_left=missing.astype(bool),
    )


def _demand(holds: bool, form: str) -> None:
    if not holds:
        raise ValueError(f"the trees are not {form}")
