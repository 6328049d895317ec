"""tf.autodiff."""

from ..forward_mode import ForwardAccumulator as ForwardAccumulator
from ..tape import GradientTape as GradientTape
