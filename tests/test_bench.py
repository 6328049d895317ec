"""The benchmark runs and prints its figures beside their limits."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_overhead_quick(tmp_path):
    done = subprocess.run(
        [sys.executable, "bench/overhead.py", "--quick", "--output", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "| recorded a*b on the graph / NumPy's |" in done.stdout
    assert len(list(tmp_path.glob("overhead-*"))) == 2
