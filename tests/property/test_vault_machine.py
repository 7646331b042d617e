"""A Hypothesis state machine: the verbs against a plain-Python model, also after reopening."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from memos_integrations import IndexPolicy, MemorySession, MemOS
from memos_integrations.errors import CubeNotFoundError, VersionConflictError
from memos_integrations.testing import WordEmbedder

WORDS = st.sampled_from([f"word{i}" for i in range(40)])
TEXTS = st.lists(WORDS, min_size=1, max_size=6).map(" ".join)
USERS = st.sampled_from(["alice", "bob"])
TAGS = st.lists(st.sampled_from(["red", "green", "blue"]), max_size=2, unique=True).map(tuple)


@dataclass
class Remembered:
    """What the model knows of one memory."""

    user: str
    texts: list[str]
    tags: tuple[str, ...]


def words(text: str) -> set[str]:
    """What two texts are compared by."""
    return set(text.casefold().split())


class VaultMachine(RuleBasedStateMachine):
    """Two users on one store, small enough that both ways of search are used."""

    ids = Bundle("ids")

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp()) / "store"
        self.model: dict[str, Remembered] = {}
        self.gone: dict[str, Remembered] = {}
        self.keys: dict[tuple[str, str], list[str]] = {}
        self.open()

    def open(self) -> None:
        policy = IndexPolicy(exact_below=8, check_every=0.2, batch=4)
        self.memory = MemOS.open(self.folder, embedder=WordEmbedder(), index_policy=policy)

    def session(self, user: str) -> MemorySession:
        return self.memory.session(user)

    def of(self, user: str) -> dict[str, Remembered]:
        return {i: kept for i, kept in self.model.items() if kept.user == user}

    def teardown(self) -> None:
        self.memory.close()
        shutil.rmtree(self.folder.parent)

    @rule(target=ids, user=USERS, texts=st.lists(TEXTS, min_size=1, max_size=5), tags=TAGS)
    def add(self, user: str, texts: list[str], tags: tuple[str, ...]) -> object:
        added = self.session(user).add(texts, tags=tags)
        assert [cube.text for cube in added] == texts
        for cube in added:
            self.model[cube.id] = Remembered(user, [cube.text], tags)
        return multiple(*(cube.id for cube in added))

    @rule(user=USERS, text=TEXTS, key=st.sampled_from(["k1", "k2"]))
    def add_once(self, user: str, text: str, key: str) -> None:
        first = self.keys.get((user, key))
        said = f"{key} said once"
        added = self.session(user).add([said], idempotency_key=key)
        if first is None:
            self.keys[user, key] = [cube.id for cube in added]
            self.model[added[0].id] = Remembered(user, [said], ())
        else:
            assert [cube.id for cube in added] == first

    @rule(cube_id=ids, text=TEXTS)
    def update(self, cube_id: str, text: str) -> None:
        kept = self.model.get(cube_id)
        if kept is None:
            with pytest.raises(CubeNotFoundError):
                self.session(self.gone[cube_id].user).update(cube_id, text)
            return
        cube = self.session(kept.user).update(cube_id, text, expected_version=len(kept.texts))
        kept.texts.append(text)
        assert (cube.version, cube.text, cube.tags) == (len(kept.texts), text, kept.tags)
        with pytest.raises(VersionConflictError):
            self.session(kept.user).update(cube_id, "late", expected_version=len(kept.texts) - 1)

    @rule(cube_id=consumes(ids))
    def delete(self, cube_id: str) -> None:
        kept = self.model.pop(cube_id, None)
        if kept is None:
            return
        self.session(kept.user).delete(cube_id)
        self.gone[cube_id] = kept
        with pytest.raises(CubeNotFoundError):
            self.session(kept.user).get(cube_id)

    @rule(cube_id=ids)
    def others_cannot_touch_it(self, cube_id: str) -> None:
        kept = self.model.get(cube_id)
        if kept is None:
            return
        stranger = self.session("bob" if kept.user == "alice" else "alice")
        for attempt in (stranger.get, stranger.delete, stranger.history, stranger.lineage):
            with pytest.raises(CubeNotFoundError):
                attempt(cube_id)
        with pytest.raises(CubeNotFoundError):
            stranger.update(cube_id, "mine now")

    @rule(user=USERS, query=TEXTS, limit=st.integers(1, 30))
    def search(self, user: str, query: str, limit: int) -> None:
        hits = self.session(user).search(query, limit=limit)
        mine = self.of(user)
        assert len({hit.cube.id for hit in hits}) == len(hits) <= limit
        for hit in hits:
            assert hit.cube.text == mine[hit.cube.id].texts[-1]
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
        # Nothing may hide: with room for all, every text is there, or one of the same words.
        if limit >= len(mine):
            found = [words(hit.cube.text) for hit in hits]
            for kept in mine.values():
                said = words(kept.texts[-1])
                assert any(len(said & one) >= 0.9 * len(said | one) for one in found)

    @rule(cube_id=ids)
    def history(self, cube_id: str) -> None:
        kept = self.model.get(cube_id) or self.gone[cube_id]
        versions = self.session(kept.user).history(cube_id)
        assert [cube.text for cube in versions] == kept.texts
        graph = self.session(kept.user).lineage(cube_id)
        entities = [n for n, kind in graph.nodes(data="kind") if kind == "entity"]
        assert len(entities) == len(kept.texts)

    @rule()
    def reopen(self) -> None:
        self.memory.close()
        self.open()

    @rule()
    def let_the_index_follow(self) -> None:
        assert self.memory.vault.wait_for_index(60)
        assert self.memory.vault.audit_index() == ""

    @invariant()
    def lists_and_counts(self) -> None:
        for user in ("alice", "bob"):
            session, mine = self.session(user), self.of(user)
            assert session.count() == len(mine)
            listed = session.list(limit=10_000)
            assert {c.id: (c.text, c.version, c.tags) for c in listed} == {
                i: (kept.texts[-1], len(kept.texts), kept.tags) for i, kept in mine.items()
            }
            red = session.list(limit=10_000, filters={"tags": "red"})
            assert {c.id for c in red} == {i for i, kept in mine.items() if "red" in kept.tags}


VaultMachine.TestCase.settings = settings(
    max_examples=15,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
TestVaultMachine = VaultMachine.TestCase


@pytest.mark.soak
def test_vault_machine_for_long() -> None:
    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(
        VaultMachine,
        settings=settings(max_examples=500, stateful_step_count=60, deadline=None),
    )
