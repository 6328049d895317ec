"""Floor 6: checks for users' own ops, kernels and models."""

from .derivatives import (
    GradcheckError as GradcheckError,
    assert_close as assert_close,
    check_grads as check_grads,
    gradcheck as gradcheck,
    gradgradcheck as gradgradcheck,
    jvp as jvp,
    vjp as vjp,
)
from .kernels import check_kernel as check_kernel
