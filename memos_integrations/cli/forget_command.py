"""``memcube forget``: erase memories, and say what went."""

from __future__ import annotations

from typing import Annotated

import typer

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


def forget(
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Memories' ids.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be erased.")
    ] = False,
    cascade: Annotated[bool, typer.Option(help="Also erase what was derived from them.")] = True,
    reason: Annotated[str, typer.Option(help="Why; it is kept.")] = "asked for",
    user: UserOption = "me",
    namespace: NamespaceOption = None,
    path: PathOption = DEFAULT_PATH,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Erase memories from the store and all its files, for good. Exit code 1: one is not there."""
    with serve(as_json=as_json, debug=debug) as desk:
        with open_session(path, user, namespace) as session:
            receipt = session.forget(ids, cascade=cascade, dry_run=dry_run, reason=reason)
        desk.tell(
            receipt.as_dict(), lambda out: out.print(str(receipt), highlight=False, soft_wrap=True)
        )
