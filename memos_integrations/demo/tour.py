"""The demo's second half: another process asks, changes, forgets, and draws.

Each step returns what happened, JSON-plain, with ``ok``: whether it held.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from memos_integrations.demo.script import SETTLED, SETTLED_TIME, Question
from memos_integrations.infrastructure.pictures.lineage import draw_lineage
from memos_integrations.langchain import MemOSRetriever as LangChainRetriever
from memos_integrations.llama_index import MemOSRetriever as LlamaIndexRetriever
from memos_integrations.local_chat import Answer, LocalChat
from memos_integrations.recall import block, in_order
from memos_integrations.session import MemorySession

TOP = 3
"""How many memories each question gets."""
ENOUGH = 5
"""Of the six questions, how many must find their memory."""
RECALLED = 12
"""How many memories the local model reads."""
EVERYWHERE = 1_000
"""A limit beyond all that the demo holds."""


class Tour:
    """The steps, for one open session."""

    def __init__(self, session: MemorySession) -> None:
        self.session = session

    def ask(self, question: Question) -> dict[str, Any]:
        """One question, through both adapters; ``ok`` if they agree."""
        documents = LangChainRetriever(session=self.session, limit=TOP).invoke(question.question)
        nodes = LlamaIndexRetriever(session=self.session, limit=TOP).retrieve(question.question)
        hits = [
            {
                "id": document.id,
                "text": document.page_content,
                "expected": question.is_answered_by(document.page_content),
                **document.metadata,
            }
            for document in documents
        ]
        rank = next((i for i, hit in enumerate(hits, 1) if hit["expected"]), None)
        same = [d.id for d in documents] == [n.node.node_id for n in nodes]
        return {"question": question.question, "rank": rank, "ok": same, "hits": hits}

    def update(self, which: Question) -> dict[str, Any]:
        """A new version of one memory, and its past."""
        found = self._find(which)
        if found is None:
            return {"ok": False, "question": which.question, "id": None}
        after = self.session.update(found, SETTLED, event_time=SETTLED_TIME)
        versions = self.session.history(found)
        now = LangChainRetriever(session=self.session, limit=TOP).invoke(which.question)
        shown = next((d.page_content for d in now if d.id == found), None)
        return {
            "ok": [v.version for v in versions] == [1, 2] and shown == after.text,
            "question": which.question,
            "id": found,
            "versions": [version.model_dump(mode="json") for version in versions],
        }

    def delete(self, which: Question) -> dict[str, Any]:
        """One memory deleted, then looked for in every way there is."""
        found = self._find(which)
        if found is None:
            return {"ok": False, "question": which.question, "id": None}
        before = self._finders(which.question, found)
        text = self.session.get(found).text
        self.session.delete(found)
        after = self._finders(which.question, found)
        return {
            "ok": all(before.values()) and not any(after.values()),
            "question": which.question,
            "id": found,
            "text": text,
            "found_before": before,
            "found_after": after,
        }

    def answer(self, question: str) -> dict[str, Any]:
        """The local model answers three times: cold, warm, and from the files of the cache."""
        cubes = in_order(hit.cube for hit in self.session.search(question, limit=RECALLED))
        self.session.record_uses(cubes, prompt="demo")
        chat = LocalChat(self.session)
        chat.answer(chat.read("Hello"), _sampling(1))  # the first forward of a process is slow
        prompt = chat.read(f"{block(cubes)}\nQuestion: {question}\nAnswer:")

        def say(model: LocalChat) -> Answer:
            return model.answer(prompt, _sampling(), stop=["\n"])

        cold, warm = say(chat), say(chat)
        chat.close()
        again = LocalChat(self.session, chat.model)
        disk = say(again)
        again.close()
        return {
            "ok": cold.text == warm.text == disk.text and cold.usage.cached_tokens == 0,
            "question": question,
            "model": chat.model.name,
            "memories": len(cubes),
            "text": cold.text.strip(),
            "same_output": cold.text == warm.text == disk.text,
            "prompt_tokens": warm.usage.prompt_tokens,
            "cached_tokens": warm.usage.cached_tokens,
            "first_token_seconds": {
                "cold": cold.usage.first_token_seconds,
                "warm": warm.usage.first_token_seconds,
                "from disk": disk.usage.first_token_seconds,
            },
        }

    def draw(self, cube_id: str, folder: Path) -> dict[str, Any]:
        """The lineage of a memory as PNG and SVG."""
        graph = self.session.lineage(cube_id)
        files = [draw_lineage(graph, folder / f"lineage.{kind}") for kind in ("png", "svg")]
        return {
            "ok": all(file.stat().st_size > 0 for file in files),
            "nodes": graph.number_of_nodes(),
            "files": [str(file) for file in files],
        }

    def _find(self, which: Question) -> str | None:
        hits = self.session.search(which.question, limit=TOP)
        return next((h.cube.id for h in hits if which.is_answered_by(h.cube.text)), None)

    def _finders(self, question: str, cube_id: str) -> dict[str, bool]:
        """Which searches return the memory, when asked for everything there is."""
        langchain = LangChainRetriever(session=self.session, limit=EVERYWHERE)
        llama_index = LlamaIndexRetriever(session=self.session, limit=EVERYWHERE)
        hits = self.session.search(question, limit=EVERYWHERE)
        listed = self.session.list(limit=EVERYWHERE)
        return {
            "session.search": cube_id in {hit.cube.id for hit in hits},
            "session.list": cube_id in {cube.id for cube in listed},
            "LangChain": cube_id in {d.id for d in langchain.invoke(question)},
            "LlamaIndex": cube_id in {n.node.node_id for n in llama_index.retrieve(question)},
        }


def _sampling(tokens: int = 24) -> Any:
    from memos_integrations.memories.activation.sampling import Sampling

    return Sampling(max_new_tokens=tokens)


def verdict(
    answers: Sequence[dict[str, Any]], steps: Mapping[str, dict[str, Any]]
) -> list[dict[str, Any]]:
    """What the demo promises, and whether each held."""
    found = sum(answer["rank"] is not None for answer in answers)
    held = {
        f"{found} of {len(answers)} questions found their memory in the top {TOP}": found >= ENOUGH,
        "both adapters gave the same memories": all(answer["ok"] for answer in answers),
        "the update is found, and the old version kept": steps["update"]["ok"],
        "the deleted memory is gone from every search": steps["delete"]["ok"],
        "the lineage is drawn": steps["draw"]["ok"],
    }
    if "model" in steps:
        held["the model says the same, cold and warm"] = steps["model"]["ok"]
    return [{"promise": promise, "held": ok} for promise, ok in held.items()]
