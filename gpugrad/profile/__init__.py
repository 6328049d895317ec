"""Floor 7: what tapes and programs cost: which bytes are kept, by what, and when."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ..ledger import Entry as Entry, Ledger as Ledger
from .blocks import Block as Block, Phase as Phase
from .lines import lines as lines
from .memory import memory as memory
from .of import ledger as ledger

if TYPE_CHECKING:
    from .comparing import compare as compare


def __getattr__(name: str) -> Any:
    """`compare` is imported when it is first asked for: what its reports need takes 15 ms."""
    if name == "compare":
        return import_module("gpugrad.profile.comparing").compare
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
