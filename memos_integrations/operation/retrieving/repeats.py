"""Repeats: of several memories that say the same, the best one is listed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from memos_integrations.cube import MemCube
from memos_integrations.infrastructure.snapshot import Snapshot
from memos_integrations.protocols import Vectors


def without_repeats(
    view: Snapshot,
    order: Sequence[int],
    limit: int,
    alike: float,
    known: Mapping[int, Vectors],
) -> dict[int, MemCube]:
    """The first ``limit`` that do not say again what a better one says.

    ``known``: vectors that were read already.
    """
    chosen: dict[int, MemCube] = {}
    vectors = dict(known)
    for start in range(0, len(order), limit):
        page = order[start : start + limit]
        cubes = view.load(page)
        vectors.update(view.vectors([pk for pk in page if pk not in vectors]))
        for pk in page:
            if len(chosen) == limit:
                return chosen
            cube = cubes[pk]
            if cube.memory_type != "plaintext":  # weights are no words, nor KV caches
                continue
            if not any(_same(cube, chosen[c], vectors[pk], vectors[c], alike) for c in chosen):
                chosen[pk] = cube
    return chosen


def _same(one: MemCube, other: MemCube, a: Vectors, b: Vectors, alike: float) -> bool:
    about, besides = one.header, other.header
    if about.descriptive.speaker != besides.descriptive.speaker:
        return False
    if about.behaviour.context_fingerprint == besides.behaviour.context_fingerprint:
        return True
    if float(np.dot(a, b)) < alike:
        return False
    words, others = set(one.text.casefold().split()), set(other.text.casefold().split())
    return len(words & others) >= 0.9 * len(words | others)
