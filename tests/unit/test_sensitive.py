"""Sensitive content: labelled, masked, sealed or refused before anything is written."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from memos_integrations import MemorySession, MemOS, Principal
from memos_integrations.errors import (
    CubeNotFoundError,
    InvalidInputError,
    SealKeyError,
    SensitiveContentError,
)
from memos_integrations.infrastructure import crashpoints
from memos_integrations.memories.block import block
from memos_integrations.operation.sensitive import Finding, SensitivePolicy, presidio
from memos_integrations.operation.sensitive.finding import joined
from memos_integrations.recall import Recall, RecallPolicy
from tests.conftest import Opener
from tests.faults.erasure_evidence import traces

KEY, OTHER = b"k" * 32, b"o" * 32
PHONE, MAIL, CARD = "+47 22 12 34 56", "bob@example.com", "4111 1111 1111 1111"
SAID = f"Bob answers at {PHONE} and {MAIL}, and pays with {CARD}"


def policy(keys: dict[str, bytes] | None = None, **options: Any) -> SensitivePolicy:
    options.setdefault("actions", {"phone": "encrypt", "email": "keep", "card": "mask"})
    options.setdefault("readers", {"phone": ["support"]})
    return SensitivePolicy(keys={"one": KEY} if keys is None else keys, **options)


@pytest.fixture
def guarded(open_store: Opener) -> MemOS:
    return open_store(sensitive=policy())


def raw(folder: Path, query: str) -> list[Any]:
    records = sqlite3.connect(folder / "memory.db")
    found = records.execute(query).fetchall()
    records.close()
    return found


# At the door ------------------------------------------------------------------------------------


def test_nothing_is_looked_for_where_nobody_asked(memory: MemOS) -> None:
    cube = memory.session("alice").add(SAID)[0]
    assert cube.text == SAID
    assert cube.header.governance.sensitivity == ()
    with pytest.raises(InvalidInputError, match="without keys"):
        memory.session("alice").reveal(cube)


def test_each_kind_meets_its_action(guarded: MemOS) -> None:
    alice = guarded.session("alice")
    cube = alice.add(SAID)[0]
    assert MAIL in cube.text
    assert PHONE not in cube.text and CARD not in cube.text
    assert "[card]" in cube.text and "[phone:" in cube.text
    assert set(cube.header.governance.sensitivity) == {"phone", "email", "card"}
    assert [one.id for one in alice.list(filters={"sensitivity": "card"})] == [cube.id]
    assert alice.count({"sensitivity": "iban"}) == 0
    assert alice.search("bob", filters={"sensitivity": {"$in": ["phone"]}})[0].cube.id == cube.id


def test_what_is_refused_is_not_written_and_not_quoted(open_store: Opener) -> None:
    alice = open_store(sensitive=policy(actions={"card": "refuse"})).session("alice")
    for content in (SAID, ["fine", SAID], {"text": "a page", "metadata": {"a": [{"b": CARD}]}}):
        with pytest.raises(SensitiveContentError) as caught:
            alice.add(content)
        assert caught.value.label == "card"
        assert "characters" in caught.value.place
        assert "4111" not in str(caught.value)
    cube = alice.add("Bob pays")[0]
    for change in (alice.update, alice.append):
        with pytest.raises(SensitiveContentError):
            change(cube.id, f"Bob pays with {CARD}")
    with pytest.raises(SensitiveContentError):
        alice.update(cube.id, metadata={"card": CARD})
    with pytest.raises(SensitiveContentError):
        alice.merge([cube.id, alice.add("He does")[0].id], f"with {CARD}")
    shelf = alice.shelf("store")
    with pytest.raises(SensitiveContentError):
        shelf.write([shelf.draft(("a",), "k", [CARD])])
    assert [one.text for one in alice.list()] == ["Bob pays", "He does"]


def test_no_byte_of_the_store_has_what_was_masked_or_sealed(guarded: MemOS, folder: Path) -> None:
    alice = guarded.session("alice")
    cube = alice.add(
        SAID, metadata={"reach": [PHONE], "conversation": "c"}, tags=[PHONE], speaker=f"Bob {CARD}"
    )[0]
    alice.update(cube.id, f"{cube.text}, or at +47 22 12 34 57")
    alice.append(cube.id, "or with 5500 0000 0000 0004")
    shelf = alice.shelf("store")
    shelf.write([shelf.draft(("a",), "k", [f"a note on {PHONE} for Bob"])])
    assert shelf.get(("a",), "k") is not None
    alice.merge([cube.id, alice.add(f"Bob again, {PHONE}")[0].id])
    alice.branch("what if")
    alice.search("where does Bob answer")
    guarded.close()
    words = [PHONE, CARD, "+47 22 12 34 57", "5500 0000 0000 0004"]
    assert traces(folder, words) == {}
    assert traces(folder, ["Bob answers at"]) != {}  # the search for bytes finds what is there


def test_a_number_across_a_cut_is_masked_in_both_pieces(open_store: Opener) -> None:
    from memos_integrations.interface.reader import MemReader

    memory = open_store(sensitive=policy(), reader=MemReader(chunk_chars=24))
    cubes = memory.session("alice").add(f"Bob answers at {PHONE} in the evening. Call him then.")
    assert len(cubes) > 1
    assert not any(digits in cube.text for cube in cubes for digits in ("+47", "22", "34", "56"))
    first = next(cube for cube in cubes if "[phone:" in cube.text)
    assert PHONE in memory.session("alice").reveal(first).text


def test_pieces_that_are_searched_are_moved_with_the_masks(guarded: MemOS) -> None:
    alice = guarded.session("alice")
    shelf = alice.shelf("store")
    shelf.write([shelf.draft(("a",), "k", [f"Bob has {PHONE}", "and a green parrot"])])
    found = shelf.view(
        [lambda view: view.search((), question=shelf.question("and a green parrot"), limit=1)]
    )[0]
    assert found[0].score is not None and found[0].score > 0.99


def test_a_text_that_is_too_long_with_its_masks_is_bad_input(guarded: MemOS) -> None:
    long = f"{PHONE} " * (1_048_500 // (len(PHONE) + 1))
    shelf = guarded.session("alice").shelf("store")
    tight = f"{long[:2000]}{'x ' * 523_200}"
    with pytest.raises(InvalidInputError, match="with masks"):
        shelf.write([shelf.draft(("a",), "k", [tight])])


def test_equal_content_has_an_equal_mask_in_its_namespace_alone(guarded: MemOS) -> None:
    alice, bob = guarded.session("alice"), guarded.session("bob")
    masks = [one.add(PHONE)[0].text for one in (alice, alice, bob)]
    assert masks[0] == masks[1] != masks[2]


def test_an_idempotent_call_is_repeated(guarded: MemOS) -> None:
    alice = guarded.session("alice")
    first, again = (alice.add(SAID, idempotency_key="k") for _ in range(2))
    assert first == again
    assert alice.reveal(again[0]).text.count(PHONE) == 1


# Reading ----------------------------------------------------------------------------------------


def test_who_may_see_what_was_sealed(guarded: MemOS) -> None:
    cube = guarded.session("alice").add(SAID)[0]
    support = guarded.session(Principal(id="sam", roles=("support",)), namespace="alice")
    eve = guarded.session("eve", namespace="alice")
    for reader in (guarded.session("alice"), support):
        assert PHONE in reader.reveal(cube.id).text
    for shown in (eve.reveal(cube.id), eve.get(cube.id), support.get(cube.id)):
        assert shown.text == cube.text
    assert CARD not in support.reveal(cube.id).text  # a mask is for good
    with pytest.raises(CubeNotFoundError):
        guarded.session("sam").reveal(cube.id)


def test_every_reading_verb_shows_masks_and_so_do_prompts(guarded: MemOS) -> None:
    alice = guarded.session("alice")
    cube = alice.add(SAID)[0]
    shown = [
        alice.get(cube.id),
        alice.get_many([cube.id])[0],
        alice.list()[0],
        alice.history(cube.id)[0],
        alice.search("Bob answers")[0].cube,
        alice.as_of(cube.created_at).get(cube.id),
        *Recall(RecallPolicy()).find(alice, "where does Bob answer?"),
    ]
    assert {one.text for one in shown} == {cube.text}
    assert PHONE not in block(shown) + str(alice.why(cube.id)) + str(alice.log())


def test_versions_branches_and_merges_open_what_they_came_from(guarded: MemOS) -> None:
    alice = guarded.session("alice")
    cube = alice.add(SAID)[0]
    alice.update(cube.id, tags=["pets"])
    alice.append(cube.id, "at night, too")
    later = alice.reveal(cube.id)
    assert PHONE in later.text and later.version == 3
    assert PHONE in alice.reveal(cube).text  # version 1, as the cube says
    changed = alice.update(cube.id, "Bob answers at +47 22 12 34 57")
    assert PHONE not in alice.reveal(changed).text
    assert alice.reveal(changed).text.endswith("57")
    alice.rollback(cube.created_at)
    assert PHONE in alice.reveal(cube.id).text
    copy = alice.branch("b").list()[0]
    assert PHONE in alice.branch("b").reveal(copy).text
    inside = alice.branch("c").add("Ann: +47 22 12 34 58")[0]
    alice.merge_branch("c")
    back = next(one for one in alice.list() if one.text == inside.text)
    assert alice.reveal(back).text == "Ann: +47 22 12 34 58"
    merged = alice.merge([cube.id, alice.add("Bob is kind")[0].id])
    assert PHONE not in merged.text and PHONE in alice.reveal(merged).text
    assert "phone" in merged.header.governance.sensitivity


def test_merging_or_branching_what_another_owns_unseals_nothing(guarded: MemOS) -> None:
    cube = guarded.session("alice").add(SAID)[0]
    eve = guarded.session("eve", namespace="alice")
    merged = eve.merge([cube.id, eve.add("Bob is kind")[0].id])
    assert merged.header.governance.owner == "eve"
    assert PHONE not in eve.reveal(merged).text
    assert PHONE in guarded.session("alice").reveal(merged).text
    eve.restore(cube.id)
    eve.append(cube.id, "Eve was here")
    assert PHONE not in eve.reveal(cube.id).text
    mask = next(word for word in cube.text.split() if word.startswith("[phone"))
    assert eve.reveal(eve.add(f"Whose is {mask}?")[0]).text == f"Whose is {mask}?"


def test_the_past_opens_for_who_may_see_it_today(guarded: MemOS) -> None:
    alice = guarded.session("alice")
    cube = alice.add(SAID)[0]
    alice.update(cube.id, "Bob has no phone")
    then = alice.as_of(cube.created_at)
    assert PHONE in then.reveal(cube.id).text
    eve = guarded.session("eve", namespace="alice").as_of(cube.created_at)
    assert PHONE not in eve.reveal(cube.id).text


async def test_the_async_twin(guarded: MemOS) -> None:
    alice = guarded.session("alice")
    assert PHONE in (await alice.areveal(alice.add(SAID)[0])).text


# Keys -------------------------------------------------------------------------------------------


def test_a_missing_or_wrong_key_is_an_error_and_never_garbage(open_store: Opener) -> None:
    memory = open_store(sensitive=policy())
    cube = memory.session("alice").add(SAID)[0]
    memory.close()
    for keys, said in (({"one": OTHER}, "does not open"), ({"two": OTHER}, "is not given")):
        again = open_store(sensitive=policy(keys))
        alice = again.session("alice")
        with pytest.raises(SealKeyError, match=said):
            alice.reveal(cube.id)
        assert alice.get(cube.id).text == cube.text
        eve = again.session("eve", namespace="alice")
        assert eve.reveal(cube.id).text == cube.text
        again.close()
    bare = open_store()
    assert bare.session("alice").search("Bob")[0].cube.text == cube.text


@pytest.mark.parametrize("what", ["content", "place", "version_pk"])
def test_a_sealed_piece_that_was_changed_or_moved_does_not_open(
    open_store: Opener, folder: Path, what: str
) -> None:
    memory = open_store(sensitive=policy())
    one, two = memory.session("alice").add([f"Bob: {PHONE}", "Ann: +47 22 12 34 57"])
    memory.close()
    records = sqlite3.connect(folder / "memory.db")
    first, second = records.execute("SELECT rowid, * FROM sealed ORDER BY version_pk").fetchall()
    if what == "content":
        broken = bytes([first[5][0] ^ 1]) + first[5][1:]
        records.execute("UPDATE sealed SET content = ? WHERE rowid = ?", (broken, first[0]))
    elif what == "place":  # Ann's number under Bob's mask
        records.execute("UPDATE sealed SET content = ? WHERE rowid = ?", (second[5], first[0]))
    else:
        records.execute("DELETE FROM sealed WHERE rowid = ?", (first[0],))
        moved = (first[1], first[2], second[0])
        records.execute("UPDATE sealed SET version_pk = ?, place = ? WHERE rowid = ?", moved)
    records.commit()
    records.close()
    alice = open_store(sensitive=policy()).session("alice")
    with pytest.raises(SealKeyError):
        alice.reveal(one.id)
    assert two.text != one.text


class _Killed(BaseException):
    pass


@pytest.fixture
def dying() -> Iterator[list[str]]:
    """Dies at the named crash points."""
    names: list[str] = []

    def hook(name: str) -> None:
        if name in names:
            raise _Killed

    crashpoints.hook = hook
    yield names
    crashpoints.hook = crashpoints._nothing


def test_keys_are_rotated_and_an_interrupted_rotation_goes_on(
    open_store: Opener, folder: Path, monkeypatch: pytest.MonkeyPatch, dying: list[str]
) -> None:
    monkeypatch.setattr("memos_integrations.operation.sensitive.reseal.PAGE", 2)
    memory = open_store(sensitive=policy())
    cubes = memory.session("alice").add([f"Bob: +47 22 12 34 {n}" for n in range(50, 55)])
    memory.close()
    both = policy({"one": KEY, "two": OTHER})
    old = [row[0] for row in raw(folder, "SELECT content FROM sealed")]
    assert len(traces(folder, [], old)) == 5
    memory = open_store(sensitive=both)
    dying.append("page-resealed")
    with pytest.raises(_Killed):
        memory.reseal()
    dying.clear()
    counts = "SELECT key_id, count(*) FROM sealed GROUP BY key_id"
    assert dict(raw(folder, counts)) == {"one": 3, "two": 2}
    seen: list[tuple[int, int]] = []
    assert memory.reseal(progress=lambda done, total: seen.append((done, total))) == 3
    assert seen == [(2, 3), (3, 3)]
    assert memory.reseal() == 0
    assert dict(raw(folder, counts)) == {"two": 5}
    memory.close()
    assert traces(folder, [], old) == {}
    alone = open_store(sensitive=policy({"two": OTHER}))
    texts = [alone.session("alice").reveal(cube.id).text for cube in cubes]
    assert texts == [f"Bob: +47 22 12 34 {n}" for n in range(50, 55)]


def test_a_rotation_without_the_old_key_changes_nothing(open_store: Opener, folder: Path) -> None:
    memory = open_store(sensitive=policy())
    memory.session("alice").add(SAID)
    memory.close()
    memory = open_store(sensitive=policy({"two": OTHER}))
    with pytest.raises(SealKeyError, match="'one'"):
        memory.reseal()
    assert raw(folder, "SELECT DISTINCT key_id FROM sealed") == [("one",)]


# Erasure ----------------------------------------------------------------------------------------


def test_erasure_takes_what_was_sealed(guarded: MemOS, folder: Path) -> None:
    alice = guarded.session("alice")
    cube = alice.add(SAID)[0]
    alice.append(cube.id, "or +47 22 12 34 57")
    rest = alice.add("Ann: +47 22 12 34 58")[0]
    merged = alice.merge([cube.id, alice.add("Bob is kind")[0].id])
    ciphers = [row[0] for row in raw(folder, "SELECT content FROM sealed ORDER BY version_pk")]
    assert len(ciphers) == 3
    receipt = alice.forget(cube.id, cascade=False)
    assert receipt.sealed == 2
    assert receipt.finished
    assert PHONE not in alice.reveal(merged).text
    assert alice.reveal(rest).text == "Ann: +47 22 12 34 58"
    guarded.close()
    assert traces(folder, [PHONE], ciphers[:2]) == {}
    assert traces(folder, [], ciphers[2:]) != {}


# Policies and detectors -------------------------------------------------------------------------


def test_bad_policies_are_refused() -> None:
    bad: list[dict[str, Any]] = [
        {"actions": {"phone": "hide"}},
        {"otherwise": "hide"},
        {"keys": {"one": b"short"}},
        {"keys": {"one": KEY}, "key": "two"},
        {"actions": {"phone": "encrypt"}},
        {"readers": {"phone": "support"}},
    ]
    for options in bad:
        with pytest.raises(InvalidInputError):
            SensitivePolicy(**options)
    assert "kkk" not in repr(policy())


def test_overlapping_findings_become_one() -> None:
    found = [Finding(0, 5, "phone"), Finding(3, 9, "card"), Finding(9, 12, "email")]
    assert joined(found) == [Finding(0, 9, "card"), Finding(9, 12, "email")]


class _Result:
    def __init__(self, entity_type: str, start: int, end: int, score: float) -> None:
        self.entity_type, self.start, self.end, self.score = entity_type, start, end, score


class _Analyzer:
    """Shaped as Presidio's engine."""

    def analyze(self, text: str, language: str, **options: Any) -> list[Any]:
        at = text.find("Bob")
        assert language == "en" and "PERSON" in options["entities"]
        return [
            _Result("PERSON", at, at + 3, 0.85),
            _Result("PERSON", 0, 2, 0.2),
            _Result("NRP", 0, 2, 1.0),
        ]


def test_another_detector_is_asked_beside_the_rules(open_store: Opener) -> None:
    both = SensitivePolicy(detectors=(presidio(_Analyzer()),), actions={"name": "mask"})
    cube = open_store(sensitive=both).session("alice").add("I met Bob")[0]
    assert cube.text == "I met [name]"
    assert cube.header.governance.sensitivity == ("name",)


def test_labels_follow_the_words(guarded: MemOS) -> None:
    alice: MemorySession = guarded.session("alice")
    cube = alice.add(SAID)[0]
    assert alice.update(cube.id, "Bob is away").header.governance.sensitivity == ()
    assert alice.update(cube.id, "Bob: [card]").header.governance.sensitivity == ("card",)
