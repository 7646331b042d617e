"""Many threads share one store; a second process, or a fork, is told who owns it."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest

from memos_integrations import IndexPolicy, MemOS
from memos_integrations.errors import StoreClosedError, StoreLockedError
from memos_integrations.testing import WordEmbedder

THREADS, ROUNDS = 8, 25


def test_eight_threads_add_and_search(open_store: object) -> None:
    memory: MemOS = open_store(index_policy=IndexPolicy(exact_below=60, check_every=0.1))  # type: ignore[operator]
    errors: list[BaseException] = []
    said: list[list[str]] = [[] for _ in range(THREADS)]
    start = threading.Barrier(THREADS)

    def talk(number: int) -> None:
        session = memory.session(f"user{number % 4}")
        try:
            start.wait()
            for turn in range(ROUNDS):
                texts = [f"thread{number} turn{turn} part{part}" for part in range(1 + turn % 3)]
                session.add(texts)
                said[number] += texts
                hit = session.search(texts[0], limit=1)[0]
                assert hit.cube.text == texts[0], (hit.cube.text, texts[0])
                if turn % 5 == 4:
                    cube = session.update(hit.cube.id, f"{texts[0]} changed")
                    said[number][said[number].index(texts[0])] = cube.text
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=talk, args=(n,)) for n in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    for user in range(4):
        stored = memory.session(f"user{user}").list(limit=10_000)
        expected = [text for n in range(THREADS) if n % 4 == user for text in said[n]]
        assert Counter(cube.text for cube in stored) == Counter(expected)
        assert len({cube.id for cube in stored}) == len(stored)
    assert memory.vault.wait_for_index(60)
    assert memory.vault.audit_index() == ""


def test_the_same_key_from_eight_threads_writes_once(memory: MemOS) -> None:
    session = memory.session("alice")
    ids: list[str] = []
    threads = [
        threading.Thread(
            target=lambda: ids.append(session.add("said once", idempotency_key="turn-1")[0].id)
        )
        for _ in range(THREADS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == THREADS
    assert len(set(ids)) == 1
    assert session.count() == 1


def test_racing_updates_without_expectation_lose_none(memory: MemOS) -> None:
    session = memory.session("alice")
    cube = session.add("count: start")[0]
    threads = [
        threading.Thread(target=session.update, args=(cube.id, f"count: {n}"))
        for n in range(THREADS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert session.get(cube.id).version == 1 + THREADS
    assert len(session.history(cube.id)) == 1 + THREADS


def test_a_second_process_is_told_who_owns_the_folder(memory: MemOS) -> None:
    script = (
        "import sys\n"
        "from memos_integrations import MemOS\n"
        "from memos_integrations.testing import WordEmbedder\n"
        "try:\n"
        "    MemOS.open(sys.argv[1], embedder=WordEmbedder())\n"
        "except Exception as error:\n"
        "    print(type(error).__name__, error)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script, str(memory.path)], capture_output=True, text=True
    )
    assert ran.stdout.startswith("StoreLockedError"), ran.stderr
    assert f"process {os.getpid()}" in ran.stdout


def test_opened_twice_in_one_process(memory: MemOS, open_store: object) -> None:
    with pytest.raises(StoreLockedError, match="this process: use the MemOS object"):
        open_store()  # type: ignore[operator]


def test_free_again_after_close(memory: MemOS, open_store: object) -> None:
    memory.close()
    again: MemOS = open_store()  # type: ignore[operator]
    assert again.session("alice").count() == 0


def test_used_after_close(memory: MemOS) -> None:
    session = memory.session("alice")
    memory.close()
    memory.close()
    for verb in (lambda: session.add("x"), lambda: session.search("x"), session.count):
        with pytest.raises(StoreClosedError, match=r"MemOS\.open"):
            verb()


@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_a_fork_may_not_use_it(memory: MemOS) -> None:
    session = memory.session("alice")
    session.add("before the fork")
    child = os.fork()
    if child == 0:
        try:
            session.add("from the child")
        except StoreLockedError:
            os._exit(42)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 42
    assert session.count() == 1


def test_a_failing_unit_takes_nothing_with_it(folder: Path, memory: MemOS) -> None:
    """Units that share a commit are still separate: one that raises leaves the others."""
    database = memory.vault.database
    entered, go = threading.Event(), threading.Event()
    outcome: list[object] = []

    def slow(tx: object) -> str:
        entered.set()
        go.wait(10)
        return "slow"

    def run(work: object) -> None:
        try:
            outcome.append(database.write(work))  # type: ignore[arg-type]
        except ZeroDivisionError as error:
            outcome.append(error)

    def insert(key: str, fail: bool) -> object:
        def work(tx: object) -> str:
            tx.exec_driver_sql("INSERT INTO settings VALUES (?, 'x')", (key,))  # type: ignore[attr-defined]
            return key if not fail else str(1 // 0)

        return work

    works = [slow, insert("a", False), insert("b", True), insert("c", False)]
    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    threads[0].start()
    entered.wait(10)
    for thread in threads[1:]:
        thread.start()
    while len(database._queue) < 3:
        pass
    go.set()
    for thread in threads:
        thread.join()
    assert {o for o in outcome if isinstance(o, str)} == {"slow", "a", "c"}
    assert sum(isinstance(o, ZeroDivisionError) for o in outcome) == 1
    with database.read() as tx:
        keys = set(tx.exec_driver_sql("SELECT key FROM settings").scalars())
    assert {"a", "c"} <= keys
    assert "b" not in keys


def test_a_store_that_is_dropped_is_closed(folder: Path) -> None:
    """Without close(): dropping the last reference, or ending the process, closes in order."""
    policy = IndexPolicy(exact_below=10, check_every=0.1)
    memory = MemOS.open(folder, embedder=WordEmbedder(), index_policy=policy)
    memory.session("alice").add([f"memory number {i}" for i in range(20)])
    assert memory.vault.wait_for_index(60)
    del memory
    gc.collect()
    script = (
        "import sys\n"
        "from memos_integrations import MemOS\n"
        "from memos_integrations.testing import WordEmbedder\n"
        "memory = MemOS.open(sys.argv[1], embedder=WordEmbedder())\n"
        "assert memory.vault.wait_for_index(60)\n"
        "print(memory.session('alice').count(), memory.vault.index_trouble)\n"
    )
    for _ in range(2):
        assert list((folder / "index").rglob("seal.json")), "the index was not closed in order"
        ran = subprocess.run(
            [sys.executable, "-c", script, str(folder)], capture_output=True, text=True
        )
        assert ran.stdout.strip() == "20", ran.stderr
