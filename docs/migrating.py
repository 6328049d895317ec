"""Writes docs/migrating.md from the front doors' own tables: `python docs/migrating.py`.  A test compares."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gpugrad as gg
import gpugrad.tensorflow as tf
import gpugrad.torch as torch

FILE = Path(__file__).with_suffix(".md")

MISSING = {
    "tensorflow": """tf.while_loop tf.cond tf.map_fn tf.hessians tf.raw_ops tf.sparse tf.ragged tf.strings tf.io
        tf.distribute tf.saved_model tf.keras.layers.Conv2D tf.keras.layers.BatchNormalization tf.keras.layers.Embedding
        tf.keras.callbacks tf.keras.metrics tf.keras.initializers tf.keras.regularizers
        tf.keras.optimizers.schedules tf.keras.models.load_model tf.keras.utils tf.zeros_initializer
        tf.math.segment_max tf.math.bincount tf.linalg.band_part tf.nn.conv2d_transpose tf.nn.dropout tf.unique
        tf.keras.Model.save tf.keras.Model.get_config tf.keras.Model.add_loss tf.keras.Model.compute_loss
        tf.keras.Model.fit(callbacks=) tf.keras.Model.fit(class_weight=) tf.keras.Model.fit(steps_per_epoch=)
        tf.keras.Model.compile(loss_weights=) tf.keras.Model.compile(weighted_metrics=)
        tf.keras.layers.Dense(kernel_regularizer=) tf.keras.layers.Dense(kernel_constraint=)
        tf.keras.losses.SparseCategoricalCrossentropy(ignore_class=)""".split(),
    "torch": """torch.func.functionalize torch.func.replace_all_batch_norm_modules_
        torch.Generator torch.autocast torch.multinomial torch.normal torch.linalg.eig torch.linalg.lu
        torch.unique torch.bincount torch.histc torch.Tensor.unfold torch.nn.LazyLinear torch.nn.Bilinear
        torch.optim.Adafactor torch.optim.ASGD torch.optim.Rprop torch.optim.lr_scheduler.CyclicLR
        torch.utils.data torch.save torch.load torch.compile torch.jit torch.distributed""".split(),
}

DIFFERS = {
    "tensorflow": [
        "`autodiff.ForwardAccumulator` refuses an integer primal; TensorFlow warns and answers None.",
        "`vectorized_map` refuses an `if` on a number, with its line; `fallback_to_while_loop` changes nothing.",
        "`tf.function` runs eagerly; there is no graph mode.",
        "Dtypes are NumPy's: `tf.float32` prints as `float32`.",
        "A warning about a watched integer is a Python `UserWarning`, not a log line.",
        "A float array beside an integer tensor is an error; TensorFlow cuts its decimals off.",
        "`Dataset`s are iterated in Python; `prefetch` and `cache` do nothing.",
        "`seed=` makes a sequence of its own, by that number and `set_seed`'s; the numbers are not TensorFlow's.",
        "Checkpoints are safetensors files (`ckpt-1.safetensors`), matched by the names of attributes; those that "
        "TensorFlow wrote are not read. They need `pip install '.[train]'`.",
        "`tf.RegisterGradient` names TensorFlow's ops (`Mul`, `AddV2`) where there is a like one; only ops without a "
        "rule take the function.",
        "There is no functional API: `tf.keras.Input(...)` says the shape at the start of a `Sequential`, and is not "
        "called on by layers. Subclass `Model`.",
        "Tapes do not watch the variables of a layer with `trainable = False`; those of Keras 3 do.",
        "`Model.build(input_shape)` builds a subclassed model too, by a call with zeros.",
        "Weights are safetensors files: `model.save_weights('model.safetensors')`; `*.weights.h5` is refused.",
        "`optimizer.iterations` is an integer, with `.numpy()`; it has no `assign`.",
        "A `tf.Module` finds the variables of Keras layers inside it, too.",
        "Metrics are those of each batch, averaged over the rows; `train_on_batch` answers those of its batch.",
        "Options that Keras has in another place are taken by name alone in `compile`, `fit` and `evaluate`: "
        "`metrics=`, `sample_weight=`, `initial_epoch=`, `return_dict=`.",
        "Variables that a Dense layer makes are called `dense/kernel:0`, as before Keras 3.",
        "Errors say what to write instead after the sentence that TensorFlow has.",
        "The gradient of `linalg.eigh` and `eigvalsh` is symmetric; TensorFlow has all of it in the lower triangle.",
        "`math.cumulative_logsumexp` has no `exclusive=`, `linalg.lstsq` no `l2_regularizer=`, `signal.rfft2d` is "
        "missing.",
    ],
    "torch": [
        "Dtypes are NumPy's: `torch.float32` prints as `float32` (as `torch.float32` inside a tensor).",
        "Optimizers give parameters new memory: a view of a parameter, its `.data` or a `state_dict()` taken before "
        "`step()` keeps the old values.",
        "NumPy's `RuntimeWarning`s appear, for example at a division by zero.",
        "Missing options: `tie_weights=` of `func.functional_call`, `strict=` of `func.jvp`, `size_average=` and "
        "`reduce=` of losses, `out=`, "
        "`Tensor.view(dtype)`, `Tensor.type` by a string, `left=` of `linalg.solve`, `include_self=` of "
        '`scatter_reduce` and its "mean", `driver=` of SVD and lstsq; `axis=` works in reductions, `softmax`, '
        "`cumsum`, `cat`, "
        "`stack`, `max` and `min`, elsewhere write `dim=`.",
        "Labels may be of any integer dtype; `BCELoss` takes targets of any dtype and gives NaN outside 0..1.",
        "`register_full_backward_hook` is for modules with one output and one input that requires grad.",
        "`view` copies where memory is not contiguous; PyTorch refuses.",
        "A change through `.data` counts as a change: a backward pass that needs the old value says so.",
        "`grad_fn` shows gpugrad's ops: names may differ from PyTorch's.",
        "`torch.Tensor(...)` is not a constructor: write `torch.tensor(...)`.",
        "`gradcheck` has no options for batched, forward-mode, undefined or nondeterministic gradients.",
        '`func.vmap` with `randomness="same"` or `"different"` runs one example after the other where the function '
        "draws random numbers, after a first run that found it out.",
        "`autograd.functional.jacobian` and `hessian` compute many elements at once with and without `vectorize=`.",
        "`func.jacrev` and `tape.jacobian` choose their chunks by the free memory; `max_bytes=` is the core's.",
        "A dual tensor does not print its tangent; tangents have the dtype of their primals.",
        "Inside `func.vmap`, `x += 1` and `x[i] = v` are errors where each example has its own: write `y = x + 1`, "
        "`x.at[i].set(v)`; what speaks of `in_axes` means `in_dims`.",
        "The gradient of `det` is right for singular matrices, too; PyTorch's was 0 for one.",
        "An optimizer refuses a negative or NaN option, and a tensor that neither requires grad nor is a Parameter.",
    ],
}


INTERNAL = {
    "Any", "Callable", "Iterable", "Iterator", "adapted", "annotations", "findable", "kept", "pick", "row", "spoken",
    "under", "found", "made", "later_of",
}  # fmt: skip


# What modules import for themselves.
HIDDEN = {
    "tf": "EagerTensor ResourceVariable", "tf.data": "EagerTensor fresh",
    "tf.queue": "OutOfRangeError Queue fresh refuse", "tf.train": "NotFoundError ResourceVariable",
    "tf.keras.layers": "Counter KerasVariable LazyModule Module ResourceVariable as_dtype by_name convert_to_tensor "
    "dropout refuse snake unknown",
    "tf.keras.losses": "chosen convert_to_tensor snake", "tf.keras.optimizers": "GradientTape Keras",
    "torch": "bool_ repeat", "torch.nn.functional": "matmul", "torch.nn.init": "no_grad",
    "torch.autograd": "Tensor backward_name",
}  # fmt: skip
CLASSES = {
    "TensorFlow": ["tf.Tensor", "tf.Variable", "tf.GradientTape", "tf.Module", "tf.data.Dataset", "tf.keras.Model"],
    "PyTorch": ["torch.Tensor", "torch.nn.Module", "torch.optim.Optimizer"],
}


def place(root: Any, name: str) -> Any:
    """The object of this dotted name under the front door, or None."""
    for part in name.split(".")[1:]:
        root = getattr(root, part, None)
    return root


def origin(f: Any) -> str:
    """What stands behind a name."""
    if hasattr(f, "op"):
        core = {getattr(v, "op", None): n for n, v in [*vars(gg.nn).items(), *vars(gg).items()] if hasattr(v, "op")}
        return f"the op `{core[f.op]}`" if f.op in core else "an op with this library's convention"
    if inspect.isclass(f):
        return "a class"
    if isinstance(f, Callable):
        return "a function"
    return "a value"


def table(module: Any, prefix: str) -> list[str]:
    """One row a kind: the public names of a module by what stands behind them."""
    rows: dict[str, list[str]] = {}
    hidden = {*INTERNAL, *HIDDEN.get(prefix, "").split()}
    for name in dir(module):
        f = getattr(module, name)
        if name.startswith("_") or inspect.ismodule(f) or name in hidden or (name.isupper() and not callable(f)):
            continue
        rows.setdefault(origin(f), []).append(name)
    core = {kind[8:-1]: names for kind, names in rows.items() if kind.startswith("the op")}
    same = sorted([n for k, names in core.items() for n in names if n == k])
    other = sorted([f"`{n}` = `{k}`" for k, names in core.items() for n in names if n != k])
    lines = [f"### `{prefix}`", ""]
    if same or other:
        lines += ["The core's own ops: " + ", ".join([*[f"`{n}`" for n in same], *other]) + ".", ""]
    for kind in sorted(k for k in rows if not k.startswith("the op")):
        lines += [f"{kind.capitalize()}: " + ", ".join(f"`{n}`" for n in rows[kind]) + ".", ""]
    return lines


def methods(cls: type, path: str) -> list[str]:
    """The public methods and attributes of a class."""
    names = [n for n in dir(cls) if not n.startswith("_") and hasattr(cls, n)]
    return [f"### `{path}`: methods and attributes", "", ", ".join(f"`{n}`" for n in names) + ".", ""]


def text() -> str:
    """The whole page."""
    lines = [
        "# Migrating",
        "",
        "Change the import line: `import gpugrad.tensorflow as tf`, `import gpugrad.torch as torch` (with",
        "`import gpugrad.torch.nn as nn`, `import gpugrad.torch.optim as optim`). This page is written by",
        "`docs/migrating.py` from the tables that the front doors are made of; `help(f)` shows what a function takes.",
        "",
    ]
    doors = {
        "TensorFlow": (tf, "tensorflow", "tf", [
            "", "math", "nn", "linalg", "signal", "bitwise", "random", "image", "nest", "autodiff", "data", "queue",
            "train", "errors", "keras", "keras.layers", "keras.losses", "keras.optimizers",
        ]),
        "PyTorch": (torch, "torch", "torch", [
            "", "nn", "nn.functional", "linalg", "fft", "special", "nn.init", "optim", "optim.lr_scheduler", "autograd",
            "autograd.functional", "autograd.forward_ad", "func", "utils.checkpoint", "nn.utils",
        ]),
    }  # fmt: skip
    for title, (root, key, short, modules) in doors.items():
        lines += [f"## {title}", "", "What differs:", "", *[f"- {d}" for d in DIFFERS[key]], ""]
        lines += [
            "What is missing: " + ", ".join(f"`{n}`" for n in MISSING[key]) + ", and what is not listed below.",
            "",
        ]
        for m in modules:
            path = f"{short}.{m}" if m else short
            lines += table(place(root, path), path)
        for path in CLASSES[title]:
            lines += methods(place(root, path), path)
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
