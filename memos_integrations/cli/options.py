"""The options that commands share, and the store that they name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from memos_integrations.cli.inputs import read_namespace
from memos_integrations.errors import StoreError

if TYPE_CHECKING:
    from memos_integrations.memos import MemOS
    from memos_integrations.session import MemorySession

DEFAULT_PATH = Path("~/.memos")

PathOption = Annotated[
    Path, typer.Option("--path", envvar="MEMCUBE_PATH", help="The store's folder.")
]
UserOption = Annotated[str, typer.Option("--user", envvar="MEMCUBE_USER", help="Who is asking.")]
NamespaceOption = Annotated[
    str | None,
    typer.Option("--namespace", help="Such as acme/alice.", show_default="the user"),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON document on stdout, and nothing else there.")
]
DebugOption = Annotated[bool, typer.Option("--debug", help="Show where an error came from.")]
IdArgument = Annotated[
    str, typer.Argument(metavar="ID", help="A memory's id, as add and search print it.")
]


@contextmanager
def open_store(path: Path, *, create: bool = False) -> Iterator[MemOS]:
    """The store at ``path``; only ``add`` makes one, so a mistyped path stays an error."""
    from memos_integrations.memos import MemOS

    with MemOS.open(existing(path) if not create else path.expanduser()) as memory:
        yield memory


def existing(path: Path) -> Path:
    """``path``, if something is there."""
    folder = path.expanduser()
    if not folder.exists():
        raise StoreError(f"there is no store at {folder}: `memcube add` makes one")
    return folder


@contextmanager
def open_session(
    path: Path, user: str, namespace: str | None, *, create: bool = False
) -> Iterator[MemorySession]:
    """The store at ``path``, for a user in a namespace."""
    with open_store(path, create=create) as memory:
        yield memory.session(user, namespace=read_namespace(namespace))
