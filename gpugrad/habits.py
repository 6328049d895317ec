"""Floor 0: names of other libraries, chiefly PyTorch's, and what is written for them here: for error messages."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from types import ModuleType

# What a Tensor x has under another name, or as a function or an operator.
METHODS: dict[str, str] = {
    "view": "x.reshape(shape)", "view_as": "x.reshape(y.shape)", "reshape_as": "x.reshape(y.shape)",
    "unsqueeze": "x.expand_dims(axis)", "permute": "x.permute_dims(axes)", "t": "x.T", "dim": "x.ndim",
    "numel": "x.size", "expand": "x.broadcast_to(shape)", "expand_as": "x.broadcast_to(y.shape)",
    "repeat": "gg.tile(x, times)", "repeat_interleave": "gg.repeat(x, times, axis)",
    "contiguous": "x as it is: no op asks for an order in memory",
    "chunk": "gg.split(x, parts, axis)", "unbind": "gg.unstack(x, axis)", "clamp": "x.clip(min, max)",
    "gather": "gg.take_along_axis(x, indices, axis)", "index_select": "gg.take(x, indices, axis)",
    "scatter": "gg.put_along_axis(x, indices, values, axis)",
    "scatter_add": 'gg.put_along_axis(x, indices, values, axis, "add")',
    "float": 'x.astype("float32")', "double": 'x.astype("float64")', "half": 'x.astype("float16")',
    "bfloat16": 'x.astype("bfloat16")', "long": 'x.astype("int64")', "int": 'x.astype("int32")',
    "bool": 'x.astype("bool")', "type": "x.astype(dtype)", "type_as": "x.astype(y.dtype)",
    "is_cuda": 'x.device.kind == "cuda"', "pin_memory": "gg.data.DataLoader, which does so for a GPU",
    "new_zeros": "gg.zeros(shape, x.dtype, x.device)", "new_ones": "gg.ones(shape, x.dtype, x.device)",
    "new_tensor": "gg.tensor(values, x.dtype, x.device)", "element_size": "x.dtype.itemsize",
    **dict.fromkeys(["matmul", "mm", "bmm", "mv", "dot"], "x @ y"),
    **{name: f"x {sign} y" for name, sign in {
        "add": "+", "sub": "-", "mul": "*", "div": "/", "pow": "**", "eq": "==", "ne": "!=", "lt": "<", "le": "<=",
        "gt": ">", "ge": ">=",
    }.items()},
    "neg": "-x", "norm": "gg.norm(x, axis=axis)", "softmax": "gg.softmax(x, axis)",
    "log_softmax": "gg.log_softmax(x, axis)", "sigmoid": "gg.sigmoid(x)", "relu": "gg.relu(x)",
    "masked_fill": "gg.masked_fill(x, mask, value)", "topk": "gg.topk(x, k)",
    "split": "gg.split(x, parts_or_sizes, axis)",
    "quantile": "gg.quantile(x, q, axis)",
    **{name: f"gg.{name}(x, axis)" for name in ("argsort", "cumprod", "flip", "median", "sort")},
    **{name: f"gg.{name}(x)" for name in (
        "acos", "asin", "atan", "ceil", "cosh", "diagonal", "erf", "expm1", "floor", "isfinite", "isinf", "isnan",
        "log10", "log1p", "log2", "reciprocal", "round", "rsqrt", "sign", "sinh", "tan", "trace", "tril", "triu",
        "trunc",
    )},
    "where": "gg.where(mask, x, y)", "outer": "gg.outer(x, y)", "roll": "gg.roll(x, shift, axis)",
    "zero_": "p.grad = None, or optimizer.zero_grad(), for a gradient; gg.zeros_like(x) for a new tensor",
    **{name: f"p.assign({value}) of a Parameter or Variable, or x.at[key].set(value): a Tensor does not change"
       for name, value in {"copy_": "values", "fill_": "gg.full_like(p, value)"}.items()},
    **{f"{name}_": f"p.assign(p {sign} y) of a Parameter or Variable: a Tensor does not change"
       for name, sign in {"add": "+", "sub": "-", "mul": "*", "div": "/"}.items()},
    "clamp_": "p.assign(p.clip(min, max)) of a Parameter or Variable: a Tensor does not change",
    "normal_": "gg.nn.init.normal_(p)", "uniform_": "gg.nn.init.uniform_(p)",
    "detach_": "x = x.detach()", "masked_fill_": "x = gg.masked_fill(x, mask, value)",
}  # fmt: skip

# What gpugrad has under another name.
FUNCTIONS: dict[str, str] = {
    "cat": "gg.concat(xs, axis)", "unsqueeze": "gg.expand_dims(x, axis)", "permute": "gg.permute_dims(x, axes)",
    "transpose": "gg.swapaxes(x, axis1, axis2)", "clamp": "gg.clip(x, min, max)", "chunk": "gg.split(x, parts, axis)",
    "unbind": "gg.unstack(x, axis)", "gather": "gg.take_along_axis(x, indices, axis)",
    "index_select": "gg.take(x, indices, axis)", "numel": "x.size", "t": "x.T", "is_tensor": "isinstance(x, gg.Tensor)",
    **dict.fromkeys(["mm", "bmm", "mv"], "x @ y"),
    **{name: f"gg.{own}(x, y)" for name, own in {
        "sub": "subtract", "mul": "multiply", "div": "divide", "eq": "equal", "ne": "not_equal", "lt": "less",
        "le": "less_equal", "gt": "greater", "ge": "greater_equal",
    }.items()},
    "neg": "gg.negative(x)", "allclose": "gg.isclose(x, y).all()", "hstack": "gg.concat(xs, 1)",
    "vstack": "gg.concat(xs, 0)", "randn": "gg.random.normal(shape)", "rand": "gg.random.uniform(shape)",
    "randint": "gg.random.randint(low, high, shape)", "randperm": "gg.random.permutation(n)",
    "manual_seed": "gg.random.seed(number)", "seed": "gg.random.seed(number)", "empty": "gg.zeros(shape)",
    "bernoulli": "gg.random.bernoulli", "multinomial": "gg.random.categorical",
    **dict.fromkeys(["from_numpy", "as_tensor", "asarray", "constant", "FloatTensor", "LongTensor"],
                    "gg.tensor(values, dtype)"),
    "float": "gg.float32", "double": "gg.float64", "half": "gg.float16", "long": "gg.int64", "int": "gg.int32",
    "bool": "gg.bool_", "inference_mode": "gg.no_grad()", "cuda": "gg.device_count() for how many GPUs there are",
    "utils": "gg.data.DataLoader, gg.checkpoint", "onnx": "gg.interop.onnx.export(model, inputs, path)",
    "Module": "gg.nn.Module", "finfo": "np.finfo(x.dtype), or ml_dtypes.finfo of bfloat16",
    "unique": "np.unique(x.numpy()), which has no gradient", "bincount": "np.bincount(x.numpy(), minlength=n), or "
    "gg.segment_sum(weights, x, n), which has a gradient",
}  # fmt: skip

# What gpugrad.linalg and gpugrad.random have elsewhere.
LINALG: dict[str, str] = {
    "norm": "gg.norm(x, axis=axis), gg.linalg.vector_norm or gg.linalg.matrix_norm", "multi_dot": "x @ y",
    "einsum": "gg.einsum(subscripts, x, y)", "dot": "gg.dot(x, y)", "kron": "gg.kron(x, y)",
}  # fmt: skip
RANDOM: dict[str, str] = {
    **dict.fromkeys(["randn", "standard_normal"], "gg.random.normal(shape)"),
    **dict.fromkeys(["rand", "random"], "gg.random.uniform(shape)"),
    "randperm": "gg.random.permutation(n)", "manual_seed": "gg.random.seed(number)",
    "multinomial": "gg.random.categorical",
    **dict.fromkeys(["default_rng", "RandomState"], "gg.random.Generator(seed)"),
}  # fmt: skip

# What gpugrad.nn has elsewhere.
NN: dict[str, str] = {
    **dict.fromkeys(["functional", "F"], "gg.nn.relu and its like: the functions are in gg.nn itself"),
    "pad": "gg.pad(x, widths)", "one_hot": "gg.one_hot(labels, classes)", "normalize": "gg.normalize(x, axis=axis)",
    "logsigmoid": "gg.nn.log_sigmoid(x)", "multi_head_attention_forward": "gg.nn.MultiheadAttention",
    "utils": "gg.optim.clip_grad_norm_ and gg.optim.clip_grad_value_",
    "SyncBatchNorm": "gg.nn.BatchNorm: there is one device", "DataParallel": "the model itself: there is one device",
}  # fmt: skip

ARGUMENTS = {"dim": "axis", "dims": "axis", "keepdim": "keepdims", "start_dim": "start", "end_dim": "end",
             "unbiased": "correction"}  # fmt: skip


class Missing:
    """The place in a class of a name that it does not have: reading it is an AttributeError that says what to write.

    A `__getattr__` would make every attribute of every tensor slower.  What derives from the class for another library
    has that library's words, and no hint.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, x: object, kind: type) -> object:
        own = METHODS if getattr(kind, "prefix", "") == "gg." else {}
        raise AttributeError(missing(f"{kind.__name__!r} object", self.name, own))


def missing(owner: str, name: str, words: Mapping[str, str]) -> str:
    """What an AttributeError says: that `owner` has no such attribute, and what to write."""
    return f"{owner} has no attribute {name!r}" + (f". Write {words[name]}" if name in words else "")


def elsewhere(name: str, places: Iterable[ModuleType]) -> str:
    """What an AttributeError says of a name that gpugrad does not have: what to write, or in which place it is."""
    for place in places if name not in FUNCTIONS and not name.startswith("_") else ():
        if callable(getattr(place, name, None)):
            return missing("module 'gpugrad'", name, {name: f"{place.__name__.replace('gpugrad', 'gg')}.{name}"})
    return missing("module 'gpugrad'", name, FUNCTIONS)


def unknown(function: str, names: Collection[str], taken: Collection[str]) -> str:
    """What a TypeError says of arguments that a function does not have, which of its own to write, or what it takes."""
    name = min(names)
    own = ARGUMENTS.get(name)
    hint = f"; write {own}=" if own in taken else ""
    return f"{function} has no argument {name!r}{hint}; it takes {list(taken)}"
