"""Checkpoints of the scheduler: gone on with, and gone when what they know changes."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch

from memos_integrations import MemCube, MemorySession, MemOS
from memos_integrations.memories.activation.segments import Source
from memos_integrations.memories.parameter import storage
from memos_integrations.memories.parameter.new_adapter import NewAdapter
from memos_integrations.memories.parameter.trainer import ParameterTrainer
from memos_integrations.memories.parameter.underway import Underway
from memos_integrations.memories.parameter.worth import WorthPolicy
from memos_integrations.operation.scheduling.rules import Rules
from memos_integrations.testing import FakeClock, WordEmbedder

sys.path.insert(0, str(Path(__file__).parent))
from words import FACTS, HOW, build

RULES = Rules(
    consolidate_uses=2, stable_for=86_400.0, archive_after=None, prefetch=0, min_residence=0.0
)
POLICY = WorthPolicy(stable=timedelta(days=1), horizon=timedelta(days=3_650), hysteresis=1)
STEPS = 3
"""After so many the training is left."""


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Counting(ParameterTrainer):
    """Counts its steps; after ``left`` of them somebody does something, or wants no more."""

    def learn(
        self, cubes: Sequence[MemCube], goes_on: Callable[[], bool], checkpoint: Path | None = None
    ) -> NewAdapter:
        def looks() -> bool:
            self.done.append(len(self.done))
            happens = vars(self).get("_after", {}).get(len(self.done), lambda: True)
            return happens() is not False and goes_on()

        return super().learn(cubes, looks, checkpoint)

    @property
    def done(self) -> list[int]:
        found: list[int] = vars(self).setdefault("_done", [])
        return found

    def after(self, steps: int, happens: Callable[[], object]) -> None:
        vars(self)["_after"] = {steps: happens}


def trainer() -> Counting:
    return Counting(build(), how=HOW, policy=POLICY)


def used(folder: Path, clock: FakeClock) -> list[MemCube]:
    """A store whose memories have been used, two days ago."""
    with MemOS.open(folder, embedder=WordEmbedder(), clock=clock) as memory:
        alice = memory.session("alice")
        facts = alice.add(list(FACTS[:2]))
        for n in range(4):
            clock.advance(minutes=1)
            alice.record_uses(facts, prompt=f"{n}")
            for one in facts:
                alice.search(one.text, limit=1)
    clock.advance(days=2)
    return facts


def adapters(session: MemorySession, memory: MemOS) -> list[dict[str, torch.Tensor]]:
    contents = [memory.vault.blobs.get(one.cube.payload.blob) for one in session.adapters()]  # type: ignore[union-attr]
    return [dict(storage.from_bytes(one, build()).tensors) for one in contents]


def left(folder: Path) -> list[str]:
    """Files of trainings that are not over."""
    return sorted(path.name for path in (folder / "training").rglob("*") if path.is_file())


def test_it_goes_on_where_it_was_left_and_ends_with_the_same_bits(tmp_path: Path) -> None:
    made: list[dict[str, torch.Tensor]] = []
    counts = []
    for name, stops in (("whole", False), ("left", True)):
        folder, clock, first = tmp_path / name, FakeClock(), trainer()
        used(folder, clock)
        if stops:
            first.after(STEPS, lambda: False)
        with MemOS.open(folder, embedder=WordEmbedder(), clock=clock) as memory:
            memory.scheduler(trainer=first, rules=RULES).tick()
            assert left(folder) == (["checkpoint.safetensors", "training.json"] if stops else [])
        second = trainer()
        with MemOS.open(folder, embedder=WordEmbedder(), clock=clock) as memory:
            memory.scheduler(trainer=second, rules=RULES).tick()
            made += adapters(memory.session("alice"), memory)
        assert left(folder) == []
        counts.append((len(first.done), len(second.done)))
    (all_of_it, none), (before, after) = counts
    assert none == 0 and before == STEPS
    assert after == all_of_it - (STEPS - 1)  # the checkpoint is of the step before
    assert made[0].keys() == made[1].keys()
    assert all(torch.equal(made[0][name], made[1][name]) for name in made[0])


@pytest.mark.parametrize("how", ["update", "delete", "forget"])
def test_a_checkpoint_goes_with_a_memory_that_it_knows(how: str, tmp_path: Path) -> None:
    clock, first = FakeClock(), trainer()
    [fact, _] = used(tmp_path, clock)
    first.after(STEPS, lambda: False)
    with MemOS.open(tmp_path, embedder=WordEmbedder(), clock=clock) as memory:
        memory.scheduler(trainer=first, rules=RULES).tick()
        assert "checkpoint.safetensors" in left(tmp_path)
        alice = memory.session("alice")
        more: tuple[Any, ...] = ("Tamsin keeps a cat.",) if how == "update" else ()
        getattr(alice, how)(fact.id, *more)
        assert left(tmp_path) == []


def test_a_memory_that_changes_in_the_middle_leaves_no_checkpoint(tmp_path: Path) -> None:
    clock, first = FakeClock(), trainer()
    [fact, _] = used(tmp_path, clock)
    with MemOS.open(tmp_path, embedder=WordEmbedder(), clock=clock) as memory:
        first.after(STEPS, lambda: memory.session("alice").forget(fact.id))
        memory.scheduler(trainer=first, rules=RULES).tick()
        assert len(first.done) == STEPS
        assert left(tmp_path) == []
        assert memory.session("alice").adapters() == []


def test_what_changed_while_nobody_looked_goes_at_the_next_start(tmp_path: Path) -> None:
    clock, first = FakeClock(), trainer()
    [fact, _] = used(tmp_path, clock)
    first.after(STEPS, lambda: False)
    with MemOS.open(tmp_path, embedder=WordEmbedder(), clock=clock) as memory:
        memory.scheduler(trainer=first, rules=RULES).tick()
    aside = tmp_path / "aside"
    (tmp_path / "training").rename(aside)  # so that the deletion does not find it
    with MemOS.open(tmp_path, embedder=WordEmbedder(), clock=clock) as memory:
        memory.session("alice").delete(fact.id)
    aside.rename(tmp_path / "training")
    assert "checkpoint.safetensors" in left(tmp_path)
    MemOS.open(tmp_path, embedder=WordEmbedder(), clock=clock).close()
    assert left(tmp_path) == []


def test_a_damaged_checkpoint_is_deleted_and_the_training_begins_anew(tmp_path: Path) -> None:
    clock, first = FakeClock(), trainer()
    used(tmp_path, clock)
    first.after(STEPS, lambda: False)
    with MemOS.open(tmp_path, embedder=WordEmbedder(), clock=clock) as memory:
        memory.scheduler(trainer=first, rules=RULES).tick()
        [path] = (tmp_path / "training").rglob("*.safetensors")
        path.write_bytes(path.read_bytes()[:-9])
        scheduler = memory.scheduler(trainer=trainer(), rules=RULES)
        scheduler.tick()
        assert left(tmp_path) == []
        clock.advance(hours=1)
        scheduler.tick()
        assert len(memory.session("alice").adapters()) == 1


def test_another_training_of_the_same_name_begins_anew(tmp_path: Path) -> None:
    underway = Underway(tmp_path / "training")
    path = underway.begin("alice", "so", [Source("a", 1), Source("b", 1)])
    for training, version in (("so", 2), ("otherwise", 2)):
        path.write_bytes(b"learned")
        assert underway.begin("alice", training, [Source("b", 1), Source("a", version)]) == path
        assert not path.exists()
    path.write_bytes(b"learned")
    assert underway.begin("alice", "otherwise", [Source("a", 2), Source("b", 1)]) == path
    assert path.read_bytes() == b"learned"
    other = underway.begin("bob", "so", [Source("c", 1)])
    assert underway.sources() == {Source("a", 2), Source("b", 1), Source("c", 1)}
    assert underway.remove_cubes(["x"]) == []
    assert underway.remove_cubes(["c"]) == [other.parent.name]
    underway.end(path)
    assert underway.sources() == frozenset() and left(tmp_path) == []


@pytest.mark.parametrize("content", [None, b"", b"{", b"[[1]]", b"7", b'{"sources": [1]}'])
def test_a_folder_that_does_not_say_what_it_knows_is_deleted(
    content: bytes | None, tmp_path: Path
) -> None:
    path = Underway(tmp_path / "training").begin("alice", "so", [Source("a", 1)])
    path.write_bytes(b"learned")
    said = path.with_name("training.json")
    said.unlink() if content is None else said.write_bytes(content)
    assert Underway(tmp_path / "training").sources() == frozenset()
    assert not path.parent.exists()


def test_what_cannot_be_deleted_is_no_success(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    underway = Underway(tmp_path / "training")
    underway.begin("alice", "so", [Source("a", 1)])

    def refused(place: Path) -> None:
        raise PermissionError(f"{place} may not be deleted")

    monkeypatch.setattr(shutil, "rmtree", refused)
    with pytest.raises(PermissionError):
        underway.remove_cubes(["a"])


def test_what_does_not_pay_any_more_leaves_no_checkpoint(tmp_path: Path) -> None:
    clock, first = FakeClock(), trainer()
    used(tmp_path, clock)
    first.after(STEPS, lambda: False)
    with MemOS.open(tmp_path, embedder=WordEmbedder(), clock=clock) as memory:
        memory.scheduler(trainer=first, rules=RULES).tick()
        assert "checkpoint.safetensors" in left(tmp_path)
        poor = WorthPolicy(stable=timedelta(days=1), horizon=timedelta(seconds=1), hysteresis=1)
        memory.scheduler(trainer=Counting(build(), how=HOW, policy=poor), rules=RULES).tick()
        assert left(tmp_path) == []


def test_a_memory_erased_during_the_last_step_leaves_no_checkpoint(tmp_path: Path) -> None:
    clock, first = FakeClock(), trainer()
    [fact, _] = used(tmp_path, clock)
    with MemOS.open(tmp_path, embedder=WordEmbedder(), clock=clock) as memory:
        whole = Counting.learn

        def learn(made: Counting, *given: Any) -> NewAdapter:
            new = whole(made, *given)
            memory.session("alice").forget(fact.id)
            given[-1].parent.mkdir(parents=True)
            given[-1].write_bytes(b"written since")
            return new

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Counting, "learn", learn)
            memory.scheduler(trainer=first, rules=RULES).tick()
        assert left(tmp_path) == []
        assert memory.session("alice").adapters() == []
