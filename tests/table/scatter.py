"""Writing elements: by an index, along an axis, by segments."""

import numpy as np

import gpugrad as gg

from .row import row as any_row


def row(*args, **options):
    return any_row(*args, **{"complex": True, **options})


def real(*args, **options):
    """A row of what compares: complex numbers have no order."""
    return row(*args, complex=False, **options)


def at(name, f, key):
    """np.f.at, or `=`, on a copy."""

    def changed(x, v):
        out = np.array(x)
        if f is None:
            out[key] = v
        else:
            f.at(out, key, v)
        return out

    return changed


def segments(start, f, n=4):
    def reduced(x):
        out = np.full((n, *x.shape[1:]), start, x.dtype)
        f.at(out, IDS, x)
        return out

    return reduced


MASK = np.arange(12).reshape(3, 4) % 3 == 0
IDS = np.array([3, 1, 3])
ALONG = np.array([[0, 0, 1]] * 3)
PAIRS = np.array([[[0, 1]], [[2, -1]], [[0, 1]]])
# (the index, the shape of the values): elements once, rows twice, elements twice, in a mask, none at all
CASES = {"row": (1, (4,)), "slice": ((slice(None), slice(1, 3)), (3, 1)), "rows": ([0, 2, 2], (3, 4)),
    "columns": ((slice(None), [3, 1, 3]), (3,)), "elements": (([0, 2, 2], [1, -1, 3]), (3,)),
    "one value": ([1, 1], ()), "mask": (MASK, (4,)), "mask and integers": (([True, False, True], [[1], [1]]), (2, 2)),
    "none": ([], (1, 4)), "apart": (([0, 0], None, [1, 1]), (1,))}  # fmt: skip
FEW = {"subtract": ("rows", "mask"), "divide": ("slice", "rows", "one value")}
HOW = {"set": None, "add": np.add, "subtract": np.subtract, "multiply": np.multiply, "divide": np.divide}


def along(x, v):
    out = np.array(x)
    np.put_along_axis(out, ALONG, v, 1)
    return out


def along_sum(x, v):
    out = np.array(x)
    np.add.at(out, (np.arange(3)[:, None], ALONG), v)
    return out


def vectors_sum(v):
    out = np.zeros((3, 4, 2), v.dtype)
    np.add.at(out, tuple(np.moveaxis(PAIRS, -1, 0)), v)
    return out


ROWS = [
    *[row(f"at {how} {case}", lambda x, v, how=how, key=key: getattr(x.at[key], how)(v), at(how, f, key), (3, 4), shape,
        apart=0.5 if how == "divide" else 0.1) for how, f in HOW.items() for case, (key, shape) in CASES.items() if how not in FEW or case in FEW[how]],
    *[real(f"at {how} {case}", lambda x, v, how=how, key=key: getattr(x.at[key], how)(v), at(how, f, key), (3, 4), shape)
        for how, f in {"max": np.maximum, "min": np.minimum}.items() for case, (key, shape) in CASES.items()
        if case in (FEW["divide"] if how == "min" else CASES)],
    real("at max of ties", lambda x, v: x.at[[0, 0, 1]].max(v), at("max", np.maximum, [0, 0, 1]), (3,), (3,),
        kinks=((([1, 5, np.nan], [1, 1, 2]), ([1 / 3, 1, 1], [1 / 3, 1 / 3, 0])), (([0, 1, 2], [1, 1, np.nan]),
        ([0, 0, 1], [0.5, 0.5, 1])))),
    row("at get", lambda x: x.at[[0, 0]].get(), lambda x: x[[0, 0]]),
    row("at set of none", lambda x, v: x.at[:, [0, 0]].set(v), at("set", None, (slice(None), [0, 0])), (2, 3), (2,),
        empty=((0, 3), (2,))),
    row("put_along_axis", lambda x, v: gg.put_along_axis(x, ALONG, v, axis=1), along, (3, 4), (3, 3)),
    row("put_along_axis add", lambda x, v: gg.put_along_axis(x, ALONG, v, 1, "add"), along_sum, (3, 4), (3, 1)),
    row("put_along_axis flat", lambda x, v: gg.put_along_axis(x, [5, 1], v, axis=None),
        lambda x, v: np.concatenate([x[0, :1], v[1:], x[0, 2:], x[1, :1], v[:1], x[1, 2:], x[2]]).reshape(3, 4), (3, 4), (2,)),
    row("index_add", lambda x, v: gg.index_add(x, [2, 0, 2], v), at("add", np.add, [2, 0, 2]), (3, 4), (3, 4)),
    row("index_add axis alpha", lambda x, v: gg.index_add(x, [1, 1], v, axis=-1, alpha=-2),
        lambda x, v: at("add", np.add, (slice(None), [1, 1]))(x, -2 * v), (3, 4), (3, 2)),
    row("scatter_nd", lambda v: gg.scatter_nd(PAIRS, v, (3, 4, 2)), vectors_sum, (3, 1, 2)),
    row("scatter_nd numbers", lambda v: gg.scatter_nd([[3], [3]], v, (4,)), lambda v: np.array([0, 0, 0, v.sum()]), (2,)),
    row("segment_sum", lambda x: gg.segment_sum(x, IDS), segments(0, np.add)),
    row("segment_sum more", lambda x: gg.segment_sum(x, IDS, 6), segments(0, np.add, 6)),
    row("segment_sum of two axes", lambda x: gg.segment_sum(x, [[0, 1], [1, 0]], 2),
        lambda x: np.stack([x[0, 0] + x[1, 1], x[0, 1] + x[1, 0]]), (2, 2, 3)),
    row("segment_mean", lambda x: gg.segment_mean(x, IDS), lambda x: segments(0, np.add)(x) / [[1], [1], [1], [2]]),
    row("segment_prod", lambda x: gg.segment_prod(x, IDS), segments(1, np.multiply), apart=0.1),
    real("segment_max", lambda x: gg.segment_max(x, [1, 0, 1]), lambda x: np.stack([x[1], np.maximum(x[0], x[2])]),
        kinks=((([[1], [2], [1]],), ([[0.5], [1], [0.5]],)),)),
    real("segment_min", lambda x: gg.segment_min(x, [1, 0, 1]), lambda x: np.stack([x[1], np.minimum(x[0], x[2])]),
        kinks=((([[1], [2], [1]],), ([[0.5], [1], [0.5]],)),)),
]  # fmt: skip
