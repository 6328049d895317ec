"""NumPy's memory: a step that repeats finds it where the last one left it."""

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
