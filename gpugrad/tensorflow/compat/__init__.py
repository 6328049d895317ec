"""tf.compat: `import gpugrad.tensorflow.compat.v2 as tf` is `import gpugrad.tensorflow as tf`."""
