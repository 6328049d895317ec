"""Floor 1: products of matrices as functions of arrays, through cuBLASLt where there is one.  They know of no tape.

Arrays of float32, float64, float16 or bfloat16; half types are accumulated in float32.  Transposed views, slices of
columns and batches that one stride describes (0 where they broadcast) are multiplied where they are; what is strided
in another way is copied first.  cuBLASLt is column-major: out = x @ y is to it out^T = y^T @ x^T, of which no element
moves.
"""

from .epilogues import activation_grad as activation_grad, fused as fused, linear as linear, linear_grad as linear_grad
from .products import (
    get_float32_matmul_precision as get_float32_matmul_precision,
    product as product,
    set_float32_matmul_precision as set_float32_matmul_precision,
    usable as usable,
)
