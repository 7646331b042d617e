"""A canary in each of 100 namespaces, and everybody else looking for it."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from memos_integrations import IndexPolicy, MemorySession, MemOS
from memos_integrations.errors import AccessDeniedError, CubeNotFoundError
from memos_integrations.langchain import MemOSStore
from memos_integrations.testing import WordEmbedder

PEOPLE = 100
LOOKS = 10_000


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Any:
    policy = IndexPolicy(exact_below=4)  # most namespaces get an index of their own
    with MemOS.open(
        tmp_path_factory.mktemp("canaries") / "store", embedder=WordEmbedder(), index_policy=policy
    ) as opened:
        opened.govern("root", homes=[("acme", "{principal}")])
        yield opened


@pytest.fixture(scope="module")
def canaries(store: MemOS) -> list[dict[str, str]]:
    """By owner: what to look for, and where it is."""
    planted = []
    for n in range(PEOPLE):
        word = f"canary{n}"
        home = store.session(f"user{n}", namespace=("acme", f"user{n}"))
        cube = home.add([f"The {word} sings at dawn", *(f"{word} note {k}" for k in range(4))])[0]
        MemOSStore(home).put(("drawer",), "bird", {"text": f"{word} in a drawer"})
        planted.append({"word": word, "id": cube.id, "owner": f"user{n}"})
    return planted


LOOKING: list[Callable[[MemorySession, dict[str, str]], object]] = [
    lambda s, c: [hit.cube.text for hit in s.search(f"The {c['word']} sings at dawn")],
    lambda s, c: [hit.cube.text for hit in s.search(c["word"], filters={"owner": c["owner"]})],
    lambda s, c: [cube.text for cube in s.list()],
    lambda s, c: [cube.text for cube in s.get_many([c["id"]])],
    lambda s, c: s.get(c["id"]).text,
    lambda s, c: [cube.text for cube in s.history(c["id"])],
    lambda s, c: list(s.lineage(c["id"]).nodes(data=True)),
    lambda s, c: MemOSStore(s).get(("drawer",), "bird"),
    lambda s, c: MemOSStore(s).search((), query=c["word"]),
    lambda s, c: MemOSStore(s).list_namespaces(),
    lambda s, c: s.log(),
    lambda s, c: s.summary(),
    lambda s, c: s.merge([c["id"], s.add("mine")[0].id]).text,
    lambda s, c: [cube.text for cube in s.below("..", c["owner"]).list()],
]


def test_nobody_finds_the_canary_of_another(store: MemOS, canaries: list[dict[str, str]]) -> None:
    chance, looked, refused = random.Random(7), 0, 0
    while looked < LOOKS:
        thief, canary = chance.randrange(PEOPLE), chance.choice(canaries)
        name = f"user{thief}"
        if canary["owner"] == name:
            continue
        there = chance.choice(
            [("acme", canary["owner"]), ("acme", name), ("acme",), ("acme", canary["owner"], "x")]
        )
        session = store.session(name, namespace=there)
        try:
            seen = chance.choice(LOOKING)(session, canary)
        except (AccessDeniedError, CubeNotFoundError) as error:
            seen, refused = str(error), refused + 1
        looked += 1
        assert f"{canary['word']} " not in f"{seen} ", (name, there, canary)
    assert refused > LOOKS / 10
    for canary in canaries:  # and they sing at home
        home = store.session(canary["owner"], namespace=("acme", canary["owner"]))
        assert home.get(canary["id"]).text == f"The {canary['word']} sings at dawn"
        assert canary["id"] in {hit.cube.id for hit in home.search(canary["word"])}


def test_a_revoked_grant_is_over_at_the_next_call(
    store: MemOS, canaries: list[dict[str, str]]
) -> None:
    canary = canaries[0]
    home = store.session(canary["owner"], namespace=("acme", canary["owner"]))
    guest = store.session("guest", namespace=("acme", canary["owner"]))
    over, wrong, seen = threading.Event(), list[str](), list[int]()
    state = [0]  # 0 locked out, 2 let in, odd: changing; four steps on each time

    def look() -> None:
        while not over.is_set():
            before = state[0]
            found = bool(guest.search(canary["word"])) or bool(guest.get_many([canary["id"]]))
            if before % 2 == 0 and before == state[0]:  # nothing changed while we looked
                seen.append(before % 4)
                if found != (before % 4 == 2):
                    wrong.append(f"{found} at {before}")

    def looked() -> None:
        """Let somebody look from beginning to end while nothing changes."""
        before, end = len(seen), time.monotonic() + 10
        while len(seen) == before and time.monotonic() < end:
            time.sleep(0.002)

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(20):
            state[0] += 1
            grant = home.grant("guest", "read")
            state[0] += 1
            assert guest.get(canary["id"]).id == canary["id"]
            looked()
            state[0] += 1
            home.revoke(grant)
            state[0] += 1
            with pytest.raises(CubeNotFoundError):
                guest.get(canary["id"])
            looked()
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert wrong == []
    assert min(seen.count(0), seen.count(2)) > 5
