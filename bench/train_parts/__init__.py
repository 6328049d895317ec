"""The cases of bench/train.py, and how each library writes them: `training(case, way)` answers one step.

NumPy is not imported here: each library comes first in its process, as in a program whose imports are sorted.
"""

CASES = {
    "mlp": "MLP 784-1024-1024-10, batch 256",
    "transformer": "4 transformer layers, d=256, T=128, batch 8",
    "convnet": "the digits' convnet, batch 64",
}
LIMITS = {"mlp": 1.0, "transformer": 1.3, "convnet": 2.0}  # of PyTorch's time a step
