"""Evidence recall on LoCoMo (Maharana et al., ACL 2024): is the turn that answers found?

``python benchmarks/locomo_retrieval.py --data locomo10.json``. One namespace a conversation,
one memory a turn, questions of categories 1 to 4; gold are the evidence dialogue ids. Every row
uses the same embedder. Recall@k is the mean over questions of the share of their evidence among
the first k; hit@k the share of questions with any; MRR the mean of 1 / rank of the first.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from _report import save, show

from memos_integrations import MemorySession, MemOS, SearchPolicy
from memos_integrations.memories.plaintext import embedding_text
from memos_integrations.models.minilm import MiniLMEmbedder
from memos_integrations.protocols import Vectors

KS = (1, 5, 10, 20, 50)
CATEGORIES = {1: "multi-hop", 2: "temporal", 3: "open-domain", 4: "single-hop"}
_ID = re.compile(r"D:?(\d+):(\d+)")


@dataclass(frozen=True)
class Turn:
    """One utterance."""

    id: str
    speaker: str
    text: str
    said_at: datetime


@dataclass(frozen=True)
class Question:
    """One question with the ids of the turns that answer it."""

    text: str
    category: int
    evidence: frozenset[str]


@dataclass(frozen=True)
class Conversation:
    """Some sessions of two people, and what is asked about them."""

    id: str
    turns: tuple[Turn, ...]
    questions: tuple[Question, ...]


def load(path: Path, skipped: dict[str, int]) -> list[Conversation]:
    """Read the file; count in ``skipped`` what cannot be used."""
    return [_conversation(sample, skipped) for sample in json.loads(path.read_text())]


def _conversation(sample: dict[str, Any], skipped: dict[str, int]) -> Conversation:
    raw, turns = sample["conversation"], []
    for number in sorted(int(k[8:]) for k in raw if re.fullmatch(r"session_\d+", k)):
        when = datetime.strptime(raw[f"session_{number}_date_time"], "%I:%M %p on %d %B, %Y")
        for said in raw[f"session_{number}"]:
            caption = said.get("blip_caption")
            text = said["text"] + (f" [{caption}]" if caption else "")
            turns.append(Turn(said["dia_id"], said["speaker"], text, when.replace(tzinfo=UTC)))
    known = {turn.id for turn in turns}
    questions = []
    for asked in sample["qa"]:
        if asked["category"] not in CATEGORIES:
            continue
        ids = set()
        for evidence in asked.get("evidence", []):
            named = {f"D{int(a)}:{int(b)}" for a, b in _ID.findall(str(evidence))}
            skipped["evidence without an id"] += not named
            ids |= named
        skipped["evidence ids that do not exist"] += len(ids - known)
        if ids & known:
            found = frozenset(ids & known)
            questions.append(Question(str(asked["question"]), asked["category"], found))
        else:
            skipped["questions without usable evidence"] += 1
    return Conversation(sample["sample_id"], tuple(turns), tuple(questions))


class RememberingEmbedder:
    """The embedder, each text once: all rows get the same vectors."""

    def __init__(self, origin: MiniLMEmbedder) -> None:
        self._origin, self.fingerprint = origin, origin.fingerprint
        self._known: dict[str, Vectors] = {}

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        """float32, shape ``(len(texts), 384)``."""
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        self._known.update(zip(new, self._origin.embed_documents(new), strict=True))
        return np.stack([self._known[text] for text in texts])

    def embed_query(self, text: str) -> Vectors:
        """float32, shape ``(384,)``."""
        vector: Vectors = self.embed_documents([text])[0]
        return vector


Search = Callable[[str, int], list[str]]
"""A question and a limit to the ids of turns, best first."""


def ours(session: MemorySession, policy: SearchPolicy) -> Search:
    """Our search under a policy."""

    def search(question: str, limit: int) -> list[str]:
        hits = session.search(question, limit=limit, policy=policy)
        return [str(hit.cube.header.descriptive.source) for hit in hits]

    return search


def plain_chroma(name: str, ids: list[str], texts: list[str], embedder: Any) -> Search:
    """A Chroma collection as its documentation shows it, in memory, cosine."""
    import chromadb
    from chromadb.config import Settings

    client = chromadb.EphemeralClient(Settings(anonymized_telemetry=False))
    collection = client.create_collection(
        name, embedding_function=None, configuration={"hnsw": {"space": "cosine"}}
    )
    collection.add(ids=ids, documents=texts, embeddings=embedder.embed_documents(texts))

    def search(question: str, limit: int) -> list[str]:
        vector = embedder.embed_query(question)
        found = collection.query(query_embeddings=[vector], n_results=limit, include=[])
        return list(found["ids"][0])

    return search


def searches(
    conversation: Conversation, memory: MemOS, embedder: Any
) -> Iterator[tuple[str, Search]]:
    """Each row of the table for one conversation."""
    session = memory.session("reader", namespace=("locomo", conversation.id))
    session.add(
        [
            {
                "role": "user",
                "content": turn.text,
                "name": turn.speaker,
                "timestamp": turn.said_at,
                "id": turn.id,
            }
            for turn in conversation.turns
        ]
    )
    yield "dense only", ours(session, SearchPolicy(lexical=0.0, event_time=0.0))
    yield "lexical only", ours(session, SearchPolicy(dense=0.0, event_time=0.0))
    yield "hybrid (default)", ours(session, SearchPolicy())
    ids = [turn.id for turn in conversation.turns]
    raw = [turn.text for turn in conversation.turns]
    yield "Chroma, turn text", plain_chroma(f"{conversation.id}-raw", ids, raw, embedder)
    cubes = {c.header.descriptive.source: c for c in session.list(limit=10_000)}
    told = [embedding_text(cubes[turn_id]) for turn_id in ids]
    yield "Chroma, our text", plain_chroma(f"{conversation.id}-told", ids, told, embedder)


Figures = dict[str, float]


def score(found: list[str], evidence: frozenset[str]) -> Figures:
    """Recall@k and hit@k for each k, and the reciprocal rank."""
    figures: Figures = {}
    for k in KS:
        held = len(evidence & set(found[:k]))
        figures[f"recall@{k}"] = held / len(evidence)
        figures[f"hit@{k}"] = float(held > 0)
    ranks = [rank for rank, turn_id in enumerate(found, 1) if turn_id in evidence]
    figures["mrr"] = 1 / ranks[0] if ranks else 0.0
    return figures


def mean(many: list[Figures]) -> Figures:
    """Figure by figure."""
    return {name: float(np.mean([one[name] for one in many])) for name in many[0]}


def run(conversations: list[Conversation]) -> dict[str, Any]:
    """All rows over all conversations."""
    embedder = RememberingEmbedder(MiniLMEmbedder())
    by_row: dict[str, dict[str, list[Figures]]] = defaultdict(lambda: defaultdict(list))
    milliseconds: dict[str, list[float]] = defaultdict(list)
    with (
        tempfile.TemporaryDirectory() as folder,
        MemOS.open(Path(folder) / "store", embedder=embedder) as memory,
    ):
        for conversation in conversations:
            for question in conversation.questions:
                embedder.embed_query(question.text)  # so that timings are of the search
            for row, search in searches(conversation, memory, embedder):
                for question in conversation.questions:
                    started = time.perf_counter()
                    found = search(question.text, max(KS))
                    milliseconds[row].append((time.perf_counter() - started) * 1_000)
                    figures = score(found, question.evidence)
                    by_row[row]["all"].append(figures)
                    by_row[row][CATEGORIES[question.category]].append(figures)
    return {
        row: {
            "milliseconds_median": float(np.median(milliseconds[row])),
            **{group: mean(figures) for group, figures in groups.items()},
        }
        for row, groups in by_row.items()
    }


def main() -> None:
    """Run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="a file in locomo10.json's format")
    parser.add_argument(
        "--out", type=Path, default=Path("benchmarks/results/locomo_retrieval.json")
    )
    options = parser.parse_args()
    skipped: dict[str, int] = defaultdict(int)
    conversations = load(options.data, skipped)
    turns = sum(len(c.turns) for c in conversations)
    asked = sum(len(c.questions) for c in conversations)
    rows = run(conversations)
    columns = ["all", *CATEGORIES.values()]
    show(
        f"LoCoMo: {len(conversations)} conversations, {turns:,} turns, {asked:,} questions",
        ["row", *(f"recall@{k}" for k in KS), "hit@10", "MRR", "ms (median)"],
        [
            [
                row,
                *(found["all"][f"recall@{k}"] for k in KS),
                found["all"]["hit@10"],
                found["all"]["mrr"],
                found["milliseconds_median"],
            ]
            for row, found in rows.items()
        ],
    )
    for name in ("recall@10", "mrr"):
        show(
            f"{name} by category",
            ["row", *columns],
            [[row, *(found[group][name] for group in columns)] for row, found in rows.items()],
        )
    save(
        options.out,
        "locomo_retrieval",
        {
            "conversations": len(conversations),
            "turns": turns,
            "questions": asked,
            "skipped": dict(skipped),
            "rows": rows,
        },
    )


if __name__ == "__main__":
    main()
