"""Killed while it erases, with caches elsewhere: all of the erasure happens, or none of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from memos_integrations import MemOS
from memos_integrations.errors import CubeNotFoundError
from memos_integrations.local_chat import LocalChat
from memos_integrations.memories.activation.segments import Prompt, Source, Span
from memos_integrations.testing import WordEmbedder
from tests.activation.test_invalidation import MODEL

WORKER = Path(__file__).with_name("cache_worker.py")
POINTS = (
    "before-commit",
    "erasure-committed",
    "erasure-compacted",
    "cache-piece-erased-elsewhere",
    "erasure-elsewhere-gone",
)


def started(tmp_path: Path, *point: str) -> tuple[subprocess.Popen[str], Prompt]:
    """A process that has cached a prompt, here and elsewhere, and is about to erase."""
    root = Path(__file__).parents[2]
    child = subprocess.Popen(
        [sys.executable, WORKER, tmp_path / "store", tmp_path / "there", *point],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert child.stdout is not None
    said = json.loads(child.stdout.readline())
    spans = tuple(Span(start, end, Source(id, n)) for start, end, id, n in said["spans"])
    prompt = Prompt(tuple(said["tokens"]), spans, salt=said["salt"])
    id = spans[0].source.cube_id
    assert all(files_with(id, tmp_path / one) for one in ("store/kv", "there"))
    return child, prompt


def files_with(cube_id: str, folder: Path) -> list[Path]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [path for path in files if cube_id.encode() in path.read_bytes()]


def check(tmp_path: Path, prompt: Prompt) -> bool:
    """Open what is left: whether the memory is gone, and all that was made of it with it."""
    id = prompt.spans[0].source.cube_id
    with MemOS.open(tmp_path / "store", embedder=WordEmbedder()) as memory:  # serves no model
        ann = memory.session("ann")
        receipts = [one for one in ann.receipts() if id in one.ids]
        if not receipts:
            assert ann.get(id).text.startswith("fact 0")
        else:
            assert [one.finished for one in receipts] == [True]
            with pytest.raises(CubeNotFoundError):
                ann.get(id)
            assert not files_with(id, tmp_path / "there")
            assert not files_with(id, tmp_path / "store" / "kv")
        assert not list((tmp_path / "there").rglob("*.part"))
        chat = LocalChat(memory, MODEL, remote=tmp_path / "there")
        chat.engine.tier.flush()  # type: ignore[union-attr]
        cached = chat.engine.cached(prompt)
        assert cached <= prompt.spans[0].start if receipts else cached == prompt.ends[-2]
        chat.close()
    return bool(receipts)


@pytest.mark.parametrize("point", POINTS)
def test_killed_at_a_named_point(point: str, tmp_path: Path) -> None:
    child, prompt = started(tmp_path, point)
    output, _ = child.communicate("go\n", timeout=120)
    assert child.returncode == -signal.SIGKILL and output == "erasing\n", f"{point}: not reached"
    assert check(tmp_path, prompt) == (point != "before-commit")


@pytest.mark.parametrize("after", [0.0, 0.03])
def test_killed_at_any_moment(after: float, tmp_path: Path) -> None:
    child, prompt = started(tmp_path)
    assert child.stdin is not None and child.stdout is not None
    child.stdin.write("go\n")
    child.stdin.flush()
    assert child.stdout.readline() == "erasing\n"
    time.sleep(after)
    child.kill()
    said, _ = child.communicate(timeout=120)
    assert check(tmp_path, prompt) or said == ""
