"""Floor 0: how OpenBLAS, whose products NumPy calls, is set up; imported before NumPy is."""

import os
import sys

# After a product OpenBLAS's threads spin for some 30 ms, on the cores that the element-wise work between two products
# wants: a transformer's step takes a sixth longer.  2^14 cycles are enough.  It is read when NumPy is loaded.
if "numpy" not in sys.modules:
    os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "14")
