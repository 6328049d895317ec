"""Floor 7: what tapes and programs cost: which bytes are kept, by what, and when."""

from .lines import lines as lines
