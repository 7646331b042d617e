"""Other memories that run beside ours: the same texts, the same embedder, nothing downloaded.

Each is filled as its documentation shows. Texts are ``speaker: text``, which serves all of them
better than the bare words. A peer that is not installed is left out, and the table says so.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from _mem0 import mem0_rows

from memos_integrations.evaluation.labelled import Conversation, Turn
from memos_integrations.evaluation.remembering import RememberingEmbedder
from memos_integrations.evaluation.rows import Row, Search


def told(turn: Turn) -> str:
    """What each peer is given of a turn."""
    return f"{turn.speaker or turn.role}: {turn.text}"


def peers(embedder: RememberingEmbedder) -> tuple[dict[str, Row], dict[str, str]]:
    """Those that can run, and why others cannot."""
    known: dict[str, tuple[str, Callable[[RememberingEmbedder], Row]]] = {
        "Chroma": ("chromadb", chroma),
        "LlamaIndex vector index": ("llama_index.core", llama_vector_index),
        "LlamaIndex VectorMemoryBlock": ("llama_index.core", llama_memory_block),
        "LangGraph InMemoryStore": ("langgraph", langgraph_store),
        "langmem search tool": ("langmem", langmem_tool),
        "BM25 (bm25s)": ("bm25s", bm25s),
    }
    rows, missing = {}, {}
    for name, (package, make) in known.items():
        if find_spec(package.split(".")[0]) is None:
            missing[name] = f"{package} is not installed"
        else:
            rows[name] = make(embedder)
    more, without = mem0_rows(embedder, told)
    return {**rows, **more}, {**missing, **without}


def chroma(embedder: RememberingEmbedder) -> Row:
    """A collection in memory, cosine."""
    import chromadb
    from chromadb.config import Settings

    client = chromadb.EphemeralClient(Settings(anonymized_telemetry=False))

    def fill(conversation: Conversation) -> Search:
        collection = client.create_collection(
            f"talk-{conversation.id}",
            embedding_function=None,
            configuration={"hnsw": {"space": "cosine"}},
        )
        texts = [told(turn) for turn in conversation.turns]
        collection.add(
            ids=[turn.id for turn in conversation.turns],
            documents=texts,
            embeddings=embedder.embed_documents(texts),
        )

        def search(question: str, limit: int) -> list[str]:
            vector = embedder.embed_query(question)
            found = collection.query(query_embeddings=[vector], n_results=limit, include=[])
            return list(found["ids"][0])

        return search

    return fill


def _llama_embedding(embedder: RememberingEmbedder) -> Any:
    from llama_index.core.embeddings import BaseEmbedding

    class Given(BaseEmbedding):
        """Our vectors, as LlamaIndex asks for them."""

        def _get_text_embedding(self, text: str) -> list[float]:
            return embedder.embed_documents([text])[0].tolist()

        def _get_query_embedding(self, query: str) -> list[float]:
            return embedder.embed_query(query).tolist()

        async def _aget_query_embedding(self, query: str) -> list[float]:
            return self._get_query_embedding(query)

    return Given()


def llama_vector_index(embedder: RememberingEmbedder) -> Row:
    """``VectorStoreIndex`` over its own store, as a retriever."""
    from llama_index.core import VectorStoreIndex
    from llama_index.core.schema import TextNode

    model = _llama_embedding(embedder)

    def fill(conversation: Conversation) -> Search:
        nodes = [TextNode(id_=turn.id, text=told(turn)) for turn in conversation.turns]
        index = VectorStoreIndex(nodes, embed_model=model)

        def search(question: str, limit: int) -> list[str]:
            retriever = index.as_retriever(similarity_top_k=limit)
            return [found.node.node_id for found in retriever.retrieve(question)]

        return search

    return fill


def llama_memory_block(embedder: RememberingEmbedder) -> Row:
    """``VectorMemoryBlock``, one message a node."""
    from llama_index.core.base.llms.types import ChatMessage
    from llama_index.core.memory import VectorMemoryBlock
    from llama_index.core.vector_stores import SimpleVectorStore

    class Keeping(SimpleVectorStore):
        """A store that keeps texts, as the block demands."""

        stores_text: bool = True

        def __init__(self) -> None:
            super().__init__()
            self._nodes: dict[str, Any] = {}

        def add(self, nodes: Any, **kwargs: Any) -> list[str]:
            self._nodes.update({node.node_id: node for node in nodes})
            return super().add(nodes, **kwargs)

        def query(self, query: Any, **kwargs: Any) -> Any:
            found = super().query(query, **kwargs)
            found.nodes = [self._nodes[one] for one in found.ids]
            return found

    model = _llama_embedding(embedder)

    def fill(conversation: Conversation) -> Search:
        block = VectorMemoryBlock(vector_store=Keeping(), embed_model=model)
        whose: dict[str, str] = {}

        async def put() -> None:
            for turn in conversation.turns:
                before = set(block.vector_store._nodes)
                await block.aput([ChatMessage(role="user", content=told(turn))])
                [made] = set(block.vector_store._nodes) - before
                whose[block.vector_store._nodes[made].get_content()] = turn.id

        asyncio.run(put())
        loop = asyncio.new_event_loop()

        def search(question: str, limit: int) -> list[str]:
            block.similarity_top_k = limit
            said = [ChatMessage(role="user", content=question)]
            text = loop.run_until_complete(block.aget(said))
            return list(dict.fromkeys(whose[one] for one in _messages(text, whose)))

        return search

    return fill


def _messages(text: str, known: dict[str, str]) -> list[str]:
    """The messages that the block printed one below the other."""
    end = "</message>"
    parts = [part.lstrip("\n") + end for part in text.split(end) if part.strip()]
    return [part for part in parts if part in known]


def _langgraph(embedder: RememberingEmbedder) -> Any:
    from langgraph.store.memory import InMemoryStore

    def embed(texts: Any) -> list[list[float]]:
        return [one.tolist() for one in embedder.embed_documents(list(texts))]

    dimension = embedder.fingerprint.dimension
    return InMemoryStore(index={"dims": dimension, "embed": embed, "fields": ["content"]})


def langgraph_store(embedder: RememberingEmbedder) -> Row:
    """``InMemoryStore`` with an index over the text."""

    def fill(conversation: Conversation) -> Search:
        store = _langgraph(embedder)
        for turn in conversation.turns:
            store.put(("talk",), turn.id, {"content": told(turn)})

        def search(question: str, limit: int) -> list[str]:
            return [item.key for item in store.search(("talk",), query=question, limit=limit)]

        return search

    return fill


def langmem_tool(embedder: RememberingEmbedder) -> Row:
    """``create_search_memory_tool`` over that store."""
    from langmem import create_search_memory_tool

    def fill(conversation: Conversation) -> Search:
        store = _langgraph(embedder)
        for turn in conversation.turns:
            store.put(("talk",), turn.id, {"content": told(turn)})
        tool = create_search_memory_tool(namespace=("talk",), store=store)

        def search(question: str, limit: int) -> list[str]:
            found = json.loads(tool.invoke({"query": question, "limit": limit}))
            return [item["key"] for item in found]

        return search

    return fill


def bm25s(embedder: RememberingEmbedder) -> Row:
    """BM25 by itself, with English stop words and stems; it embeds nothing."""
    import bm25s as package
    import Stemmer

    stemmer = Stemmer.Stemmer("english")

    def words(texts: list[str]) -> Any:
        return package.tokenize(texts, stopwords="en", stemmer=stemmer, show_progress=False)

    def fill(conversation: Conversation) -> Search:
        index = package.BM25()
        index.index(words([told(turn) for turn in conversation.turns]), show_progress=False)
        ids = [turn.id for turn in conversation.turns]

        def search(question: str, limit: int) -> list[str]:
            most = min(limit, len(ids))
            found, _ = index.retrieve(words([question]), corpus=ids, k=most, show_progress=False)
            return [str(one) for one in found[0]]

        return search

    return fill
