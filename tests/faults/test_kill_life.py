"""Killed during merges and ticks of the scheduler: no job is lost or done twice."""

from __future__ import annotations

import json
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import networkx as nx
import pytest

from memos_integrations import MemorySession, MemOS
from memos_integrations.cube import State
from memos_integrations.infrastructure.doctor import examine
from memos_integrations.operation import lifecycle
from memos_integrations.testing import WordEmbedder

WORKER = Path(__file__).with_name("life_worker.py")
POINTS = ("jobs-decided", "jobs-written", "job-done")
"""Crash points that only a scheduler reaches."""

_MOVES = {"Archive": "archive", "Expire": "expire"}


def merges_of(lines: list[str]) -> tuple[dict[str, list[str]], list[str] | None]:
    """Acknowledged merges with their sources, and the one under way."""
    done: dict[str, list[str]] = {}
    doubt: list[str] | None = None
    for line in lines:
        if not line.endswith("\n"):
            break
        step = json.loads(line)
        doubt = step.get("try")
        if "done" in step:
            done[step["done"]] = step["of"]
    return done, doubt


def check(folder: Path, lines: list[str]) -> None:
    """Open what is left; every promise must hold."""
    sys.path.insert(0, str(WORKER.parent))
    from life_worker import BUDGETS, RULES
    from worker import POLICY

    with MemOS.open(folder, embedder=WordEmbedder(), index_policy=POLICY) as memory:
        session = memory.session("writer")
        check_merges(session, *merges_of(lines))
        check_jobs(folder)
        memory.scheduler(rules=RULES, budgets=BUDGETS).tick()
        check_jobs(folder, nothing_waits=True)
        for cube in session.list(limit=10_000):
            check_life(session, cube.id)
    for finding in examine(folder):
        assert finding.ok, finding


def check_merges(
    session: MemorySession, done: dict[str, list[str]], doubt: list[str] | None
) -> None:
    """All of a merge or nothing: the new memory, its sources' states, its lineage."""
    for made, sources in done.items():
        graph = session.lineage(made, direction="sources")
        came_from = {
            graph.nodes[node]["text"] and node.partition("@")[0]
            for node in graph.successors(f"{made}@1")
            if graph.edges[f"{made}@1", node]["relation"] == "wasDerivedFrom"
        }
        assert came_from == set(sources)
        assert all(session.get(one).state is State.MERGED for one in sources)
    if doubt is not None:
        merged = {one: session.get(one).state is State.MERGED for one in doubt}
        assert len(set(merged.values())) == 1, merged


def check_life(session: MemorySession, cube_id: str) -> None:
    """Only legal steps, each from where the last one led; no cycle in what came from what."""
    state = State.GENERATED.value
    for passage in session.life(cube_id):
        assert passage.before == state
        legal = {one.verb: one.target.value for one in lifecycle.legal(State(state))}
        assert legal[passage.verb] == passage.after
        state = passage.after
    assert session.get(cube_id).state.value in (state, State.ACTIVATED.value)
    assert nx.is_directed_acyclic_graph(session.lineage(cube_id))


def check_jobs(folder: Path, *, nothing_waits: bool = False) -> None:
    """As many jobs done as the scheduler changed states: none lost, none done twice."""
    records = sqlite3.connect(folder / "memory.db")
    jobs: list[tuple[int, str, str]] = records.execute(
        "SELECT cube_pk, kind, status FROM jobs"
    ).fetchall()
    moved: list[tuple[int, str]] = records.execute(
        "SELECT cube_pk, verb FROM transitions JOIN activities ON activities.pk = activity_pk "
        "WHERE principal = 'system' AND verb IN ('archive', 'expire')"
    ).fetchall()
    records.close()
    done = sorted((pk, _MOVES[kind]) for pk, kind, status in jobs if status == "done")
    assert done == sorted(moved)
    if nothing_waits:
        assert all(status != "waiting" for _, _, status in jobs)


def run(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(WORKER), str(folder), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def one_life(folder: Path, draw: random.Random, said: list[str]) -> None:
    """Start a worker, kill it at a random moment, look at what is left."""
    child = run(folder, str(draw.randrange(10**9)))
    assert child.stdout is not None
    first = child.stdout.readline()  # it is open: from here on the clock runs
    assert first, child.stderr.read() if child.stderr else ""
    time.sleep(draw.uniform(0.0, 1.2))
    child.send_signal(signal.SIGKILL)
    rest, _ = child.communicate()
    said += [line for line in rest.splitlines(keepends=True) if line.endswith("\n")]
    check(folder, said)


@pytest.mark.parametrize("seed", range(10))
def test_killed_at_five_random_moments(folder: Path, seed: int) -> None:
    draw, said = random.Random(seed), list[str]()
    for _ in range(5):
        one_life(folder, draw, said)


@pytest.mark.parametrize("name", POINTS)
@pytest.mark.parametrize("nth", [1, 3])
def test_killed_at_a_named_point(folder: Path, name: str, nth: int) -> None:
    child = run(folder, "7", name, str(nth))
    output, errors = child.communicate(timeout=120)
    assert child.returncode == -signal.SIGKILL, f"{name} was not reached: {errors}"
    check(folder, output.splitlines(keepends=True))
