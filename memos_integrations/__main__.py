"""``python -m memos_integrations`` is ``memcube``."""

from __future__ import annotations

from memos_integrations.cli import main

if __name__ == "__main__":
    main()
