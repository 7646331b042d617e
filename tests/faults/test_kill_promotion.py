"""Killed while memories become weights: no job is lost, no half-made adapter is there."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from memos_integrations import MemOS
from memos_integrations.infrastructure.doctor import examine
from memos_integrations.memories.parameter import storage
from memos_integrations.memories.parameter.trainer import ParameterTrainer
from memos_integrations.testing import FakeClock, WordEmbedder

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "parameter"))
from promotion_worker import HOW, POLICY, RULES, opened
from words import FACTS, build

WORKER = Path(__file__).with_name("promotion_worker.py")
POINTS = (
    "jobs-written",
    "in-training",
    "kept-file-noted",
    "blob-half-written",
    "kept-file-written",
    "kept-file-written>versions-written>before-commit",
    "kept-file-written>versions-written>after-commit",
    "job-done",
)
KEPT = POINTS[-2:]
"""From there on the adapter is there, and its jobs are done."""


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def begin(folder: Path) -> None:
    """A store whose memories have been used, two days ago."""
    clock = FakeClock()
    with MemOS.open(folder, embedder=WordEmbedder(), clock=clock) as memory:
        alice = memory.session("alice")
        facts = alice.add(list(FACTS[:2]))
        for n in range(4):
            clock.advance(minutes=1)
            alice.record_uses(facts, prompt=f"{n}")
            for one in facts:
                alice.search(one.text, limit=1)


def blobs(folder: Path) -> list[str]:
    """Files with weights, whole or not."""
    return [path.name for path in (folder / "blobs").rglob("*") if path.is_file()]


@pytest.mark.parametrize("point", POINTS)
def test_killed_while_memories_become_weights(folder: Path, point: str) -> None:
    begin(folder)
    worker = [sys.executable, str(WORKER), str(folder), point]
    child = subprocess.run(worker, capture_output=True, text=True, check=False)
    assert child.returncode == -signal.SIGKILL, f"{point} was not reached: {child.stderr}"
    model = build()
    with opened(folder) as memory:
        alice = memory.session("alice")
        before = alice.adapters()
        assert len(before) == (point in KEPT)
        assert blobs(folder) == [one.cube.payload.blob for one in before]  # type: ignore[union-attr]
        scheduler = memory.scheduler(
            trainer=ParameterTrainer(model, how=HOW, policy=POLICY), rules=RULES
        )
        scheduler.tick()
        scheduler.tick()
        assert [job.status for job in scheduler.jobs()] == ["done"] * 2, "none lost, none twice"
        [note] = alice.adapters()
        content = memory.vault.blobs.get(note.cube.payload.blob)  # type: ignore[union-attr]
        assert storage.from_bytes(content, model).manifest.sources == note.sources
        assert blobs(folder) == [note.cube.payload.blob]  # type: ignore[union-attr]
        assert before in ([], [note])
    for finding in examine(folder):
        assert finding.ok, finding
