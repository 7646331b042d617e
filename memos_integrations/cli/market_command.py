"""``memcube market``: publish memories, find packages, follow them, trace words."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from memos_integrations.cli.desk import EXIT_CODES, Fate, serve
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

market = typer.Typer(
    name="market",
    no_args_is_help=True,
    help="Publish memories as signed packages, and follow those of others.",
    epilog=EXIT_CODES,
)

PlaceArgument = Annotated[
    str, typer.Argument(metavar="PLACE", help="A folder, an fsspec URL, or another store's folder.")
]
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The package's.")]


@market.command(epilog=EXIT_CODES)
def publish(
    place: PlaceArgument,
    name: NameArgument,
    version: Annotated[str, typer.Option(help="Higher than the last one, such as 1.2.")],
    key: Annotated[Path, typer.Option(help="A private Ed25519 key, PEM.")],
    licence: Annotated[str, typer.Option(help="Such as CC-BY-4.0.")],
    description: Annotated[str, typer.Option(help="What it is about.")] = "",
    tags: Annotated[list[str] | None, typer.Option("--tag", help="Repeat for more.")] = None,
    filters: Annotated[
        list[str] | None, typer.Option("--filter", metavar="FIELD=VALUE", help="As for search.")
    ] = None,
    expires: Annotated[str | None, typer.Option(help="Until when: ISO.")] = None,
    watermark: Annotated[bool, typer.Option(help="Mark the words.")] = True,
    path: PathOption = DEFAULT_PATH,
    user: UserOption = "me",
    namespace: NamespaceOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Publish the memories of a namespace as the next version of a package."""
    with serve(as_json=as_json, debug=debug) as desk:
        with open_session(path, user, namespace) as session:
            done = session.publish(
                place,
                name,
                version=version,
                key=_key(key),
                licence=licence,
                description=description,
                tags=tags or (),
                filters=read_filters(filters or ()) or None,
                expires_at=None if expires is None else read_time(expires, "--expires"),
                watermark=watermark,
            )
        said = f"{done.label}: {len(done.memories):,} memories, publisher {done.publisher}"
        desk.tell(_plain(asdict(done)), lambda out: out.print(said, soft_wrap=True))


@market.command(epilog=EXIT_CODES)
def search(
    place: PlaceArgument,
    query: Annotated[str | None, typer.Argument(metavar="QUERY", help="What about.")] = None,
    tags: Annotated[list[str] | None, typer.Option("--tag", help="Repeat for more.")] = None,
    path: PathOption = DEFAULT_PATH,
    user: UserOption = "me",
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """List what a shop offers. Exit code 1: nothing."""
    with serve(as_json=as_json, debug=debug) as desk:
        with open_session(path, user, None, create=True) as session:
            offers = session.packages(place, query, tags=tags or ())
        lines = [
            f"{one.name}@{one.version}  {one.memories:,} memories  {one.licence}  "
            f"{one.description}\n  publisher {one.publisher}"
            for one in offers
        ]
        document = {"packages": [_plain(asdict(one)) for one in offers]}
        shown = "\n".join(lines) or "nothing found"
        desk.tell(document, lambda out: out.print(shown, soft_wrap=True))
        if not offers:
            raise typer.Exit(Fate.NOTHING)


@market.command(epilog=EXIT_CODES)
def subscribe(
    place: PlaceArgument,
    name: NameArgument,
    publisher: Annotated[str, typer.Option(help="The public key you trust: 64 hex digits.")],
    path: PathOption = DEFAULT_PATH,
    user: UserOption = "me",
    namespace: NamespaceOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Follow a package: its memories come into a namespace, to be read and not changed."""
    with serve(as_json=as_json, debug=debug) as desk:
        with open_session(path, user, namespace, create=True) as session:
            done = session.subscribe(place, name, publisher=publisher)
        desk.tell(asdict(done), lambda out: out.print(_line(asdict(done)), soft_wrap=True))


@market.command(epilog=EXIT_CODES)
def pull(
    name: NameArgument,
    path: PathOption = DEFAULT_PATH,
    user: UserOption = "me",
    namespace: NamespaceOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Bring what is new in a package that is followed."""
    with serve(as_json=as_json, debug=debug) as desk:
        with open_session(path, user, namespace) as session:
            done = session.pull(name)
        desk.tell(asdict(done), lambda out: out.print(_line(asdict(done)), soft_wrap=True))


@market.command(epilog=EXIT_CODES)
def unsubscribe(
    name: NameArgument,
    path: PathOption = DEFAULT_PATH,
    user: UserOption = "me",
    namespace: NamespaceOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Follow a package no longer: its memories are erased, what came of them is marked."""
    with serve(as_json=as_json, debug=debug) as desk:
        with open_session(path, user, namespace) as session:
            receipt = session.unsubscribe(name)
        desk.tell(receipt.as_dict(), lambda out: out.print(str(receipt), soft_wrap=True))


@market.command(epilog=EXIT_CODES)
def trace(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A text; - reads standard input.")],
    place: Annotated[str | None, typer.Option(help="A shop whose packages count, too.")] = None,
    path: PathOption = DEFAULT_PATH,
    user: UserOption = "me",
    namespace: NamespaceOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Say which packages a text came from. Exit code 1: it has no mark."""
    with serve(as_json=as_json, debug=debug) as desk:
        text = sys.stdin.read() if str(file) == "-" else _read(file)
        with open_session(path, user, namespace, create=True) as session:
            found = session.trace(text, place=place)
        lines = [
            f"{one.mark}: {one.package} of {one.publisher}, known from {one.known_from}"
            if one.package
            else f"{one.mark}: of no package that is known here"
            for one in found
        ]
        shown = "\n".join(lines) or "no mark"
        document = {"traces": [asdict(one) for one in found]}
        desk.tell(document, lambda out: out.print(shown, soft_wrap=True))
        if not found:
            raise typer.Exit(Fate.NOTHING)


def _key(path: Path) -> bytes:
    try:
        return path.expanduser().read_bytes()
    except OSError as error:
        raise InvalidInputError(f"{path} cannot be read: {error.strerror}") from None


def _read(path: Path) -> str:
    return _key(path).decode("utf-8", "replace")


def _line(done: dict[str, Any]) -> str:
    counts = ", ".join(f"{done[name]:,} {name}" for name in ("added", "updated", "removed"))
    return f"{done['package']}@{done['version']}: {counts}; {done['fetched']:,} fetched"


def _plain(said: dict[str, Any]) -> dict[str, Any]:
    return {k: v.isoformat() if hasattr(v, "isoformat") else v for k, v in said.items()}
