"""NumPy's memory, which a step finds where the last one left it, and OpenBLAS's threads, which sleep."""

import os
import platform
import subprocess
import sys

import pytest

STEPS = """
import resource
import numpy as np
import gpugrad

def step():
    kept = [np.ones(1 << 18, np.float32) for _ in range(20)]  # 256 pages each

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

for _ in range(3):
    step()
before = faults()
step()
print(faults() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="what glibc does")
def test_a_step_that_repeats_faults_no_pages():
    found = subprocess.run([sys.executable, "-c", STEPS], capture_output=True, text=True, check=True, timeout=120)
    assert int(found.stdout) < 100


@pytest.mark.parametrize(
    ("first", "given", "found"),
    [("gpugrad", None, "14"), ("numpy", None, "None"), ("gpugrad", "20", "20")],
)
def test_openblas_is_told_where_it_still_can_be(first, given, found):
    env = {k: v for k, v in os.environ.items() if k != "OPENBLAS_THREAD_TIMEOUT"}
    env |= {} if given is None else {"OPENBLAS_THREAD_TIMEOUT": given}
    program = f"import os, {first}, gpugrad; print(os.environ.get('OPENBLAS_THREAD_TIMEOUT'))"
    done = subprocess.run(
        [sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == found
