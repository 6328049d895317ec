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
    from .report import Comparison as Comparison, Way as Way

_LATER = {"compare": "comparing", "Comparison": "report", "Way": "report"}


def __getattr__(name: str) -> Any:
    """What is imported when first asked for: json and others that it needs would delay the import by 10 ms."""
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
