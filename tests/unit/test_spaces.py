"""Namespaces with a purpose of their own."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from memos_integrations import MemorySession, MemOS
from memos_integrations.errors import AccessDeniedError, InvalidInputError, ReadOnlyMomentError
from memos_integrations.testing import FakeClock
from tests.conftest import Opener


def found(session: MemorySession) -> list[str]:
    return sorted(hit.cube.text for hit in session.search("note"))


def test_expert_knowledge_is_read_by_all_and_written_by_who_administers_it(memory: MemOS) -> None:
    memory.govern("root", homes=[("acme", "{principal}")])
    root = memory.session("root", namespace=("acme", "law"))
    space = root.space("expert")
    assert str(space) == "acme/law: expert, shared, curated"
    cube = root.add("a note on contracts")[0]
    assert cube.header.governance.access == "shared"
    alice = memory.session("alice", namespace=("acme", "law"))
    assert found(alice) == ["a note on contracts"]
    root.grant("alice", ["read", "write"])
    assert not alice.may("write")
    for act in (lambda: alice.add("mine"), lambda: alice.update(cube.id, "mine")):
        with pytest.raises(AccessDeniedError):
            act()
    with pytest.raises(AccessDeniedError):  # below, too
        alice.below("tax").add("mine")
    root.grant("alice", ["administer"])
    assert alice.may("write")
    alice.update(cube.id, "a better note on contracts")
    memory.session("alice", namespace=("acme", "alice")).add("at home as before")
    root.space("expert", curated=False)
    root.grant("bob", ["write"])
    memory.session("bob", namespace=("acme", "law")).add("a note of Bob")
    with pytest.raises(AccessDeniedError):
        memory.session("bob", namespace=("acme", "law")).space("user")


def test_what_is_said_when_adding_counts_more(memory: MemOS) -> None:
    pool = memory.session("root", namespace=("acme", "pool"))
    pool.space("shared", sensitivity=["internal"])
    cubes = [
        *pool.add("a note"),
        *pool.add("a private note", access="private"),
        *pool.below("deep").add("a deep note"),
        *memory.session("eve").add("elsewhere"),
    ]
    assert [one.header.governance.access for one in cubes] == [
        "shared",
        "private",
        "shared",
        "private",
    ]
    assert [one.header.governance.sensitivity for one in cubes] == [("internal",)] * 3 + [()]
    shelf = pool.shelf("store")
    shelf.write([shelf.draft((), "k", ["a keyed note"])])
    keyed = shelf.get((), "k")
    assert keyed is not None
    assert keyed.cube.header.governance.access == "shared"


def test_pools_and_caches_end_by_themselves(memory: MemOS, clock: FakeClock) -> None:
    pool = memory.session("root", namespace=("acme", "pool"))
    cache = memory.session("root", namespace=("acme", "cache"))
    pool.space("context")
    cache.space("cache")
    for session in (pool, cache):
        session.add("a note")
    clock.advance(days=1)
    assert found(cache) == []
    assert found(pool) == ["a note"]
    clock.advance(days=30)
    assert found(pool) == []
    pool.space("context", ttl=timedelta(days=365), unused=timedelta(days=90))
    assert found(pool) == ["a note"]
    assert [(one.kind, one.seconds) for one in pool.retention()] == [
        ("ttl", 365 * 86_400),
        ("decay", 90 * 86_400),
    ]
    pool.space("user")
    assert pool.retention() == []
    assert len(memory.session("root", namespace="acme").spaces()) == 2


def test_spaces_outlive_the_process(memory: MemOS, open_store: Opener) -> None:
    space = memory.session("root", namespace=("acme", "law")).space("expert", sensitivity=["x"])
    memory.close()
    again = open_store().session("root", namespace=("acme", "law", "tax"))
    assert again.spaces() == [space]
    assert again.add("a note")[0].header.governance.sensitivity == ("x",)
    assert "space" in [one.verb for one in again.audit(everywhere=True)]


def test_bad_arguments(alice: MemorySession) -> None:
    calls: list[dict[str, Any]] = [
        {"kind": "home"},
        {"kind": "user", "access": "public"},
        {"kind": "user", "sensitivity": [""]},
        {"kind": "user", "ttl": timedelta(0)},
    ]
    for call in calls:
        with pytest.raises(InvalidInputError):
            alice.space(**call)
    alice.add("a note")
    with pytest.raises(ReadOnlyMomentError):
        alice.as_of(alice._clock.now()).space("user")


async def test_the_twins(alice: MemorySession) -> None:
    space = await alice.aspace("shared")
    assert await alice.aspaces() == [space]
