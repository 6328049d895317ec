"""tf.errors: what ops raise."""

from ..exhausted import OutOfMemoryError as ResourceExhaustedError  # noqa: F401


class OpError(Exception):
    """An op was given what it cannot work on."""


class InvalidArgumentError(OpError, ValueError):
    """Shapes or dtypes that do not go together."""


class NotFoundError(OpError, FileNotFoundError):
    """A file is not there."""


class OutOfRangeError(OpError, LookupError):
    """A queue is empty."""
