"""The cases of bench/ops.py, by family: each module has CASES."""
