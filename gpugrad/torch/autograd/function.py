"""torch.autograd.function."""

from ...function import Function as Function, once_differentiable as once_differentiable
