"""tf.compat.v2 is tf."""

import sys

sys.modules[__name__] = sys.modules["gpugrad.tensorflow"]
