"""Facts that were read out of turns, on their way into the store: through the door, all or none."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from memos_integrations.checks import Namespace
from memos_integrations.cube import Draft, MemCube, Plaintext, Principal
from memos_integrations.errors import SensitiveContentError
from memos_integrations.infrastructure.derivations import Made, Reading
from memos_integrations.infrastructure.records import Activity
from memos_integrations.memories.plaintext import embedding_text
from memos_integrations.models.checked import embed_checked
from memos_integrations.operation.door import Also, Entry
from memos_integrations.operation.operator import MemOperator

VERB = "extract"


@dataclass(frozen=True)
class NewFact:
    """A statement that may be written, and the turns that it rests on."""

    draft: Draft
    sources: tuple[MemCube, ...]
    about: Mapping[str, Any]
    """How it was made; it goes into the metadata as it is."""

    @property
    def text(self) -> str:
        """What it says."""
        return self.draft.payload.text if isinstance(self.draft.payload, Plaintext) else ""


@dataclass(frozen=True)
class Admitted:
    """A fact as it may be written, and what stands beside it."""

    made: Made
    entry: Entry


class Facts:
    """Facts of one reading, for one principal in one namespace."""

    def __init__(self, operator: MemOperator, path: Namespace, who: Principal, field: str) -> None:
        self._operator, self._path, self._who, self._field = operator, path, who, field

    def activity(self) -> Activity:
        """What writes them."""
        return self._operator.activity(VERB, self._who)

    def admit(
        self, activity: Activity, new: NewFact, stamp: Mapping[str, Any]
    ) -> Admitted | SensitiveContentError:
        """A fact behind the door; the error of a policy that refuses what it says.

        ``stamp`` goes into its metadata, past the masks of the door: it has none of its words.
        """
        try:
            [(draft, entry)] = self._operator.door.admit([new.draft], self._path)
        except SensitiveContentError as error:
            return error
        metadata = {**draft.metadata, self._field: {**stamp, **new.about}}
        draft = Draft.model_validate({**dict(draft), "metadata": metadata})
        cube = self._operator.cube(self._path, self._who, draft, activity)
        return Admitted(Made(cube, new.sources), entry)

    def keep(
        self,
        activity: Activity,
        admitted: Sequence[Admitted],
        turns: Sequence[MemCube],
        reader: str,
    ) -> Reading:
        """Write them, and that ``reader`` has read the turns; in one transaction."""
        operator = self._operator
        operator.door.count(self._who, len(admitted), activity.at)
        texts = [embedding_text(one.made.cube) for one in admitted]
        vectors = embed_checked(operator.embedder, texts) if texts else np.empty((0, 0), "<f4")
        return operator.vault.derive_read(
            self._path,
            activity,
            [one.made for one in admitted],
            vectors,
            operator.embedder.fingerprint,
            turns=turns,
            reader=reader,
            beside=self._beside(admitted),
        )

    def _beside(self, admitted: Sequence[Admitted]) -> Callable[[Collection[str]], Also | None]:
        def beside(ids: Collection[str]) -> Also | None:
            kept = [(one.made.cube, one.entry) for one in admitted if one.made.cube.id in ids]
            return self._operator.door.beside(kept)

        return beside
