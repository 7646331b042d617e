"""Where output goes, one JSON document or rich text, and an exit code for each fate."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, NoReturn

import typer
from rich.console import Console

from memos_integrations.errors import (
    CubeNotFoundError,
    EmbeddingError,
    MemOSError,
    MissingExtraError,
    StoreError,
)

Progress = Callable[[int, int], None]
"""Called with ``(done, total)``."""


class Fate(IntEnum):
    """The exit codes."""

    OK = 0
    NOTHING = 1
    INPUT = 2
    STORE = 3
    EMBEDDER = 4
    BUG = 70
    INTERRUPTED = 130
    CUT_OFF = 141


EXIT_CODES = (
    "Exit codes: 0 done; 1 nothing found; 2 the input cannot be used; 3 the store cannot be used "
    "(in use elsewhere, not a store, not writable, of a newer release, full or damaged); "
    "4 the embedder failed, does not fit the store, or an extra is not installed; "
    "70 a defect of this program; 130 interrupted."
)


def fate_of(error: MemOSError) -> Fate:
    """The exit code that tells a script what went wrong."""
    if isinstance(error, CubeNotFoundError):
        return Fate.NOTHING
    if isinstance(error, StoreError):
        return Fate.STORE
    if isinstance(error, EmbeddingError | MissingExtraError):
        return Fate.EMBEDDER
    return Fate.INPUT


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Leave the exit code to :func:`serve`; the base class would exit with 1."""
        raise BrokenPipeError


def _console(*, stderr: bool = False) -> Console:
    # Made at each use: a test, or a caller, may have put other streams in place.
    return _Console(stderr=stderr, highlight=False, emoji=False, markup=False)


@dataclass
class Desk:
    """What a command speaks to."""

    json: bool = False
    debug: bool = False
    out: Console = field(default_factory=_console)
    err: Console = field(default_factory=lambda: _console(stderr=True))

    def tell(self, document: Mapping[str, Any], show: Callable[[Console], None]) -> None:
        """Print the one document, or ``show`` it to a person."""
        if self.json:
            print_json(document)
        else:
            show(self.out)

    def fail(self, error: BaseException, fate: Fate) -> NoReturn:
        """Say what went wrong, in one line or one document, and leave."""
        if self.debug:
            self.err.print_exception()
        if self.json:
            print_json(error_document(type(error).__name__, str(error)))
        else:
            name = "" if isinstance(error, MemOSError) else f"{type(error).__name__}: "
            self.err.print(f"{name}{error}", style="red", soft_wrap=True)
            if fate is Fate.BUG and not self.debug:
                self.err.print("this is a defect: --debug shows where", style="dim")
        raise typer.Exit(fate) from None

    @contextmanager
    def progress(self, what: str) -> Iterator[Progress]:
        """A bar on stderr for work that takes a while; none where nobody watches."""
        if not self.err.is_terminal:
            yield lambda done, total: None
            return
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bar

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        with Bar(*columns, TimeElapsedColumn(), console=self.err, transient=True) as bar:
            task = bar.add_task(what, total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def serve(*, as_json: bool, debug: bool) -> Iterator[Desk]:
    """A desk for one command; errors become a message and an exit code."""
    desk = Desk(json=as_json, debug=debug)
    try:
        yield desk
    except typer.Exit:
        raise
    except BrokenPipeError:  # as with `memcube search ... | head -1`: nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(Fate.CUT_OFF) from None
    except MemOSError as error:
        desk.fail(error, fate_of(error))
    except KeyboardInterrupt:
        if as_json:
            print_json(error_document("KeyboardInterrupt", "interrupted"))
        desk.err.print("interrupted", style="red")
        raise typer.Exit(Fate.INTERRUPTED) from None
    except Exception as error:  # noqa: BLE001  # the edge of the process: say it, never as "1"
        desk.fail(error, Fate.BUG)


def error_document(kind: str, message: str) -> dict[str, Any]:
    """An error, as ``--json`` prints it."""
    return {"error": {"type": kind, "message": message}}


def print_json(document: Mapping[str, Any]) -> None:
    """The document on stdout, in ASCII, which every terminal and pipe can carry."""
    sys.stdout.write(json.dumps(document, indent=2) + "\n")
    sys.stdout.flush()
