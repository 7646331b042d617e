"""Whatever is done, a lineage has no circle, and its edges lead from later to earlier."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from itertools import count

import networkx as nx
from hypothesis import example, given, settings
from hypothesis import strategies as st

from memos_integrations import MemorySession, MemOS
from memos_integrations.errors import MemOSError
from memos_integrations.testing import FakeClock

Opener = Callable[..., MemOS]

WORDS = ("boat", "lamp", "piano", "walnut")
which = st.integers(0, 5)
texts = st.lists(st.sampled_from(WORDS), min_size=1, max_size=4).map(" ".join)
marks = st.sampled_from(["one", "two"])
steps = st.one_of(
    st.tuples(st.just("add"), texts),
    st.tuples(st.sampled_from(["update", "append"]), which, texts),
    st.tuples(st.just("merge"), which, which),
    st.tuples(
        st.sampled_from(["delete", "archive", "restore", "freeze", "unfreeze", "use"]), which
    ),
    st.tuples(st.sampled_from(["snapshot", "rollback"]), marks),
    st.tuples(st.just("rollback one"), marks, which),
    st.tuples(st.just("branch"), which, texts, st.booleans()),
)
Step = tuple[str, *tuple[object, ...]]


class Story:
    """A session, and the ids of what was made in it."""

    def __init__(self, session: MemorySession) -> None:
        self.session = session
        self.ids = [session.add("the first")[0].id]

    def do(self, verb: str, *values: object) -> None:
        """One step; what is not legal is refused, and the store unchanged."""
        ids = [self.ids[v % len(self.ids)] for v in values if type(v) is int]
        words = [v for v in values if isinstance(v, str)]
        with suppress(MemOSError):
            if verb == "add":
                self.ids.append(self.session.add(*words)[0].id)
            elif verb == "merge":
                self.ids.append(self.session.merge(ids).id)
            elif verb == "use":
                self.session.search(self.session.get(*ids).text, limit=2)
                self.session._vault.flush_counters()
            elif verb == "rollback one":
                self.session.rollback(*words, ids=ids)
            elif verb == "branch":
                self.branch(*ids, *words, values[-1] is True)
            else:
                getattr(self.session, verb)(*ids, *words)

    def branch(self, id: str, text: str, kept: bool) -> None:
        """Try something out elsewhere; what was changed there comes back as a new version."""
        other = self.session.branch("other")
        copy = next((one for one in other.list() if one.text == self.session.get(id).text), None)
        if copy is not None:
            other.update(copy.id, text)
        other.add(f"{text} there")
        if kept:
            self.session.merge_branch("other", prefer="branch")
        else:
            self.session.drop_branch("other")


def check(graph: nx.DiGraph[str]) -> None:
    assert nx.is_directed_acyclic_graph(graph)
    at = dict(graph.nodes(data="at"))
    for version, activity, word in graph.edges(data="relation"):
        if word == "wasGeneratedBy":  # a branch's copy keeps the time of its original
            assert at[version] <= at[activity]
            at[version] = at[activity]
    for later, earlier, word in graph.edges(data="relation"):
        if word == "wasInvalidatedBy":  # the one arrow of PROV that leads to what came after
            assert at[later] < at[earlier]
        elif word not in ("wasGeneratedBy", "wasAssociatedWith"):
            assert at[earlier] < at[later], (later, word, earlier)


def test_no_story_has_a_circle(open_store: Opener) -> None:
    memory = open_store(clock=FakeClock(step=timedelta(seconds=1)))
    names = count()

    @settings(max_examples=60, deadline=None)
    @given(st.lists(steps, min_size=3, max_size=14))
    # A rollback that makes a version and changes a state; one that brings back what was deleted.
    @example([("snapshot", "one"), ("archive", 0), ("rollback", "one"), ("rollback", "one")])
    @example([("snapshot", "one"), ("delete", 0), ("rollback", "one"), ("delete", 0)])
    def tell(told: list[Step]) -> None:
        story = Story(memory.session(f"maya-{next(names)}"))
        for step in told:
            story.do(*step)
        for id in story.ids:
            check(story.session.lineage(id))
            assert story.session.blame(id)
            assert story.session.why(id)[-1].relation == "wasGeneratedBy"

    tell()
