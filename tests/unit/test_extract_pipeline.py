"""Extraction as a step of a pipeline: the model is asked outside of the transaction."""

from __future__ import annotations

import json
from typing import Any

import pytest

from memos_integrations import MemorySession
from memos_integrations.errors import InvalidInputError, PipelineError, ReadOnlyMomentError
from memos_integrations.interface.pipeline import Pipeline
from tests.unit.interface.recorded_answers import OSLO, PLUMS, TURNS

READ = (
    Pipeline("read", inputs=["turns", "model"])
    .add("$turns", name="raw")
    .extract("$raw", model="$model", name="facts", budget=None)
)


class Model:
    """Answers, and says whether somebody could write meanwhile."""

    def __init__(self, session: MemorySession, *entries: Any) -> None:
        self._session, self._entries, self.calls = session, entries, 0

    def __call__(self, prompt: str) -> str:
        self.calls += 1
        self._session.add(f"written while the model thinks: {self.calls}")
        return json.dumps({"memories": self._entries})


def test_turns_and_facts_are_one_run(alice: MemorySession) -> None:
    model = Model(alice, OSLO, PLUMS)
    run = alice.run(READ, {"turns": TURNS, "model": model})
    facts = run["facts"]
    assert [fact.text for fact in facts] == [OSLO["text"], PLUMS["text"]] and facts.calls == 1
    assert model.calls == 1  # however many attempts the run took
    assert [entry.verb for entry in alice.log()] == ["pipeline read", "add"]
    step = run.steps[1]
    assert step.wrote == tuple((fact.id, 1) for fact in facts)
    assert {id for id, _ in step.read} == {turn.id for turn in run["raw"]}
    assert [quote.words for quote in alice.quotes(facts.facts[0])] == [OSLO["quote"]]
    assert alice.search("where does Ann live?")
    again = alice.extract(memories=run["raw"], model=model)
    assert again.calls == 0 and again.known == facts.read


def test_facts_are_handed_on_and_none_skips(alice: MemorySession) -> None:
    filed = READ.update("$facts", name="filed", tags=["read"], when="$facts")
    run = alice.run(filed, {"turns": TURNS, "model": Model(alice, OSLO)})
    assert run["filed"].tags == ("read",) and run["filed"].text == OSLO["text"]
    none = alice.run(filed, {"turns": "Good morning", "model": Model(alice)})
    assert none.steps[2].skipped and not none["facts"]


def test_a_dry_run_and_a_failing_step_write_nothing(alice: MemorySession) -> None:
    plan = alice.run(READ, {"turns": TURNS, "model": Model(alice, OSLO)}, dry_run=True)
    assert [fact.text for fact in plan["facts"]] == [OSLO["text"]]
    failing = READ.get("01890a5d-ac96-774b-bcce-b302099a8057", name="missing", after=["facts"])
    with pytest.raises(PipelineError, match="missing"):
        alice.run(failing, {"turns": TURNS, "model": Model(alice, OSLO)})
    assert [cube.text for cube in alice.list()] == ["written while the model thinks: 1"] * 2
    assert alice.extract(TURNS, model=Model(alice, OSLO)).calls == 1  # nothing was marked


def test_a_model_that_fails_leaves_the_turns(alice: MemorySession) -> None:
    def down(_: str) -> str:
        raise ConnectionError

    run = alice.run(READ, {"turns": TURNS, "model": down})
    assert len(run["facts"].unread) == 2 and run["facts"].calls == 2
    assert alice.count() == 2


def test_retries_are_those_of_its_answers(alice: MemorySession) -> None:
    asked: list[str] = []

    def never(prompt: str) -> str:
        asked.append(prompt)
        return "no JSON"

    step = Pipeline("read", inputs=["turns", "model"]).add("$turns", name="raw")
    step = step.extract("$raw", model="$model", retries=3)
    alice.run(step, {"turns": "Parrots", "model": never})
    assert len(asked) == 4
    assert len(set(asked)) == 2  # the first question, and the one that says what was wrong


def test_what_a_step_needs(alice: MemorySession) -> None:
    with pytest.raises(TypeError):
        Pipeline("x").extract("$raw")  # type: ignore[call-arg]
    with pytest.raises(InvalidInputError, match="takes no 'content'"):
        Pipeline("x").extract([], model="$model", content="x")
    with pytest.raises(PipelineError, match="model is"):
        alice.run(READ, {"turns": TURNS, "model": 7})
    assert alice.count() == 0


def test_a_picture_shows_no_key_of_a_model(alice: MemorySession) -> None:
    class Keyed(Model):
        def __repr__(self) -> str:
            return "Keyed(api_key='sk-secret')"

    drawn = Pipeline("read", inputs=["raw"]).extract("$raw", model=Keyed(alice)).mermaid()
    assert "model#58; Keyed<br/>" in drawn and "secret" not in drawn
    assert "model#58; #36;model" in READ.mermaid()


def test_it_is_written_in_a_file_with_the_model_as_an_input(alice: MemorySession) -> None:
    text = """
name: read
inputs: [turns, model]
steps:
  - {name: raw, verb: add, with: {content: $turns}}
  - {name: facts, verb: extract, with: {memories: $raw, model: $model, together: 5}}
"""
    model = Model(alice, OSLO)
    run = alice.run(Pipeline.parse(text), {"turns": TURNS, "model": model})
    assert [fact.text for fact in run["facts"]] == [OSLO["text"]]
    with pytest.raises(ReadOnlyMomentError):
        alice.as_of(run["raw"][0].created_at).run(READ, {"turns": TURNS, "model": model})
