"""A thousand ways to touch the log or what it is about, each found, with where it begins."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from memos_integrations import MemOS
from memos_integrations.errors import CubeNotFoundError
from memos_integrations.infrastructure import audit, audit_check
from tests.conftest import Opener

TAMPERINGS = 1_000

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def numbers() -> random.Random:
    return random.Random(7)


def lived(memory: MemOS) -> None:
    """A store with a past of every kind of entry."""
    memory.govern("root")
    for who in ("alice", "bob"):
        session = memory.session(who)
        cubes = session.add([f"{who} {number}" for number in range(12)])
        for cube in cubes[:5]:
            session.update(cube.id, f"{cube.text} again")
            session.search("again")
        session.merge([cubes[5].id, cubes[6].id])
        session.archive(cubes[7].id)
        session.delete(cubes[8].id)
        session.forget(cubes[9].id)
        session.grant("carl", "read", id=cubes[10].id)
        with pytest.raises(CubeNotFoundError):
            session.get(cubes[9].id)


def test_a_thousand_tamperings(open_store: Opener, numbers: random.Random) -> None:
    memory = open_store()
    lived(memory)
    vault = memory.vault
    anchor = memory.session("root").audit_head()
    found: dict[str, int] = {}
    engine = sa.create_engine(f"sqlite+pysqlite:///{vault.folder / 'memory.db'}")
    with engine.connect() as tx:
        driver: Any = tx.connection.driver_connection
        driver.isolation_level = None
        driver.execute("PRAGMA foreign_keys=OFF")
        assert audit_check.verify(tx, vault.id, anchor=anchor)
        last = anchor.seq
        for _ in range(TAMPERINGS):
            driver.execute("BEGIN")
            kind = numbers.choice([*KINDS])
            first = KINDS[kind](driver.execute, numbers, last, vault.id)
            verdict = audit_check.verify(tx, vault.id, anchor=anchor)
            assert not verdict, f"{kind} at {first} was not found"
            assert verdict.seq == first or first == 0, f"{kind} at {first}: {verdict}"
            assert verdict.problem
            found[kind] = found.get(kind, 0) + 1
            driver.execute("ROLLBACK")
        assert audit_check.verify(tx, vault.id, anchor=anchor)
    engine.dispose()
    assert found.keys() == KINDS.keys()
    assert sum(found.values()) == TAMPERINGS


def entry(run: Run, seq: int) -> str:
    return str(run("SELECT entry FROM audit WHERE seq = ?", (seq,)).fetchone()[0])


def a_letter(run: Run, numbers: random.Random, last: int, _: str) -> int:
    seq = numbers.randint(1, last)
    text = entry(run, seq)
    at = numbers.randrange(len(text))
    other = chr((ord(text[at]) - 32 + numbers.randint(1, 94)) % 95 + 32)
    run("UPDATE audit SET entry = ? WHERE seq = ?", (text[:at] + other + text[at + 1 :], seq))
    return seq


def another_principal(run: Run, numbers: random.Random, last: int, _: str) -> int:
    seq = numbers.randint(2, last)
    text = entry(run, seq)
    run("UPDATE audit SET entry = replace(entry, '\"who\":', '\"was\":') WHERE seq = ?", (seq,))
    assert entry(run, seq) != text
    return seq


def the_hash(run: Run, numbers: random.Random, last: int, _: str) -> int:
    seq = numbers.randint(1, last)
    run("UPDATE audit SET hash = ? WHERE seq = ?", (numbers.randbytes(32), seq))
    return seq


def one_removed(run: Run, numbers: random.Random, last: int, _: str) -> int:
    seq = numbers.randint(1, last)
    run("DELETE FROM audit WHERE seq = ?", (seq,))
    return seq


def removed_and_renumbered(run: Run, numbers: random.Random, last: int, _: str) -> int:
    seq = numbers.randint(1, last - 1)
    run("DELETE FROM audit WHERE seq = ?", (seq,))
    for later in range(seq + 1, last + 1):
        run("UPDATE audit SET seq = ? WHERE seq = ?", (later - 1, later))
    return seq


def two_exchanged(run: Run, numbers: random.Random, last: int, _: str) -> int:
    one, two = sorted(numbers.sample(range(1, last + 1), 2))
    run("UPDATE audit SET seq = -1 WHERE seq = ?", (one,))
    run("UPDATE audit SET seq = ? WHERE seq = ?", (one, two))
    run("UPDATE audit SET seq = ? WHERE seq = -1", (two,))
    return one


def cut_off(run: Run, numbers: random.Random, last: int, _: str) -> int:
    seq = numbers.randint(2, last)
    run("DELETE FROM audit WHERE seq >= ?", (seq,))
    return seq


def emptied(run: Run, numbers: random.Random, last: int, _: str) -> int:
    run("DELETE FROM audit")
    return 1


def one_put_in(run: Run, numbers: random.Random, last: int, _: str) -> int:
    seq = numbers.randint(1, last)
    for later in range(last, seq - 1, -1):
        run("UPDATE audit SET seq = ? WHERE seq = ?", (later + 1, later))
    text = entry(run, numbers.choice([n for n in range(1, last + 2) if n != seq]))
    run("INSERT INTO audit VALUES (?, ?, ?)", (seq, text, numbers.randbytes(32)))
    return seq


def forged_and_chained_anew(run: Run, numbers: random.Random, last: int, store: str) -> int:
    """As by somebody who knows how the chain is made: only the anchor, or the records, tell."""
    seq = numbers.randint(2, last)
    rows = run("SELECT seq, entry FROM audit ORDER BY seq").fetchall()
    before = audit.genesis(store)
    for number, text in rows:
        if number == seq:
            text = text.replace('"allowed"', '"ALLOWED"').replace('"denied"', '"allowed"')
            text = text.replace('"not found"', '"allowed"')
        before = audit.chained(before, text)
        run("UPDATE audit SET entry = ?, hash = ? WHERE seq = ?", (text, before, number))
    return 0  # found somewhere: at the latest at the anchor


def another_chain(run: Run, numbers: random.Random, last: int, _: str) -> int:
    rows = run("SELECT seq, entry FROM audit ORDER BY seq").fetchall()
    before = audit.genesis("another store")
    for number, text in rows:
        before = audit.chained(before, text)
        run("UPDATE audit SET hash = ? WHERE seq = ?", (before, number))
    return 1


def of_the_activity(run: Run, numbers: random.Random, wanted: str) -> int:
    """The entry about an activity that is touched."""
    return int(run(f"SELECT seq FROM audit WHERE entry LIKE '%\"{wanted}\"%'").fetchone()[0])


def an_activity_changed(run: Run, numbers: random.Random, last: int, _: str) -> int:
    pk, id = numbers.choice(run("SELECT pk, id FROM activities").fetchall())
    seq = of_the_activity(run, numbers, id)
    change = numbers.choice(
        ["verb = 'nothing'", "principal = 'eve'", "at = at + 1", "id = 'x' || id"]
    )
    run(f"UPDATE activities SET {change} WHERE pk = ?", (pk,))
    return seq


def an_activity_removed(run: Run, numbers: random.Random, last: int, _: str) -> int:
    pk, id = numbers.choice(run("SELECT pk, id FROM activities").fetchall())
    seq = of_the_activity(run, numbers, id)
    run("DELETE FROM activities WHERE pk = ?", (pk,))
    return seq


def an_activity_put_in(run: Run, numbers: random.Random, last: int, _: str) -> int:
    run(
        "INSERT INTO activities (id, namespace_pk, verb, principal, at) "
        "SELECT 'forged', namespace_pk, verb, principal, at FROM activities LIMIT 1"
    )
    return last + 1


def a_version_removed(run: Run, numbers: random.Random, last: int, _: str) -> int:
    pk, id = numbers.choice(
        run(
            "SELECT versions.pk, activities.id FROM versions "
            "JOIN activities ON activities.pk = activity_pk"
        ).fetchall()
    )
    seq = of_the_activity(run, numbers, id)
    run("DELETE FROM versions WHERE pk = ?", (pk,))
    return seq


def a_deletion_undone(run: Run, numbers: random.Random, last: int, _: str) -> int:
    pk, id = numbers.choice(
        run(
            "SELECT cubes.pk, activities.id FROM cubes JOIN activities "
            "ON activities.pk = deleted_by WHERE verb = 'delete'"
        ).fetchall()
    )
    seq = of_the_activity(run, numbers, id)
    run("UPDATE cubes SET deleted_by = NULL WHERE pk = ?", (pk,))
    return seq


KINDS = {
    one.__name__: one
    for one in (
        a_letter,
        another_principal,
        the_hash,
        one_removed,
        removed_and_renumbered,
        two_exchanged,
        cut_off,
        emptied,
        one_put_in,
        forged_and_chained_anew,
        another_chain,
        an_activity_changed,
        an_activity_removed,
        an_activity_put_in,
        a_version_removed,
        a_deletion_undone,
    )
}
