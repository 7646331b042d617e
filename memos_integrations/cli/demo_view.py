"""How the demo looks in a terminal."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.padding import Padding
from rich.panel import Panel
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from memos_integrations.cli.cards import changes, minute, print_changes
from memos_integrations.cube import MemCube


def print_start(out: Console) -> None:
    """What is going to happen."""
    words = Text.assemble(
        ("Maya", "bold"),
        " talks with her assistant three times in six weeks. She moves house, changes jobs, and "
        "her flight is moved. We write it all into a memory, close it, open it in another "
        "process, and ask.",
    )
    out.print(Panel(words, title="memcube demo", title_align="left", border_style="cyan"))


def _heading(out: Console, title: str) -> None:
    out.print()
    out.print(Rule(Text(title, style="bold cyan"), align="left", style="cyan"))


def print_loaded(out: Console, document: Mapping[str, Any]) -> None:
    """What the first process wrote."""
    _heading(out, "Step 1  Three conversations go in")
    table = Table.grid(padding=(0, 3, 0, 0))
    for session in document["sessions"]:
        count = f"{session['memories']} memories"
        table.add_row(session["title"], Text(session["day"], style="green"), count)
    out.print(Padding(table, (0, 0, 0, 2)))
    number = sum(session["memories"] for session in document["sessions"])
    done = f"  {number} memories in {document['seconds']:.1f} s, written by process "
    out.print(Text(f"{done}{document['process']}, which now ends.", style="dim"))


def opened(memories: int) -> dict[str, Any]:
    """Who opened the folder, and what it found."""
    return {"process": os.getpid(), "memories": memories}


def print_opened(out: Console, document: Mapping[str, Any]) -> None:
    """The second process, before its questions."""
    _heading(out, "Step 2  Another process asks")
    words = f"  Process {document['process']} opens the folder and finds "
    out.print(Text(f"{words}{document['memories']} memories. Each question goes", style="dim"))
    out.print(Text("  through a LangChain retriever and a LlamaIndex retriever.", style="dim"))


def print_answer(out: Console, number: int, answer: Mapping[str, Any]) -> None:
    """A question with its hits: score, date, speaker, text and reason."""
    out.print()
    out.print(Text(f"{number}. {answer['question']}", style="bold"))
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(width=1)
    table.add_column(width=4, style="cyan")
    table.add_column(width=10, style="green", no_wrap=True)
    table.add_column(ratio=1)
    for hit in answer["hits"]:
        mark = Text("✓", style="bold green") if hit["expected"] else Text()
        day = str(hit.get("event_time") or hit.get("said_at") or hit["created_at"])[:10]
        said = Text.assemble((f"{hit.get('speaker', '')}: ", "magenta"), hit["text"])
        cell = Group(said, Text(hit["why"], style="italic dim"))
        table.add_row(mark, f"{hit['score']:.2f}", day, cell)
    out.print(table)
    out.print(_agreement(answer))


def _agreement(answer: Mapping[str, Any]) -> Padding:
    line = Text()
    if answer["rank"]:
        line.append(f"number {answer['rank']} is the memory we meant", style="green")
    else:
        line.append("the memory we meant is not among them", style="red")
    if answer["ok"]:
        line.append("  ·  same ids from LangChain and LlamaIndex", style="green")
    else:
        line.append("  ·  other ids from LangChain than from LlamaIndex", style="bold red")
    return Padding(line, (0, 0, 0, 3))


def print_update(out: Console, document: Mapping[str, Any]) -> None:
    """The versions of the memory that changed."""
    _heading(out, "Step 3  A fact changes")
    if document["id"] is None:
        _missing(out, document)
        return
    before, after = (MemCube.model_validate(version) for version in document["versions"])
    for cube, note in ((before, "as Maya said it; it is kept"), (after, "as it is now")):
        line = Text.assemble((f"  version {cube.version}", "bold"), "  ")
        line.append(minute(cube.created_at), style="cyan").append(f"  {note}", style="dim")
        out.print(line)
        words = Text(cube.text, style="bold green" if cube is after else "")
        out.print(Padding(words, (0, 0, 0, 2)))
    rest = {field: pair for field, pair in changes(before, after).items() if field != "text"}
    print_changes(out, rest)
    if document["ok"]:
        out.print(Text("  The same question now finds version 2.", style="green"))


def print_delete(out: Console, document: Mapping[str, Any]) -> None:
    """The memory that went, and where it was looked for."""
    _heading(out, "Step 4  A memory is deleted")
    if document["id"] is None:
        _missing(out, document)
        return
    out.print(Padding(Text(document["text"], style="strike dim"), (0, 0, 0, 2)))
    table = Table.grid(padding=(0, 3, 0, 0))
    table.add_row(*(Text(head, style="dim") for head in ("asked for everything", "before", "now")))
    for finder, there in document["found_before"].items():
        still = document["found_after"][finder]
        now = Text("still there", style="bold red") if still else Text("gone", style="green")
        table.add_row(finder, "found" if there else "not found", now)
    out.print(Padding(table, (0, 0, 0, 2)))


def print_picture(out: Console, document: Mapping[str, Any]) -> None:
    """Where the pictures lie."""
    _heading(out, "Step 5  Where the flight's memory came from")
    words = "  Both versions, what made them and who, as W3C PROV tells it:"
    out.print(Text(words, style="dim"))
    for file in document["files"]:
        out.print(Text(f"  {file}"), soft_wrap=True)


def print_model(out: Console, document: Mapping[str, Any]) -> None:
    """What the local model said, and how soon."""
    _heading(out, "Step 6  A model reads the memories, the second time from its cache")
    out.print(Text(f"  {document['question']}", style="bold"))
    out.print(Padding(Text(document["text"]), (0, 0, 0, 2)))
    table = Table.grid(padding=(0, 3, 0, 0))
    cold = document["first_token_seconds"]["cold"]
    for name, seconds in document["first_token_seconds"].items():
        sooner = f"{cold / seconds:.1f} times sooner" if name != "cold" else ""
        table.add_row(f"first token, {name}", f"{seconds * 1e3:.0f} ms", sooner)
    out.print(Padding(table, (0, 0, 0, 2)))
    out.print(Text(f"  same output: {'yes' if document['same_output'] else 'no'}"))
    tokens = f"{document['cached_tokens']:,} of {document['prompt_tokens']:,}"
    words = f"  {document['model']}, {document['memories']} memories; {tokens} prompt tokens "
    out.print(Text(f"{words}came from the cache.", style="dim"))


def print_no_model(out: Console, error: str) -> None:
    """Why no model answered."""
    _heading(out, "Step 6  A model reads the memories")
    out.print(Text(f"  left out: {error}", style="dim"))


def print_verdict(out: Console, promises: Sequence[Mapping[str, Any]]) -> None:
    """What held, and what did not."""
    _heading(out, "What held")
    for promise in promises:
        mark = ("  ✓ ", "green") if promise["held"] else ("  ✗ ", "bold red")
        out.print(Text.assemble(mark, promise["promise"]))


def print_end(out: Console, folder: Path, seconds: float) -> None:
    """Where everything is, and what to try."""
    _heading(out, f"Yours to play with ({seconds:.0f} s)")
    out.print(Text(f"  Everything is in {folder}: the store, lineage.png, lineage.svg."))
    program, store = _program(), f"--path {folder / 'store'} --user maya"
    tries = (
        f'search "what should I cook for Maya?" {store}',
        f"search Porto --filter speaker=Maya --since 2026-10-01 --why {store}",
        f'add "Maya found the last box: it was full of spoons." {store}',
        f"stats --path {folder / 'store'}",
    )
    for line in tries:
        out.print(Text(f"  {program} {line}", style="cyan"), soft_wrap=True)


def _program() -> str:
    """How this person can call the command line again."""
    if shutil.which("memcube"):
        return "memcube"
    script = Path(sys.executable).with_name("memcube")
    if not script.exists():
        return f"{sys.executable} -m memos_integrations"
    near = os.path.relpath(script)
    return str(script) if near.startswith("..") else near


def _missing(out: Console, document: Mapping[str, Any]) -> None:
    out.print(Text(f"  no memory found for {document['question']!r}", style="red"))
