"""torch.func."""

from ..func import grad as grad, grad_and_value as grad_and_value, jacfwd as jacfwd, jvp as jvp, vmap as vmap
from ..nn import functional_call as functional_call, stack_module_state as stack_module_state
from ..transforms import hessian as hessian, jacrev as jacrev, linearize as linearize, vjp as vjp
