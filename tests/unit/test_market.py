"""Packages: signed, followed, pulled as differences, traced, and gone when they end."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from memos_integrations import MemorySession, MemOS
from memos_integrations.errors import (
    AccessDeniedError,
    FrozenCubeError,
    InvalidInputError,
    PackageError,
    ReadOnlyMomentError,
)
from memos_integrations.infrastructure.market.packages import public_hex
from memos_integrations.infrastructure.market.watermark import marked, marks, unmarked
from memos_integrations.testing import FakeClock
from tests.conftest import Opener

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
WHO = public_hex(KEY)


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    return tmp_path / "shop"


@pytest.fixture
def bob(open_store: Opener, tmp_path: Path, clock: FakeClock) -> MemorySession:
    return open_store(tmp_path / "other", clock=clock).session("bob")


def publish(session: MemorySession, place: object, version: str, **options: Any) -> Any:
    about = {"licence": "CC0-1.0", "description": "How to keep bread", "tags": ["bread"]}
    return session.publish(place, "bread", version=version, key=KEY, **{**about, **options})


def words(session: MemorySession) -> list[str]:
    return sorted(unmarked(cube.text) for cube in session.list())


def test_follow_pull_and_leave(alice: MemorySession, bob: MemorySession, shop: Path) -> None:
    rye, bun, _ = alice.add(["Rye keeps a week", "Buns keep a day", "Salt keeps"], tags=["a"])
    package = publish(alice, shop, "1.0")
    assert bob.subscribe(shop, "bread", publisher=WHO).added == 3
    cube = bob.search("rye")[0].cube
    about, rules = cube.header.descriptive, cube.header.governance
    assert (about.origin, rules.access, cube.state) == ("subscribed", "read_only", "frozen")
    assert about.tags == ("a",)
    alice.update(rye.id, "Rye keeps ten days")
    alice.delete(bun.id)
    alice.add("Pies keep")
    publish(alice, shop, "1.1")
    done = bob.pull("bread")
    assert (done.added, done.updated, done.removed, done.fetched) == (1, 1, 1, 2)
    assert words(bob) == ["Pies keep", "Rye keeps ten days", "Salt keeps"]
    before = bob.log()
    assert bob.pull("bread").fetched == 0
    assert bob.log() == before
    copies = bob.branch("trial")
    receipt = bob.unsubscribe("bread")
    assert len(receipt.ids) == 3
    assert receipt.finished
    assert set(receipt.kept_derived) == {one.id for one in copies.list()}
    assert all("unsubscribed:bread" in one.tags for one in copies.list())
    assert (words(bob), bob.subscriptions()) == ([], [])
    assert bob.subscribe(shop, "bread", publisher=WHO).added == 3  # and back again
    assert package.label == "bread@1.0"


def test_subscribed_memories_are_not_changed(
    alice: MemorySession, bob: MemorySession, shop: Path
) -> None:
    alice.add("Rye keeps a week")
    publish(alice, shop, "1")
    bob.subscribe(shop, "bread", publisher=WHO)
    cube_id = bob.list()[0].id
    verbs: list[Any] = [bob.delete, bob.unfreeze, bob.forget, lambda one: bob.update(one, "x")]
    for verb in verbs:
        with pytest.raises(FrozenCubeError):
            verb(cube_id)
    with pytest.raises(InvalidInputError, match="0 memories"):
        publish(bob, shop, "7")  # they are not passed on


def test_expired_at_that_second(
    alice: MemorySession, bob: MemorySession, shop: Path, clock: FakeClock
) -> None:
    alice.add("Rye keeps a week")
    publish(alice, shop, "1", expires_at=clock.now() + timedelta(hours=1))
    bob.subscribe(shop, "bread", publisher=WHO)
    clock.advance(seconds=3599)
    assert bob.search("rye")
    clock.advance(seconds=1)
    assert bob.search("rye") == []
    assert bob.packages(shop) == []
    with pytest.raises(PackageError, match="expired"):
        bob.pull("bread")
    publish(alice, shop, "2", expires_at=clock.now() + timedelta(hours=1))
    bob.pull("bread")
    assert bob.search("rye")
    with pytest.raises(PackageError, match="expired"):
        publish(alice, shop, "3", expires_at=clock.now())


def index_of(shop: Path, version: str) -> Path:
    return shop / "packages" / "bread" / WHO / f"{version}.json"


def test_what_was_tampered_with_is_refused(
    alice: MemorySession, bob: MemorySession, shop: Path
) -> None:
    rye = alice.add("Rye keeps a week")[0]
    publish(alice, shop, "1.0")
    bob.subscribe(shop, "bread", publisher=WHO)
    alice.update(rye.id, "Rye keeps ten days")
    publish(alice, shop, "1.1")
    raw, path, state = index_of(shop, "1.1").read_bytes(), index_of(shop, "1.1"), words(bob)
    other = Ed25519PrivateKey.generate()
    changed = json.loads(json.loads(raw)["signed"])
    forged = json.dumps(changed | {"licence": "mine"})
    resigned = {"signed": forged, "signature": other.sign(forged.encode()).hex()}
    cases = {
        "cut": raw[:-9],
        "changed": raw.replace(b"CC0", b"CC1"),
        "signed by another": json.dumps(resigned).encode(),
        "unsigned": b"{}",
        "another version": index_of(shop, "1.0").read_bytes(),
        "nothing": b"",
    }
    for name, content in cases.items():
        path.write_bytes(content)
        with pytest.raises(PackageError):
            bob.pull("bread")
            pytest.fail(name)
    path.write_bytes(raw)
    for blob in (shop / "objects").glob("??/*"):
        blob.write_bytes(blob.read_bytes().replace(b"ten", b"two"))
    with pytest.raises(PackageError):
        bob.pull("bread")
    assert words(bob) == state


def test_an_older_version_is_refused(alice: MemorySession, bob: MemorySession, shop: Path) -> None:
    rye = alice.add("Rye keeps a week")[0]
    publish(alice, shop, "1.9")
    alice.update(rye.id, "Rye keeps ten days")
    publish(alice, shop, "1.10")
    bob.subscribe(shop, "bread", publisher=WHO)
    index_of(shop, "1.10").unlink()
    with pytest.raises(PackageError, match="older"):
        bob.pull("bread")
    assert words(bob) == ["Rye keeps ten days"]
    with pytest.raises(PackageError, match="higher"):
        publish(alice, shop, "1.9")


def test_a_key_of_somebody_else(alice: MemorySession, bob: MemorySession, shop: Path) -> None:
    alice.add("Rye keeps a week")
    publish(alice, shop, "1")
    stranger = public_hex(Ed25519PrivateKey.generate())
    with pytest.raises(PackageError, match="offers no package"):
        bob.subscribe(shop, "bread", publisher=stranger)
    (shop / "packages" / "bread" / WHO).rename(shop / "packages" / "bread" / stranger)
    with pytest.raises(PackageError, match="not signed"):
        bob.subscribe(shop, "bread", publisher=stranger)
    assert bob.packages(shop) == []


def test_places(alice: MemorySession, bob: MemorySession, memory: MemOS) -> None:
    alice.add("Rye keeps a week")
    for version, place in (("1", memory), ("2", "memory://market-test")):
        publish(alice, place, version)
        assert bob.packages(place)[0].version == version
    assert bob.packages(str(memory.path))[0].name == "bread"
    assert bob.subscribe(memory, "bread", publisher=WHO).added == 1
    assert bob.pull("bread", place="memory://market-test").version == "2"


def test_found_by_tags_and_meaning(alice: MemorySession, bob: MemorySession, shop: Path) -> None:
    alice.add("Rye keeps a week")
    publish(alice, shop, "1")
    options: Any = {"version": "1", "key": KEY, "licence": "CC0-1.0"}
    alice.publish(shop, "boats", description="Sailing in the wind", tags=["sea"], **options)
    assert [one.name for one in bob.packages(shop, "wind and sailing")] == ["boats", "bread"]
    assert [one.name for one in bob.packages(shop, tags=["bread"])] == ["bread"]


def test_erasure_reaches_what_a_store_itself_offers(alice: MemorySession, memory: MemOS) -> None:
    cube = alice.add("Canary keeps a week")[0]
    publish(alice, memory, "1")
    receipt = alice.forget(cube.id)
    assert [left.archive for left in receipt.exports] == ["bread@1"]
    memory.close()
    for path in memory.path.rglob("*"):
        assert not path.is_file() or b"Canary" not in path.read_bytes()


def test_rights(memory: MemOS, bob: MemorySession, shop: Path) -> None:
    memory.govern("root")
    alice, carol = memory.session("alice"), memory.session("carol", namespace="alice")
    alice.add("Rye keeps a week")
    alice.grant("carol", "read")
    publish(alice, shop, "1")
    with pytest.raises(AccessDeniedError):
        publish(carol, shop, "2")
    with pytest.raises(AccessDeniedError):
        carol.subscribe(shop, "bread", publisher=WHO)
    assert bob.subscribe(shop, "bread", publisher=WHO).added == 1


def test_traces(alice: MemorySession, bob: MemorySession, shop: Path) -> None:
    alice.add("Rye bread keeps a week in a bag of linen")
    publish(alice, shop, "1")
    bob.subscribe(shop, "bread", publisher=WHO)
    copied = f"They say: {bob.list()[0].text}!"
    found = bob.trace(copied)
    assert [(one.package, one.publisher) for one in found] == [("bread", WHO)]
    assert alice.trace(copied)[0].package is None
    assert alice.trace(copied, place=shop)[0].package == "bread"
    assert bob.trace("Rye bread keeps a week in a bag of linen") == []


@given(st.text(min_size=1, max_size=2000), st.binary(min_size=4, max_size=4))
def test_marks_are_read_back(text: str, mark: bytes) -> None:
    plain = unmarked(text)
    there = marked(plain, mark)
    if not marks(plain) and not set(plain) & set("\u200b\u200c\u200d\u2060"):
        assert marks(there) == [mark]
        assert unmarked(there) == plain


def test_bad_arguments(alice: MemorySession, shop: Path) -> None:
    alice.add("x")
    for wrong in ({"name": "../x"}, {"version": "v1"}, {"key": b"x"}, {"licence": ""}):
        given: dict[str, Any] = {"name": "a", "version": "1", "key": KEY, "licence": "CC0", **wrong}
        with pytest.raises(InvalidInputError):
            alice.publish(shop, given.pop("name"), **given)
    assert not shop.exists()
    with pytest.raises(InvalidInputError, match="64 hex"):
        alice.subscribe(shop, "a", publisher="x")
    with pytest.raises(InvalidInputError, match="not followed"):
        alice.pull("a")
    with pytest.raises(ReadOnlyMomentError):
        alice.as_of(alice._clock.now()).subscribe(shop, "a", publisher=WHO)
