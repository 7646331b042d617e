"""After ``forget``, no byte under the folder holds a word or a vector of what was erased."""

from __future__ import annotations

import random
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa

from memos_integrations import IndexPolicy, MemorySession, MemOS
from memos_integrations.cube import MemCube
from memos_integrations.infrastructure import jobs
from memos_integrations.infrastructure.doctor import examine
from memos_integrations.infrastructure.jobs import NewJob
from memos_integrations.infrastructure.receipts import Receipt
from memos_integrations.infrastructure.schema import cubes, exports, sealed
from memos_integrations.local_chat import LocalChat
from memos_integrations.memories.activation.catalogue import read_entry
from memos_integrations.memories.block import block
from memos_integrations.testing import WordEmbedder

sys.path.insert(0, str(Path(__file__).parent))
from erasure_evidence import traces, vectors_of

WORDS = (
    *("quokka", "numbat", "bilby", "wombat", "tapir", "ocelot"),  # texts
    *("wallabee", "dingopost", "kookaburra", "cassowary", "emufield"),  # header
    *("platypuskey", "echidnaprompt", "galahreason", "lorikeetkey", "bandicootshelf"),
    *("potoroo", "quollreason", "bettongfeature"),
)
FILLERS = 1_200  # enough for Chroma to write every kind of file it has


def fill(session: MemorySession) -> None:
    """What stays."""
    session.add([f"filler number{i} about subject{i % 97}" for i in range(FILLERS)])


def tell_a_secret(memory: MemOS, session: MemorySession) -> list[str]:
    """A memory that went through everything; the ids of what it is made of and what came of it."""
    cube = session.add(
        "the quokka plans a long journey to the harbour of Oslo",
        speaker="Wallabee",
        source="dingopost",
        tags=["kookaburra"],
        metadata={"emufield": "cassowary"},
        idempotency_key="platypuskey",
    )[0]
    session.add("the quokka plans a long journey to the harbour of Oslo, it says")
    session.organise()
    session.update(cube.id, "the numbat plans a long journey to the harbour of Oslo")
    session.append(cube.id, "bilby and boat")
    session.search("quokka numbat bilby journey")
    session.archive(cube.id, reason="galahreason")
    session.restore(cube.id)
    session.snapshot("then")
    branch = session.branch("what if")
    copy = next(one for one in branch.list(limit=10_000) if "bilby" in one.text)
    branch.update(copy.id, "the wombat in the branch")
    other = session.add("the harbour has red boats")[0]
    merged = session.merge([cube.id, other.id])
    session.record_uses([merged], prompt="echidnaprompt")
    shelf = session.shelf("bandicootshelf")
    draft = shelf.draft((), "lorikeetkey", ["the tapir is shy", "the ocelot is not"])
    shelf.write([draft])
    keyed = shelf.get((), "lorikeetkey")
    assert keyed is not None
    ids = [cube.id, keyed.cube.id, merged.id, copy.id]
    write_rows(memory, cube.id)
    return ids


def write_rows(memory: MemOS, id: str) -> None:
    """What other parts of the store keep of a memory."""

    def work(tx: sa.Connection) -> tuple[None, bool]:
        pk, head = tx.execute(sa.select(cubes.c.pk, cubes.c.head_pk).where(cubes.c.id == id)).one()
        tx.execute(
            sa.insert(sealed).values(
                version_pk=head, place="[potoroo]", label="name", key_id="k", content=b"potoroo"
            )
        )
        tx.execute(
            sa.insert(exports).values(
                cube_id=id, version=1, archive="archive-1", principal="alice", at=0
            )
        )
        now = memory.vault.sight().now
        jobs.write(tx, [NewJob(id, "Archive", "warm", "cold", "quollreason", now)], "")
        tx.exec_driver_sql("UPDATE cubes SET quarantined = 'bettongfeature' WHERE pk = ?", (pk,))
        return None, False

    memory.vault.commit(work)


def cache(memory: MemOS, session: MemorySession, ids: list[str]) -> tuple[LocalChat, list[bytes]]:
    """Let a small model read them; the token ids as its files hold them."""
    from tests.activation.test_invalidation import MODEL

    chat = LocalChat(memory, MODEL)
    tokens: list[bytes] = []
    for found in session.get_many(ids):
        session.record_uses([found], prompt="echidnaprompt")
        prompt = chat.read(f"{block([found])}\nQuestion: what?\nAnswer:")
        read = chat.engine.prefill(prompt)
        chat.engine.tree.release(read.lease)
        span = prompt.spans[0]
        tokens.append(str(list(prompt.tokens[span.start + 4 : span.end - 4]))[1:-1].encode())
    assert tokens
    chat.engine.tier.flush()  # type: ignore[union-attr]
    return chat, tokens


@pytest.mark.parametrize("indexed", [True, False])
def test_no_byte_is_left(folder: Path, indexed: bool) -> None:
    policy = IndexPolicy(exact_below=100 if indexed else 10_000, check_every=0.1)
    memory = MemOS.open(folder, embedder=WordEmbedder(), index_policy=policy)
    session = memory.session("alice")
    fill(session)
    ids = tell_a_secret(memory, session)
    chat, tokens = cache(memory, session, ids)
    assert memory.vault.wait_for_index(60)
    memory.vault.flush_counters()
    vectors = vectors_of(folder, ids)
    assert len(vectors) >= 5
    before = traces(folder, WORDS, [*vectors, *tokens])
    assert before.keys() >= {*WORDS}, set(WORDS) - before.keys()
    assert any(name.startswith("kv/") for files in before.values() for name in files)
    assert indexed == any(name.startswith("index/") for files in before.values() for name in files)

    told = session.add("the quokka said so again")[0]  # a secret in the log, not yet in the file
    last = [one.id for one in session.list(limit=10_000) if "says" in one.text]
    again = session.forget([ids[0], ids[1], told.id, *last], reason="a request")
    assert again.finished, again.unfinished
    [copied] = set(again.ids) - {*ids, told.id, *last}  # of the last one, in the branch
    assert set(again.derived) == {ids[2], ids[3], copied}
    assert (again.sealed, again.keys, again.pieces > 0, again.links > 0) == (1, 1, True, True)
    assert [one.archive for one in again.exports] == ["archive-1"]

    assert traces(folder, WORDS, [*vectors, *tokens]) == {}
    assert memory.vault.wait_for_index(60)
    assert traces(folder, WORDS, [*vectors, *tokens]) == {}
    assert session.search("quokka numbat bilby")[0].cube.text.startswith("filler")
    past = session.as_of("then")
    assert not {cube.id for cube in past.list(limit=10_000)} & set(again.ids)
    assert not {hit.cube.id for hit in past.search("quokka numbat", limit=50)} & set(again.ids)
    chat.close()
    memory.close()
    assert traces(folder, WORDS, [*vectors, *tokens]) == {}
    for finding in examine(folder):
        assert finding.ok, finding
    assert traces(folder, WORDS, [*vectors, *tokens]) == {}


def test_pieces_of_erased_memories_are_not_written_afterwards(folder: Path) -> None:
    """What a writer had in its queue when the memory was erased."""
    with MemOS.open(folder, embedder=WordEmbedder()) as memory:
        session = memory.session("alice")
        cube = session.add("a fact of a memory that is long enough to be a piece of its own")[0]
        chat, _ = cache(memory, session, [cube.id])
        kept = next((folder / "kv").glob("??/*"))
        content, digest = kept.read_bytes(), kept.stem
        session.forget(cube.id)
        assert not list((folder / "kv").glob("??/*"))
        late = folder / "kv" / "late.part"
        late.write_bytes(content)
        memory.pieces.welcome(digest)
        assert read_entry(late).sources
        assert not memory.pieces.place(digest, late)
        chat.close()


def test_while_others_write_and_search(folder: Path) -> None:
    """Erasures of two threads at a time, with writers, searchers and the index at work."""
    policy = IndexPolicy(exact_below=50, check_every=0.05, batch=16)
    draw = random.Random(7)
    with MemOS.open(folder, embedder=WordEmbedder(), index_policy=policy) as memory:
        session = memory.session("alice")
        session.add([fillers(draw) for _ in range(200)])
        secrets = session.add([f"the secret{i}quokka of number{i}" for i in range(12)])
        for cube in secrets[::2]:
            session.update(cube.id, cube.text.replace("quokka", "numbat"))
        vectors = vectors_of(folder, [cube.id for cube in secrets])
        done = threading.Event()

        def write() -> int:
            count = 0
            while not done.is_set():
                made = session.add([fillers(draw) for _ in range(3)])
                session.update(made[0].id, fillers(draw))
                session.delete(made[1].id)
                count += 1
            return count

        def search() -> int:
            count = 0
            while not done.is_set():
                hits = session.search(f"filler w{count % 50}", limit=5)
                assert all("filler" in hit.cube.text or "secret" in hit.cube.text for hit in hits)
                count += 1
            return count

        with ThreadPoolExecutor(4) as others:
            working = [others.submit(write), others.submit(search)]
            try:
                halves = [others.submit(erase, session, secrets[i::2]) for i in (0, 1)]
                receipts = [one for half in halves for one in half.result(timeout=120)]
            finally:
                done.set()
            assert all(one.result(timeout=60) > 0 for one in working)
        assert len(receipts) == 12 and all(one.finished for one in receipts)
        assert traces(folder, ["quokka", "numbat"], vectors) == {}
        assert memory.vault.wait_for_index(60)
        assert memory.vault.audit_index() == ""
        assert traces(folder, ["quokka", "numbat"], vectors) == {}
    for finding in examine(folder):
        assert finding.ok, finding


def erase(session: MemorySession, cubes: list[MemCube]) -> list[Receipt]:
    return [session.forget(cube.id) for cube in cubes]


def fillers(draw: random.Random) -> str:
    """Words of many kinds: vectors that are nearly the same hide from one another in a graph."""
    return "filler " + " ".join(f"w{draw.randrange(10_000)}" for _ in range(8))
