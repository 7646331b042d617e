"""The life of memories and the time machine against plain dicts that remember every moment."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import networkx as nx
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
)

from memos_integrations import MemOS
from memos_integrations.cube import State
from memos_integrations.errors import (
    CubeNotFoundError,
    FrozenCubeError,
    IllegalTransitionError,
    InvalidInputError,
    MemOSError,
    VersionConflictError,
)
from memos_integrations.infrastructure.index_keeper import IndexPolicy
from memos_integrations.operation import lifecycle
from memos_integrations.operation.scheduling.rules import Rules
from memos_integrations.testing import FakeClock, WordEmbedder

THINGS = ("boat", "lamp", "piano", "walnut", "bicycle", "letter")
texts = st.builds(
    lambda thing, number: f"the {thing} of number {number}",
    st.sampled_from(THINGS),
    st.integers(0, 99),
)


@dataclass(frozen=True)
class Known:
    """What the model knows of one memory."""

    text: str
    state: State
    there: bool = True
    erased: bool = False
    ends: datetime | None = None
    """When its lifespan ends."""


World = dict[str, Known]
"""By id."""


class Machine(RuleBasedStateMachine):
    """Every moment that was marked must read for ever as it did."""

    ids = Bundle("ids")
    marks = Bundle("marks")

    @initialize(indexed=st.booleans())
    def begin(self, indexed: bool) -> None:
        self.folder, self.clock = Path(tempfile.mkdtemp()), FakeClock()
        self.policy = IndexPolicy(exact_below=3) if indexed else IndexPolicy()
        self.world: World = {}
        self.past: dict[datetime, World] = {}
        self.names = 0
        self.versions: dict[str, list[str]] = {}
        self.came_of: dict[str, set[str]] = {}
        self._open()

    def _open(self) -> None:
        self.memos = MemOS.open(
            self.folder, embedder=WordEmbedder(), clock=self.clock, index_policy=self.policy
        )
        self.maya = self.memos.session("maya")

    def teardown(self) -> None:
        if hasattr(self, "memos"):
            self.memos.close()
            shutil.rmtree(self.folder)

    # What happens -----------------------------------------------------------------------------

    @rule(target=ids, words=texts, hours=st.none() | st.integers(1, 40))
    def add(self, words: str, hours: int | None) -> str:
        ends = None if hours is None else self.clock.now() + timedelta(hours=hours)
        id = self.maya.add(words, expires_at=ends)[0].id
        self.world[id], self.versions[id] = Known(words, State.GENERATED, ends=ends), [words]
        return id

    @rule(id=ids, words=texts, off=st.integers(-1, 1))
    def update_expecting(self, id: str, words: str, off: int) -> None:
        """Who expects another version than there is changes nothing."""
        expected = len(self.versions[id]) + off
        if off == 0 or not self.world[id].there or self.world[id].state is State.FROZEN:
            change = lambda: self.maya.update(id, words, expected_version=expected)  # noqa: E731
            if off == 0:
                self._change(id, words, change)
            return
        try:
            self.maya.update(id, words, expected_version=expected)
        except VersionConflictError as error:
            assert (error.expected, error.actual) == (expected, len(self.versions[id]))
        else:
            raise AssertionError("the conflict was not seen")

    @rule(id=ids, words=texts)
    def update(self, id: str, words: str) -> None:
        self._change(id, words, lambda: self.maya.update(id, words))

    @rule(id=ids, words=texts)
    def append(self, id: str, words: str) -> None:
        self._change(id, f"{self.world[id].text}\n{words}", lambda: self.maya.append(id, words))

    def _change(self, id: str, words: str, change: object) -> None:
        known = self.world[id]
        try:
            change()  # type: ignore[operator]
        except MemOSError as error:
            assert not known.there or known.state is State.FROZEN
            assert isinstance(error, FrozenCubeError) == known.there
            return
        assert known.there and known.state is not State.FROZEN
        self.world[id] = replace(known, text=words)
        self.versions[id].append(words)

    @rule(id=ids)
    def delete(self, id: str) -> None:
        known = self.world[id]
        try:
            self.maya.delete(id)
        except MemOSError:
            assert not known.there or known.state is State.FROZEN
            return
        self.world[id] = replace(known, there=False)

    @rule(id=ids, verb=st.sampled_from(["archive", "restore", "freeze", "unfreeze"]))
    def move(self, id: str, verb: str) -> None:
        known = self.world[id]
        try:
            getattr(self.maya, verb)(id)
        except InvalidInputError:
            assert verb == "restore" and known.ends is not None
            assert known.ends <= self.clock.now()
            later = self.clock.now() + timedelta(hours=9)
            self.maya.restore(id, expires_at=later)
            known = replace(known, ends=later)
        except IllegalTransitionError as error:
            assert error.legal == [one.verb for one in lifecycle.legal(error_state(error))]
            assert known.there
            return
        except MemOSError:
            assert not known.there
            return
        self.world[id] = replace(known, state=lifecycle.TARGETS[verb])

    @rule(target=ids, one=ids, two=ids)
    def merge(self, one: str, two: str) -> object:
        living = (State.GENERATED, State.ACTIVATED)
        fit = one != two and all(
            self.world[id].there and self.world[id].state in living for id in (one, two)
        )
        try:
            cube = self.maya.merge([one, two])
        except MemOSError:
            assert not fit
            return multiple()
        assert fit
        for id in (one, two):
            self.world[id] = replace(self.world[id], state=State.MERGED)
            self.came_of.setdefault(id, set()).add(cube.id)
        self.world[cube.id], self.versions[cube.id] = (
            Known(cube.text, State.GENERATED),
            [cube.text],
        )
        return cube.id

    @rule(id=ids, look=st.booleans())
    def forget(self, id: str, look: bool) -> None:
        """It is gone, with all that came of it: today, from every moment, from its history."""
        doomed = self._closure(id)
        frozen = any(self.world[one].state is State.FROZEN for one in doomed)
        try:
            receipt = self.maya.forget(id, dry_run=look)
        except FrozenCubeError:
            assert frozen
            return
        except CubeNotFoundError:
            assert self.world[id].erased
            return
        assert not frozen and not self.world[id].erased
        assert {one.id for one in receipt.memories if one.namespace == ("maya",)} == doomed
        assert receipt.finished != look
        if look:
            return
        for one in doomed:
            self.world[one] = Known("", State.ACTIVATED, there=False, erased=True)
            self.versions[one] = [""] * len(self.versions[one])
            for was in self.past.values():
                was.pop(one, None)

    def _closure(self, id: str) -> set[str]:
        found: set[str] = set()
        waiting = [id]
        while waiting:
            one = waiting.pop()
            if one not in found and not self.world[one].erased:
                found.add(one)
                waiting += self.came_of.get(one, ())
        return found

    @rule(words=texts)
    def search(self, words: str) -> None:
        for hit in self.maya.search(words, limit=4):
            known = self.world[hit.cube.id]
            assert known.there and known.text == hit.cube.text
            assert known.ends is None or known.ends > self.clock.now()
            if known.state is State.GENERATED:
                self.world[hit.cube.id] = replace(known, state=State.ACTIVATED)

    @rule(hours=st.integers(0, 30))
    def tick(self, hours: int) -> None:
        """The scheduler archives what it says it archives, and nothing else."""
        self.clock.advance(hours=hours)
        report = self.memos.scheduler(rules=Rules(archive_after=86_400.0)).tick()
        for job in report.jobs:
            assert job.status == "done"
            self._moved_by_itself(job.cube_id, _BY_JOB[job.kind])

    @rule(hours=st.integers(0, 30))
    def tidy(self, hours: int) -> None:
        """What is over expires, and nothing else."""
        self.clock.advance(hours=hours)
        done = self.maya.tidy(idle=timedelta(hours=20), below=0.5)
        for verb, moved in done.items():
            for id in moved:
                self._moved_by_itself(id, lifecycle.TARGETS[verb])
        now, alive = self.clock.now(), (State.GENERATED, State.ACTIVATED, State.ARCHIVED)
        for one in self.world.values():
            assert not (one.there and one.state in alive and one.ends and one.ends <= now)

    def _moved_by_itself(self, id: str, target: State) -> None:
        known, living = self.world[id], (State.GENERATED, State.ACTIVATED)
        assert known.there
        if target is State.EXPIRED:
            assert known.state in (*living, State.ARCHIVED)
            assert known.ends is not None and known.ends <= self.clock.now()
        else:
            assert known.state in living
        self.world[id] = replace(known, state=target)

    @rule()
    def organise(self) -> None:
        """Links change no memory."""
        self.maya.organise()

    @rule(some=st.lists(ids, min_size=1, max_size=3, unique=True))
    def show(self, some: list[str]) -> None:
        """Standing in a prompt changes no memory, but it may be the first use."""
        shown = [self.maya.get(id) for id in some if self.world[id].there]
        self.maya.record_uses(shown, prompt="a question")

    @rule(target=ids, id=ids, words=texts, more=texts, keep=st.booleans())
    def what_if(self, id: str, words: str, more: str, keep: bool) -> object:
        """A branch changes nothing until it is merged, and nothing at all if it is dropped."""
        known = self.world[id]
        branch = self.maya.branch("what if")
        copies = {cube.text: cube.id for cube in branch.list()}
        can = known.there and known.state in (State.GENERATED, State.ACTIVATED)
        can = can and [one.text for one in self.world.values()].count(known.text) == 1
        if can:
            branch.update(copies[known.text], words)
        branch.add(more)
        assert seen(self.maya.list()) == plain(self.world)
        if not keep:
            self.maya.drop_branch("what if")
            return multiple()
        added = [one.id for one in self.maya.merge_branch("what if") if one.kind == "added"]
        if can and words != known.text:
            self.world[id] = replace(known, text=words)
            self.versions[id].append(words)
        self.world[added[0]], self.versions[added[0]] = Known(more, State.GENERATED), [more]
        return added[0]

    @rule()
    def reopen(self) -> None:
        self.memos.close()
        self._open()

    # Time ---------------------------------------------------------------------------------------

    @rule(target=marks)
    def mark(self) -> datetime:
        self.clock.advance(seconds=1)
        moment = self.clock.now()
        self.past[moment] = dict(self.world)
        self.names += 1
        if self.names % 2:
            self.maya.snapshot(f"{moment.isoformat()}")
        self.clock.advance(seconds=1)
        return moment

    @rule(moment=marks)
    def read(self, moment: datetime) -> None:
        """A moment reads as it did."""
        was = self.past[moment]
        then = self.maya.as_of(moment)
        assert seen(then.list()) == plain(was)
        assert then.count() == len(plain(was))
        for snapshot in self.maya.snapshots():
            if snapshot.name == moment.isoformat():
                assert seen(self.maya.as_of(snapshot.name).list()) == plain(was)

    @rule(moment=marks, asked=texts)
    def search_the_past(self, moment: datetime, asked: str) -> None:
        """It is searched by the words of then, and shows what could be seen then."""
        was = self.past[moment]
        hidden = (State.MERGED, State.ARCHIVED, State.EXPIRED)
        visible = {
            id: one.text
            for id, one in was.items()
            if one.there and one.state not in hidden and (one.ends is None or one.ends > moment)
        }
        found = self.maya.as_of(moment).search(asked, limit=50)
        assert {hit.cube.id: hit.cube.text for hit in found}.items() <= visible.items()
        # All of them, but for repeats of one another.
        said = [set(hit.cube.text.split()) for hit in found]
        for text in visible.values():
            words = set(text.split())
            assert any(len(words & one) >= 0.9 * len(words | one) for one in said)

    @rule(moment=marks, some=st.lists(ids, max_size=3, unique=True))
    def roll_some_back(self, moment: datetime, some: list[str]) -> None:
        """Those that are asked for, and no other; a frozen one among them: none at all."""
        kept = [id for id in some if not self.world[id].erased]
        frozen = [one for one in kept if self._is_frozen(one)]
        if any(self._differs(one, moment) for one in frozen):
            try:
                self.maya.rollback(moment, ids=kept)
            except FrozenCubeError:
                return
            raise AssertionError("a frozen memory was rolled back")
        self.maya.rollback(moment, ids=kept)
        self._rolled_back(moment, kept)

    def _is_frozen(self, id: str) -> bool:
        return self.world[id].there and self.world[id].state is State.FROZEN

    def _differs(self, id: str, moment: datetime) -> bool:
        old = self.past[moment].get(id)
        return old != self.world[id]

    @rule(moment=consumes(marks))
    def roll_back(self, moment: datetime) -> None:
        self.maya.rollback(moment)
        self._rolled_back(moment, list(self.world))
        # The past stands, and the present reads as it: today, and as a moment of its own.
        now = plain(self.world)
        assert seen(self.maya.as_of(moment).list()) == plain(self.past[moment])
        assert seen(self.maya.as_of(self.clock.now()).list()) == now
        unfrozen = {id: one for id, one in self.world.items() if one.state is not State.FROZEN}
        was = plain({id: self.past[moment][id] for id in unfrozen if id in self.past[moment]})
        assert {id: text for id, (text, _) in plain(unfrozen).items()} == {
            id: text for id, (text, _) in was.items()
        }

    def _rolled_back(self, moment: datetime, wanted: list[str]) -> None:
        was = self.past[moment]
        for id in wanted:
            known, old = self.world[id], was.get(id)
            if known.there and known.state is State.FROZEN:
                continue
            if old is None or not old.there:
                self.world[id] = replace(known, there=False)
                continue
            state = old.state
            if known.there and {state, known.state} == {State.GENERATED, State.ACTIVATED}:
                state = known.state
            if known.text != old.text or not known.there or state != known.state:
                self.versions[id].append(old.text)
            self.world[id] = replace(old, state=state)
        assert seen(self.maya.list()) == plain(self.world)

    # What always holds ----------------------------------------------------------------------------

    @invariant()
    def it_is_as_the_model_says(self) -> None:
        if hasattr(self, "maya"):
            assert seen(self.maya.list()) == plain(self.world)

    @invariant()
    def every_version_can_be_read_and_the_graph_has_no_cycle(self) -> None:
        for id in list(getattr(self, "world", {}))[-2:]:
            assert [cube.text for cube in self.maya.history(id)] == self.versions[id]
            assert nx.is_directed_acyclic_graph(self.maya.lineage(id))

    @invariant()
    def only_legal_ways_were_taken(self) -> None:
        ways = {(o.verb, s.value, o.target.value) for o in lifecycle.TRANSITIONS for s in o.sources}
        for id in list(getattr(self, "world", {}))[-2:]:
            for passage in self.maya.life(id):
                if passage.verb not in ("rollback", "delete", "forget"):
                    assert (passage.verb, passage.before, passage.after) in ways


_BY_JOB = {"Archive": State.ARCHIVED, "Expire": State.EXPIRED}


def error_state(error: IllegalTransitionError) -> State:
    return State(error.state)


def seen(cubes: object) -> dict[str, tuple[str, State]]:
    return {cube.id: (cube.text, living(cube.state)) for cube in cubes}  # type: ignore[attr-defined]


def plain(world: World) -> dict[str, tuple[str, State]]:
    return {id: (one.text, living(one.state)) for id, one in world.items() if one.there}


def living(state: State) -> State:
    """The first use is counted in memory, and written a moment later."""
    return State.ACTIVATED if state is State.GENERATED else state


TestTimeMachine = Machine.TestCase
TestTimeMachine.settings = settings(
    max_examples=40,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
