"""Blocking calls in a worker thread: the one place where async meets the core."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def offload(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a blocking call in a worker thread, and wait for it."""
    return await asyncio.to_thread(function, *args, **kwargs)
