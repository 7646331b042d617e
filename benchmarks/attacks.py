"""Attacks on a memory, and how many succeed before and after the defences.

``python benchmarks/attacks.py [--words] [--list]``. Modelled on published ones: memory injection by
queries (MINJA, arXiv 2503.03704), poisoned texts that are made to be found (AgentPoison,
arXiv 2407.12784), injection by the output of tools, leakage between users, and marks that leave
the block. No model is asked: an attack succeeds when its criterion holds, which is worse than or as
bad as what a model would make of it.

- *in the prompt*: what was planted stands in the block of a later question.
- *first*: it is the best hit.
- *outside*: something in the block ends it, begins another, or is a mark of a chat template.
- *seen*: another user reads it.

``off``: no quarantine, no ranking by trust, no escapes, one namespace for all. ``rules``: the
defaults of a store. ``governed``: with :meth:`MemOS.govern`, the attacker at home elsewhere.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from _report import save, show

from memos_integrations import MemOS, SearchPolicy
from memos_integrations.cube import MemCube
from memos_integrations.errors import MemOSError
from memos_integrations.memories.block import CLOSING, NOTE, OPENING, block, folded
from memos_integrations.operation.suspicion import QuarantinePolicy
from memos_integrations.protocols import Embedder
from memos_integrations.recall import Recall, RecallPolicy

DATA = Path(__file__).parent / "data"
OFF: dict[str, Any] = {"quarantine": None, "search_policy": SearchPolicy(untrusted=1.0)}
ON: dict[str, Any] = {}

_TEMPLATE = re.compile(
    r"<\s*/?\s*memories\s*>|<\s*\||<<\s*/?sys|</?(?:s|start_of_turn|end_of_turn|tool_call)>|\[/?inst\]",
    re.IGNORECASE,
)

Row = dict[str, str]


def attacks(*kinds: str) -> list[Row]:
    """The planted texts of these kinds."""
    rows = [json.loads(line) for line in (DATA / "attacks.jsonl").read_text().splitlines()]
    return [row for row in rows if row["kind"].startswith(kinds)]


def harmless_texts() -> list[str]:
    """What people say, for the memories around, and for wrong alarms."""
    lines = (DATA / "organising_pairs.jsonl").read_text(encoding="utf-8").splitlines()
    return list(dict.fromkeys(json.loads(line)[side] for line in lines for side in ("new", "old")))


def answer_of(row: Row) -> str:
    """What the user said about the question before, which the attack is up against."""
    return f"My own note on that: {row['question'].rstrip('?')}, it is as we agreed in May"


def planted(rows: Sequence[Row], embedder: Embedder, options: dict[str, Any]) -> list[list[bool]]:
    """For each: is it in the prompt of its question, and is it the best hit?"""
    outcome = []
    with (
        tempfile.TemporaryDirectory(prefix="attacks-") as scratch,
        MemOS.open(Path(scratch) / "store", embedder=embedder, **options) as memory,
    ):
        around = memory.session("agent").add(harmless_texts()[:150])
        assert around
        for number, row in enumerate(rows):
            session = memory.session("agent", namespace=("agent", str(number)))
            session.add([answer_of(row), *harmless_texts()[:20]])
            bad = session.add(row["payload"], origin=row["origin"])[0]
            shown = Recall(RecallPolicy(timeout=None)).find(session, row["question"])
            hits = session.search(row["question"], limit=1)
            first = bool(hits) and hits[0].cube.id == bad.id
            outcome.append([bad.id in {one.id for one in shown}, first])
    return outcome


def by_another_user(rows: Sequence[Row], embedder: Embedder) -> list[bool]:
    """Whether an attacker at home elsewhere gets what was planted into the victim's prompt."""
    outcome = []
    with (
        tempfile.TemporaryDirectory(prefix="attacks-") as scratch,
        MemOS.open(Path(scratch) / "store", embedder=embedder) as memory,
    ):
        memory.govern("root")
        for row in rows:
            try:
                memory.session("mallory", namespace="victim").add(
                    row["payload"], origin=row["origin"]
                )
            except MemOSError:
                memory.session("mallory").add(row["payload"], origin=row["origin"])
            victim = memory.session("victim")
            shown = Recall(RecallPolicy(timeout=None)).find(victim, row["question"])
            outcome.append(any(one.text == row["payload"] for one in shown))
    return outcome


def naive(cubes: Iterable[MemCube]) -> str:
    """A block as it is written where nobody thought of this."""
    lines = (
        f"- {one.created_at.date()} {one.header.descriptive.origin}: {one.text}" for one in cubes
    )
    return "\n".join([OPENING, NOTE, *lines, CLOSING])


def escapes(prompt: str, memories: int) -> bool:
    """Whether a block of so many memories has more marks or more entries than it may."""
    inside = prompt.removeprefix(f"{OPENING}\n{NOTE}\n").removesuffix(f"\n{CLOSING}")
    lines = inside.splitlines()
    entries = [one for one in lines if not one.startswith("  ")]
    return bool(_TEMPLATE.search(folded(inside))) or len(entries) != memories


def marks(rows: Sequence[Row], embedder: Embedder, *, defended: bool) -> list[bool]:
    """Whether each gets out of its block."""
    outcome = []
    with (
        tempfile.TemporaryDirectory(prefix="attacks-") as scratch,
        MemOS.open(Path(scratch) / "store", embedder=embedder, quarantine=None) as memory,
    ):
        for number, row in enumerate(rows):
            session = memory.session("agent", namespace=("agent", str(number)))
            cube = session.add(row["payload"])[0]
            outcome.append(escapes((block if defended else naive)([cube]), 1))
    return outcome


def leaks(embedder: Embedder, *, defended: bool, users: int = 20) -> list[bool]:
    """Whether a stranger reads a user's secret, by each way that there is."""
    outcome = []
    with (
        tempfile.TemporaryDirectory(prefix="attacks-") as scratch,
        MemOS.open(Path(scratch) / "store", embedder=embedder) as memory,
    ):
        if defended:
            memory.govern("root")
        for number in range(users):
            name = f"user{number}"
            cube = memory.session(name).add(f"the canary of {name} sings {number * 7919}")[0]
            outcome += [way(memory.session("mallory", namespace=name), cube) for way in _WAYS]
    return outcome


def _sees(read: Any) -> bool:
    try:
        return "canary" in str(read())
    except MemOSError:
        return False


_WAYS = (
    lambda s, cube: _sees(lambda: s.search("what does the canary sing?")),
    lambda s, cube: _sees(lambda: s.get(cube.id)),
    lambda s, cube: _sees(lambda: s.list()),
    lambda s, cube: _sees(lambda: s.history(cube.id)),
    lambda s, cube: _sees(lambda: s.as_of(cube.created_at).list()),
    lambda s, cube: _sees(lambda: s.reveal(cube.id)) or _sees(lambda: s.get_many([cube.id])),
    lambda s, cube: _sees(lambda: Recall(RecallPolicy(timeout=None)).find(s, "the canary")),
    lambda s, cube: _sees(lambda: s.branch("b").list()),
)


def wrong_alarms() -> list[list[Any]]:
    """Of harmless texts: how many would go into quarantine, by who says them."""
    policy, texts = QuarantinePolicy(), harmless_texts()
    found = {trust: [policy.why([text], trust) for text in texts] for trust in ("high", "low")}
    return [
        [f"{len(texts)} harmless texts, {trust} trust", sum(w is not None for w in why)]
        for trust, why in found.items()
    ]


def rate(outcome: Sequence[bool]) -> str:
    """``3 of 12``."""
    return f"{sum(outcome)} of {len(outcome)}"


def table(embedder: Embedder) -> list[list[Any]]:
    """Every attack: its criterion, and how often it succeeds."""
    rows: list[list[Any]] = []
    kinds: dict[str, list[Row]] = defaultdict(list)
    for row in attacks("memory", "agent", "tool"):
        kinds[row["kind"]].append(row)
    for kind, of in kinds.items():
        off, on = planted(of, embedder, OFF), planted(of, embedder, ON)
        governed = rate(by_another_user(of, embedder))
        for at, criterion in enumerate(("in the prompt", "first")):
            before, after = ([one[at] for one in outcome] for outcome in (off, on))
            rows.append([kind, criterion, rate(before), rate(after), governed if at == 0 else ""])
    escaping = attacks("marker")
    before, after = (marks(escaping, embedder, defended=on) for on in (False, True))
    rows.append(["marker escape", "outside", rate(before), rate(after), rate(after)])
    open_to_all, governed_ones = (leaks(embedder, defended=on) for on in (False, True))
    leaked = rate(open_to_all)
    rows.append(["cross-user leakage", "seen", leaked, leaked, rate(governed_ones)])
    return rows


def main() -> None:
    """Attack, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--words", action="store_true", help="an embedder without a model")
    parser.add_argument("--list", action="store_true", help="print what gets past the rules")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/attacks.json"))
    options = parser.parse_args()
    from memos_integrations.memos import default_embedder
    from memos_integrations.testing import WordEmbedder

    embedder = WordEmbedder(dimension=384) if options.words else default_embedder()
    if options.list:
        for row in attacks("memory", "agent", "tool"):
            trust = {"user": "high", "assistant": "medium"}.get(row["origin"], "low")
            if QuarantinePolicy().why([row["payload"]], trust) is None:  # type: ignore[arg-type]
                print(f"{row['kind']}: {row['payload']!r}")
    columns = ["attack", "criterion", "off", "rules", "governed"]
    rows = table(embedder)
    show("Attacks that succeed", columns, rows)
    alarms = wrong_alarms()
    show("Wrong alarms", ["texts", "in quarantine"], alarms)
    save(options.out, "attacks", {"columns": columns, "rows": rows, "wrong alarms": alarms})


if __name__ == "__main__":
    main()
