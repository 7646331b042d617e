"""Killed in the middle of a run, a store has all of the run or nothing of it."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from memos_integrations import MemOS
from memos_integrations.infrastructure.doctor import examine
from memos_integrations.testing import WordEmbedder

WORKER = Path(__file__).with_name("pipeline_worker.py")
POINTS = {
    "write-begun": 6,
    "cubes-written": 7,
    "versions-written": 6,
    "embeddings-written": 8,
    "before-commit": 3,
    "after-commit": 3,
}
"""Crash points and which time kills: in attempts that are rolled back, and in the last one."""


def check(folder: Path, lines: list[str]) -> None:
    """Every run that was told to be done is there, and no half of one."""
    done = {json.loads(line).get("done") for line in lines if line.endswith("\n")} - {None}
    sys.path.insert(0, str(WORKER.parent))
    from worker import POLICY

    with MemOS.open(folder, embedder=WordEmbedder(), index_policy=POLICY) as memory:
        session = memory.session("writer")
        digests = {cube.id: cube for cube in session.list(limit=10_000)}
        assert done <= set(digests)
        assert len(digests) - len(done) in (0, 1)  # the one that was under way
        for cube in digests.values():
            assert (cube.version, cube.text.endswith("\nthe end")) == (2, True)
            assert session.search(cube.text, limit=1)[0].cube.id == cube.id
        activities = [entry for entry in session.log(limit=10_000) if entry.principal == "writer"]
        assert {entry.verb for entry in activities} <= {"pipeline digest"}
        assert [len(entry.memories) for entry in activities] == [5] * len(digests)
        assert memory.vault.wait_for_index(60)
        assert memory.vault.audit_index() == ""
    for finding in examine(folder):
        assert finding.ok, finding


def run(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(WORKER), str(folder), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("name", POINTS)
def test_killed_at_a_named_point(folder: Path, name: str) -> None:
    child = run(folder, "7", name, str(POINTS[name]))
    output, errors = child.communicate(timeout=120)
    assert child.returncode == -signal.SIGKILL, f"{name} was not reached: {errors}"
    check(folder, output.splitlines(keepends=True))


@pytest.mark.parametrize("seed", range(4))
def test_killed_at_random_moments(folder: Path, seed: int) -> None:
    draw, said = random.Random(seed), list[str]()
    for _ in range(3):
        child = run(folder, str(draw.randrange(10**9)))
        assert child.stdout is not None
        first = child.stdout.readline()
        assert first, child.stderr.read() if child.stderr else ""
        time.sleep(draw.uniform(0.0, 0.8))
        child.send_signal(signal.SIGKILL)
        rest, _ = child.communicate()
        said += [line for line in rest.splitlines(keepends=True) if line.endswith("\n")]
        check(folder, said)
