"""torch.autograd.functional."""

from ...functional import hessian as hessian, hvp as hvp, jacobian as jacobian, jvp as jvp, vhp as vhp, vjp as vjp
