"""The command line: ``memcube`` and ``python -m memos_integrations``."""

from __future__ import annotations

from memos_integrations.cli.app import app, main

__all__ = ["app", "main"]
