"""A language model within a run: it is asked outside of the transaction, once for each question."""

from __future__ import annotations

from memos_integrations.interface.extracting.asking import Answer, Asker, Failed, asker
from memos_integrations.interface.extracting.prompting import Asked
from memos_integrations.interface.pipelining.memo import Known


class Outside(Asker):
    """What a model has answered; :class:`~.memo.Needed` for what it was not asked yet."""

    def __init__(self, known: Known, model: object, name: str | None) -> None:
        self._asker = asker(model, name)
        super().__init__(self._asker.name)
        self._known, self._model = known, model  # the model is kept: its id stands for it

    def ask(self, asked: Asked, attempt: int) -> Answer | Failed:
        """Its answer, as it was given the first time."""
        key = ("asked", self._known.step, id(self._model), asked, attempt)
        answer: Answer | Failed = self._known.result(
            key, lambda: self._asker.ask(asked, attempt), by_function=False
        )
        return answer
