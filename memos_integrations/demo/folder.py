"""The demo's folder: made anew each time, and only ever over an older demo."""

from __future__ import annotations

import shutil
from pathlib import Path

from memos_integrations.errors import NotAStoreError, StoreNotWritableError
from memos_integrations.infrastructure.ownership import Ownership

MARKER = ".memcube-demo"
_NOTE = "memcube demo made this folder, and replaces it when it runs again.\n"


def store_in(folder: Path) -> Path:
    """Where the demo's store lies."""
    return folder / "store"


def fresh_folder(folder: Path) -> None:
    """Make an empty demo folder, in place of an older one.

    Raises :class:`NotAStoreError` if something else is there, :class:`StoreLockedError` if the
    older one is in use, and :class:`StoreNotWritableError`.
    """
    try:
        if folder.is_symlink() or (folder.exists() and not _is_ours(folder)):
            raise NotAStoreError(
                f"{folder} holds other things, which the demo will not remove: "
                "give --path a new folder"
            )
        if (folder / MARKER).exists():
            if store_in(folder).is_dir():
                Ownership(store_in(folder)).release()
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / MARKER).write_text(_NOTE)
    except OSError as error:
        if isinstance(error, StoreNotWritableError | NotAStoreError) or error.errno is None:
            raise
        raise StoreNotWritableError(f"{folder} cannot be made: {error.strerror}") from None


def _is_ours(folder: Path) -> bool:
    return folder.is_dir() and ((folder / MARKER).is_file() or not any(folder.iterdir()))
