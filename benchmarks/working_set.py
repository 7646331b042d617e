"""What KV reuse brings when the recalled memories change from turn to turn.

``python benchmarks/working_set.py [--turns 500] [--timed 60] [--zipf 1.0]``. 200 memories, used as
Zipf says, five of them in each turn's prompt. The same turns under four layouts:

- *no cache*: every turn reads its whole prompt.
- *relevance*: prefix caching, memories in the order of relevance, as prompts usually have them.
- *use*: ``RecallPolicy(order="use")``: those used most first, so that prompts begin alike.
- *use + accelerator*: the same, and between two turns the chains that the accelerator chooses
  are computed ahead. Uses do not cool, since turns have no clock here.
- *clairvoyant*: the order of true popularity, known from the start; its chains computed ahead.

Saved tokens are counted over all turns by the prefix tree itself; times are measured on the model
over the last ``--timed`` turns; ``--timed 0`` only counts.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from _report import save, show

from memos_integrations.accelerator import HOTTEST
from memos_integrations.cube import Behaviour, Descriptive, Governance, Header, MemCube, Plaintext
from memos_integrations.memories.activation.admission import AdmissionPolicy, Rates
from memos_integrations.memories.activation.chains import chains
from memos_integrations.memories.activation.engine import ActivationEngine
from memos_integrations.memories.activation.prefix_tree import PrefixTree, root_of
from memos_integrations.memories.activation.segments import Prompt, Source, Span
from memos_integrations.models.causal import CausalModel
from memos_integrations.recall import in_use_order

MEMORIES, RECALLED = 200, 5
THINGS = ("boat", "lamp", "piano", "walnut tree", "red bicycle", "letter box", "beehive")
PLACES = ("the old mill", "the harbour", "the school", "the station", "her aunt's house")
HEADER = "You are the assistant of Maya. Answer shortly, and only from what is remembered.\n"


class Kept:
    """A payload that only has a size."""

    def __init__(self, tokens: int, each: int) -> None:
        self.nbytes = tokens * each


class World:
    """The memories as tokens, and who is asked for when."""

    def __init__(self, model: CausalModel, turns: int, zipf: float, seed: int) -> None:
        self.model, self.dice = model, random.Random(seed)
        self.header = model.encode(HEADER)
        self.lines = [
            model.encode(
                f"- 2026-0{i % 9 + 1}-{i % 28 + 1:02d} user: On that day I put the "
                f"{THINGS[i % 7]} number {i} behind {PLACES[i % 5]}, since Jonas had asked me "
                f"{i % 11 + 2} times to do so before the winter comes and the {THINGS[i % 6]} "
                "must be brought in, which I never like to do alone.\n",
                special=False,
            )
            for i in range(MEMORIES)
        ]
        weights = [1 / (rank + 1) ** zipf for rank in range(MEMORIES)]
        popular = self.dice.sample(range(MEMORIES), MEMORIES)
        self.rank = {memory: rank for rank, memory in enumerate(popular)}
        self.turns: list[list[int]] = []
        for _ in range(turns):
            chosen: list[int] = []
            while len(chosen) < RECALLED:
                one = popular[self.dice.choices(range(MEMORIES), weights)[0]]
                if one not in chosen:
                    chosen.append(one)
            self.turns.append(self.dice.sample(chosen, RECALLED))  # the order of relevance
        self.questions = [
            model.encode(f"</memories>\nUser: what about the {THINGS[t % 7]} {t}?\nAssistant:")
            for t in range(turns)
        ]

    def prompt(self, memories: Sequence[int], question: Sequence[int]) -> Prompt:
        tokens, spans = list(self.header), []
        for one in memories:
            start = len(tokens)
            tokens += self.lines[one]
            spans.append(Span(start, len(tokens), Source(f"m{one:04d}", 1)))
        return Prompt((*tokens, *question), tuple(spans), salt="bench")


class Layout:
    """One way to order the memories of a turn, and what is computed ahead of it."""

    def __init__(self, world: World, name: str) -> None:
        self.world, self.name = world, name
        self.cubes = [_cube(one) for one in range(MEMORIES)]
        self.number = {cube.id: one for one, cube in enumerate(self.cubes)}

    def order(self, memories: Sequence[int]) -> list[int]:
        if self.name == "relevance":
            return list(memories)
        if self.name == "clairvoyant":
            return sorted(memories, key=lambda one: self.world.rank[one])
        return [self.number[cube.id] for cube in in_use_order(self.cubes[one] for one in memories)]

    def used(self, memories: Sequence[int]) -> None:
        for one in memories:
            self.cubes[one] = _cube(one, self.uses(one) + 1)

    def uses(self, memory: int) -> int:
        return self.cubes[memory].header.behaviour.uses

    def ahead(self) -> list[list[int]]:
        """Beginnings of prompts worth computing while nobody waits."""
        if self.name == "clairvoyant":
            heat = [float(MEMORIES - self.world.rank[one]) for one in range(MEMORIES)]
        elif self.name == "use + accelerator":
            heat = [float(self.uses(one)) for one in range(MEMORIES)]
        else:
            return []
        hot = sorted(range(MEMORIES), key=lambda one: -heat[one])[:HOTTEST]
        if self.name == "use + accelerator":
            hot = [one for one in hot if self._is_worth_it(one)]
        hot = self.order(hot)
        return chains(hot, [heat[one] for one in hot], shown=RECALLED)

    def _is_worth_it(self, memory: int) -> bool:
        tokens = len(self.world.lines[memory])
        return AdmissionPolicy().decide(tokens, float(self.uses(memory)), Rates()).admit


def _cube(memory: int, uses: int = 0) -> MemCube:
    """A memory as the product's order sees it: its age and its uses."""
    return MemCube(
        id=str(uuid.UUID(int=memory)),
        version=1,
        namespace=("bench",),
        header=Header(
            descriptive=Descriptive(created_at=datetime(2026, 1, 1, tzinfo=UTC)),
            governance=Governance(owner="bench"),
            behaviour=Behaviour(uses=uses),
        ),
        payload=Plaintext(text=f"memory {memory}"),
    )


def count(world: World, name: str, each: int, budget: int) -> dict[str, float]:
    """Saved tokens over all turns, on a tree without tensors."""
    tree: PrefixTree[Kept] = PrefixTree(budget)
    layout, root = Layout(world, name), root_of({"bench": name})
    saved = total = built = 0
    for memories, question in zip(world.turns, world.questions, strict=True):
        for chain in layout.ahead():
            built += _read(tree, root, world.prompt(chain, question), each)[1]
        prompt = world.prompt(layout.order(memories), question)
        hit, _ = _read(tree, root, prompt, each)
        saved, total = saved + hit, total + len(prompt.tokens)
        layout.used(memories)
    stats = tree.stats()
    return {"saved": saved / total, "built ahead": built / total, "mb": stats.bytes / 1e6}


def _read(tree: PrefixTree[Kept], root: str, prompt: Prompt, each: int) -> tuple[int, int]:
    pieces = prompt.pieces()[:-1]
    lease = tree.match(root, pieces)
    hit, fresh, at = lease.length, 0, lease.length
    for piece in pieces[len(lease.nodes) :]:
        sources = prompt.sources(at, at + len(piece))
        if tree.add(lease, piece, Kept(len(piece), each), sources) is None:
            break
        at, fresh = at + len(piece), fresh + len(piece)
    tree.release(lease)
    return hit, fresh


def timed(world: World, name: str, model: CausalModel, budget: int, last: int) -> dict[str, float]:
    """First-token seconds of the last turns, behind a cache that the turns before filled."""
    engine = ActivationEngine(model, budget=budget if name != "no cache" else 0)
    layout = Layout(world, "relevance" if name == "no cache" else name)
    times: list[float] = []
    first = len(world.turns) - last
    for turn, (memories, question) in enumerate(zip(world.turns, world.questions, strict=True)):
        prompt = world.prompt(layout.order(memories), question)
        layout.used(memories)
        if turn < first - 5 * last and name == "no cache":
            continue
        if turn < first:
            if name != "no cache" and turn >= first - 3 * last:
                engine.precompute(prompt)
            continue
        for chain in layout.ahead():
            engine.precompute(world.prompt(chain, question), background=True)
        started = time.perf_counter()
        read = engine.prefill(prompt)
        times.append(time.perf_counter() - started)
        engine.tree.release(read.lease)
    return {"mean": statistics.mean(times), "median": statistics.median(times)}


def main() -> None:
    """Count, measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", help="a hub id or a folder; by default the bundled model")
    parser.add_argument("--turns", type=int, default=500)
    parser.add_argument("--timed", type=int, default=60)
    parser.add_argument("--zipf", type=float, default=1.0)
    parser.add_argument("--budget", type=int, default=4 << 30, help="bytes of keys and values")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/working_set.json"))
    options = parser.parse_args()
    model = CausalModel.load(options.model)
    world = World(model, options.turns, options.zipf, options.seed)
    engine = ActivationEngine(model, budget=options.budget)
    engine.precompute(world.prompt(world.turns[0], world.questions[0]))
    each = int(engine.rates().bytes_per_token)
    names = ("relevance", "use", "use + accelerator", "clairvoyant")
    rows: list[list[Any]] = []
    base = 0.0
    for name in ("no cache", *names):
        counted = count(world, name, each, options.budget) if name != "no cache" else None
        seconds = timed(world, name, model, options.budget, options.timed) if options.timed else {}
        if name == "relevance" and counted:
            base = counted["saved"]
        rows.append(
            [
                name,
                f"{counted['saved']:.1%}" if counted else "0",
                f"{counted['saved'] / base:.2f}" if counted else "",
                f"{counted['built ahead']:.1%}" if counted else "",
                f"{counted['mb']:,.0f}" if counted else "0",
                *(f"{seconds[it]:.3f}" if seconds else "" for it in ("mean", "median")),
            ]
        )
    columns = ["layout", "saved", "x relevance", "built ahead", "MB", "mean s", "median s"]
    show(
        f"{options.turns} turns, {MEMORIES} memories, Zipf {options.zipf}, {RECALLED} a turn, "
        f"{model.name}",
        columns,
        rows,
    )
    save(options.out, "working_set", {"columns": columns, "rows": rows, **vars(options)})


if __name__ == "__main__":
    main()
