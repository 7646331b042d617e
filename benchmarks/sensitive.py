"""What the rules find of what is sensitive, on labelled lines, and what looking costs.

``python benchmarks/sensitive.py [--split test] [--misses]``. A finding counts if it has the label
and its span covers what was marked; one that covers nothing marked is wrong. The half ``dev`` was
looked at while the rules were written, ``test`` was not. Names and numbers are invented: test
cards, example domains, numbers whose check digits were computed.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from _report import save, show

from memos_integrations import MemOS
from memos_integrations.operation.sensitive import Finding, SensitivePolicy, rules
from memos_integrations.operation.sensitive.finding import LABELS, joined
from memos_integrations.testing import WordEmbedder

LINES = Path(__file__).parent / "data" / "sensitive_lines.jsonl"
DETECT = rules(regions=("US", "GB"))


def lines(split: str = "") -> list[dict[str, Any]]:
    """The lines. Keys and tokens have a sign in them, so that nobody takes them for real ones."""
    written = LINES.read_text(encoding="utf-8").replace("¤", "")
    rows = [json.loads(line) for line in written.splitlines()]
    return [row for row in rows if split in ("", row["split"])]


def compare(row: dict[str, Any]) -> tuple[list[str], list[str], list[Finding]]:
    """Labels that were found, labels that were missed, and findings that are none."""
    text, found = row["text"], joined(DETECT(row["text"]))
    hit, missed = [], []
    used: set[Finding] = set()
    for label, words in row["found"]:
        start = text.index(words)
        covers = [one for one in found if one.start <= start and one.stop >= start + len(words)]
        right = [one for one in covers if one.label == label]
        (hit if right else missed).append(label)
        stop = start + len(words)
        used |= {one for one in found if one.start < stop and one.stop > start}
        if covers and not right:
            used -= set(covers)
    return hit, missed, [one for one in found if one not in used]


def measure(split: str) -> list[list[Any]]:
    """By label: how many there are, precision, recall."""
    hits: Counter[str] = Counter()
    misses: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    for row in lines(split):
        hit, missed, extra = compare(row)
        hits.update(hit)
        misses.update(missed)
        wrong.update(one.label for one in extra)
    rows = [_row(label, hits[label], misses[label], wrong[label]) for label in LABELS]
    return [*rows, _row("all", hits.total(), misses.total(), wrong.total())]


def _row(label: str, hit: int, missed: int, wrong: int) -> list[Any]:
    return [label, hit + missed, wrong, hit / max(1, hit + wrong), hit / max(1, hit + missed)]


def cost() -> list[list[Any]]:
    """Microseconds a line: of the rules alone, of an add with and without them, side by side."""
    texts = [row["text"] for row in lines()]
    begun = time.perf_counter()
    for text in texts:
        list(DETECT(text))
    alone = (time.perf_counter() - begun) / len(texts) * 1e6
    taken = {"off": 0.0, "on": 0.0}
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as scratch:
        stores = {
            name: MemOS.open(Path(scratch) / name, embedder=WordEmbedder(), sensitive=policy)
            for name, policy in (("off", None), ("on", SensitivePolicy()))
        }
        for _ in range(5):
            for name, store in stores.items():
                begun = time.perf_counter()
                store.session("maya").add(texts)
                taken[name] += (time.perf_counter() - begun) / len(texts) / 5 * 1e6
        for store in stores.values():
            store.close()
    return [[round(alone), round(taken["off"]), round(taken["on"]), taken["on"] / taken["off"]]]


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--split", choices=["dev", "test", ""], default="")
    parser.add_argument("--misses", action="store_true", help="print each line that went wrong")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/sensitive.json"))
    options = parser.parse_args()
    if options.misses:
        for row in lines(options.split):
            _, missed, extra = compare(row)
            if missed or extra:
                print(
                    missed, [(row["text"][e.start : e.stop], e.label) for e in extra], row["text"]
                )
    columns = ["label", "marked", "wrong", "precision", "recall"]
    figures = {split: measure(split) for split in ("dev", "test", "")}
    for split, rows in figures.items():
        count = len(lines(split))
        show(f"Found in {count} lines ({split or 'all'})", columns, rows)
    prices = cost()
    price_columns = ["rules, µs a line", "add, off", "add, on", "ratio"]
    show(
        "What looking costs (a list of lines in one add; an embedder that costs nothing)",
        price_columns,
        prices,
    )
    save(
        options.out,
        "sensitive",
        {"columns": columns, "found": figures, "cost_columns": price_columns, "cost": prices},
    )


if __name__ == "__main__":
    main()
