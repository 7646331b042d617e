"""Who may do what, against a model of its own: every principal, grant, verb and context.

The model is a few lines of plain Python over plain dictionaries. It shares nothing with the
package: neither its rules nor its SQL.
"""

from __future__ import annotations

import json
import random
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from memos_integrations import IndexPolicy, MemorySession, MemOS, Principal
from memos_integrations.errors import AccessDeniedError, CubeNotFoundError
from memos_integrations.langchain import MemOSRetriever as LangChainRetriever
from memos_integrations.llama_index import MemOSRetriever as LlamaIndexRetriever
from memos_integrations.testing import CountingIds, FakeClock, WordEmbedder

PLACES = [("acme", "alice"), ("acme", "alice", "notes"), ("acme", "bob"), ("zeta", "shop")]
PEOPLE = {"root": (), "alice": (), "bob": (), "carl": ("vet",), "vera": ("vet", "clerk")}
PURPOSES = [None, "care"]
TAGS, TYPES = ["pets", "work"], ["fact", "event"]
WAYS = ["private", "private", "shared", "read_only"]
ROUNDS = 4

Memory = dict[str, Any]
Rule = dict[str, Any]


# The model -------------------------------------------------------------------------------------


def under(place: tuple[str, ...], root: tuple[str, ...]) -> bool:
    return list(place)[: len(root)] == list(root)


def in_force(rule: Rule, rules: list[Rule], hour: int) -> bool:
    if rule["revoked"] or (rule["until"] is not None and rule["until"] <= hour):
        return False
    given = [one for one in rules if one["id"] == rule["via"]]
    return rule["via"] is None or any(in_force(one, rules, hour) for one in given)


def speaks(rule: Rule, who: str, purpose: str | None) -> bool:
    named = rule["who"] == who or rule["role"] in PEOPLE[who]
    return named and rule["purpose"] in (None, purpose)


def may(
    who: str, purpose: str | None, right: str, memory: Memory, rules: list[Rule], hour: int
) -> bool:
    place = memory["place"]
    if who == "root" or under(place, ("acme", who)):
        return True
    held = [r for r in rules if in_force(r, rules, hour) and speaks(r, who, purpose)]
    for rule in held:
        fits = (
            under(place, rule["place"])
            and rule["tag"] in (None, *memory["tags"])
            and rule["type"] in (None, memory["type"])
            and rule["memory"] in (None, memory["id"])
        )
        if fits and "administer" in rule["rights"]:
            return True
        closed = memory["access"] == "read_only" and memory["owner"] != who
        if fits and right in rule["rights"] and (right == "read" or not closed):
            return True
    known = {"acme", *(rule["place"][0] for rule in held)}
    return right == "read" and memory["access"] == "shared" and place[0] in known


# A store with memories and rules ---------------------------------------------------------------


@pytest.fixture(scope="module", params=range(ROUNDS))
def world(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    made = World(random.Random(request.param), tmp_path_factory.mktemp("world"))
    yield made
    made.store.close()


class World:
    def __init__(self, chance: random.Random, folder: Path) -> None:
        self.clock, self.chance = FakeClock(), chance
        self.store = MemOS.open(
            folder / "store",
            embedder=WordEmbedder(),
            clock=self.clock,
            ids=CountingIds(),
            index_policy=IndexPolicy(exact_below=10_000 if chance.random() < 0.5 else 3),
        )
        self.store.govern("root", homes=[("acme", "{principal}")])
        self.memories: list[Memory] = []
        self.rules: list[Rule] = []
        self.begun = self.clock.now()
        for n in range(16):
            self.add(n)
        self.clock.advance(minutes=1)
        self.before = self.clock.now()
        self.clock.advance(minutes=1)
        for memory in chance.sample(self.memories, 4):  # what counts is how they stand now
            memory["access"] = chance.choice(WAYS)
            memory["tags"] = [chance.choice(TAGS)]
            place = self.session("root", None, memory["place"])
            place.update(memory["id"], access=memory["access"], tags=memory["tags"])
        for _ in range(9):
            self.grant()
        for rule in chance.sample(self.rules, 2):
            self.session("root", None, rule["place"]).revoke(rule["id"])
            rule["revoked"] = True
        self.clock.advance(hours=2)

    @property
    def hour(self) -> int:
        return int((self.clock.now() - self.begun) / timedelta(hours=1))

    def session(self, who: str, purpose: str | None, place: tuple[str, ...]) -> MemorySession:
        principal = Principal(id=who, roles=PEOPLE[who])
        return self.store.session(principal, namespace=place, purpose=purpose)

    def add(self, n: int) -> None:
        memory: Memory = {
            "place": PLACES[n % len(PLACES)],
            "tags": self.chance.sample(TAGS, self.chance.randrange(3)),
            "type": self.chance.choice(TYPES),
            "access": self.chance.choice(WAYS),
            "owner": self.chance.choice(["root", "alice", "carl"]),
        }
        draft = {"tags": memory["tags"], "semantic_type": memory["type"]}
        owner = self.session("root", None, memory["place"])
        if memory["owner"] != "root":  # somebody who may write there for this once
            once = owner.grant(memory["owner"], ["read", "write"])
            owner = self.session(memory["owner"], None, memory["place"])
        made = owner.add(f"parrot number {n}", access=memory["access"], **draft)[0]
        if memory["owner"] != "root":
            self.session("root", None, memory["place"]).revoke(once)
        self.memories.append({**memory, "id": made.id})

    def grant(self) -> None:
        pick: Any = self.chance.choice
        place = pick([*PLACES, ("acme",), ("zeta",)])
        rights = pick([["read"], ["write"], ["read", "write"], ["read", "share"], ["administer"]])
        rule: Rule = {
            "who": pick(["alice", "bob", "carl", None]),
            "role": None,
            "rights": rights,
            "place": place,
            "tag": pick([None, None, *TAGS]),
            "type": pick([None, None, None, *TYPES]),
            "memory": None,
            "purpose": pick([None, None, "care"]),
            "until": pick([None, None, 1, 5]),
            "via": None,
            "revoked": False,
        }
        rule["role"] = pick(["vet", "clerk"]) if rule["who"] is None else None
        here = [one["id"] for one in self.memories if one["place"] == place]
        if here and self.chance.random() < 0.3:
            rule["memory"] = pick(here)
        until = None if rule["until"] is None else self.begun + timedelta(hours=rule["until"])
        kept = {
            "role": rule["role"],
            "id": rule["memory"],
            "tag": rule["tag"],
            "semantic_type": rule["type"],
            "purpose": rule["purpose"],
            "expires_at": until,
        }
        by = self.session("root", None, place)
        if "share" in rule["rights"] and rule["who"] == "bob":  # passed on by who was let in
            first = by.grant("bob", ["read", "share"], **{**kept, "purpose": None})
            self.rules.append({**rule, "id": first.id, "purpose": None})
            rule |= {"who": "carl", "rights": ["read"], "via": first.id}
            by = self.session("bob", None, place)
            with suppress(CubeNotFoundError, AccessDeniedError):
                made = by.grant("carl", ["read"], **kept)
                self.rules.append({**rule, "id": made.id, "via": made.via})
            return
        self.rules.append({**rule, "id": by.grant(rule["who"], rights, **kept).id})

    def cases(self) -> Iterable[tuple[str, str | None, tuple[str, ...], list[Memory]]]:
        for who in PEOPLE:
            for purpose in PURPOSES:
                for place in PLACES:
                    yield who, purpose, place, [m for m in self.memories if m["place"] == place]

    def allowed(self, who: str, purpose: str | None, right: str, memory: Memory) -> bool:
        return may(who, purpose, right, memory, self.rules, self.hour)


def found(session: MemorySession, ask: Callable[[str], object], cube_id: str) -> bool:
    """Whether a call finds a memory, or says that there is none."""
    try:
        ask(cube_id)
    except CubeNotFoundError:
        return False
    return True


def leaves(session: MemorySession, cube_id: str) -> bool:
    """Whether a memory is in an archive that the session writes."""
    with tempfile.TemporaryDirectory() as folder:
        path = session.dump(Path(folder) / "out", filters={"id": cube_id}).path
        with zipfile.ZipFile(path) as archive:
            there = "memories.jsonl" in archive.namelist()  # a table without rows is left out
            lines = archive.read("memories.jsonl").splitlines() if there else []
    return cube_id in {json.loads(line)["id"] for line in lines}


READS: dict[str, Callable[[World, MemorySession, Memory], bool]] = {
    "get": lambda w, s, m: found(s, s.get, m["id"]),
    "first version": lambda w, s, m: found(s, lambda one: s.get(one, version=1), m["id"]),
    "history": lambda w, s, m: found(s, s.history, m["id"]),
    "life": lambda w, s, m: found(s, s.life, m["id"]),
    "uses": lambda w, s, m: found(s, s.uses, m["id"]),
    "lineage": lambda w, s, m: found(s, s.lineage, m["id"]),
    "why": lambda w, s, m: found(s, s.why, m["id"]),
    "links": lambda w, s, m: found(s, s.links, m["id"]),
    "get_many": lambda w, s, m: bool(s.get_many([m["id"]])),
    "list": lambda w, s, m: m["id"] in {cube.id for cube in s.list()},
    "count": lambda w, s, m: s.count({"id": m["id"]}) == 1,
    "search": lambda w, s, m: m["id"] in {hit.cube.id for hit in s.search("parrot", limit=99)},
    "few": lambda w, s, m: (
        m["id"] in {hit.cube.id for hit in s.search("parrot", limit=99, filters={"id": m["id"]})}
    ),
    "as of: get": lambda w, s, m: found(s, s.as_of(w.before).get, m["id"]),
    "as of: list": lambda w, s, m: m["id"] in {cube.id for cube in s.as_of(w.before).list()},
    "as of: search": lambda w, s, m: (
        m["id"] in {hit.cube.id for hit in s.as_of(w.before).search("parrot", limit=99)}
    ),
    "diff": lambda w, s, m: (
        m["id"] in {change.id for change in s.diff(w.begun - timedelta(hours=1))}
    ),
    "LangChain": lambda w, s, m: (
        m["id"] in {one.id for one in LangChainRetriever(session=s, limit=99).invoke("parrot")}
    ),
    "LlamaIndex": lambda w, s, m: (
        m["id"] in {one.node.node_id for one in LlamaIndexRetriever(s, limit=99).retrieve("parrot")}
    ),
    "cache": lambda w, s, m: not s._vault.outdated([(m["id"], m.get("version", 1))]),
    "export": lambda w, s, m: leaves(s, m["id"]),
    "may": lambda w, s, m: bool(s.may("read", m["id"])),
}


def test_reading_is_as_the_model_says(world: World) -> None:
    seen: Counter[tuple[str, bool]] = Counter()
    root = {place: world.session("root", None, place) for place in PLACES}
    for memory in world.memories:
        memory["version"] = root[memory["place"]].get(memory["id"]).version
    for who, purpose, place, memories in world.cases():
        session = world.session(who, purpose, place)
        for memory in memories:
            wanted = world.allowed(who, purpose, "read", memory)
            for verb, ask in READS.items():
                told = ask(world, session, memory)
                assert told == wanted, (who, purpose, verb, memory, world.rules)
                seen[verb, wanted] += 1
    assert seen.total() == 5 * 2 * 16 * len(READS) > 2_000
    assert all(seen[verb, True] > 10 and seen[verb, False] > 10 for verb in READS)


WRITES: dict[str, Callable[[MemorySession, Memory], object]] = {
    "update": lambda s, m: s.update(m["id"], priority=7),
    "append": lambda s, m: s.append(m["id"], "and so on"),
    "archive": lambda s, m: s.archive(m["id"]),
    "freeze": lambda s, m: s.freeze(m["id"]),
    "delete": lambda s, m: s.delete(m["id"]),
}
UNDO: dict[str, Callable[[MemorySession, Memory], object]] = {
    "archive": lambda s, m: s.restore(m["id"]),
    "freeze": lambda s, m: s.unfreeze(m["id"]),
    "delete": lambda s, m: s.rollback("before", ids=[m["id"]]),
}


def test_writing_is_as_the_model_says(world: World) -> None:
    done: Counter[str] = Counter()
    root = {place: world.session("root", None, place) for place in PLACES}
    for session in root.values():
        session.snapshot("before")
    for who, purpose, place, memories in world.cases():
        session = world.session(who, purpose, place)
        for memory in memories:
            reads = world.allowed(who, purpose, "read", memory)
            writes = world.allowed(who, purpose, "write", memory)
            for verb, act in WRITES.items():
                about = who, purpose, verb, memory, world.rules
                before = root[place].get(memory["id"])
                try:
                    act(session, memory)
                except CubeNotFoundError:
                    outcome = "not found"
                except AccessDeniedError:
                    outcome = "denied"
                else:
                    outcome = "done"
                wanted = "not found" if not reads else "done" if writes else "denied"
                assert outcome == wanted, about
                done[outcome] += 1
                if outcome == "done" and verb in UNDO:
                    UNDO[verb](root[place], memory)
                elif outcome != "done":
                    after = root[place].get(memory["id"])
                    assert (after.version, after.state) == (before.version, before.state), about
    assert done.total() == 5 * 2 * 16 * len(WRITES)
    assert min(done.values()) > 10, done


def test_adding_is_as_the_model_says(world: World) -> None:
    done: Counter[bool] = Counter()
    for who, purpose, place, _ in world.cases():
        for tag in (None, *TAGS):
            for kind in TYPES:
                new: Memory = {
                    "id": None,
                    "place": place,
                    "tags": [tag] if tag else [],
                    "type": kind,
                    "access": "private",
                    "owner": who,
                }
                wanted = world.allowed(who, purpose, "write", new)
                try:
                    world.session(who, purpose, place).add(
                        "new here", tags=new["tags"], semantic_type=kind
                    )
                except AccessDeniedError:
                    told = False
                else:
                    told = True
                assert told == wanted, (who, purpose, new, world.rules)
                done[told] += 1
    assert done.total() == 5 * 2 * 4 * 6
    assert min(done.values()) > 10


def test_extracting_shows_a_model_nothing_else(world: World) -> None:
    """A model is asked about what may be read, by who may write; so are its facts."""
    done: Counter[str] = Counter()
    for who, purpose, place, memories in world.cases():
        session = world.session(who, purpose, place)
        for memory in memories:
            asked: list[str] = []

            def model(prompt: str, asked: list[str] = asked) -> str:
                asked.append(prompt)
                said = {"text": "A parrot is there.", "turn": 1, "quote": "parrot"}
                return json.dumps({"memories": [said]})

            name = f"{who} {purpose} {memory['id']}"
            try:
                report = session.extract(memories=[memory["id"]], model=model, model_name=name)
            except CubeNotFoundError:
                outcome = "not found"
            except AccessDeniedError:
                outcome = "denied"
            else:
                outcome = "done"
                for fact in report.facts:
                    rules = fact.header.governance
                    assert (fact.namespace, rules.access) == (place, memory["access"])
                    assert set(fact.tags) == set(memory["tags"]) and rules.owner == who
            assert bool(asked) == (outcome == "done")
            if outcome == "done":
                assert world.allowed(who, purpose, "read", memory), (who, purpose, memory)
            done[outcome] += 1
    assert done.total() == 5 * 2 * 16 and done["done"] > 10 and done["denied"] > 10


def test_the_store_itself_sees_everything(world: World) -> None:
    ids = {one["id"] for one in world.memories}
    assert {cube.id for cube in world.store.vault.heads(ids)} == ids
