"""How memories look in a terminal: hits, one memory in full, what changed between versions."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.panel import Panel
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from memos_integrations.cube import MemCube
from memos_integrations.query import Hit

_ALIKE = 0.75
"""Below this share of common words and spaces, a word by word comparison is a muddle."""


def day_of(cube: MemCube) -> str:
    """The day that a memory speaks of, else when it was said or written (UTC)."""
    about = cube.header.descriptive
    return (about.event_time or about.said_at or about.created_at).date().isoformat()


def minute(moment: datetime) -> str:
    """A time to the minute."""
    return moment.strftime("%Y-%m-%d %H:%M UTC")


def speaker_of(cube: MemCube) -> str:
    """Who said it, else where it comes from."""
    return cube.header.descriptive.speaker or cube.header.descriptive.origin


def print_hits(out: Console, hits: Sequence[Hit], *, parts: bool = False) -> None:
    """Rows of score, date, speaker and text; below each, the reason and the id to copy."""
    rows = [
        (
            f"{hit.score:.2f}",
            day_of(hit.cube),
            speaker_of(hit.cube),
            hit.cube.text,
            " · ".join(filter(None, [hit.why, _parts(hit) if parts else ""])),
            hit.cube.id,
        )
        for hit in hits
    ]
    print_rows(out, ("score", "date", "speaker", "memory"), rows)


def print_rows(
    out: Console, head: tuple[str, str, str, str], rows: Iterable[tuple[str, ...]]
) -> None:
    """A table whose ids are never cut: they are printed past it, on lines of their own."""
    rows = list(rows)
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(3)]
    widths[2] = min(widths[2], 16)
    indent = sum(widths) + 6
    out.print(_row(head, widths, style="bold"))
    out.print(Rule(style="dim"))
    for score, date, speaker, text, reason, cube_id in rows:
        out.print(_row((score, date, speaker, text), widths))
        if reason:
            out.print(Padding(Text(reason, style="italic dim"), (0, 0, 0, indent)))
        out.print(Text(" " * indent + cube_id, style="dim"), soft_wrap=True)


def _row(cells: Sequence[str], widths: Sequence[int], style: str = "") -> Table:
    table = Table.grid(padding=(0, 2, 0, 0), expand=True)
    for width, colour in zip(widths, ("cyan", "green", "magenta"), strict=True):
        table.add_column(width=width, style=colour, no_wrap=True, overflow="ellipsis")
    table.add_column(ratio=1)
    table.add_row(*(Text(cell) for cell in cells), style=style)
    return table


def _parts(hit: Hit) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in hit.parts.items())


def print_added(out: Console, cubes: Sequence[MemCube]) -> None:
    """What was remembered, with ids."""
    out.print(
        f"remembered {len(cubes)} {'memory' if len(cubes) == 1 else 'memories'}", style="bold"
    )
    for cube in cubes:
        text = Text(f"{day_of(cube)}  {speaker_of(cube)}: {one_line(cube.text)}")
        out.print(text, no_wrap=True, overflow="ellipsis")
        out.print(Text(f"            {cube.id}", style="dim"), soft_wrap=True)


def one_line(text: str) -> str:
    """A text without line breaks."""
    return " ".join(text.split())


def print_card(out: Console, cube: MemCube) -> None:
    """One memory: its words, then the three groups of its header."""
    words = Text(cube.text) if cube.text else Text(f"a {cube.memory_type} memory", style="dim")
    title = f"version {cube.version} · {cube.state}"
    out.print(Panel(words, title=title, title_align="left", border_style="cyan", padding=(1, 2)))
    out.print(Text(cube.id, style="dim"), soft_wrap=True)
    place = {"namespace": "/".join(cube.namespace), "memory_type": cube.memory_type}
    groups = {"": place, **{name: group for name, group in cube.header if group is not None}}
    for name, group in groups.items():
        table = Table.grid(padding=(0, 2, 0, 2))
        table.add_column(style="green", no_wrap=True)
        table.add_column(overflow="fold")
        for field, value in dict(group).items():
            if value not in (None, (), {}, False):
                table.add_row(field, Text(_shown(value)))
        if name:
            out.print(Text(name, style="bold"))
        out.print(table)


def _shown(value: Any) -> str:
    if isinstance(value, datetime):
        return minute(value)
    if isinstance(value, tuple) and all(isinstance(item, str) for item in value):
        return ", ".join(value)
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value) if isinstance(value, str | int) else json.dumps(value, default=str)


def changes(before: MemCube, after: MemCube) -> dict[str, tuple[Any, Any]]:
    """What differs between two versions, by field name, JSON-plain; not when, and not usage."""
    old, new = _flat(before), _flat(after)
    return {field: (old[field], new[field]) for field in old if old[field] != new[field]}


def _flat(cube: MemCube) -> dict[str, Any]:
    header = cube.header.model_dump(mode="json", exclude={"behaviour"})
    fields = {**header["descriptive"], **header["governance"], "state": cube.state.value}
    del fields["created_at"]
    return {"text": cube.text, **fields}


def print_changes(out: Console, changed: Mapping[str, tuple[Any, Any]]) -> None:
    """Each changed field; in texts, the words that went and those that came."""
    for field, (old, new) in changed.items():
        if field == "text":
            line = word_diff(old, new)
        else:
            line = Text(f"{field}: ", style="green")
            line.append(_plain(old), style="red strike").append(" → ", style="dim")
            line.append(_plain(new), style="bold green")
        out.print(Padding(line, (0, 0, 0, 2)))


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def word_diff(old: str, new: str) -> Text:
    """``new`` with what it replaced: gone words struck out, fresh ones in bold.

    Texts that share little are shown one after the other.
    """
    a, b = re.findall(r"\S+|\s+", old), re.findall(r"\S+|\s+", new)
    matcher = difflib.SequenceMatcher(None, a, b, autojunk=False)
    if matcher.ratio() < _ALIKE:
        return Text.assemble((old, "red strike"), "\n", (new, "bold green"))
    text = Text()
    for kind, i0, i1, j0, j1 in matcher.get_opcodes():
        gone, fresh = "".join(a[i0:i1]), "".join(b[j0:j1])
        if kind == "equal":
            text.append(fresh)
            continue
        if gone:
            text.append(gone, style="red strike")
        if gone.strip() and fresh.strip():
            text.append(" ")
        text.append(fresh, style="bold green")
    return text
