"""The cases of bench/memory.py, and how each library writes them: `step(case, way, arrays)` answers one step."""
