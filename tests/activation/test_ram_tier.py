"""The tier in RAM by itself: what it takes in, what it serves meanwhile, and what goes."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import torch

from memos_integrations.errors import InvalidInputError, KVCacheWarning
from memos_integrations.memories.activation.engine import ActivationEngine
from memos_integrations.memories.activation.prefix_tree import Node
from memos_integrations.memories.activation.ram import RAM_BUDGET, RamTier, ram_for
from memos_integrations.memories.activation.segments import Source
from memos_integrations.memories.activation.tensors import Piece
from tests.activation.asked import model_of

MUCH = 10_000_000
"""Bytes: more than all of them."""


def node_of(name: str, piece: Piece, parent: Node[Piece] | None = None) -> Node[Piece]:
    digest = name.encode().hex().ljust(64, "0")
    return Node(digest, parent, (1,) * piece.tokens, piece, frozenset([Source(name, 1)]), 4)


def piece_of(tokens: int = 4) -> Piece:
    pair = torch.randn(1, 2, tokens, 8), torch.randn(1, 2, tokens, 8)
    return Piece([pair])


def test_it_is_off_on_a_cpu_and_on_elsewhere() -> None:
    assert ActivationEngine(model_of("llama")).ram is None
    assert ram_for("cpu", None, None) is None
    assert ram_for("cuda", None, 0) is None
    on = ram_for("cuda", None, None)
    assert on is not None and on.budget == RAM_BUDGET
    on.close()
    assert ActivationEngine(model_of("mamba"), ram_budget=MUCH).ram is None, "nothing is cached"
    for wrong in (-1, True):
        with pytest.raises(InvalidInputError, match="give bytes"):
            ram_for("cpu", None, wrong)


def test_what_was_used_longest_ago_goes_and_no_piece_before_those_that_stand_on_it() -> None:
    ram = RamTier(budget=3 * piece_of().nbytes)
    parent = node_of("parent", piece_of())
    child, old, new = node_of("child", piece_of(), parent), *map(node_of, "on", [piece_of()] * 2)
    for node in (child, parent, old):
        ram.keep(node)
    assert ram.load(child.digest, child.tokens) is not None
    ram.keep(new)
    assert ram.load(old.digest, old.tokens) is None, "not used since"
    ram.keep(old)
    assert ram.load(child.digest, child.tokens) is None
    assert ram.load(parent.digest, parent.tokens) is not None
    assert ram.stats().evicted == 2
    ram.close()


def test_other_tokens_are_a_miss() -> None:
    ram, node = RamTier(budget=MUCH), node_of("one", piece_of())
    ram.keep(node)
    assert ram.load(node.digest, (2,) * 4) is None
    assert ram.load(node.digest, node.tokens) == (node.payload, node.sources)
    ram.close()


class Slow(Piece):
    """A piece on a device that is slow to read."""

    begun, go_on = threading.Event(), threading.Event()

    def in_ram(self) -> Piece:
        self.begun.set()
        assert self.go_on.wait(60)
        return Piece(self._layers)


@pytest.fixture
def slow() -> Iterator[Slow]:
    Slow.begun.clear()
    Slow.go_on.clear()
    yield Slow(piece_of()._layers)
    Slow.go_on.set()


def test_it_is_served_from_where_it_was_until_then(slow: Slow) -> None:
    ram, node = RamTier(budget=MUCH), node_of("slow", slow)
    ram.keep(node)
    assert ram.load(node.digest, node.tokens) == (slow, node.sources)
    slow.go_on.set()
    ram.flush()
    found = ram.load(node.digest, node.tokens)
    assert found is not None and type(found[0]) is Piece
    assert torch.equal(found[0].layer(0)[0], slow.layer(0)[0])  # type: ignore[index]
    assert ram.stats().bytes == slow.nbytes
    ram.close()


@pytest.mark.parametrize("how", ["remove", "remove_cubes", "drop", "clear"])
def test_forgotten_while_it_is_copied(how: str, slow: Slow) -> None:
    ram, node = RamTier(budget=MUCH), node_of("slow", slow)
    ram.keep(node)
    assert slow.begun.wait(60)
    argument = {"remove": [node.digest], "remove_cubes": ["slow"], "drop": node.sources}.get(how)
    getattr(ram, how)(*[] if argument is None else [argument])
    slow.go_on.set()
    ram.flush()
    assert ram.load(node.digest, node.tokens) is None
    assert (ram.stats().pieces, ram.stats().bytes) == (0, 0)
    ram.close()


def test_what_comes_too_fast_is_left_out(slow: Slow) -> None:
    """So that the device never holds much more than its own budget."""
    ram = RamTier(budget=MUCH, pending=2)
    ram.keep(node_of("slow", slow))
    assert slow.begun.wait(60)
    for name in "abc":
        ram.keep(node_of(name, piece_of()))
    assert (ram.stats().pieces, ram.stats().left_out) == (3, 1)
    slow.go_on.set()
    ram.close()


def test_what_cannot_be_copied_is_left_out() -> None:
    ram = RamTier(budget=MUCH)
    nowhere = torch.empty(1, 2, 4, 8, device="meta")
    with pytest.warns(KVCacheWarning, match="not kept in RAM"):
        ram.keep(node_of("nowhere", Piece([(nowhere, nowhere)])))
        ram.flush()
    assert ram.stats().pieces == 0
    node = node_of("one", piece_of())
    ram.keep(node)
    ram.flush()
    assert ram.load(node.digest, node.tokens) is not None, "the thread is there still"
    ram.close()


def test_on_its_device_whole_it_holds_nothing_elsewhere() -> None:
    """Else what the tree reads from RAM would take RAM beside the budget."""
    there = Piece([*piece_of()._layers, None]).to(torch.device("meta"))
    for i in range(2):
        there.expect([i])
        pair = there.layer(i)
        assert pair is None or pair[0].device.type == "meta"
    assert len(there) == 2 and there._piece is None  # type: ignore[attr-defined]
    there.expect([0])
    assert there.layer(0) is not None and there.layer(1) is None
