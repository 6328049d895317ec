"""tf.nest: nested lists, tuples and dicts."""

from __future__ import annotations

from typing import Any

import optree

_TREE: Any = {"none_is_leaf": True, "namespace": "gpugrad"}


def flatten(structure: Any) -> list[Any]:
    """The leaves, dicts in the order of their keys."""
    return optree.tree_leaves(structure, **_TREE)


def map_structure(func: Any, *structure: Any) -> Any:
    """func of the leaves in the same places, in the structure of the first.  ValueError if the structures differ."""
    return optree.tree_map(func, *structure, **_TREE)


def pack_sequence_as(structure: Any, flat_sequence: Any) -> Any:
    """The leaves put into `structure`.  ValueError for another number of leaves."""
    return optree.tree_structure(structure, **_TREE).unflatten(flat_sequence)


def is_nested(structure: Any) -> bool:
    """Whether it is a list, tuple or dict."""
    return not optree.tree_is_leaf(structure, **_TREE)


def assert_same_structure(nest1: Any, nest2: Any) -> None:
    """ValueError if the two are nested in different ways."""
    map_structure(lambda *_: None, nest1, nest2)
