"""What MemOSMemory costs a LlamaIndex turn, beside the stock Memory with a VectorMemoryBlock.

``python benchmarks/llama_index_overhead.py [--memories 10000] [--turns 200]``. A turn is what a
chat engine asks of a memory: ``put`` the user's message, ``get``, ``put`` the answer. Both remember
the same texts with the same vectors, which are at hand, so no model is measured; turns alternate.
``--pause`` seconds between question and answer, where a model would write, are not counted; after a
pause both are slower, since the processor has slept.

- *MemOSMemory*: history in the store's folder, recall over all memories, every message durable.
- *Memory + VectorMemoryBlock*: the host's memory with its defaults (history in SQLite, in memory)
  and its vector block over a numpy matrix in memory, the quickest store it could have.
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

import numpy as np
from _report import save, show
from engine import make
from langchain_overhead import AtHand, filled, percentile
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.memory import Memory, VectorMemoryBlock
from llama_index.core.memory.types import BaseMemory
from llama_index.core.schema import BaseNode, TextNode
from llama_index.core.vector_stores.types import (
    BasePydanticVectorStore,
    VectorStoreQuery,
    VectorStoreQueryResult,
)

from memos_integrations.llama_index import MemOSMemory
from memos_integrations.recall import RecallPolicy


class AtHandEmbedding(BaseEmbedding):
    """The same vectors as LlamaIndex asks for them."""

    _table: AtHand = PrivateAttr()

    def __init__(self, table: AtHand) -> None:
        super().__init__(model_name="table")
        self._table = table

    def _get_text_embedding(self, text: str) -> list[float]:
        vector: list[float] = self._table.embed_query(text).tolist()
        return vector

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)


class MatrixStore(BasePydanticVectorStore):
    """Texts in a list, vectors in a matrix."""

    stores_text: bool = True
    _nodes: list[BaseNode] = PrivateAttr(default_factory=list)
    _matrix: Any = PrivateAttr(default=None)

    @property
    def client(self) -> Any:
        return None

    def add(self, nodes: Sequence[BaseNode], **_: Any) -> list[str]:
        fresh = np.array([node.get_embedding() for node in nodes], dtype=np.float32)
        self._matrix = fresh if self._matrix is None else np.concatenate([self._matrix, fresh])
        self._nodes += nodes
        return [node.node_id for node in nodes]

    def delete(self, ref_doc_id: str, **_: Any) -> None:
        raise NotImplementedError

    def query(self, query: VectorStoreQuery, **_: Any) -> VectorStoreQueryResult:
        scores = self._matrix @ np.array(query.query_embedding, dtype=np.float32)
        best = np.argsort(-scores)[: query.similarity_top_k]
        return VectorStoreQueryResult(
            nodes=[self._nodes[i] for i in best],
            similarities=[float(scores[i]) for i in best],
            ids=[self._nodes[i].node_id for i in best],
        )


async def turn(memory: BaseMemory, question: str, pause: float) -> float:
    """Seconds of one turn, without the ``pause`` in which a model would write the answer."""
    started = time.perf_counter()
    await memory.aput(ChatMessage(role="user", content=question))
    await memory.aget(input=question)
    read = time.perf_counter()
    await asyncio.sleep(pause)
    answered = time.perf_counter()
    await memory.aput(ChatMessage(role="assistant", content="understood 0"))
    return read - started + time.perf_counter() - answered


def main() -> None:
    """Build, talk, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--memories", type=int, default=10_000)
    parser.add_argument("--turns", type=int, default=200)
    parser.add_argument("--pause", type=float, default=0.0)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/llama_index.json"))
    options = parser.parse_args()
    vectors, texts, _ = make(options.memories + options.turns + 20)
    kept, questions = texts[: options.memories], texts[options.memories :]
    table = AtHand(vectors)
    with (
        tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as scratch,
        filled(Path(scratch) / "store", kept, table) as store,
    ):
        block = VectorMemoryBlock(vector_store=MatrixStore(), embed_model=AtHandEmbedding(table))
        nodes = [TextNode(text=text, embedding=table.embed_query(text).tolist()) for text in kept]
        block.vector_store.add(nodes)
        session = store.session("large")
        policy = RecallPolicy(timeout=None)

        async def measure() -> dict[str, list[float]]:
            taken: dict[str, list[float]] = {}
            for i, question in enumerate(questions):
                # A conversation of ten turns, so that both carry the same history.
                if i % 10 == 0:
                    memories: dict[str, BaseMemory] = {
                        "MemOSMemory": MemOSMemory.from_defaults(session, recall=policy),
                        "Memory + VectorMemoryBlock": Memory.from_defaults(memory_blocks=[block]),
                    }
                for name, memory in memories.items():
                    seconds = await turn(memory, question, options.pause)
                    if i >= 20:
                        taken.setdefault(name, []).append(seconds)
            return taken

        taken = asyncio.run(measure())
    rows: list[list[Any]] = [
        [name, statistics.median(values) * 1e3, percentile(values, 0.95) * 1e3]
        for name, values in taken.items()
    ]
    show(
        f"A turn of a LlamaIndex memory over {options.memories:,} memories, milliseconds",
        ["", "median", "p95"],
        rows,
    )
    figures = {
        "memories": options.memories,
        "turns": options.turns,
        "pause": options.pause,
        "rows": rows,
    }
    save(options.out, "llama_index_overhead", figures)


if __name__ == "__main__":
    main()
