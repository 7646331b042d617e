"""``memcube lifecycle``: the table of states, and the life of one memory."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from memos_integrations.cli.cards import minute
from memos_integrations.cli.desk import serve
from memos_integrations.cli.options import (
    DEFAULT_PATH,
    DebugOption,
    JsonOption,
    NamespaceOption,
    PathOption,
    UserOption,
    open_session,
)


def lifecycle(
    id: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="A memory's id: show its own life.")
    ] = None,
    user: UserOption = "me",
    namespace: NamespaceOption = None,
    path: PathOption = DEFAULT_PATH,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Show the states of a memory and the ways between them, or the life of one memory."""
    with serve(as_json=as_json, debug=debug) as desk:
        if id is None:
            ways = _ways()
            desk.tell({"transitions": ways}, lambda out: _print_table(out, ways))
            return
        with open_session(path, user, namespace) as session:
            passages = session.life(id)
            state = session.history(id)[-1].state
        document = {
            "id": id,
            "passages": [{**vars(one), "at": one.at.isoformat()} for one in passages],
        }
        desk.tell(document, lambda out: _print_life(out, passages, state))


def _ways() -> list[dict[str, Any]]:
    from memos_integrations.operation.lifecycle import TRANSITIONS

    return [
        {
            "verb": one.verb,
            "from": [state.value for state in one.sources],
            "to": one.target.value,
            "by": one.actor,
            "when": one.guard,
        }
        for one in TRANSITIONS
    ]


def _print_table(out: Console, ways: list[dict[str, Any]]) -> None:
    table = Table(title="Begins as generated, by add")
    for column in ("verb", "from", "to", "by", "when"):
        table.add_column(column, overflow="fold")
    for way in ways:
        table.add_row(*(v if isinstance(v, str) else ", ".join(v) for v in way.values()))
    out.print(table)


def _print_life(out: Console, passages: Any, state: object) -> None:
    for one in passages:
        out.print(
            f"{minute(one.at)}  {one.verb} by {one.principal}: {one.before} → {one.after} "
            f"({one.reason})",
            highlight=False,
        )
    if not passages:
        out.print(f"{state} since it was added: nothing else has happened to it")
