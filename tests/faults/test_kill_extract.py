"""Killed while it reads, a store has its turns, and of a batch all facts or none."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from memos_integrations import MemOS
from memos_integrations.interface.extraction import spans_of
from memos_integrations.testing import WordEmbedder

WORKER = Path(__file__).with_name("extract_worker.py")
POINTS = {"write-begun": 6, "cubes-written": 5, "embeddings-written": 6, "before-commit": 8}
"""Crash points and which time kills: an ``add`` and two batches are a round of three."""


@pytest.mark.parametrize("name", POINTS)
def test_killed_at_a_named_point(folder: Path, name: str) -> None:
    ran = subprocess.run(
        [sys.executable, WORKER, folder, "7", name, str(POINTS[name])],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == -signal.SIGKILL, f"{name} was not reached: {ran.stderr}"
    said = [line for line in map(json.loads, ran.stdout.splitlines()) if "turns" in line]
    assert said
    sys.path.insert(0, str(WORKER.parent))
    from extract_worker import echo
    from worker import POLICY

    with MemOS.open(folder, embedder=WordEmbedder(), index_policy=POLICY) as memory:
        session = memory.session("writer")
        there = {cube.id: cube for cube in session.list(limit=10_000)}
        assert {id for line in said for id in (*line["turns"], *line["facts"])} <= set(there)
        facts = [cube for cube in there.values() if spans_of(cube)]
        turns = [cube for cube in there.values() if not spans_of(cube)]
        assert len(turns) % 4 == 0 and len(facts) % 2 == 0 and len(facts) <= len(turns)
        report = session.extract(memories=turns, model=echo, together=2)
        assert len(report.known) == len(facts)  # read as far as it was written, and no further
        assert len(report.facts) == len(turns) - len(facts)
        rest = session.list(limit=10_000)
        assert len(rest) == 2 * len(turns) and len({cube.text for cube in rest}) == len(rest)
