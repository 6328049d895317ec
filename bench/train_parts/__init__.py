"""The cases of bench/train.py, and how each library writes them: `training(case, way)` answers one step."""
