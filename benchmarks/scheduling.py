"""The scheduler on a trace of uses, beside LRU, LFU and the clairvoyant policy.

``python benchmarks/scheduling.py [--events 100000] [--memories 10000]``. One memory is used a
second; the cache holds a share of them. A trace is either popular by Zipf's law, or so for a while
and then with other favourites. The scheduler pays what it always pays: it waits before it moves a
memory again, builds within its milliseconds, and asks for a margin; the others move at once and for
nothing. Each trace is run twice, which must give the same actions, and the budgets are checked at
every step. Clairvoyant is Belady's rule with the choice not to cache at all: no policy does better.
"""

from __future__ import annotations

import argparse
import bisect
import hashlib
import heapq
import itertools
import random
import time
from collections import Counter, OrderedDict
from pathlib import Path
from typing import Any

from _report import save, show

from memos_integrations.operation.scheduling.events import Added, Shown, Tick
from memos_integrations.operation.scheduling.planner import Planner
from memos_integrations.operation.scheduling.rules import Budgets
from memos_integrations.operation.scheduling.tiers import Form, Tier

BYTES, BUILD_MS, TICK_S, TICK_MS = 1_000, 10.0, 60, 2_000.0
NEVER = 1 << 60


def main() -> None:
    """Run, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--memories", type=int, default=10_000)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/scheduling.json"))
    options = parser.parse_args()
    count, memories = options.events, options.memories
    traces = {
        "Zipf 0.8": zipf(memories, count, 0.8, seed=1),
        "Zipf 1.0": zipf(memories, count, 1.0, seed=2),
        "Zipf 1.2": zipf(memories, count, 1.2, seed=3),
        "Zipf 1.0, new favourites after a half": [
            *zipf(memories, count // 2, 1.0, seed=4),
            *zipf(memories, count - count // 2, 1.0, seed=5),
        ],
    }
    rows = [
        row(name, trace, memories, memories * share // 100)
        for name, trace in traces.items()
        for share in (1, 10)
    ]
    show("Hit rate", list(rows[0]), [list(one.values()) for one in rows])
    save(options.out, "scheduling", {"events": count, "memories": memories, "rows": rows})


def row(name: str, trace: list[int], memories: int, room: int) -> dict[str, Any]:
    """Every policy on one trace."""
    hits, moves, seconds, digest = scheduler(trace, memories, room)
    assert digest == scheduler(trace, memories, room)[3], "not deterministic"
    return {
        "trace": name,
        "room": room,
        "scheduler": round(hits / len(trace), 4),
        "LRU": round(lru(trace, room) / len(trace), 4),
        "LFU": round(lfu(trace, room) / len(trace), 4),
        "clairvoyant": round(clairvoyant(trace, room) / len(trace), 4),
        "moves": moves,
        "microseconds an event": round(1e6 * seconds / len(trace), 1),
    }


def zipf(memories: int, count: int, skew: float, *, seed: int) -> list[int]:
    """Which memory is used, one after the other."""
    chance = random.Random(seed)
    bounds = list(itertools.accumulate(1 / rank**skew for rank in range(1, memories + 1)))
    ids = list(range(memories))
    chance.shuffle(ids)
    return [ids[bisect.bisect(bounds, chance.random() * bounds[-1])] for _ in range(count)]


def scheduler(trace: list[int], memories: int, room: int) -> tuple[int, int, float, str]:
    """Hits, moves, seconds and a digest of the actions."""
    planner = Planner(Budgets(activation=room * BYTES, build_ms=TICK_MS))
    names = [f"{one:06}" for one in range(memories)]
    for name in names:
        form, cache = Form(100), Form(BYTES, BUILD_MS)
        planner.step(Added(0.0, name, plaintext=form, activation=cache))
    digest, hits, moves, spent = hashlib.sha256(), 0, 0, 0.0
    begin = time.perf_counter()
    for second, one in enumerate(trace):
        at, events = float(second), []
        if second % TICK_S == 0:
            events.append(Tick(at))
            spent = 0.0
        memory = planner.holding.get(names[one])
        assert memory is not None
        hits += memory.tier is Tier.ACTIVATION
        for event in (*events, Shown(at, (names[one],))):
            for action in planner.step(event):
                digest.update(str(action).encode())
                spent += action.build_ms
                moves += 1
            assert planner.holding.bytes[Tier.ACTIVATION] <= room * BYTES, "bytes"
            assert spent <= TICK_MS, "milliseconds"
    return hits, moves, time.perf_counter() - begin, digest.hexdigest()


def lru(trace: list[int], room: int) -> int:
    """Least recently used goes."""
    held: OrderedDict[int, None] = OrderedDict()
    hits = 0
    for one in trace:
        hits += one in held
        held[one] = None
        held.move_to_end(one)
        if len(held) > room:
            held.popitem(last=False)
    return hits


def lfu(trace: list[int], room: int) -> int:
    """Least frequently used since it came goes; of equals the one used longest ago."""
    held: dict[int, tuple[int, int]] = {}
    order: list[tuple[int, int, int]] = []
    hits, uses = 0, Counter[int]()
    for at, one in enumerate(trace):
        if one in held:
            hits += 1
        elif len(held) >= room:
            while True:
                count, then, other = heapq.heappop(order)
                if held.get(other) == (count, then):
                    break
            del held[other], uses[other]
        uses[one] += 1
        held[one] = uses[one], at
        heapq.heappush(order, (uses[one], at, one))
    return hits


def clairvoyant(trace: list[int], room: int) -> int:
    """What is used again last goes."""
    again, last = [NEVER] * len(trace), dict[int, int]()
    for at in range(len(trace) - 1, -1, -1):
        again[at] = last.get(trace[at], NEVER)
        last[trace[at]] = at
    held: dict[int, int] = {}
    order: list[tuple[int, int]] = []
    hits = 0
    for at, one in enumerate(trace):
        hits += one in held
        held[one] = again[at]
        heapq.heappush(order, (-again[at], one))
        while len(held) > room:
            then, other = heapq.heappop(order)
            if held.get(other) == -then:
                del held[other]
    return hits


if __name__ == "__main__":
    main()
