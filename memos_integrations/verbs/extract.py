"""What a session can do with a language model that reads: turns become facts with their words."""

from __future__ import annotations

import builtins
import hashlib
import json
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from memos_integrations.cube import (
    Draft,
    MemCube,
    Namespace,
    Plaintext,
    Principal,
    State,
    check_id,
    check_text,
)
from memos_integrations.errors import CubeNotFoundError, InvalidInputError
from memos_integrations.infrastructure import readings
from memos_integrations.infrastructure.quarantine import is_held
from memos_integrations.infrastructure.snapshot import Snapshot
from memos_integrations.infrastructure.vault import MemVault
from memos_integrations.interface.extracting.asking import Asker, asker
from memos_integrations.interface.extracting.prompting import Prompt
from memos_integrations.interface.extracting.reading import LONGEST_TURN, Batch, Meter, read
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

_SHOWN = (State.GENERATED, State.ACTIVATED, State.FROZEN)


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
        when they are erased. What another turn or nobody said is refused; the report says what and
        why. The same turns, model and prompt again: nothing is asked or written. A batch is one
        transaction; what the ``budget`` leaves unread is read by the next call.

        ``together``: turns in one question. ``retries``: further questions where an answer cannot
        be used. A ``dry_run`` asks the model, and writes nothing.

        Raises :class:`AccessDeniedError`, :class:`CubeNotFoundError`, and what :meth:`add` raises;
        what the model does wrong stands in the report.
        """
        reader = _Reader(
            asker(model, _checked_name(model_name)),
            Prompt.packaged() if prompt is None else prompt,
            Meter(Budget() if budget is None else budget),
        )
        _check(budget, prompt, together, retries)
        if (content is None) == (memories is None):
            raise InvalidInputError("give either content, or memories=, to extract facts from")
        self._vault.require("write", self.namespace, "extract facts into")
        if memories is not None:
            turns = self._stored(_ids(memories))
        elif dry_run:
            turns = self._imagined(content)
        else:
            turns = self._added(content)
        report = _Report(turns, reader)
        facts = Facts(self._operator, self.namespace, self.principal, FIELD)
        wanted = self._wanted(turns, report, stored=memories is not None or not dry_run)
        for batch in read(
            wanted, reader.model, reader.prompt, reader.meter, together=together, retries=retries
        ):
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

    def _wanted(
        self, turns: Sequence[MemCube], report: _Report, *, stored: bool
    ) -> builtins.list[MemCube]:
        """Those that are to be read now; the others stand in the report."""
        marks = self._marks(turns, report.reader.key) if stored else _Marks()
        wanted = []
        for turn in turns:
            if turn.id in marks.read and not spans_of(turn):
                report.known.append(turn.id)
            elif why := _unfit(turn) or marks.why(turn):
                report.unread.append(Unread(turn.id, why))
            else:
                wanted.append(turn)
        return wanted

    def _marks(self, turns: Sequence[MemCube], reader: str) -> _Marks:
        with self._view() as view:
            if view.namespace is None:
                return _Marks()
            heads = {turn.id: view.head(turn.id) for turn in turns}
            found = {id: head for id, head in heads.items() if head is not None}
            pks = [head.version_pk for head in found.values()]
            read = readings.among(view.tx, view.namespace.pk, reader, pks)
            return _Marks(
                {id for id, head in found.items() if head.version_pk in read},
                {id for id, head in found.items() if is_held(view.tx, head.cube_pk)},
                {turn.id for turn in turns} - {one.id for one in view.searchable([*found])},
            )

    # What was said of them ----------------------------------------------------------------

    def _written(self, batch: Batch, facts: Facts, report: _Report, dry_run: bool) -> None:
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


@dataclass(frozen=True)
class _Reader:
    """A model with a prompt: what has read a turn once need not read it again."""

    model: Asker
    prompt: Prompt
    meter: Meter

    @property
    def key(self) -> str:
        told = json.dumps([self.model.name, self.prompt.version, self.prompt.digest])
        return hashlib.sha256(told.encode()).hexdigest()[:24]

    @property
    def stamp(self) -> dict[str, str]:
        return {
            "model": self.model.name,
            "prompt": self.prompt.version,
            "prompt_sha256": self.prompt.digest,
        }


@dataclass
class _Report:
    turns: Sequence[MemCube]
    reader: _Reader
    facts: list[MemCube] = field(default_factory=list)
    read: list[str] = field(default_factory=list)
    known: list[str] = field(default_factory=list)
    unread: list[Unread] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    ignored: dict[str, int] = field(default_factory=dict)

    def count(self, ignored: dict[str, int]) -> None:
        for name, times in ignored.items():
            self.ignored[name] = self.ignored.get(name, 0) + times

    def done(self, dry_run: bool) -> Extraction:
        meter = self.reader.meter
        return Extraction(
            tuple(self.facts),
            tuple(self.turns),
            tuple(self.read),
            tuple(self.known),
            tuple(self.unread),
            tuple(self.refused),
            dict(self.ignored),
            meter.calls,
            meter.prompt_tokens,
            meter.answer_tokens,
            meter.estimated,
            self.reader.model.name,
            self.reader.prompt.version,
            dry_run,
        )


@dataclass(frozen=True)
class _Marks:
    """Ids of turns, by what is known of them."""

    read: set[str] = field(default_factory=set)
    held: set[str] = field(default_factory=set)
    """In quarantine."""
    hidden: set[str] = field(default_factory=set)
    """No search may show them."""

    def why(self, turn: MemCube) -> str:
        """Why a turn is shown to no model; empty: it may be."""
        if turn.id in self.held:
            return "it is in quarantine: look at it and release() it, or leave it"
        return "its time is over" if turn.id in self.hidden else ""


def _unfit(turn: MemCube) -> str:
    """Why a memory cannot be read; empty: it can."""
    if spans_of(turn):
        return "it was extracted itself"
    if not turn.text:
        return f"it has no words ({turn.memory_type})"
    if turn.state not in _SHOWN:
        return f"it is {turn.state}"
    if len(turn.text) > LONGEST_TURN:
        return f"it has more than {LONGEST_TURN:,} characters: add it as content, which is cut"
    return ""


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
