"""The demo's first half: a process that writes the conversation and ends."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from memos_integrations.demo.folder import store_in
from memos_integrations.demo.script import USER, read_script
from memos_integrations.memos import MemOS


def load(folder: Path, progress: Callable[[int, int], None]) -> dict[str, Any]:
    """Write the sessions into the demo's store; return what went in, JSON-plain."""
    sessions = read_script().sessions
    total = sum(len(session.messages) for session in sessions)
    written: list[dict[str, Any]] = []
    started, done = time.perf_counter(), 0
    with MemOS.open(store_in(folder)) as memory:
        maya = memory.session(USER)
        for session in sessions:
            cubes = maya.add(session.messages, progress=partial(_onwards, progress, done, total))
            done += len(session.messages)
            written.append({"title": session.title, "day": session.day, "memories": len(cubes)})
    seconds = round(time.perf_counter() - started, 2)
    return {"process": os.getpid(), "sessions": written, "seconds": seconds}


def _onwards(
    progress: Callable[[int, int], None], before: int, total: int, part: int, _: int
) -> None:
    """The progress of one session as progress of all."""
    progress(before + part, total)
