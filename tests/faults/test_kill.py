"""Killed at any moment, the store keeps what it acknowledged, whole, and can find it."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from memos_integrations import MemOS
from memos_integrations.errors import BlobNotFoundError
from memos_integrations.infrastructure import crashpoints
from memos_integrations.infrastructure.doctor import examine
from memos_integrations.testing import WordEmbedder

WORKER = Path(__file__).with_name("worker.py")
POLICY_SCRIPT = "worker"


class Ledger:
    """What the store owes: the text of every acknowledged memory, and the step in doubt."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}
        self.deleted: set[str] = set()
        self.forgotten: list[str] = []
        """The words of erased memories: in no file any more."""

    def read(self, lines: list[str]) -> dict[str, Any] | None:
        """Take in the steps of one life; return the one that was under way at its end."""
        doubt: dict[str, Any] | None = None
        for line in lines:
            if not line.endswith("\n"):
                break  # killed in the middle of the line
            step = json.loads(line)
            if "try" in step:
                doubt = step
                continue
            doubt = None
            if step["done"] == "add":
                self.texts.update(step["cubes"])
            elif step["done"] == "update":
                self.texts[step["id"]] = step["text"]
            elif step["done"] == "delete":
                self.texts.pop(step["id"], None)
                self.deleted.add(step["id"])
            elif step["done"] == "forget":
                self.texts.pop(step["id"], None)
                self.forgotten += step["texts"]
        return doubt


def check(folder: Path, ledger: Ledger, doubt: dict[str, Any] | None) -> None:
    """Open what is left, and count."""
    sys.path.insert(0, str(WORKER.parent))
    from erasure_evidence import traces
    from worker import POLICY

    with MemOS.open(folder, embedder=WordEmbedder(), index_policy=POLICY) as memory:
        session = memory.session("writer")
        stored = {cube.id: cube.text for cube in session.list(limit=10_000)}
        settle_doubt(ledger, stored, doubt)
        assert stored == ledger.texts
        assert session.count() == len(stored)
        # Found at once, by whatever way is open while the index is checked or rebuilt.
        recent = list(stored.items())[-30:]
        for cube_id, text in recent[:10]:
            assert session.search(text, limit=1)[0].cube.id == cube_id
        assert memory.vault.wait_for_index(60), memory.stats()
        assert memory.vault.audit_index() == ""
        for cube_id, text in recent:
            assert session.search(text, limit=1)[0].cube.id == cube_id
        check_blobs(memory)
        assert session.verify_audit()
    assert traces(folder, ledger.forgotten) == {}
    for finding in examine(folder):
        assert finding.ok, finding


def settle_doubt(ledger: Ledger, stored: dict[str, str], doubt: dict[str, Any] | None) -> None:
    """The step under way either happened as a whole or not at all; find out which."""
    if doubt is None:
        return
    if doubt["try"] == "add":
        new = {cube_id: text for cube_id, text in stored.items() if cube_id not in ledger.texts}
        if new:
            assert sorted(new.values()) == sorted(doubt["texts"])
            ledger.texts.update(new)
    elif doubt["try"] == "update":
        assert stored[doubt["id"]] in (ledger.texts[doubt["id"]], doubt["text"])
        ledger.texts[doubt["id"]] = stored[doubt["id"]]
    elif doubt["id"] not in stored:
        ledger.texts.pop(doubt["id"], None)
        ledger.forgotten += doubt.get("texts", [])


def check_blobs(memory: MemOS) -> None:
    """A blob with a name has the bytes of that name."""
    for path in (memory.path / "blobs").glob("??/*"):
        try:
            memory.vault.blobs.get(path.name)
        except BlobNotFoundError as error:
            pytest.fail(str(error))


def run(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(WORKER), str(folder), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def one_life(folder: Path, ledger: Ledger, draw: random.Random) -> None:
    """Start a writer, kill it at a random moment, open what is left."""
    child = run(folder, str(draw.randrange(10**9)))
    time_to_live = draw.uniform(0.0, 1.5)
    assert child.stdout is not None
    first = child.stdout.readline()  # it is open: from here on the clock runs
    assert first, child.stderr.read() if child.stderr else ""
    time.sleep(time_to_live)
    child.send_signal(signal.SIGKILL)
    rest, _ = child.communicate()
    check(folder, ledger, ledger.read([first, *rest.splitlines(keepends=True)]))


@pytest.mark.parametrize("seed", range(10))
def test_killed_at_five_random_moments(folder: Path, seed: int) -> None:
    draw, ledger = random.Random(seed), Ledger()
    for _ in range(5):
        one_life(folder, ledger, draw)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(100, 140))
def test_killed_at_twenty_five_random_moments(folder: Path, seed: int) -> None:
    draw, ledger = random.Random(seed), Ledger()
    for _ in range(25):
        one_life(folder, ledger, draw)


@pytest.mark.parametrize(
    "name",
    [n for n in crashpoints.NAMES if not n.startswith(("job", "kept", "archive", "page", "cache"))],
)
def test_killed_at_a_named_point(folder: Path, name: str) -> None:
    ledger = Ledger()
    nth = {"write-begun": 9, "before-commit": 7, "after-commit": 8, "cubes-written": 5}.get(name, 1)
    child = run(folder, "7", name, str(nth))
    output, errors = child.communicate(timeout=120)
    assert child.returncode == -signal.SIGKILL, f"{name} was not reached: {errors}"
    check(folder, ledger, ledger.read(output.splitlines(keepends=True)))
