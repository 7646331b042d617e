"""Doctor, reindex, migrations, pragmas, blobs, deadlines, the word index."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import networkx as nx
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from memos_integrations import IndexPolicy, MemOS
from memos_integrations.errors import (
    BlobCorruptError,
    BlobNotFoundError,
    EmbedderMismatchError,
    InvalidInputError,
    StoreCorruptError,
    StoreError,
)
from memos_integrations.infrastructure import doctor, lexical, migrations, schema, seal
from memos_integrations.infrastructure.blobs import FsspecBlobs
from memos_integrations.infrastructure.deadline import DeadlineExceeded, DeadlineWorkers
from memos_integrations.infrastructure.filters import FIELDS
from memos_integrations.protocols import EmbedderFingerprint, Vectors
from memos_integrations.testing import WordEmbedder

Opener = Callable[..., MemOS]


# Schema ----------------------------------------------------------------------------------------


def test_migrations_make_the_declared_schema(memory: MemOS) -> None:
    with memory.vault.database.read() as tx:
        context = MigrationContext.configure(
            tx,
            opts={"include_object": lambda thing, name, kind, *_: "lexicon" not in str(name)},
        )
        assert compare_metadata(context, schema.metadata) == []
        assert context.get_current_revision() == schema.HEAD_REVISION
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    assert ScriptDirectory.from_config(config).get_current_head() == schema.HEAD_REVISION


def test_pragmas(memory: MemOS) -> None:
    with memory.vault.database.read() as tx:
        found = {
            name: tx.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("synchronous", "foreign_keys", "journal_mode", "page_size")
        }
    assert found == {"synchronous": 2, "foreign_keys": 1, "journal_mode": "wal", "page_size": 8192}


def test_the_graph_cannot_have_a_cycle(memory: MemOS) -> None:
    session = memory.session("alice")
    cube = session.add("first")[0]
    for text in ("second", "third"):
        session.update(cube.id, text)
    assert nx.is_directed_acyclic_graph(session.lineage(cube.id))
    for subject, target in ((1, 2), (2, 2)):
        with pytest.raises(StoreError, match="edges_point_to_the_past"):
            memory.vault.database.write(
                lambda tx, s=subject, t=target: tx.execute(  # type: ignore[misc]
                    sa.insert(schema.edges).values(subject_pk=s, object_pk=t, relation="x")
                )
            )


def test_every_header_field_can_be_filtered() -> None:
    from memos_integrations.cube import Behaviour, Descriptive, Governance

    fields = {*Descriptive.model_fields, *Governance.model_fields, *Behaviour.model_fields}
    assert fields - set(FIELDS) == {"metadata", "previous_version", "trust"}


# Doctor ----------------------------------------------------------------------------------------


@pytest.fixture
def filled(open_store: Opener, folder: Path) -> Path:
    memory = open_store(index_policy=IndexPolicy(exact_below=20))
    memory.session("alice").add([f"memory number {i}" for i in range(40)])
    assert memory.vault.wait_for_index(60)
    memory.close()
    return folder


def test_doctor_finds_a_healthy_store_healthy(filled: Path) -> None:
    findings = doctor.examine(filled)
    assert [finding.name for finding in findings] == [
        "versions",
        "lock",
        "integrity",
        "records",
        "erasures",
        "index",
        "self-recall",
    ]
    assert all(finding.ok and not finding.mended for finding in findings)


def test_doctor_mends_the_index(filled: Path) -> None:
    next((filled / "index").rglob("chroma.sqlite3")).write_bytes(b"")
    index = {finding.name: finding for finding in doctor.examine(filled)}["index"]
    assert index.ok
    assert index.mended
    assert all(not finding.mended for finding in doctor.examine(filled))


def test_doctor_sees_faults_in_the_records(filled: Path) -> None:
    with sqlite3.connect(filled / "memory.db") as tampered:
        tampered.execute("UPDATE namespaces SET live = live + 1")
        tampered.execute("DELETE FROM lexicon WHERE rowid = 1")
        tampered.execute("UPDATE embeddings SET vector = zeroblob(256) WHERE cube_pk = 3")
    tampered.close()
    findings = {finding.name: finding for finding in doctor.examine(filled)}
    assert not findings["records"].ok
    assert "1 namespaces with a wrong count" in findings["records"].detail
    assert "1 rows too many or too few in the word index" in findings["records"].detail


def test_doctor_on_a_store_in_use_and_a_broken_one(memory: MemOS, folder: Path) -> None:
    lock = doctor.examine(folder)[-1]
    assert (lock.name, lock.ok) == ("lock", False)
    memory.close()
    (folder / "memory.db").write_bytes(b"not a database at all" * 100)
    with pytest.raises(StoreCorruptError, match="damaged"):
        doctor.examine(folder)


# Reindex ---------------------------------------------------------------------------------------


def test_reindex_for_another_embedder(filled: Path, open_store: Opener) -> None:
    other = WordEmbedder(32, name="other")
    with pytest.raises(EmbedderMismatchError, match="memcube reindex"):
        open_store(embedder=other)
    seen: list[tuple[int, int]] = []
    assert MemOS.reindex(filled, embedder=other, progress=lambda *p: seen.append(p)) == 40
    assert seen[-1] == (40, 40)
    memory = open_store(embedder=other)
    assert memory.session("alice").search("memory number 7", limit=1)[0].cube.text.endswith(" 7")
    assert memory.vault.wait_for_index(60)
    assert memory.vault.audit_index() == ""
    memory.close()
    with pytest.raises(EmbedderMismatchError):
        open_store()


def test_memories_embedded_in_an_earlier_form_are_embedded_anew(
    filled: Path, open_store: Opener
) -> None:
    with sqlite3.connect(filled / "memory.db") as raw:  # as the first version wrote it
        raw.execute(
            "UPDATE settings SET value = json_remove(value, '$.form') WHERE key = 'embedder'"
        )
    raw.close()
    with pytest.raises(EmbedderMismatchError, match=r"in the form 1 .*memcube reindex"):
        open_store()
    assert MemOS.reindex(filled, embedder=WordEmbedder()) == 40
    with open_store() as memory:
        assert memory.vault.embedder == WordEmbedder().fingerprint
        hits = memory.session("alice").search("memory number 7", limit=1)
        assert hits[0].cube.text.endswith(" 7")


def test_vectors_of_an_earlier_form_are_of_another_embedder() -> None:
    now = WordEmbedder().fingerprint
    said = {"name": now.name, "revision": now.revision, "dimension": now.dimension}
    assert EmbedderFingerprint.read(said) != now
    assert EmbedderFingerprint.read({**said, "form": now.form}) == now


def test_an_interrupted_reindex_changes_nothing_and_goes_on(
    folder: Path, open_store: Opener
) -> None:
    memory = open_store()
    memory.session("alice").add([f"memory number {i}" for i in range(600)])
    memory.close()

    class Dying(WordEmbedder):
        calls = 0

        def embed_documents(self, texts: Sequence[str]) -> Vectors:
            self.calls += 1
            if self.calls == 2:
                raise KeyboardInterrupt
            return super().embed_documents(texts)

    with pytest.raises(KeyboardInterrupt):
        MemOS.reindex(folder, embedder=Dying(32, name="other"))
    memory = open_store()  # the old embedder still fits
    assert memory.session("alice").search("memory number 599", limit=1)[0].cube.text.endswith("599")
    memory.close()
    counted = Dying(32, name="other")
    counted.calls = 10
    assert MemOS.reindex(folder, embedder=counted) == 600
    assert counted.calls == 12, "the first 256 were embedded again"
    assert open_store(embedder=WordEmbedder(32, name="other")).session("alice").count() == 600


# Small parts -----------------------------------------------------------------------------------


def test_words(memory: MemOS) -> None:
    alice, bob = memory.session("alice"), memory.session("bob")
    alice.add(["She was running in the hills", "A café in Zürich", "nothing of note"])
    bob.add("running on the beach")
    words_only = {"policy": __import__("memos_integrations").SearchPolicy(dense=0.0)}
    for query, found in (
        ("who runs?", "She was running in the hills"),
        ("ZURICH cafe", "A café in Zürich"),
        ('run" OR "x* NEAR(', "She was running in the hills"),
        ("notes", "nothing of note"),
    ):
        assert [h.cube.text for h in alice.search(query, **words_only)] == [found]
    assert alice.search("beach", **words_only) == []
    assert alice.search("?!", **words_only) == []


def test_telling_words() -> None:
    assert lexical.telling_words("What is Maya's new job, and where?") == ["maya", "new", "job"]
    assert lexical.telling_words("What is it?") == ["what", "is", "it"]


@pytest.mark.parametrize("url", ["memory://blobs", "folder"])
def test_blobs(tmp_path: Path, url: str) -> None:
    blobs = FsspecBlobs(str(tmp_path / "blobs") if url == "folder" else url)
    digest = blobs.put(b"tensor bytes")
    assert blobs.put(b"tensor bytes") == digest
    assert blobs.get(digest) == b"tensor bytes"
    assert blobs.exists(digest)
    blobs.delete(digest)
    blobs.delete(digest)
    assert not blobs.exists(digest)
    with pytest.raises(BlobNotFoundError, match="no blob"):
        blobs.get(digest)
    with pytest.raises(InvalidInputError, match="64 lower-case hex"):
        blobs.get("../../etc/passwd")


def test_an_altered_blob_is_not_given_out(tmp_path: Path) -> None:
    blobs = FsspecBlobs(str(tmp_path))
    digest = blobs.put(b"tensor bytes")
    (tmp_path / digest[:2] / digest).write_bytes(b"tensor bytez")
    with pytest.raises(BlobCorruptError, match="no longer holds"):
        blobs.get(digest)


def test_deadlines() -> None:
    workers, released = DeadlineWorkers("test"), threading.Event()

    def times_out() -> None:
        raise TimeoutError("its own")

    assert workers.call(10, sum, [1, 2]) == 3
    with pytest.raises(TimeoutError, match="its own"):
        workers.call(10, times_out)
    with pytest.raises(DeadlineExceeded):
        workers.call(0.05, released.wait, 60)
    assert workers.call(10, sum, [3, 4]) == 7
    released.set()
    workers.stop()


def test_seals(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"a")

    def state(records: str = "r1") -> str:
        return seal.inspect(tmp_path, records, lambda: False)

    assert state() == "none"
    seal.write(tmp_path, "r1")
    assert (state(), state("r2")) == ("whole", "moved")
    assert seal.inspect(tmp_path, "r1", lambda: True) == "none"
    (tmp_path / "b.bin").write_bytes(b"")
    assert state() == "broken"
    (tmp_path / "b.bin").unlink()
    assert state() == "whole"
    (tmp_path / "a.bin").write_bytes(b"b")
    assert state() == "broken"
    shutil.rmtree(tmp_path / "none", ignore_errors=True)
    (tmp_path / "seal.json").write_text("{")
    assert state() == "broken"
    seal.lift(tmp_path)
    assert state() == "none"
