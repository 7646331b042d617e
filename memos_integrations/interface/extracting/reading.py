"""Asking a model about turns: in batches, within a budget, again where an answer cannot be read."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from memos_integrations.cube import MemCube
from memos_integrations.interface.extracting.answers import Entries, entries
from memos_integrations.interface.extracting.asking import Answer, Asker, Failed
from memos_integrations.interface.extracting.drafting import Sifted, sift
from memos_integrations.interface.extracting.prompting import Prompt, ask
from memos_integrations.interface.extraction import Budget, Refused

MOST_CHARACTERS = 12_000
"""Of the turns that are read together."""
LONGEST_TURN = 40_000
"""Characters of a turn that can be read: what is added as content is cut far below."""

SPENT = "the budget is spent"


@dataclass
class Meter:
    """What was asked so far, against the budget."""

    budget: Budget
    calls: int = 0
    prompt_tokens: int = 0
    answer_tokens: int = 0
    estimated: bool = False

    def allows(self, tokens: int) -> bool:
        """Whether a call with a prompt of so many tokens may be made."""
        spent = self.prompt_tokens + self.answer_tokens
        most_calls, most = self.budget.calls, self.budget.tokens
        return (most_calls is None or self.calls < most_calls) and (
            most is None or spent + tokens <= most
        )

    def take(self, answer: Answer | Failed, prompt_tokens: int) -> None:
        """A call was made."""
        self.calls += 1
        if isinstance(answer, Failed):
            self.prompt_tokens += prompt_tokens
            self.estimated = True
            return
        self.prompt_tokens += answer.prompt_tokens
        self.answer_tokens += answer.answer_tokens
        self.estimated = self.estimated or answer.estimated


@dataclass(frozen=True)
class Batch:
    """Turns that were read together, and what was said of them; or why they were not."""

    turns: tuple[MemCube, ...]
    sifted: Sifted | None = None
    why: str = ""
    """Why they were not read."""


def batches(turns: Sequence[MemCube], together: int) -> list[tuple[MemCube, ...]]:
    """Turns that are read together: at most so many, and all under the same rules.

    What tools and documents say is read apart from what people say: it can put nothing into their
    mouths. Of other rules (access, owner, tags, labels) none is seen with those of another kind.
    """
    lanes: dict[object, list[list[MemCube]]] = {}
    for turn in turns:
        lane = lanes.setdefault(_lane(turn), [])
        fits = lane and len(lane[-1]) < together and _size([*lane[-1], turn]) <= MOST_CHARACTERS
        if fits:
            lane[-1].append(turn)
        else:
            lane.append([turn])
    return [tuple(one) for lane in lanes.values() for one in lane]


def _lane(turn: MemCube) -> object:
    rules = turn.header.governance
    low = turn.trust == "low"
    return low, rules.access, rules.owner, frozenset(turn.tags), frozenset(rules.sensitivity)


def _size(turns: Sequence[MemCube]) -> int:
    return sum(len(turn.text) for turn in turns)


def read(
    turns: Sequence[MemCube],
    model: Asker,
    prompt: Prompt,
    meter: Meter,
    *,
    together: int,
    retries: int,
) -> Iterator[Batch]:
    """Ask about all of them, batch by batch; what was not read comes with its reason.

    A batch whose answer breaks off is asked again in halves. After a model that fails, and once
    the budget is spent, nothing more is asked.
    """
    waiting = deque(batches(turns, together))
    over = ""
    while waiting:
        batch = waiting.popleft()
        if over:
            yield Batch(batch, why=over)
            continue
        outcome = _Round(batch, model, prompt, meter, retries).run()
        if outcome.stop:
            over = outcome.why
            yield Batch(batch, why=outcome.why)
        elif outcome.halve:
            middle = len(batch) // 2
            waiting.extendleft((batch[middle:], batch[:middle]))
        else:
            yield Batch(batch, outcome.sifted, outcome.why)


@dataclass(frozen=True)
class _Outcome:
    sifted: Sifted | None = None
    why: str = ""
    stop: bool = False
    halve: bool = False


@dataclass
class _Round:
    """All that is asked about one batch."""

    batch: tuple[MemCube, ...]
    model: Asker
    prompt: Prompt
    meter: Meter
    retries: int

    def run(self) -> _Outcome:
        trouble, best = "", Entries()
        for attempt in range(self.retries + 1):
            asked = ask(self.prompt, self.batch, trouble)
            if not self.meter.allows(asked.tokens):
                return self._ended(best, SPENT, stop=True)
            answer = self.model.ask(asked, attempt)
            self.meter.take(answer, asked.tokens)
            if isinstance(answer, Failed):
                if attempt == self.retries:
                    why = f"the model failed: {answer.why}"
                    return self._ended(best, why, stop=True)
                continue
            found = entries(answer.said)
            if not found.trouble:
                return _Outcome(sift(found.items, self.batch, found.left))
            if found.cut and len(self.batch) > 1:
                return _Outcome(halve=True)
            best = found if len(found.items) >= len(best.items) else best
            trouble = found.trouble
        return self._ended(best, f"the answer could not be used: {trouble}")

    def _ended(self, best: Entries, why: str, *, stop: bool = False) -> _Outcome:
        """A part of an answer is better than none, and the report says that it is one."""
        if not best.items:
            return _Outcome(why=why, stop=stop)
        sifted = sift(best.items, self.batch)
        sifted.refused.append(Refused("", f"the rest of an answer: {best.trouble}"))
        return _Outcome(sifted)
