"""A run does what its verbs would do one after the other; one that fails does nothing."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import networkx as nx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memos_integrations import MemorySession, MemOS
from memos_integrations.errors import MemOSError, PipelineError
from memos_integrations.interface.pipeline import Pipeline
from memos_integrations.testing import FakeClock, WordEmbedder

WORDS = ("boat", "lamp", "piano", "walnut", "river")
which = st.integers(0, 5)
texts = st.lists(st.sampled_from(WORDS), min_size=1, max_size=4).map(" ".join)
steps = st.one_of(
    st.tuples(st.just("add"), texts),
    st.tuples(st.sampled_from(["update", "append"]), which, texts),
    st.tuples(st.just("merge"), st.integers(0, 2), st.integers(3, 5)),
    st.tuples(st.sampled_from(["delete", "archive", "restore", "freeze", "unfreeze"]), which),
    st.tuples(st.just("search"), texts),
    st.tuples(st.just("think"), texts),
)
Step = tuple[Any, ...]


def seeded(memory: MemOS, name: str) -> MemorySession:
    """A session with six memories, told apart by a tag."""
    session = memory.session("ann", namespace=("stories", name))
    for number in range(6):
        session.add(f"{WORDS[number % 5]} {number}", tags=[f"m{number}"])
    return session


def ids_of(session: MemorySession) -> list[str]:
    return [cube.id for cube in session.list()][:6]


def one_by_one(session: MemorySession, ids: list[str], story: list[Step]) -> list[Any]:
    """The plain model: each verb on its own. Stops at the first that is refused."""
    found = []
    for verb, *values in story:
        these = [ids[v] for v in values if isinstance(v, int)]
        words = [v for v in values if isinstance(v, str)]
        if verb == "think":
            session.add(words[0].upper())
        elif verb == "search":
            found.append(sorted(hit.cube.text for hit in session.search(words[0], limit=50)))
        elif verb == "merge":
            session.merge(these)
        else:
            getattr(session, verb)(*these, *words)
    return found


def pipeline_of(ids: list[str], story: list[Step]) -> Pipeline:
    """The same as one pipeline."""
    whole = Pipeline("story")
    for number, (verb, *values) in enumerate(story):
        name = f"{verb}_{number}"
        these = [ids[v] for v in values if isinstance(v, int)]
        words = [v for v in values if isinstance(v, str)]
        if verb == "think":
            whole = whole.augment(lambda text: text.upper(), name=name, text=words[0])
            whole = whole.add(f"${name}", name=f"said_{number}")
        elif verb == "search":
            whole = whole.search(words[0], name=name, limit=50)
        elif verb == "merge":
            whole = whole.merge(these, name=name)
        elif verb == "update":
            whole = whole.update(these[0], name=name, text=words[0])
        else:
            whole = getattr(whole, verb)(*these, *words, name=name)
    return whole


def state(session: MemorySession) -> list[Any]:
    """All that may be seen, but for ids."""
    return [
        (
            cube.text,
            cube.version,
            cube.state,
            cube.tags,
            [one.text for one in session.history(cube.id)],
        )
        for cube in session.list()
    ]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Any:
    clock = FakeClock()
    folder = tmp_path_factory.mktemp("pipelines") / "store"
    with MemOS.open(folder, embedder=WordEmbedder(), clock=clock) as memory:
        yield memory, clock, iter(range(1_000_000))


@settings(max_examples=25, deadline=None)
@given(st.lists(steps, min_size=1, max_size=8))
def test_a_run_is_its_verbs_one_after_the_other_or_nothing(store: Any, story: list[Step]) -> None:
    memory, clock, numbers = store
    number = next(numbers)
    plain, piped = (seeded(memory, f"{kind}{number}") for kind in ("plain", "piped"))
    start = piped.snapshot("start")
    before, log = state(piped), piped.log()
    clock.advance(minutes=1)
    pipeline = pipeline_of(ids_of(piped), story)
    try:
        found = one_by_one(plain, ids_of(plain), story)
    except MemOSError as error:
        with pytest.raises(PipelineError) as caught:
            piped.run(pipeline)
        assert isinstance(caught.value.__cause__, type(error))
        assert (state(piped), piped.log()) == (before, log)
        return
    planned = piped.run(pipeline, dry_run=True)
    assert (state(piped), piped.log()) == (before, log)
    run = piped.run(pipeline)
    memory.vault.flush_counters()
    check_equal(plain, piped)
    searched = [
        sorted(hit.cube.text for hit in one.output) for one in run.steps if one.verb == "search"
    ]
    assert searched == found
    assert len(planned.steps) == len(run.steps)
    wrote = [entry for entry in piped.log() if entry.id == run.activity_id]
    assert len(wrote) == (run.activity_id is not None)
    clock.advance(minutes=1)
    assert state(piped.as_of(start)) == before
    now = [(cube.text, cube.version) for cube in piped.list()]
    then = piped.as_of(clock.now() - timedelta(seconds=1))
    assert [(cube.text, cube.version) for cube in then.list()] == now
    for cube in piped.list():
        assert nx.is_directed_acyclic_graph(piped.lineage(cube.id))


def check_equal(plain: MemorySession, piped: MemorySession) -> None:
    """The same memories; a use counts after a run, so it may activate later than on its own."""
    living = {"generated", "activated"}

    def seen(session: MemorySession) -> list[Any]:
        return [
            (text, version, "alive" if kept in living else kept, tags, history)
            for text, version, kept, tags, history in state(session)
        ]

    assert seen(plain) == seen(piped)
