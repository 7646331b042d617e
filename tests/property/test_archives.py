"""Archives: what was dumped and loaded is dumped again, byte for byte."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from memos_integrations import MemorySession, MemOS
from memos_integrations.errors import MemOSError
from memos_integrations.infrastructure.transfer.reading import reading
from memos_integrations.testing import CountingIds, FakeClock, WordEmbedder

WORDS = (
    st.lists(
        st.sampled_from(["tea", "Oslo", "ü", "مريم", "🙂", "red boat", "\u2028", '"', "\\n"]),
        min_size=1,
        max_size=4,
    )
    .map(" ".join)
    .filter(str.strip)
)
VERBS = ("add", "below", "update", "delete", "archive", "freeze", "merge", "search", "shelve")
STEPS = st.lists(
    st.tuples(st.sampled_from(VERBS), WORDS, st.integers(0, 30)), min_size=1, max_size=14
)


def act(session: MemorySession, clock: FakeClock, verb: str, words: str, n: int) -> None:
    clock.advance(minutes=1)
    cubes = session.list()
    one = cubes[n % len(cubes)].id if cubes else ""
    if verb == "add" or not cubes:
        session.add(words, tags=["a"] if n % 2 else [], metadata={"n": n, "words": [words]})
    elif verb == "below":
        session.below("deep", "er").add(words, speaker="Maya")
    elif verb == "update":
        session.update(one, words)
    elif verb == "merge" and len(cubes) > 1:
        session.merge([cubes[0].id, cubes[-1].id])
    elif verb == "search":
        session.search(words)
    elif verb == "shelve":
        shelf = session.shelf("s")
        shelf.write([shelf.draft((), str(n), [words, "more"], metadata={"n": n})])
    elif verb in ("delete", "archive", "freeze"):
        getattr(session, verb)(one)


def members(path: Path) -> dict[str, str]:
    with reading(path) as archive:
        return {name: one.sha256 for name, one in archive.manifest.members.items()}


@given(STEPS)
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
def test_dump_load_dump(steps: list[tuple[str, str, int]]) -> None:
    clock = FakeClock()
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        options = {"embedder": WordEmbedder(16), "clock": clock}
        with MemOS.open(root / "a", ids=CountingIds(), **options) as memory:
            session = memory.session("alice")
            for step in steps:
                try:
                    act(session, clock, *step)
                except MemOSError:
                    continue  # not in this state
            first = session.dump(root / "one", vectors=True, grants=True)
            shown = {(c.id, c.version, c.state, c.text) for c in session.list()}
        with MemOS.open(root / "b", **options) as memory:
            moved = memory.session("alice")
            assert moved.load(root / "one", trust=True).added == first.memories
            moved.dump(root / "two", vectors=True, grants=True)
            assert members(root / "one") == members(root / "two")
            assert {(c.id, c.version, c.state, c.text) for c in moved.list()} == shown
            before = len(moved.log())
            again = moved.load(root / "one", trust=True, conflicts="replace")
            assert (again.unchanged, again.total) == (first.memories, first.memories)
            assert len(moved.log()) == before  # nothing was written
        with MemOS.open(root / "c", **options) as memory:
            stranger = memory.session("bob")
            stranger.add("here before")
            stranger.load(root / "one")
            assert {c.header.descriptive.origin for c in stranger.list()} <= {"user", "imported"}
            assert stranger.load(root / "one").unchanged == first.memories
