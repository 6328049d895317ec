"""The parts of bench/gpu.py: what each library is asked to do, in a process of its own, and what is made of it."""
