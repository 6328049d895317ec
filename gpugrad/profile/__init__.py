"""Floor 7: what tapes and programs cost: which bytes are kept, by what, and when."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ..ledger import Entry as Entry, Ledger as Ledger
from .lines import lines as lines
from .of import ledger as ledger

if TYPE_CHECKING:
    from .comparing import compare as compare
    from .trace import Block as Block, MemoryProfile as MemoryProfile, Phase as Phase, memory as memory


def __getattr__(name: str) -> Any:
    """Imported when first asked for: what a profile and the reports of `compare` need takes 15 ms."""
    if name == "compare":
        return import_module("gpugrad.profile.comparing").compare
    if name in ("Block", "MemoryProfile", "Phase", "memory"):
        return getattr(import_module("gpugrad.profile.trace"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
