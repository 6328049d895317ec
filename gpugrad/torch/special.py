"""torch.special."""

from .rows import under

__getattr__, __dir__ = under(__name__)
