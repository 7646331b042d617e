"""Several prompts answered together: each is read by itself, then one forward goes on with all.

Reading is that of a request alone: the longest cached prefix, the same bits for hit and miss, what
is computed is kept. Then the requests' keys and values are joined (see ``rows``), and each step
decodes one token of every request. One that ends leaves, and the next one enters.

Products of matrices round differently for another number of rows, so the logits of a batch are not
bit for bit those of a request alone: within 1e-4 in float32, and in bfloat16 as far apart as any
two ways of computing it. Which requests stand together follows from the prompts and the answers,
never from what is cached: so hit and miss give the same bits here, too. A batch of one is the
request alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator, Sequence
from typing import TYPE_CHECKING

import torch

from memos_integrations.errors import InvalidInputError
from memos_integrations.memories.activation.prefix_tree import Lease
from memos_integrations.memories.activation.rows import Row, bytes_of, joined
from memos_integrations.memories.activation.sampling import Sampling
from memos_integrations.memories.activation.segments import Prompt
from memos_integrations.memories.activation.tensors import Piece
from memos_integrations.memories.activation.together import step
from memos_integrations.memories.activation.usage import Usage
from memos_integrations.memories.activation.writing import Writing

if TYPE_CHECKING:
    from memos_integrations.memories.activation.engine import ActivationEngine

BATCH = 8
"""Requests decoded together at most, unless another number is given."""


class _Request:
    """One that has been read and is being answered."""

    def __init__(self, which: int, writing: Writing, row: Row, lease: Lease[Piece]) -> None:
        self.which, self.writing, self.row, self.lease = which, writing, row, lease


class Batch(Iterator[tuple[int, int | None]]):
    """Pairs of which prompt and its next token; ``None`` once, where its answer ends.

    Prompts enter in order, as many as ``max_batch`` and as the joined keys and values fit into the
    engine's budget once more. Close it to free what it holds; :meth:`stop` ends one answer.
    """

    def __init__(
        self,
        engine: ActivationEngine,
        prompts: Sequence[Prompt],
        sampling: Sampling | Sequence[Sampling] | None = None,
        usages: Sequence[Usage] | None = None,
        *,
        max_batch: int = BATCH,
    ) -> None:
        """Raises :class:`InvalidInputError`, before anything is computed."""
        if isinstance(max_batch, bool) or not isinstance(max_batch, int) or max_batch < 1:
            raise InvalidInputError(f"max_batch is {max_batch!r}: give a number from 1 on")
        if sampling is None or isinstance(sampling, Sampling):
            sampling = [sampling or Sampling()] * len(prompts)
        self.usages = [Usage() for _ in prompts] if usages is None else list(usages)
        """What each request took; filled in as it goes on."""
        for name, given in (("sampling", sampling), ("usages", self.usages)):
            if len(given) != len(prompts):
                raise InvalidInputError(
                    f"there are {len(prompts)} prompts, and {len(given)} in {name}: give one each"
                )
        for prompt in prompts:
            engine.check(prompt)
        self._engine, self._most = engine, max_batch
        self._prompts, self._sampling = list(prompts), list(sampling)
        self._stopped: set[int] = set()
        self._requests: list[_Request] = []
        self._joined: list[_Request] = []
        self._pairs = self._run()

    def __next__(self) -> tuple[int, int | None]:
        return next(self._pairs)

    def answers(self) -> list[list[int]]:
        """All tokens of each answer, as far as they were not taken yet."""
        found: list[list[int]] = [[] for _ in self._prompts]
        for which, token in self:
            if token is not None:
                found[which].append(token)
        return found

    def stop(self, which: int) -> None:
        """No more of this answer: it leaves before the next step, and no ``None`` comes of it."""
        self._stopped.add(which)

    def close(self) -> None:
        """Leave off, and free what is held."""
        self._pairs.close()

    # Within -------------------------------------------------------------------------------

    def _run(self) -> Generator[tuple[int, int | None], None, None]:
        if len(self._prompts) > 1 and self._in_turn():
            self._most = 1
        waiting = deque(self._written())
        try:
            while waiting or self._requests:
                while waiting and self._has_room(waiting[0][0]):
                    which, writing = waiting.popleft()
                    if which not in self._stopped:
                        yield from self._say(*self._read(which, writing))
                for request, logits in self._step():
                    yield from self._say(request, logits)
        finally:
            for request in list(self._requests):
                self._leave(request)

    def _in_turn(self) -> bool:
        in_turn = bool(self._engine.why_in_turn())
        self._engine._tally.batch(len(self._prompts), in_turn=in_turn)
        return in_turn

    def _written(self) -> list[tuple[int, Writing]]:
        """All answers, not begun; their clocks run."""
        model, tally = self._engine.model, self._engine._tally
        given = zip(self._prompts, self._sampling, self.usages, strict=True)
        return [(i, Writing(*one, model=model, tally=tally)) for i, one in enumerate(given)]

    def _has_room(self, which: int) -> bool:
        if not self._requests:
            return True
        if len(self._requests) >= self._most:
            return False
        tokens = max(self._length(i) for i in (which, *(one.which for one in self._requests)))
        needed = bytes_of(self._requests[0].row, len(self._requests) + 1, tokens)
        return needed <= self._engine.tree.budget

    def _length(self, which: int) -> int:
        """Of a prompt with the longest answer that it may have."""
        most = self._sampling[which].max_new_tokens
        return self._engine._before + len(self._prompts[which].tokens) + most

    def _read(self, which: int, writing: Writing) -> tuple[_Request, torch.Tensor]:
        """A prompt is read, and is one of those under way."""
        prompt = self._prompts[which]
        read = self._engine.prefill(prompt, writing.usage)
        row = Row(read.cache, self._engine._before + len(prompt.tokens))
        request = _Request(which, writing, row, read.lease)
        self._requests.append(request)
        return request, read.logits

    def _say(self, request: _Request, logits: torch.Tensor) -> Iterator[tuple[int, int | None]]:
        """The next token of a request, and whether that was all."""
        which = request.which
        if which not in self._stopped:
            token = request.writing.next(logits)
            if token is not None:
                yield which, token
                if which not in self._stopped and not request.writing.is_full():
                    return
        self._leave(request)
        if which not in self._stopped:
            yield which, None

    def _leave(self, request: _Request) -> None:
        self._requests.remove(request)
        self._engine.tree.release(request.lease)

    def _step(self) -> list[tuple[_Request, torch.Tensor]]:
        """One forward for all that are under way."""
        for request in [one for one in self._requests if one.which in self._stopped]:
            self._leave(request)
        requests = list(self._requests)
        tokens = [one.writing.so_far[-1] for one in requests]
        rows = [one.row for one in requests]
        if len(rows) == 1 and rows[0].alone:
            at = len(requests[0].writing.so_far) - 1
            return [(requests[0], self._engine._forward(rows[0].cache, tokens, at))]
        if requests and requests != self._joined:
            joined(self._engine.model.model.config, rows)
            self._joined = requests
        return list(zip(requests, step(self._engine, rows, tokens), strict=True)) if rows else []
