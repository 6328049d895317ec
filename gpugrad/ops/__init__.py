"""Floor 3: the ops.  One line an op where it can be; see `gpugrad.op` for the form."""
