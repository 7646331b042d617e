"""A model reads turns, and facts keep their words: ``python cookbook/reading_turns.py [FOLDER]``.

The model is a script here, with the faults that models have. Give a LangChain chat model or a
LlamaIndex LLM in its place.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from memos_integrations import MemOS
from memos_integrations.interface.extraction import Budget

TURNS = [
    {"role": "user", "speaker": "Ann", "content": "I live in Oslo with my sister Greta."},
    {"role": "assistant", "content": "What does Greta do?"},
    {"role": "user", "speaker": "Ann", "content": "She opened a bakery last May. I bake, too!"},
]
SAID = [
    {"kind": "fact", "text": "Ann lives in Oslo.", "turn": 1, "quote": "i live in Oslo"},
    {
        "kind": "event",
        "text": "Ann's sister Greta opened a bakery.",
        "turn": 1,  # it stands in the third
        "quote": "opened a bakery",
        "when": "last May",
    },
    {"kind": "fact", "text": "Ann was born in 1990.", "turn": 1, "quote": "I live in Oslo"},
    {"kind": "fact", "text": "Ann has a dog.", "turn": 3, "quote": "my dog", "trust": "high"},
]


class Script:
    """Breaks off the first time, then answers between words."""

    __name__ = "script"
    calls = 0

    def __call__(self, prompt: str) -> str:
        self.calls += 1
        answer = json.dumps({"memories": SAID})
        return "Well, let me see." if self.calls == 1 else f"```json\n{answer}\n```\nAnything else?"


def main(folder: Path) -> None:
    """Turns, facts with their words, a second reading, an erasure."""
    turns = [{**turn, "timestamp": "2026-06-03T18:00:00Z"} for turn in TURNS]
    with MemOS.open(folder / "memory") as memory:
        ann, model = memory.session("ann"), Script()
        report = ann.extract(turns, model=model, budget=Budget(calls=5))
        print(f"{len(report.turns)} turns kept, {len(report)} facts in {report.calls} calls")
        for fact in report:
            [quote] = ann.quotes(fact)
            print(f"{fact.text} {fact.event_time:%Y-%m-%d}, from {quote.words!r}")
        for one in report.refused:
            print(f"refused: {one.said} {one.why}")

        hit = next(
            h for h in ann.search("Who opened a bakery?") if h.cube.id in {f.id for f in report}
        )
        print("found:", hit.cube.text, "| said:", ann.get(ann.quotes(hit)[0].span.memory_id).text)
        print("again:", ann.extract(turns, model=model).calls, "calls")

        gone = ann.forget(report.turns[0].id)  # where Greta's name was said
        print("erased with it:", len(gone.derived), "facts; left:", ann.count(), "memories")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as scratch:
            main(Path(scratch))
