"""``memcube quarantine``: what waits to be looked at; ``--release`` lets searches find it."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

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


def quarantine(
    ids: Annotated[
        list[str] | None,
        typer.Option("--release", metavar="ID", help="Release this one; may be given again."),
    ] = None,
    user: UserOption = "me",
    namespace: NamespaceOption = None,
    path: PathOption = DEFAULT_PATH,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Show memories that no search finds since they look like instructions to the model.

    Exit code 1: one to release is not there.
    """
    with serve(as_json=as_json, debug=debug) as desk:
        with open_session(path, user, namespace) as session:
            released = [session.release(one).id for one in ids or ()]
            held = session.quarantined()
        waiting = [
            {
                "id": one.cube.id,
                "why": one.why,
                "origin": one.cube.header.descriptive.origin,
                "text": one.cube.text,
            }
            for one in held
        ]

        def show(out: Console) -> None:
            for one in released:
                out.print(f"released {one}")
            for row in waiting:
                out.print(f"{row['id']}  {row['why']}, from {row['origin']}: {row['text']!r}")
            if not waiting:
                out.print("nothing is in quarantine")

        desk.tell({"released": released, "quarantined": waiting}, show)
