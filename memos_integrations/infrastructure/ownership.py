"""One live owner for a folder: an OS lock, with a note of who holds it."""

from __future__ import annotations

import json
import os
import socket
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from memos_integrations.errors import StoreLockedError, StoreNotWritableError


class Ownership:
    """Holds the lock of ``folder`` from construction to :meth:`release`.

    The operating system frees the lock when the process ends, however it ends. Raises
    :class:`StoreLockedError` at once if somebody else holds it.
    """

    def __init__(self, folder: Path) -> None:
        self._note = folder / "owner.json"
        # Not thread-local: whichever thread closes the store releases the lock.
        self._lock = FileLock(str(folder / "lock"), thread_local=False)
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise StoreLockedError(f"{folder} is in use by {self._owner()}") from None
        except OSError as error:
            raise StoreNotWritableError(
                f"{folder} cannot be locked by user {os.geteuid()}: {error.strerror or error}"
            ) from error
        self._pid = os.getpid()
        note = {
            "pid": self._pid,
            "host": socket.gethostname(),
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        try:
            self._note.write_text(json.dumps(note))
        except OSError:
            self._note.unlink(missing_ok=True)  # only a courtesy to the next one; the lock is held

    def _owner(self) -> str:
        try:
            note = json.loads(self._note.read_text())
            if (note["pid"], note["host"]) == (os.getpid(), socket.gethostname()):
                return "this process: use the MemOS object that is open, or close() it first"
            owner = f"process {note['pid']} on {note['host']} since {note['since']}"
        except (OSError, ValueError, KeyError, TypeError):
            owner = "another process"
        return f"{owner}: one process owns a folder at a time. Close it there first"

    @property
    def is_here(self) -> bool:
        """Whether this process is the owner, and not a fork of it."""
        return os.getpid() == self._pid

    def check(self) -> None:
        """Raise :class:`StoreLockedError` in a process that was forked from the owner."""
        if not self.is_here:
            raise StoreLockedError(
                f"this store was opened by process {self._pid}, and this is its "
                f"fork {os.getpid()}: "
                "open the store after forking, in the one process that uses it"
            )

    def release(self) -> None:
        """Give the folder up; does nothing in a fork, whose parent still owns it."""
        if not self.is_here:
            return
        self._note.unlink(missing_ok=True)
        self._lock.release()
