"""What searches find, and what a sweep takes, is what an independent model of the rules says."""

from __future__ import annotations

import random
import tempfile
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from memos_integrations import MemorySession, MemOS
from memos_integrations.errors import LegalHoldError
from memos_integrations.testing import CountingIds, FakeClock, WordEmbedder

SPACES = (("acme",), ("acme", "a"), ("acme", "a", "x"), ("other",))
TYPES = ("fact", "event")
STEP = 600


@dataclass
class Memory:
    space: tuple[str, ...]
    kind: str
    written: datetime
    used: datetime
    gone: bool = False
    expired: bool = False


@dataclass
class Law:
    what: str
    space: tuple[str, ...]
    kind: str | None
    memory: str | None
    seconds: int | None

    def about(self, id: str, one: Memory) -> bool:
        if one.space[: len(self.space)] != self.space:
            return False
        if self.kind is not None and self.kind != one.kind:
            return False
        return self.memory is None or self.memory == id


@dataclass
class Model:
    """Plain Python; it knows nothing of the store's code."""

    memories: dict[str, Memory] = field(default_factory=dict)
    laws: dict[str, Law] = field(default_factory=dict)

    def held(self, id: str) -> bool:
        one = self.memories[id]
        return any(law.what == "hold" and law.about(id, one) for law in self.laws.values())

    def ended(self, id: str, now: datetime) -> bool:
        if self.held(id):
            return False
        one = self.memories[id]
        for what, since in (("ttl", one.written), ("unused", max(one.written, one.used))):
            closest: Law | None = None
            for law in self.laws.values():  # oldest first: of equals the last stands
                if law.what != what or not law.about(id, one):
                    continue
                if closest is None or _rank(law) >= _rank(closest):
                    closest = law
            ends = None if closest is None else closest.seconds
            if ends is not None and (now - since).total_seconds() >= ends:
                return True
        return False

    def found(self, space: tuple[str, ...], now: datetime) -> set[str]:
        return {
            id
            for id, one in self.memories.items()
            if one.space == space and not (one.gone or one.expired or self.ended(id, now))
        }


def _rank(law: Law) -> tuple[int, int, int]:
    return int(law.memory is not None), len(law.space), int(law.kind is not None)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.randoms(use_true_random=False))
def test_retention_is_what_the_model_says(draw: random.Random) -> None:
    with tempfile.TemporaryDirectory() as folder:
        clock = FakeClock()
        store = MemOS.open(
            Path(folder) / "s", embedder=WordEmbedder(8), clock=clock, ids=CountingIds()
        )
        with store:
            live(draw, store, clock)


def live(draw: random.Random, store: MemOS, clock: FakeClock) -> None:
    model = Model()
    sessions = {space: store.session("root", namespace=space) for space in SPACES}
    for _ in range(30):
        space = draw.choice(SPACES)
        step(draw, model, sessions[space], space, clock)
        if draw.random() < 0.5:
            clock.advance(seconds=draw.choice([1, STEP - 1, STEP]))
        for where, session in sessions.items():
            looked(model, session, where, clock)
    assert store.session("root").verify_audit()


def looked(model: Model, session: MemorySession, space: tuple[str, ...], clock: FakeClock) -> None:
    now = clock.now()
    expected = model.found(space, now)
    everything = [id for id, one in model.memories.items() if one.space == space]
    assert {cube.id for cube in session.get_many(everything)} == expected
    vault = session.audited[0]
    current = [(cube.id, cube.version) for cube in session.list(limit=1_000)]
    assert {id for id, _ in set(current) - vault.outdated(current)} == expected
    assert {cube.id for cube in vault.heads(everything)} == expected
    due = {one.memory_id for one in session.sweep(dry_run=True).due}
    assert due == {
        id
        for id, one in model.memories.items()
        if one.space[: len(space)] == space
        and not (one.gone or one.expired)
        and model.ended(id, now)
    }


def step(
    draw: random.Random,
    model: Model,
    session: MemorySession,
    space: tuple[str, ...],
    clock: FakeClock,
) -> None:
    now = clock.now()
    here = [id for id, one in model.memories.items() if one.space == space and not one.gone]
    verb = draw.choice(["add", "add", "rule", "rule", "lift", "use", "change", "delete", "sweep"])
    if verb == "add":
        kind = draw.choice(TYPES)
        cube = session.add(f"note {len(model.memories)} {draw.random()}", semantic_type=kind)[0]
        model.memories[cube.id] = Memory(space, kind, now, now)
    elif verb == "rule":
        a_rule(draw, model, session, space, here)
    elif verb == "lift" and model.laws:
        id = draw.choice(list(model.laws))
        session.lift(id)
        del model.laws[id]
    elif verb == "use":
        hits = {hit.cube.id for hit in session.search("note", limit=1_000)}
        assert hits == model.found(space, now)
        for id in hits:
            model.memories[id].used = now
    elif verb == "change" and here:
        id = draw.choice(here)
        if model.memories[id].expired:
            return
        session.update(id, tags=[f"t{draw.random()}"])
        model.memories[id].written = now
    elif verb == "delete" and here:
        id = draw.choice(here)
        try:
            session.delete(id)
        except LegalHoldError:
            assert model.held(id)
            return
        assert not model.held(id)
        model.memories[id].gone = True
    elif verb == "sweep":
        for one in session.sweep().due:
            model.memories[one.memory_id].expired = True


def a_rule(
    draw: random.Random,
    model: Model,
    session: MemorySession,
    space: tuple[str, ...],
    here: list[str],
) -> None:
    what = draw.choice(["ttl", "ttl", "unused", "hold"])
    seconds = draw.choice([1, STEP, STEP, 2 * STEP, None])
    narrow: dict[str, Any] = {}
    if here and draw.random() < 0.3:
        narrow["id"] = draw.choice(here)
    elif draw.random() < 0.4:
        narrow["semantic_type"] = draw.choice(TYPES)
    if what == "hold":
        rule, seconds = session.hold(**narrow), None
    else:
        span = timedelta.max if seconds is None else timedelta(seconds=seconds)
        options: dict[str, Any] = {what: span, **narrow}
        rule = session.retain(**options)
    law = Law(what, space, narrow.get("semantic_type"), narrow.get("id"), seconds)
    model.laws[rule.id] = law
