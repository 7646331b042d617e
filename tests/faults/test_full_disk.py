"""A full disk: a typed error, nothing lost, readable meanwhile, and work goes on after."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from memos_integrations import IndexPolicy, MemOS
from memos_integrations.infrastructure.doctor import examine
from memos_integrations.testing import WordEmbedder

WORKER = Path(__file__).with_name("full_disk_worker.py")
LIMITS = [700_000 + step * 137_000 + step * step * 911 for step in range(20)]


@pytest.mark.parametrize("room", LIMITS)
def test_full_at(folder: Path, room: int) -> None:
    ran = subprocess.run(
        [sys.executable, str(WORKER), str(folder), str(room)],
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert ran.returncode == 0, ran.stderr
    report = json.loads(ran.stdout.splitlines()[-1])
    assert report["error"] == "StoreFullError"
    added_last = {i: t for i, t in report["acknowledged"].items() if not t.startswith("after")}
    assert report["while_full"] == added_last
    assert report["newest"] in report["found"]
    assert report["last"] == "after the disk was cleared"
    policy = IndexPolicy(exact_below=50, check_every=0.1)
    with MemOS.open(folder, embedder=WordEmbedder(), index_policy=policy) as memory:
        stored = {cube.id: cube.text for cube in memory.session("alice").list(limit=10_000)}
        assert stored == report["acknowledged"]
        assert memory.vault.wait_for_index(60)
        assert memory.vault.audit_index() == ""
    assert all(finding.ok for finding in examine(folder))
