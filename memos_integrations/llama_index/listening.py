"""Handlers of LlamaIndex's events, and how they begin and end to listen."""

from __future__ import annotations

from typing import Self

from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]
from llama_index.core.instrumentation.event_handlers import BaseEventHandler


class Listener(BaseEventHandler):
    """Hears of all events of the program once it is installed."""

    def install(self) -> Self:
        """Listen to all of LlamaIndex's events."""
        root = get_dispatcher()
        if self not in root.event_handlers:
            root.add_event_handler(self)
        return self

    def uninstall(self) -> None:
        """Listen no longer."""
        handlers = get_dispatcher().event_handlers
        if self in handlers:
            handlers.remove(self)
