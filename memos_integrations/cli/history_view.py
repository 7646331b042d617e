"""How a memory's past looks in a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from memos_integrations.cli.cards import minute, print_changes


def print_history(out: Console, document: Mapping[str, Any]) -> None:
    """A ``history`` document: each version with its date, then what changed."""
    out.print(Text(document["id"], style="dim"), soft_wrap=True)
    for step in document["versions"]:
        cube = step["cube"]
        out.print(_headline(f"version {cube['version']}", step))
        if step["changes"]:
            print_changes(out, step["changes"])
        else:
            kind = cube["payload"]["type"]
            words = cube["payload"].get("text") or (
                "erased" if kind == "erased" else f"a {kind} memory"
            )
            out.print(Padding(Text(words), (0, 0, 0, 2)))
    if document["deleted"]:
        out.print(_headline("deleted", document["deleted"], style="bold red"))
    if document.get("picture"):
        out.print(Text(f"lineage drawn: {document['picture']}"), soft_wrap=True)


def _headline(title: str, step: Mapping[str, Any], style: str = "bold") -> Text:
    line = Text(title, style=style)
    if step.get("at"):
        line.append(f"  {minute(datetime.fromisoformat(step['at']))}", style="cyan")
    if step.get("by"):
        line.append(f"  {step['verb']} by {step['by']}", style="dim")
    return line
