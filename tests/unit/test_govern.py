"""Who may read, change and share what, once access is governed."""

from __future__ import annotations

import inspect
from datetime import datetime, timedelta
from functools import partial
from importlib import import_module
from typing import Any

import pytest

from memos_integrations import MemorySession, MemOS, Principal
from memos_integrations.errors import AccessDeniedError, CubeNotFoundError, InvalidInputError
from memos_integrations.testing import FakeClock
from tests.conftest import Opener

HOME = ("acme", "{principal}")


@pytest.fixture
def governed(memory: MemOS) -> MemOS:
    memory.govern("root", homes=[HOME])
    return memory


def at(memory: MemOS, who: str | Principal, of: str = "alice", **options: Any) -> MemorySession:
    """A session in the home of ``of``."""
    return memory.session(who, namespace=("acme", of), **options)


def texts(session: MemorySession) -> list[str]:
    return sorted(cube.text for cube in session.list())


def sees(session: MemorySession, question: str) -> list[str]:
    return sorted(hit.cube.text for hit in session.search(question))


def test_at_home_everything_is_allowed_and_abroad_nothing(governed: MemOS) -> None:
    alice, bob = at(governed, "alice"), at(governed, "bob")
    cube = alice.add("Alice keeps a parrot")[0]
    alice.update(cube.id, "Alice keeps two parrots")
    assert sees(alice, "parrot") == ["Alice keeps two parrots"]
    assert sees(bob, "parrot") == texts(bob) == []
    assert bob.get_many([cube.id]) == []
    assert bob.count() == 0
    reads: list[Any] = [bob.get, bob.history, bob.lineage, bob.uses, bob.impact, bob.why]
    for call in (*reads, bob.delete, bob.freeze, bob.restore):
        with pytest.raises(CubeNotFoundError):
            call(cube.id)
    acts: list[Any] = [bob.log, bob.summary, bob.organise, bob.branches, bob.snapshots]
    acts += [partial(one, "mine") for one in (bob.add, bob.snapshot, bob.branch, bob.drop_branch)]
    acts += [partial(bob.grant, "bob", "read"), partial(bob.merge_branch, "mine")]
    for act in acts:
        with pytest.raises(AccessDeniedError):
            act()
    assert alice.count() == 1
    assert alice.snapshots() == []


def test_a_denied_memory_looks_like_a_missing_one(governed: MemOS) -> None:
    alice, bob = at(governed, "alice"), at(governed, "bob")
    there, not_there = alice.add("Here")[0].id, governed._operator.new_id()
    calls: list[Any] = [bob.get, bob.history, bob.delete, bob.archive, bob.append]
    for call in calls:
        said = []
        for cube_id in (there, not_there):
            with pytest.raises(CubeNotFoundError) as caught:
                call(cube_id, *(["x"] if call == bob.append else []))
            said.append(str(caught.value).replace(cube_id, "ID"))
        assert said[0] == said[1]


def test_a_grant_lets_in_and_its_end_locks_out(governed: MemOS) -> None:
    alice, bob = at(governed, "alice"), at(governed, "bob")
    cube = alice.add("Alice keeps a parrot")[0]
    grant = alice.grant("bob", "read")
    assert sees(bob, "parrot") == [cube.text]
    assert bob.may("read")
    assert not bob.may("write")
    with pytest.raises(AccessDeniedError, match="'bob' may not update this in acme/alice"):
        bob.update(cube.id, "Bob's parrot")
    assert alice.get(cube.id).version == 1
    alice.revoke(grant)
    assert bob.search("parrot") == []
    alice.revoke(grant)
    assert [entry.verb for entry in alice.log()][:3] == ["revoke", "revoke", "grant"]


@pytest.mark.parametrize("narrow", ["tag", "semantic_type", "id"])
def test_a_grant_on_some_memories(governed: MemOS, narrow: str) -> None:
    alice, bob = at(governed, "alice"), at(governed, "bob")
    mine = alice.add("The parrot bites", semantic_type="fact")[0]
    ours = alice.add("The parrot party", tags=["pets"], semantic_type="event")[0]
    value: Any = {"tag": "pets", "semantic_type": "event", "id": ours.id}[narrow]
    alice.grant("bob", ["read", "write"], **{narrow: value})
    assert sees(bob, "parrot") == texts(bob) == [ours.text]
    assert bob.count() == 1
    assert bob.count({"tags": "pets"}) == 1
    assert bob.get(ours.id).id == ours.id
    bob.update(ours.id, "The parrot party is over")
    assert sees(bob.as_of(governed._clock.now()), "parrot") == ["The parrot party is over"]
    with pytest.raises(CubeNotFoundError):
        bob.update(mine.id, "nothing")
    with pytest.raises(AccessDeniedError):
        bob.add("an intruder")
    if narrow == "tag":
        bob.add("a friend", tags=["pets"])
        with pytest.raises(AccessDeniedError):  # out of its own sight
            bob.update(ours.id, tags=[])
        with pytest.raises(AccessDeniedError):
            bob.add(["fine", "not fine"], tags=["other"])
    assert not bob.may("read")
    assert bob.may("read", ours.id)
    assert not bob.may("read", mine.id)


def test_grants_end_and_ask_for_a_purpose_and_a_role(governed: MemOS, clock: FakeClock) -> None:
    alice = at(governed, "alice")
    alice.add("Alice keeps a parrot")
    alice.grant(role="vet", purpose="care", expires_at=clock.now() + timedelta(hours=1))
    vet = Principal(id="vera", roles=("vet",))
    assert sees(at(governed, vet, purpose="care"), "parrot")
    assert not sees(at(governed, vet), "parrot")
    assert not sees(at(governed, vet, purpose="sales"), "parrot")
    assert not sees(at(governed, "vera", purpose="care"), "parrot")
    clock.advance(hours=1)
    assert not sees(at(governed, vet, purpose="care"), "parrot")


def test_shared_and_read_only(governed: MemOS) -> None:
    alice, bob, eve = at(governed, "alice"), at(governed, "bob"), governed.session("eve")
    shared = alice.add("The office parrot", access="shared")[0]
    rule = alice.add("Parrots are fed at nine", access="read_only")[0]
    assert texts(bob) == ["The office parrot"]  # bob is at home under the same root
    assert texts(eve.below()) == []
    assert at(governed, "eve").count() == 1
    with pytest.raises(AccessDeniedError):
        bob.update(shared.id, "Mine")
    alice.grant("bob", ["read", "write"])
    bob.update(shared.id, "Ours")
    with pytest.raises(AccessDeniedError):
        bob.update(rule.id, "Parrots are fed at ten")
    with pytest.raises(AccessDeniedError):
        bob.delete(rule.id)
    own = bob.add("Bob's rule", access="read_only")[0]
    bob.update(own.id, "Bob's new rule")
    alice.update(own.id, "Alice is at home here")
    alice.update(shared.id, access="private")
    assert "Ours" in texts(bob)
    assert governed.session("bob", namespace=("acme",)).list() == []


def test_what_was_shared_is_not_shared_in_the_past_when_it_is_private_now(
    governed: MemOS, clock: FakeClock
) -> None:
    alice, bob = at(governed, "alice"), at(governed, "bob")
    cube = alice.add("The office parrot", access="shared")[0]
    then = clock.now()
    clock.advance(minutes=1)
    alice.update(cube.id, access="private")
    assert sees(alice.as_of(then), "parrot") == ["The office parrot"]
    assert bob.as_of(then).list() == []
    assert sees(bob.as_of(then), "parrot") == []
    with pytest.raises(CubeNotFoundError):
        bob.get(cube.id, version=1)


def test_rights_are_passed_on_as_far_as_they_are_held(governed: MemOS) -> None:
    alice, bob, carl = (at(governed, who) for who in ("alice", "bob", "carl"))
    cube = alice.add("Alice keeps a parrot", tags=["pets"])[0]
    alice.grant("bob", ["read"])
    with pytest.raises(AccessDeniedError):
        bob.grant("carl", "read")
    first = alice.grant("bob", ["read", "share"], tag="pets")
    with pytest.raises(AccessDeniedError):
        bob.grant("carl", "read")
    with pytest.raises(AccessDeniedError):
        bob.grant("carl", ["read", "write"], tag="pets")
    narrows: list[dict[str, Any]] = [{"tag": "pets"}, {"id": cube.id}]
    for narrow in narrows:
        grant = bob.grant("carl", "read", **narrow)
        assert carl.get(cube.id).text == cube.text
        bob.revoke(grant)
        assert carl.list() == []
    bob.grant("carl", "read", tag="pets")
    assert [one.principal for one in carl.grants()] == ["carl"]
    assert len(alice.grants()) == 3
    alice.revoke(first)  # and all that stood on it
    assert carl.list() == []
    assert bob.list() != []
    with pytest.raises(AccessDeniedError):
        carl.revoke(alice.grants()[0])
    with pytest.raises(CubeNotFoundError):
        carl.grant("eve", "read", id=cube.id)


def test_lineages_leave_out_what_may_not_be_read(governed: MemOS) -> None:
    alice, bob = at(governed, "alice"), at(governed, "bob")
    one, two = alice.add("Parrots are green"), alice.add("Parrots are loud", tags=["open"])
    merged = alice.merge([one[0].id, two[0].id])
    alice.grant("bob", id=merged.id)
    graph = bob.lineage(merged.id)
    assert {node.partition("@")[0] for node in graph if "@" in node} == {merged.id}
    assert len(bob.why(merged)) == 2  # the memory, and the merge
    assert len(alice.why(merged)) > 2
    alice.grant("bob", tag="open")
    shown = {node.partition("@")[0] for node in bob.lineage(merged.id) if "@" in node}
    assert shown == {merged.id, two[0].id}


def test_shelves_are_governed(governed: MemOS) -> None:
    alice, bob = at(governed, "alice"), at(governed, "bob")
    shelf, other = alice.shelf("store"), bob.shelf("store")
    shelf.write([shelf.draft(("a",), "k", ["a parrot"])])
    assert other.get(("a",), "k") is None
    assert other.cube_id(("a",), "k") is None
    assert other.in_order(("a",)) == []
    assert other.view([lambda view: view.namespaces()]) == [[]]
    assert other.view([lambda view: view.search((), limit=5)]) == [[]]
    question = other.question("parrot")
    assert other.view([lambda view: view.search((), question=question, limit=5)]) == [[]]
    assert bob.below("a").shelves() == []
    with pytest.raises(AccessDeniedError):
        other.write([other.draft(("a",), "k", ["a cat"])])
    with pytest.raises(AccessDeniedError):
        other.write([other.removal(("a",), "k")])
    alice.grant("bob", "read")
    found = other.view([lambda view: view.search((), question=question, limit=5)])[0]
    assert [one.cube.text for one in found] == ["a parrot"]
    assert other.get(("a",), "k") is not None


def test_governing_takes_an_administrator_once_it_began(memory: MemOS, open_store: Opener) -> None:
    alice = memory.session("alice")
    assert alice.may("write").because == "access is not governed in this store"
    with pytest.raises(InvalidInputError, match="govern"):
        alice.grant("bob")
    memory.govern("root", administrators=["admin"])
    with pytest.raises(AccessDeniedError):
        memory.govern("alice")
    with pytest.raises(InvalidInputError, match="everybody"):
        memory.govern("root", homes=[("acme",)])
    alice.add("Alice keeps a parrot")
    grant = alice.grant("bob")
    memory.close()
    again = open_store()
    assert again.session("eve", namespace="alice").list() == []
    assert texts(again.session("bob", namespace="alice")) == ["Alice keeps a parrot"]
    assert again.session("bob", namespace="alice").grants() == [grant]
    root = again.session("root", namespace="alice")
    assert root.may("administer").because == "administers the store"
    root.revoke(grant.id)
    assert again.session("bob", namespace="alice").list() == []
    again.govern("admin", enforce=False)
    assert texts(again.session("bob", namespace="alice")) == ["Alice keeps a parrot"]


def test_bad_arguments(governed: MemOS) -> None:
    alice = at(governed, "alice")
    calls: list[dict[str, Any]] = [
        {},
        {"principal": "bob", "role": "vet"},
        {"principal": ""},
        {"principal": "bob", "rights": ()},
        {"principal": "bob", "rights": "everything"},
        {"principal": "bob", "id": "nope"},
        {"principal": "bob", "expires_at": datetime(2030, 1, 1)},
    ]
    for call in calls:
        with pytest.raises(InvalidInputError):
            alice.grant(**call)
    with pytest.raises(InvalidInputError):
        alice.may("fly")  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError):
        alice.add("x", access="public")  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError):
        governed.session("alice", purpose="")
    with pytest.raises(AccessDeniedError):
        alice.revoke(governed._operator.new_id())
    assert alice.grants() == []


# Nothing without a principal --------------------------------------------------------------------

KEEPERS = {"at", "close", "open", "path", "reindex", "reseal", "scheduler", "stats"}
"""What the process does that opened the folder: it can read the files anyway."""

NO_MEMORIES = {
    "MemOSEmbeddings": "turns words into vectors",
    "CompressorReranker": "orders what a session has found",
    "PostprocessorReranker": "orders what a session has found",
    "MemOSEmbedding": "turns words into vectors",
    "HostedPrefixCache": "marks prompts that others have made",
    "KVCacheAccelerator": "works for a chat model, which has a session",
    "KVCacheCallbackHandler": "works for a chat model, which has a session",
    "MemOSFunctionLLM": "made of a MemOSLLM or of its arguments",
}
"""Exported classes whose constructors take no session, and why they need none."""


def test_every_public_method_has_a_principal() -> None:
    for name in {one for one in dir(MemOS) if not one.startswith("_")} - KEEPERS:
        first = list(inspect.signature(getattr(MemOS, name)).parameters)[1]
        assert first == "principal", f"MemOS.{name} has no principal"
    made_with = inspect.signature(MemorySession).parameters
    assert made_with["principal"].default is inspect.Parameter.empty


@pytest.mark.parametrize("framework", ["langchain", "llama_index"])
def test_every_adapter_has_a_session(framework: str) -> None:
    adapters = import_module(f"memos_integrations.{framework}")
    for name in adapters.__all__:
        adapter = getattr(adapters, name)
        taken = set(inspect.signature(adapter).parameters)
        if hasattr(adapter, "from_defaults"):
            taken |= set(inspect.signature(adapter.from_defaults).parameters)
        has_one = bool(taken & {"session", "memory"})
        assert has_one or name in NO_MEMORIES, f"{framework}.{name} has no principal"
