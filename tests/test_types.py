"""What type checkers are told of Tensor is what it has."""

import ast
import inspect

import gpugrad as gg
from gpugrad import core, habits


def declared():
    tree = ast.parse(inspect.getsource(core))
    (cls,) = [n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == "Tensor"]
    (block,) = [n for n in cls.body if isinstance(n, ast.If)]
    return {n.name if isinstance(n, ast.FunctionDef) else n.target.id for n in block.body}


def test_declared_and_bound_agree():
    silent = {
        "__array_function__", "__array_priority__", "__deepcopy__", "__dlpack__", "__reduce__",
        "__dlpack_device__", "__format__", "__repr__", "__setitem__", "__slots__", "array", "node", "view_of",
        "__weakref__", "__annotations__", "kind", "prefix", "pair", "explain",
        "ignored", "copies", "ordered", "__dir__",
    }  # fmt: skip
    names = vars(gg.Tensor).keys() - habits.METHODS.keys()  # those say what to write instead
    bound = {n for n in names if not (n.startswith("_") and not n.startswith("__"))} - silent
    bound -= {"__doc__", "__module__", "__static_attributes__", "__firstlineno__"}
    assert len(bound) > 80
    assert declared() == bound
