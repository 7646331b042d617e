"""What the middleware costs an agent: each model call beside a bare agent's, and the event loop.

``python benchmarks/langchain_overhead.py [--memories 10000] [--turns 200] [--users 50]``. The model
answers at once from a script, so what is measured is the framework's own work and ours.

- *a turn*: median and 95th percentile of ``agent.invoke``, bare and with ``MemOSMiddleware`` over a
  user's memories, taken in turn. "embedding apart" uses an embedder whose vectors are at hand;
  "bundled embedder" is the default one, all-MiniLM-L6-v2.
- *a model call*: the same of the middleware's part that stands before the model: recall, the
  memories read again, and the block put into the request. Recording comes after the answer.
- *the event loop*: ``--users`` conversations at once under ``astream``; a ticker that wants to
  wake every 5 ms notes how late it does.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from _report import save, show
from engine import BATCH, TableEmbedder, make
from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from pydantic import Field

from memos_integrations import MemOS
from memos_integrations.langchain import MemOSMiddleware
from memos_integrations.protocols import Vectors


class AtOnce(BaseChatModel):
    """Answers without thinking, and notes when it was asked."""

    asked_at: list[float] = Field(default_factory=list)

    @property
    def _llm_type(self) -> str:
        return "at-once"

    def _generate(self, messages: Any, *_: Any, **__: Any) -> ChatResult:
        self.asked_at.append(time.perf_counter())
        return ChatResult(generations=[ChatGeneration(message=AIMessage("understood"))])


def turns(memory: MemOS, questions: Sequence[str]) -> dict[str, dict[str, list[float]]]:
    """Seconds a turn, and seconds before the model was asked: bare, and with memory."""
    model = AtOnce()
    agents = {
        "bare": create_agent(model, []),
        "with memory": create_agent(
            model, [], middleware=[MemOSMiddleware(memory, recall_timeout=None)]
        ),
    }
    taken: dict[str, dict[str, list[float]]] = {name: {"turn": [], "call": []} for name in agents}
    for i, question in enumerate(questions):
        for name, agent in agents.items():
            started = time.perf_counter()
            agent.invoke(
                {"messages": [HumanMessage(question, id=f"{name}-{i}")]},
                {"configurable": {"thread_id": f"{name}-{i}"}},
                context={"user_id": "large"},
            )
            taken[name]["turn"].append(time.perf_counter() - started)
            taken[name]["call"].append(model.asked_at[-1] - started)
    return taken


async def lateness(memory: MemOS, users: int, *, with_memory: bool) -> list[float]:
    """How late a ticker wakes, in seconds, while conversations are held."""
    middleware = [MemOSMiddleware(memory)] if with_memory else []
    agent = create_agent(AtOnce(), [], middleware=middleware)
    late: list[float] = []
    done = asyncio.Event()

    async def tick() -> None:
        while not done.is_set():
            due = time.perf_counter() + 0.005
            await asyncio.sleep(0.005)
            late.append(time.perf_counter() - due)

    async def converse(user: int) -> None:
        for turn in range(4):
            async for _ in agent.astream(
                {"messages": [HumanMessage(f"turn {turn} of user {user}", id=f"{user}-{turn}")]},
                {"configurable": {"thread_id": f"{user}"}},
                context={"user_id": f"user-{user}"},
            ):
                pass

    ticker = asyncio.create_task(tick())
    await asyncio.gather(*(converse(user) for user in range(users)))
    done.set()
    await ticker
    return late


def percentile(values: Sequence[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


class AtHand(TableEmbedder):
    """Vectors that need no model: the last word of a text is its row; of others, the first row."""

    def embed_documents(self, texts: list[str]) -> Vectors:
        """float32, shape ``(len(texts), 384)``."""
        last = [text.rsplit(" ", 1)[-1] for text in texts]
        rows: Vectors = self._vectors[[int(word) if word.isdigit() else 0 for word in last]]
        return rows


def filled(folder: Path, texts: Sequence[str], embedder: object | None) -> MemOS:
    """A store with one user's memories, its index ready."""
    memory = MemOS.open(folder, embedder=embedder)
    session = memory.session("large")
    for start in range(0, len(texts), BATCH):
        session.add(list(texts[start : start + BATCH]))
    memory.vault.wait_for_index(600)
    return memory


def main() -> None:
    """Build, talk, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--memories", type=int, default=10_000)
    parser.add_argument("--turns", type=int, default=200)
    parser.add_argument("--users", type=int, default=50)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/langchain.json"))
    options = parser.parse_args()
    figures: dict[str, Any] = vars(options) | {"out": str(options.out)}
    vectors, texts, _ = make(options.memories + options.turns + 20)
    kept, questions = texts[: options.memories], texts[options.memories :]
    rows: list[list[object]] = []
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as scratch:
        for kind, embedder in (("embedding apart", AtHand(vectors)), ("bundled embedder", None)):
            with filled(Path(scratch) / kind, kept, embedder) as memory:
                turns(memory, questions[:20])
                taken = turns(memory, questions[20:])
                for part in ("call", "turn"):
                    rows.append([f"{part}, {kind}", *compared(taken, part)])
                if embedder is None:
                    loops = {
                        name: asyncio.run(lateness(memory, options.users, with_memory=with_memory))
                        for name, with_memory in (("bare", False), ("with memory", True))
                    }
    show(
        f"A turn of an agent over {options.memories:,} memories, milliseconds",
        ["", "bare", "with memory", "added", "added p95"],
        rows,
    )
    late = [
        [name, percentile(values, 0.5) * 1e3, percentile(values, 0.99) * 1e3, max(values) * 1e3]
        for name, values in loops.items()
    ]
    show(
        f"How late the event loop wakes, {options.users} conversations at once, milliseconds",
        ["", "median", "p99", "worst"],
        late,
    )
    save(options.out, "langchain_overhead", figures | {"rows": rows, "event_loop": late})


def compared(taken: dict[str, dict[str, list[float]]], part: str) -> list[float]:
    """Medians of both, and what was added: median and 95th percentile, in milliseconds."""
    bare, ours = taken["bare"][part], taken["with memory"][part]
    added = [one - other for one, other in zip(ours, bare, strict=True)]
    return [
        statistics.median(bare) * 1e3,
        statistics.median(ours) * 1e3,
        statistics.median(added) * 1e3,
        percentile(added, 0.95) * 1e3,
    ]


if __name__ == "__main__":
    main()
