"""Faults of the caches: each costs a prefill, is logged and warned of, and is never an error."""

from __future__ import annotations

import logging
import warnings

from memos_integrations.errors import KVCacheWarning


def warn(log: logging.Logger, message: str, *parts: object) -> None:
    """Log a warning, and emit it as :class:`KVCacheWarning`; never raises.

    A filter that makes errors of warnings would otherwise end the thread that writes, or lose an
    answer that is right without a cache. ``message`` and ``parts`` as in :meth:`Logger.warning`.
    """
    log.warning(message, *parts)
    try:
        warnings.warn(message % parts, KVCacheWarning, stacklevel=2)
    except Exception:  # noqa: BLE001 - a filter's error, or a showwarning of the user's own
        log.debug("a filter made an error of this warning; it is none for the request")
