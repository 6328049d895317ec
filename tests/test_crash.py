"""Training that is killed while it writes checkpoints: bench/crash.py in a short form."""

import importlib
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parent.parent / "bench"


@pytest.fixture
def crash(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    return importlib.import_module("crash").crash


@pytest.mark.parametrize("kills", [3, pytest.param(50, marks=pytest.mark.slow)])
def test_every_kill_is_followed_by_a_clean_resume(crash, tmp_path, kills):
    found = crash(kills, 1, tmp_path / "run", 2 + kills // 8)
    assert found["kills"] == kills and found["same bits"]
    assert found["left at the end"] == found["rows of the log that are there twice"] == 0
