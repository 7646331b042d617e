"""The tree against a plain model of it, and where prompts are cut."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from memos_integrations.memories.activation import prefix_tree
from memos_integrations.memories.activation.prefix_tree import (
    Lease,
    PrefixTree,
    digest_of,
    root_of,
)
from memos_integrations.memories.activation.segments import (
    LONGEST,
    SHORTEST,
    Prompt,
    Source,
    Span,
    split,
)


@dataclass(frozen=True)
class Size:
    """A payload that is a size only."""

    nbytes: int


PIECES = [(1,), (2,), (1, 2), (3, 3, 3), (4,)]
chains = st.lists(st.integers(0, len(PIECES) - 1), min_size=1, max_size=4)
SOURCES = [Source(f"m{i}", v) for i in range(3) for v in (1, 2)]


class TreeMachine(RuleBasedStateMachine):
    """Any number of requests, with everything that they may do to a tree."""

    @initialize(budget=st.integers(50, 400))
    def begin(self, budget: int) -> None:
        self.tree: PrefixTree[Size] = PrefixTree(budget)
        self.budget = budget
        self.roots = [root_of({"salt": salt}) for salt in "ab"]
        self.known: dict[tuple[int, ...], set[Source]] = {}
        self.leases: list[tuple[int, tuple[int, ...], Lease[Size]]] = []

    def path(self, root: int, chain: list[int]) -> tuple[int, ...]:
        return (root, *chain)

    @rule(root=st.integers(0, 1), chain=chains, held=st.booleans())
    def read(self, root: int, chain: list[int], held: bool) -> None:
        """What is found was put there, under this root, and is the longest that is there."""
        lease = self.tree.match(self.roots[root], [PIECES[i] for i in chain])
        found = self.path(root, chain[: len(lease.nodes)])
        there = {node.digest for node in self.tree.nodes()}
        assert [node.tokens for node in lease.nodes] == [
            PIECES[i] for i in chain[: len(lease.nodes)]
        ]
        assert lease.length == sum(len(PIECES[i]) for i in found[1:])
        if len(lease.nodes) < len(chain):
            assert digest_of(lease.digest, PIECES[chain[len(lease.nodes)]]) not in there
        if held:
            self.leases.append((root, found, lease))
        else:
            self.tree.release(lease)

    @rule(
        root=st.integers(0, 1),
        chain=chains,
        size=st.integers(1, 120),
        sources=st.sets(st.sampled_from(SOURCES), max_size=2),
        held=st.booleans(),
    )
    def write(
        self, root: int, chain: list[int], size: int, sources: set[Source], held: bool
    ) -> None:
        lease = self.tree.match(self.roots[root], [PIECES[i] for i in chain])
        for i in chain[len(lease.nodes) :]:
            before = lease.nodes[-1].sources if lease.nodes else frozenset()
            node = self.tree.add(lease, PIECES[i], Size(size), sources)
            if node is None:
                break
            assert node.sources == before | sources
        if held:
            self.leases.append((root, self.path(root, chain[: len(lease.nodes)]), lease))
        else:
            self.tree.release(lease)

    @rule(which=st.integers(0, 100))
    def finish(self, which: int) -> None:
        if self.leases:
            self.tree.release(self.leases.pop(which % len(self.leases))[2])

    @rule(sources=st.sets(st.sampled_from(SOURCES), min_size=1, max_size=2))
    def forget(self, sources: set[Source]) -> None:
        """Everything that knows them goes, and nothing else."""
        before = {node.digest: node.sources for node in self.tree.nodes()}
        dropped = self.tree.drop(sources)
        after = {node.digest for node in self.tree.nodes()}
        assert set(dropped) == {d for d, known in before.items() if known & sources}
        assert after == set(before) - set(dropped)

    @rule(cube=st.integers(0, 2))
    def forget_cube(self, cube: int) -> None:
        self.tree.drop_cubes([f"m{cube}"])
        left = {source.cube_id for node in self.tree.nodes() for source in node.sources}
        assert f"m{cube}" not in left

    @invariant()
    def it_keeps_its_word(self) -> None:
        if not hasattr(self, "tree"):
            return
        nodes = {node.digest: node for node in self.tree.nodes()}
        stats = self.tree.stats()
        assert stats.bytes == sum(node.payload.nbytes for node in nodes.values()) <= self.budget
        for node in nodes.values():
            assert not node.gone
            assert node.parent is None or node.parent.digest in nodes, "no node without its prefix"
            assert node.children == sum(one.parent is node for one in nodes.values())
        for _, _, lease in self.leases:
            for node in lease.nodes:
                assert node.leases > 0
                assert node.gone or node.digest in nodes, "what is leased is not evicted"


TestTree = TreeMachine.TestCase
TestTree.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def test_equal_digests_are_not_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens are compared: a collision is a miss."""
    tree: PrefixTree[Size] = PrefixTree(1_000)
    monkeypatch.setattr(prefix_tree, "digest_of", lambda before, tokens: "00" * 32)
    lease = tree.match("ff" * 32, [])
    tree.add(lease, (1, 2), Size(1), [])
    tree.release(lease)
    assert tree.match("ff" * 32, [(1, 2)]).length == 2
    assert tree.match("ff" * 32, [(1, 3)]).length == 0


IDENTITY = {"weights": "w", "tokenizer": "t", "template": "c", "dtype": "float32", "salt": "s"}


@pytest.mark.parametrize("field", IDENTITY)
def test_any_difference_is_another_tree(field: str) -> None:
    assert root_of(IDENTITY) == root_of(dict(reversed(IDENTITY.items())))
    assert root_of({**IDENTITY, field: "another"}) != root_of(IDENTITY)


def test_where_pieces_end_is_part_of_the_name() -> None:
    root = root_of({})
    assert digest_of(digest_of(root, (1, 2)), (3,)) != digest_of(digest_of(root, (1,)), (2, 3))
    assert digest_of(root, (1, 2)) != digest_of(root, (12,))


def test_a_full_tree_takes_nothing_more_in() -> None:
    tree: PrefixTree[Size] = PrefixTree(10)
    lease = tree.match("aa", [])
    assert tree.add(lease, (1,), Size(10), []) is not None
    other: Lease[Any] = tree.match("bb", [])
    assert tree.add(other, (1,), Size(1), []) is None, "all is in use"
    tree.release(lease)
    assert tree.add(other, (1,), Size(1), []) is not None
    assert tree.stats().evicted == 1


def test_nothing_is_put_behind_what_was_dropped() -> None:
    tree: PrefixTree[Size] = PrefixTree(100)
    lease = tree.match("aa", [])
    tree.add(lease, (1,), Size(1), [Source("m", 1)])
    tree.drop([Source("m", 1)])
    assert tree.add(lease, (2,), Size(1), []) is None
    assert tree.nodes() == []


# Where prompts are cut -------------------------------------------------------------------------

ends = st.lists(st.integers(1, 3_000), max_size=12)


@given(length=st.integers(1, 3_000), memory_ends=ends)
def test_a_cut_prompt_is_whole(length: int, memory_ends: list[int]) -> None:
    cuts = split(length, memory_ends)
    starts = (0, *cuts[:-1])
    sizes = [end - start for start, end in zip(starts, cuts, strict=True)]
    assert cuts[-1] == length and min(sizes) >= 1 and list(cuts) == sorted(set(cuts))
    assert max(sizes[:-1], default=0) <= LONGEST and sizes[-1] <= LONGEST + 1
    inner = [end for end in memory_ends if 0 < end < length]
    if inner:
        assert max(inner) in cuts, "what stands behind the memories is read apart"
    for size, end in zip(sizes[:-1], cuts[:-1], strict=True):
        assert size == LONGEST or end in inner
        assert size >= SHORTEST or end == max(inner)


@given(
    shared=ends,
    one=ends,
    other=ends,
    at=st.integers(1, 2_000),
    lengths=st.tuples(st.integers(1, 3_000), st.integers(1, 3_000)),
)
def test_prompts_that_begin_alike_are_cut_alike(
    shared: list[int],
    one: list[int],
    other: list[int],
    at: int,
    lengths: tuple[int, int],
) -> None:
    """As far as both have a memory yet to come: only the last memory's end is forced."""
    begin = [end for end in shared if end <= at]
    first = split(at + lengths[0], [*begin, *(at + end for end in one)])
    second = split(at + lengths[1], [*begin, *(at + end for end in other)])
    settled = at - LONGEST
    mine = [cut for cut in first if cut <= settled]
    theirs = [cut for cut in second if cut <= settled]
    if any(at + end < at + lengths[0] for end in one) and any(
        at + end < at + lengths[1] for end in other
    ):
        assert mine == theirs


def test_a_piece_knows_the_memories_that_it_cuts() -> None:
    a, b = Source("a", 1), Source("b", 1)
    prompt = Prompt(tuple(range(1, 301)), (Span(10, 90, a), Span(90, 200, b)))
    assert prompt.ends == (90, 200, 300)
    assert prompt.sources(0, 10) == frozenset()
    assert prompt.sources(0, 11) == {a}
    assert prompt.sources(90, 91) == {b}
    assert prompt.sources(0, 300) == {a, b}
    also = Prompt(tuple(range(1, 301)), (Span(10, 90, a),), also=frozenset([b]))
    assert also.sources(0, 50) == {a, b} and also.sources(0, 5) == frozenset()
