"""Killed while an adapter is replaced or erased: one is there, whole, or none and no file of it."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from memos_integrations import MemCube, MemorySession, MemOS
from memos_integrations.infrastructure.doctor import examine
from memos_integrations.memories.parameter import storage
from memos_integrations.memories.parameter.new_adapter import NewAdapter
from memos_integrations.operation.adapters import keep
from memos_integrations.testing import WordEmbedder

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "parameter"))
from words import FACTS, HOW, build

WORKER = Path(__file__).with_name("adapter_worker.py")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def killed(folder: Path, verb: str, wanted: str, point: str) -> None:
    worker = [sys.executable, str(WORKER), str(folder), verb, wanted, point]
    child = subprocess.run(worker, capture_output=True, text=True, check=False)
    assert child.returncode == -signal.SIGKILL, f"{point} was not reached: {child.stderr}"


def blobs(folder: Path) -> set[str]:
    """Files with weights, whole or not."""
    return {path.name for path in (folder / "blobs").rglob("*") if path.is_file()}


def blob_of(cube: MemCube) -> str:
    return cube.payload.blob  # type: ignore[union-attr]


def healthy(folder: Path) -> bool:
    findings = examine(folder)
    for finding in findings:
        assert finding.ok, finding
    return bool(findings)


# Trained anew -----------------------------------------------------------------------------------

KEEPS_OLD = (
    "kept-file-written",
    "kept-file-written>versions-written>before-commit",
)
KEEPS_NEW = ("kept-file-written>versions-written>after-commit",)


@pytest.mark.parametrize("point", [*KEEPS_OLD, *KEEPS_NEW])
def test_killed_while_an_adapter_is_trained_anew(folder: Path, point: str) -> None:
    model = build()
    with MemOS.open(folder, embedder=WordEmbedder()) as memory:
        maya = memory.session("maya")
        facts = maya.add(list(FACTS[:2]))
        old = maya.distill(facts, model=model, how=HOW)
        maya.update(facts[1].id, "Bramwell studied law.")
    killed(folder, "retrain", old.id, point)
    with MemOS.open(folder, embedder=WordEmbedder()) as memory:
        maya = memory.session("maya")
        [note] = maya.adapters()
        assert (note.cube.id == old.id) == (point in KEEPS_OLD)
        content = memory.vault.blobs.get(blob_of(note.cube))
        loaded = storage.from_bytes(content, model)
        assert loaded.manifest.sources == note.sources
        assert bool(note.outdated) == (point in KEEPS_OLD)
        assert blobs(folder) == {blob_of(old), blob_of(note.cube)}, "no file without a memory"
        again = maya.retrain(note.cube.id, model=model, how=HOW)
        assert [(one.cube.id, one.outdated) for one in maya.adapters()] == [(again.id, ())]
    assert healthy(folder)


# Erased -----------------------------------------------------------------------------------------


def with_adapters(maya: MemorySession) -> tuple[list[MemCube], MemCube, MemCube]:
    """Memories, an adapter of the first two and one of the others, of no model in particular."""
    facts, dice = maya.add(list(FACTS)), random.Random(5)
    adapters = [
        keep(
            maya._operator,
            maya.namespace,
            maya.principal,
            NewAdapter(dice.randbytes(5_000), "lora", "a model", {"refused": ""}),
            some,
        )
        for some in (facts[:2], facts[2:])
    ]
    return facts, adapters[0], adapters[1]


@pytest.mark.parametrize("named", ["adapter", "source"])
@pytest.mark.parametrize(
    "point", ["erasure-committed", "erasure-index-gone", "erasure-words-gone", "erasure-compacted"]
)
def test_killed_while_an_adapter_is_erased(folder: Path, named: str, point: str) -> None:
    with MemOS.open(folder, embedder=WordEmbedder()) as memory:
        facts, erased, other = with_adapters(memory.session("maya"))
        assert blobs(folder) == {blob_of(erased), blob_of(other)}
    killed(folder, "forget", (erased if named == "adapter" else facts[0]).id, point)
    if point in ("erasure-committed", "erasure-index-gone"):
        assert blob_of(erased) in blobs(folder), "the file is what the next opening has to see to"
    with MemOS.open(folder, embedder=WordEmbedder()) as memory:
        maya = memory.session("maya")
        assert blobs(folder) == {blob_of(other)}
        assert [note.cube.id for note in maya.adapters()] == [other.id]
        assert memory.vault.blobs.get(blob_of(other))
        assert maya.count() == len(facts) - (named == "source") + 1
    assert healthy(folder)


def test_killed_before_the_erasure_is_decided(folder: Path) -> None:
    with MemOS.open(folder, embedder=WordEmbedder()) as memory:
        facts, erased, other = with_adapters(memory.session("maya"))
    killed(folder, "forget", erased.id, "write-begun>before-commit")
    with MemOS.open(folder, embedder=WordEmbedder()) as memory:
        maya = memory.session("maya")
        assert {note.cube.id for note in maya.adapters()} == {erased.id, other.id}
        assert blobs(folder) == {blob_of(erased), blob_of(other)}
        assert maya.count() == len(facts) + 2
    assert healthy(folder)
