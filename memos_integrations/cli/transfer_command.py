"""``memcube dump`` and ``memcube load``: memories into an archive, and out of one."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from memos_integrations.cli.desk import serve
from memos_integrations.cli.inputs import read_filters, read_time
from memos_integrations.cli.options import (
    DEFAULT_PATH,
    DebugOption,
    JsonOption,
    NamespaceOption,
    PathOption,
    UserOption,
    open_session,
)
from memos_integrations.errors import InvalidInputError

if TYPE_CHECKING:
    from memos_integrations.infrastructure.transfer.manner import Loaded

ArchiveArgument = Annotated[Path, typer.Argument(metavar="ARCHIVE", help="Such as moving.memcube.")]
ConflictsOption = Annotated[
    str,
    typer.Option(help="A memory that is here with other words: keep, version or replace."),
]
TrustOption = Annotated[
    bool, typer.Option("--trust", help="Believe who made it: origins, owners, vectors.")
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Only check, and say what would be.")]


def dump(
    archive: ArchiveArgument,
    filters: Annotated[
        list[str] | None,
        typer.Option("--filter", metavar="FIELD=VALUE", help="As for search; repeat for more."),
    ] = None,
    as_of: Annotated[
        str | None,
        typer.Option("--as-of", help="What was there then: ISO.", show_default="now"),
    ] = None,
    below: Annotated[bool, typer.Option(help="Also the namespaces below.")] = True,
    vectors: Annotated[
        bool, typer.Option("--vectors", help="With what they are found by.")
    ] = False,
    blobs: Annotated[bool, typer.Option("--blobs", help="With weights and KV caches.")] = False,
    grants: Annotated[bool, typer.Option("--grants", help="With who may.")] = False,
    audit: Annotated[bool, typer.Option("--audit", help="With the store's log.")] = False,
    redacted: Annotated[bool, typer.Option("--redacted", help="Words, times, kinds only.")] = False,
    path: PathOption = DEFAULT_PATH,
    user: UserOption = "me",
    namespace: NamespaceOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Write memories, all their versions and where they came from into one file."""
    with serve(as_json=as_json, debug=debug) as desk, ExitStack() as stack:
        conditions = read_filters(filters or ()) or None
        when = None if as_of is None else read_time(as_of, "--as-of")
        session = stack.enter_context(open_session(path, user, namespace))
        shown = session if when is None else session.as_of(when)
        done = shown.dump(
            archive,
            filters=conditions,
            below=below,
            vectors=vectors,
            blobs=blobs,
            grants=grants,
            audit=audit,
            redacted=redacted,
            progress=stack.enter_context(desk.progress("writing")),
        )
        said = f"{done.memories:,} memories, {done.versions:,} versions, {done.bytes:,} bytes"
        document = {**asdict(done), "path": str(done.path)}
        desk.tell(document, lambda out: out.print(f"{said}: {done.path}", soft_wrap=True))


def load(
    archive: ArchiveArgument,
    conflicts: ConflictsOption = "keep",
    trust: TrustOption = False,
    grants: Annotated[bool, typer.Option("--grants", help="Take over who may, too.")] = False,
    dry_run: DryRunOption = False,
    path: PathOption = DEFAULT_PATH,
    user: UserOption = "me",
    namespace: NamespaceOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Take the memories of an archive into a store, all of them or none. It is checked first."""
    with serve(as_json=as_json, debug=debug) as desk:
        with (
            open_session(path, user, namespace, create=True) as session,
            desk.progress("loading") as progress,
        ):
            options: dict[str, Any] = {"conflicts": conflicts, "trust": trust, "grants": grants}
            done = session.load(archive, dry_run=dry_run, progress=progress, **options)
        desk.tell(asdict(done), lambda out: out.print(loaded_line(done), soft_wrap=True))


def import_(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="mem0, llama_index or jsonl.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What that program wrote.")],
    history: Annotated[
        Path | None, typer.Option(help="mem0's history.db, for the versions.")
    ] = None,
    conflicts: ConflictsOption = "version",
    trust: TrustOption = False,
    dry_run: DryRunOption = False,
    path: PathOption = DEFAULT_PATH,
    user: UserOption = "me",
    namespace: NamespaceOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Take over what another program remembers. Again, it changes nothing."""
    with serve(as_json=as_json, debug=debug) as desk:
        if kind == "langgraph":
            raise InvalidInputError(
                "a LangGraph store is an object: session.import_from() takes it"
            )
        with (
            open_session(path, user, namespace, create=True) as session,
            desk.progress("importing") as progress,
        ):
            options: dict[str, Any] = {"history": history, "conflicts": conflicts, "trust": trust}
            done = session.import_from(kind, file, dry_run=dry_run, progress=progress, **options)
        desk.tell(asdict(done), lambda out: out.print(loaded_line(done), soft_wrap=True))


def loaded_line(done: Loaded) -> str:
    """What became of the memories, in one line."""
    counts = {
        "added": done.added,
        "updated": done.updated,
        "as they were": done.unchanged,
        "kept as they are here": done.kept,
        "erased here, left out": done.erased,
        "grants": done.grants,
    }
    said = ", ".join(f"{count:,} {what}" for what, count in counts.items() if count)
    return ("would be: " if done.dry_run else "") + (said or "nothing to load")
