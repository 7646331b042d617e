"""A recorded trace of 100,000 uses, replayed: the same again, within budgets, and worth it.

The trace and the other policies are those of ``benchmarks/scheduling.py``, which checks after each
event that the budgets hold, and that a second run takes the same actions.
"""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_a_hundred_thousand_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    scheduling = importlib.import_module("scheduling")
    trace = scheduling.zipf(10_000, 100_000, 1.0, seed=2)
    found = scheduling.row("Zipf 1.0", trace, 10_000, 100)
    assert found["scheduler"] >= max(found["LRU"], found["LFU"])
    assert found["scheduler"] <= found["clairvoyant"]
    assert found["moves"] > 0
