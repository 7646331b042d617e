"""What a session can do with a language model that reads: turns become facts with their words."""

from __future__ import annotations

import builtins
import json
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from memos_integrations.checks import Namespace, check_id, check_text
from memos_integrations.cube import Draft, MemCube, Plaintext, Principal
from memos_integrations.errors import CubeNotFoundError, InvalidInputError
from memos_integrations.infrastructure import readings
from memos_integrations.infrastructure.quarantine import is_held
from memos_integrations.infrastructure.snapshot import Snapshot
from memos_integrations.infrastructure.vault import MemVault
from memos_integrations.interface.extracting.asking import asker
from memos_integrations.interface.extracting.prompting import Prompt
from memos_integrations.interface.extracting.reading import Batch, Meter, read
from memos_integrations.interface.extracting.report import Marks, Reader, Report, unfit
from memos_integrations.interface.extraction import (
    FIELD,
    Budget,
    Extraction,
    Quote,
    Refused,
    Span,
    Unread,
    spans_of,
)
from memos_integrations.interface.reader import MemReader
from memos_integrations.offload import offload
from memos_integrations.operation.facts import Admitted, Facts
from memos_integrations.operation.operator import MemOperator
from memos_integrations.protocols import Clock
from memos_integrations.query import Hit

Memories = Iterable[str | MemCube | Hit]
MOST_TOGETHER = 100
MOST_RETRIES = 10


class ExtractVerbs:
    """Verbs of the reader that uses a language model; see :mod:`.interface.extraction`."""

    principal: Principal
    namespace: Namespace
    _vault: MemVault
    _operator: MemOperator
    _reader: MemReader
    _clock: Clock

    def _view(self) -> AbstractContextManager[Snapshot]:
        raise NotImplementedError  # the session says of which moment

    def _after_run(self) -> None:
        raise NotImplementedError

    def _remember(self, content: Any, key: str) -> builtins.list[MemCube]:
        raise NotImplementedError

    def extract(
        self,
        content: Any = None,
        *,
        memories: Memories | None = None,
        model: object,
        budget: Budget | None = None,
        prompt: Prompt | None = None,
        together: int = 20,
        retries: int = 1,
        model_name: str | None = None,
        dry_run: bool = False,
    ) -> Extraction:
        """Have a language model read turns; write the facts, preferences and events in them.

        ``content``: what :meth:`add` takes; it is added first, once, however often the same is
        given, and is kept whatever the model does. Or ``memories`` that are here already.
        ``model``: a LangChain chat model, a LlamaIndex LLM, or a function from a text to a text.

        Each fact is a memory derived from its turns, with the words it came from
        (:meth:`quotes`), no more trust, rights or time to live than they have, and goes with them
        when they are erased. What no turn says is refused, and the report says why. The same
        turns, model and prompt again: nothing is asked or written. A batch is one transaction;
        what the ``budget`` leaves unread is read by the next call.

        ``together``: turns in one question. ``retries``: further questions where an answer cannot
        be used. A ``dry_run`` asks the model, and writes nothing.

        Raises :class:`AccessDeniedError`, :class:`CubeNotFoundError`, and what :meth:`add` raises;
        what the model does wrong stands in the report.
        """
        reader = Reader(
            asker(model, _checked_name(model_name)),
            Prompt.packaged() if prompt is None else prompt,
            Meter(Budget() if budget is None else budget),
        )
        _check(budget, prompt, together, retries)
        if (content is None) == (memories is None):
            raise InvalidInputError("give either content, or memories=, to extract facts from")
        self._vault.require("write", self.namespace, "extract facts into")
        report = Report(self._turns(content, memories, dry_run), reader)
        wanted = self._wanted(report, stored=memories is not None or not dry_run)
        facts = Facts(self._operator, self.namespace, self.principal, FIELD)
        asked = reader.model, reader.prompt, reader.meter
        for batch in read(wanted, *asked, together=together, retries=retries):
            self._written(batch, facts, report, dry_run)
        if report.facts and not dry_run:
            self._after_run()
        return report.done(dry_run)

    async def aextract(self, content: Any = None, **options: Any) -> Extraction:
        """:meth:`extract`, without blocking the event loop; the model is asked in that thread."""
        return await offload(self.extract, content, **options)

    def quotes(self, fact: str | MemCube | Hit) -> builtins.list[Quote]:
        """The words that an extracted fact came from, each with its place in its turn.

        Empty for other memories. Words of turns that may not be read here are left out. Raises
        :class:`CubeNotFoundError`.
        """
        [cube_id] = _ids([fact])
        with self._view() as view:
            head = view.head(cube_id)
            if head is None:
                raise self._no(cube_id)
            found = [_quoted(view, span) for span in spans_of(head.cube)]
        return [quote for quote in found if quote is not None]

    async def aquotes(self, fact: str | MemCube | Hit) -> builtins.list[Quote]:
        """:meth:`quotes`, without blocking the event loop."""
        return await offload(self.quotes, fact)

    # The turns ----------------------------------------------------------------------------

    def _turns(
        self, content: Any, memories: Memories | None, dry_run: bool
    ) -> builtins.list[MemCube]:
        if memories is not None:
            return self._stored(_ids(memories))
        return self._imagined(content) if dry_run else self._added(content)

    def _added(self, content: Any) -> builtins.list[MemCube]:
        """The content as memories; what was given before is not added again."""
        drafts = self._reader.read(content, now=self._clock.now())
        key = f"extract:{self._vault.audit_mac(_identity(drafts))}"
        added = self._remember(content, key)
        with self._view() as view:  # as they stand: they may have been added a while ago
            heads = [view.head(one.id) for one in added]
        return [head.cube for head in heads if head is not None]

    def _imagined(self, content: Any) -> builtins.list[MemCube]:
        drafts = self._reader.read(content, now=self._clock.now())
        operator = self._operator
        activity = operator.activity("add", self.principal)
        admitted = operator.door.admit(drafts, self.namespace)
        return [
            operator.cube(self.namespace, self.principal, draft, activity)
            for draft, entry in admitted
            if entry.why is None
        ]

    def _stored(self, ids: Sequence[str]) -> builtins.list[MemCube]:
        with self._view() as view:
            heads = {one: view.head(one) for one in ids}
        for one, head in heads.items():
            if head is None:
                raise self._no(one)
        return [head.cube for head in heads.values() if head is not None]

    def _no(self, cube_id: str) -> CubeNotFoundError:
        return CubeNotFoundError(f"no memory {cube_id} in namespace {'/'.join(self.namespace)}")

    def _wanted(self, report: Report, *, stored: bool) -> builtins.list[MemCube]:
        """Those that are to be read now; the others stand in the report."""
        marks = self._marks(report.turns, report.reader.key) if stored else Marks()
        wanted = []
        for turn in report.turns:
            if turn.id in marks.read and not spans_of(turn):
                report.known.append(turn.id)
            elif why := unfit(turn) or marks.why(turn):
                report.unread.append(Unread(turn.id, why))
            else:
                wanted.append(turn)
        return wanted

    def _marks(self, turns: Sequence[MemCube], reader: str) -> Marks:
        with self._view() as view:
            if view.namespace is None:
                return Marks()
            heads = {turn.id: view.head(turn.id) for turn in turns}
            found = {id: head for id, head in heads.items() if head is not None}
            pks = [head.version_pk for head in found.values()]
            read = readings.among(view.tx, view.namespace.pk, reader, pks)
            return Marks(
                {id for id, head in found.items() if head.version_pk in read},
                {id for id, head in found.items() if is_held(view.tx, head.cube_pk)},
                {turn.id for turn in turns} - {one.id for one in view.searchable([*found])},
            )

    # What was said of them ----------------------------------------------------------------

    def _written(self, batch: Batch, facts: Facts, report: Report, dry_run: bool) -> None:
        if batch.sifted is None:
            report.unread += [Unread(turn.id, batch.why) for turn in batch.turns]
            return
        sifted, activity = batch.sifted, facts.activity()
        report.refused += sifted.refused
        report.count(sifted.ignored)
        admitted: list[Admitted] = []
        for new in sifted.found:
            fact = facts.admit(activity, new, report.reader.stamp)
            if isinstance(fact, Admitted):
                admitted.append(fact)
            else:
                report.refused.append(Refused("", str(fact)))
        if dry_run:
            report.facts += [one.made.cube for one in admitted]
            report.read += [turn.id for turn in batch.turns]
            return
        self._vault.require("write", self.namespace, "extract facts into")  # still
        reading = facts.keep(activity, admitted, batch.turns, report.reader.key)
        report.facts += [one.made.cube for one in admitted if one.made.cube.id in reading.written]
        report.read += [turn.id for turn in batch.turns if turn.id not in reading.changed]
        report.unread += [Unread(one, "it changed while it was read") for one in reading.changed]


def _quoted(view: Snapshot, span: Span) -> Quote | None:
    head = view.head(span.memory_id, deleted=True)
    versions = [] if head is None else view.chain(head)
    for cube in versions:
        if cube.version == span.version and 0 <= span.start < span.stop <= len(cube.text):
            words = cube.text[span.start : span.stop]
            return Quote(span, words, cube.header.descriptive.speaker)
    return None


def _ids(memories: Memories) -> builtins.list[str]:
    if isinstance(memories, str | MemCube | Hit) or not isinstance(memories, Iterable):
        raise InvalidInputError("memories is one memory: give a list of ids, cubes or hits")
    given = [one.cube if isinstance(one, Hit) else one for one in memories]
    ids = [one.id if isinstance(one, MemCube) else check_id(one) for one in given]
    return list(dict.fromkeys(ids))


def _identity(drafts: Sequence[Draft]) -> str:
    """Equal for the same turns: what was said, by whom, when."""
    return json.dumps([_said_by(one) for one in drafts])


def _said_by(one: Draft) -> list[object]:
    text = one.payload.text if isinstance(one.payload, Plaintext) else ""
    return [text, one.role, one.speaker, one.source, str(one.said_at), one.origin]


def _checked_name(name: str | None) -> str | None:
    return None if name is None else check_text(name, what="model_name", max_bytes=200)


def _check(budget: object, prompt: object, together: object, retries: object) -> None:
    if budget is not None and not isinstance(budget, Budget):
        raise InvalidInputError(f"budget is {budget!r}: give a Budget(calls=..., tokens=...)")
    if prompt is not None and not isinstance(prompt, Prompt):
        raise InvalidInputError(f"prompt is {prompt!r:.80}: give a Prompt(version, text)")
    for name, value, least, most in (
        ("together", together, 1, MOST_TOGETHER),
        ("retries", retries, 0, MOST_RETRIES),
    ):
        if type(value) is not int or not least <= value <= most:
            raise InvalidInputError(f"{name} is {value!r}: give a number from {least} to {most}")
