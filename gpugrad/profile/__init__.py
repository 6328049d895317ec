"""Floor 7: what tapes and programs cost: which bytes are kept, by what, and when."""

from ..ledger import Entry as Entry, Ledger as Ledger
from .blocks import Block as Block, Phase as Phase
from .lines import lines as lines
from .of import ledger as ledger
from .trace import MemoryProfile as MemoryProfile, memory as memory
