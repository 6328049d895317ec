"""torch.utils.checkpoint."""

from ...recompute import (
    CheckpointError as CheckpointError,
    call_checkpointed as checkpoint,
    call_in_segments as checkpoint_sequential,
    noop_context_fn as noop_context_fn,
)

__all__ = ["CheckpointError", "checkpoint", "checkpoint_sequential", "noop_context_fn"]
