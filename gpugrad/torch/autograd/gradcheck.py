"""torch.autograd.gradcheck."""

from ...testing import GradcheckError as GradcheckError, gradcheck as gradcheck, gradgradcheck as gradgradcheck
