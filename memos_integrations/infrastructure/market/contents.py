"""What of a memory is published, and what of a package's memory stands in a store."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from memos_integrations.checks import check_text, fingerprint
from memos_integrations.cube import MemCube
from memos_integrations.infrastructure.market.packages import Package
from memos_integrations.infrastructure.market.watermark import marked, unmarked
from memos_integrations.infrastructure.schema import to_micros
from memos_integrations.infrastructure.transfer.stable_ids import LONG_AGO, stable_id
from memos_integrations.infrastructure.transfer.staging import Staged

SUBSCRIBED = "subscribed"
"""The origin of a memory that came with a package."""


def content(cube: MemCube, mark: bytes | None) -> dict[str, Any]:
    """What of a memory is published."""
    text, event = unmarked(cube.text), cube.event_time
    return {
        "id": cube.id,
        "text": text if mark is None else check_text(marked(text, mark)),
        "event_time": None if event is None else event.isoformat(),
        "semantic_type": cube.header.descriptive.semantic_type,
        "tags": list(cube.tags),
    }


def here(subscription: str, cube_id: str) -> str:
    """The id of a package's memory in the namespace that follows it."""
    return stable_id([subscription, cube_id], LONG_AGO)


def stage(
    staged: Staged, memory: dict[str, Any], package: Package, id: str, now: datetime, digest: str
) -> None:
    """A memory of a package on its way into a store: frozen, and it ends with the package."""
    end = package.expires_at
    activity = stable_id([id, package.version, digest, now.isoformat()], now)
    staged.memory(
        {
            "id": id,
            "namespace": [],
            "state": "frozen",
            "expires_at": None if end is None else to_micros(end),
            "quarantined": None,
            "key": None,
            "searched": True,
            "parts": [],
        }
    )
    staged.activity(
        {
            "id": activity,
            "namespace": [],
            "verb": "pull",
            "principal": f"package:{package.name}",
            "at": to_micros(now),
        }
    )
    staged.version(
        {
            "id": id,
            "version": 1,
            "state": "frozen",
            "activity": activity,
            "payload": {"type": "plaintext", "text": memory["text"]},
            "header": {
                "descriptive": {
                    "created_at": now,
                    "event_time": memory["event_time"],
                    "origin": SUBSCRIBED,
                    "source": f"{package.name}, {package.publisher[:16]}",
                    "semantic_type": memory["semantic_type"],
                    "tags": memory["tags"],
                },
                "governance": {
                    "owner": f"package:{package.name}",
                    "access": "read_only",
                    "expires_at": end,
                },
                "behaviour": {"context_fingerprint": fingerprint(memory["text"])},
            },
        }
    )
