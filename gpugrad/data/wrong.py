"""What goes wrong with worker processes."""


class WorkerError(RuntimeError):
    """A worker process of a DataLoader ended, or could not begin; the message says how, and with which batch."""
