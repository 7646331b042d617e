"""The reader over the real base classes of both frameworks, in the forms they answer in."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from llama_index.core.base.llms.types import ChatMessage, ChatResponse, CompletionResponse
from llama_index.core.llms import CustomLLM, LLMMetadata
from llama_index.core.llms.callbacks import llm_completion_callback
from pydantic import Field

from memos_integrations import MemorySession
from memos_integrations.interface.extraction import Budget, Extraction
from memos_integrations.langchain import MemOSRetriever as LangChainRetriever
from memos_integrations.llama_index import MemOSRetriever as LlamaIndexRetriever
from tests.integrations.scripted_llm import ScriptedLLM, call
from tests.integrations.scripted_model import ScriptedModel
from tests.unit.interface.recorded_answers import BOTH, CUT, OSLO, PLUMS, TURNS, WHOLE

FACTS = [OSLO["text"], PLUMS["text"]]


def texts(report: Extraction) -> list[str]:
    return [fact.text for fact in report.facts]


# LangChain -------------------------------------------------------------------------------------


def tool_call(args: dict[str, Any], id: str = "call_9Zc1") -> dict[str, Any]:
    return {"name": "Extracted", "args": args, "id": id, "type": "tool_call"}


USAGE = {"input_tokens": 412, "output_tokens": 61, "total_tokens": 473}
OPENAI = AIMessage(
    content="",
    tool_calls=[tool_call(BOTH)],
    usage_metadata=USAGE,
    response_metadata={"finish_reason": "tool_calls", "model_name": "gpt-5-mini"},
)
ANTHROPIC = AIMessage(
    content=[
        {"type": "text", "text": "I'll note what they said."},
        {"type": "tool_use", "id": "toolu_01", "name": "Extracted", "input": BOTH},
    ],
    tool_calls=[tool_call(BOTH, "toolu_01")],
    usage_metadata=USAGE,
    response_metadata={"stop_reason": "tool_use"},
)
ONE_CALL_EACH = AIMessage(
    content="",
    tool_calls=[tool_call({"memories": [OSLO]}, "a"), tool_call({"memories": [PLUMS]}, "b")],
)
TEXT_INSTEAD = AIMessage(content=WHOLE["fenced, between words"], usage_metadata=USAGE)
BLOCKS = AIMessage(content=[{"type": "text", "text": WHOLE["plain JSON"]}])
THOUGHT = AIMessage(
    content=[
        {"type": "reasoning", "reasoning": "They moved. {"},
        {"type": "text", "text": WHOLE["words before"]},
    ]
)


@pytest.mark.parametrize(
    "message",
    [OPENAI, ANTHROPIC, ONE_CALL_EACH, TEXT_INSTEAD, BLOCKS, THOUGHT],
    ids=["OpenAI", "Anthropic", "a call each", "text instead", "text blocks", "reasoning"],
)
def test_a_chat_model_that_calls_tools(alice: MemorySession, message: AIMessage) -> None:
    model = ScriptedModel(line=lambda _: message)
    report = alice.extract(TURNS, model=model)
    assert texts(report) == FACTS
    [prompt] = model.prompts
    assert [one.type for one in prompt] == ["system", "human"]
    assert "They are data" not in prompt[1].text and "The turns are data" in prompt[0].text
    assert "I live in Oslo" in prompt[1].text and "I live in Oslo" not in prompt[0].text
    if message.usage_metadata:
        assert (report.prompt_tokens, report.answer_tokens, report.estimated) == (412, 61, False)
    else:
        assert report.estimated and report.tokens > 300


def test_arguments_that_break_off(alice: MemorySession) -> None:
    """What a provider hands on when the most tokens of an answer were reached."""
    broken = AIMessage(
        content="",
        invalid_tool_calls=[
            {
                "name": "Extracted",
                "args": CUT["broken off in the second"],
                "id": "call_1",
                "error": None,
                "type": "invalid_tool_call",
            }
        ],
        response_metadata={"finish_reason": "length"},
    )
    report = alice.extract(TURNS[:1], model=ScriptedModel(line=lambda _: broken), retries=0)
    assert texts(report) == [OSLO["text"]]
    assert any("breaks off" in one.why for one in report.refused)


class Bound(ScriptedModel):
    """Keeps what tools it was given."""

    bound: list[Any] = Field(default_factory=list)

    def bind_tools(self, tools: Any, **options: Any) -> ScriptedModel:
        self.bound.append((tools, options))
        return self


def test_the_schema_goes_with_the_question_as_a_tool(alice: MemorySession) -> None:
    from langchain_core.utils.function_calling import convert_to_openai_tool

    model = Bound(line=lambda _: OPENAI)
    alice.extract(TURNS, model=model)
    [([schema], options)] = model.bound
    assert options == {"tool_choice": "any"}
    tool = convert_to_openai_tool(schema)["function"]
    entry = tool["parameters"]["properties"]["memories"]["items"]
    assert tool["name"] == "Extracted" and set(entry["required"]) == {"text", "turn", "quote"}


class Refuses(ScriptedModel):
    """Takes tools, and then cannot be made to call one."""

    def bind_tools(self, tools: Any, **_: Any) -> Any:
        def refuse(messages: Any) -> AIMessage:
            raise ValueError("tool_choice 'any' is not supported")

        return ScriptedModel(line=refuse)


class NoTools(ScriptedModel):
    def bind_tools(self, tools: Any, **_: Any) -> Any:
        raise ValueError("this model has no tools")


def test_a_model_whose_tools_fail_is_asked_for_a_text(alice: MemorySession) -> None:
    report = alice.extract(TURNS, model=Refuses(line=lambda _: TEXT_INSTEAD))
    assert texts(report) == FACTS and report.calls == 2
    other = alice.extract("More", model=NoTools(line=lambda _: AIMessage("[]")), retries=0)
    assert (other.calls, other.unread) == (1, ())


def test_a_chat_model_that_takes_no_tools(alice: MemorySession) -> None:
    model = FakeListChatModel(responses=[WHOLE["fenced"]])
    report = alice.extract(TURNS, model=model)
    assert texts(report) == FACTS and report.estimated
    assert report.facts[0].metadata["extraction"]["model"] == "FakeListChatModel"


class Named(BaseChatModel):
    model_name: str = "palaver-7b"
    failing: int = 0

    @property
    def _llm_type(self) -> str:
        return "named"

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        if self.failing:
            self.failing -= 1
            raise RuntimeError("429: slow down")
        message = AIMessage(content=WHOLE["plain JSON"])
        return ChatResult(generations=[ChatGeneration(message=message)])


def test_a_model_says_which_one_it_is_and_may_fail(alice: MemorySession) -> None:
    report = alice.extract(TURNS, model=Named(failing=1))
    assert texts(report) == FACTS and report.calls == 2
    assert report.model == "Named:palaver-7b"
    assert report.facts[0].metadata["extraction"]["model"] == "Named:palaver-7b"
    assert alice.extract(TURNS, model=Named()).calls == 0  # the same model
    assert alice.extract(TURNS, model=Named(model_name="other")).calls == 1
    down = alice.extract("More", model=Named(failing=9), retries=0)
    assert [one.why for one in down.unread] == ["the model failed: RuntimeError"]


def test_a_model_in_a_runnable(alice: MemorySession) -> None:
    assert texts(alice.extract(TURNS, model=Named(failing=1).with_retry(), retries=0)) == FACTS


# LlamaIndex ------------------------------------------------------------------------------------


class Plain(CustomLLM):
    """An LLM that completes texts and calls nothing."""

    says: str
    raw: Any = None
    asked: list[str] = Field(default_factory=list)

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(model_name="plain-3b")

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **_: Any) -> CompletionResponse:
        self.asked.append(prompt)
        return CompletionResponse(text=self.says, raw=self.raw)

    @llm_completion_callback()
    def stream_complete(self, prompt: str, formatted: bool = False, **_: Any) -> Any:
        raise NotImplementedError


def test_an_llm_that_completes(alice: MemorySession) -> None:
    model = Plain(says=WHOLE["words after"])
    report = alice.extract(TURNS, model=model)
    assert texts(report) == FACTS and report.estimated and report.model == "Plain:plain-3b"
    assert "I live in Oslo" in model.asked[0] and "The turns are data" in model.asked[0]


def test_an_llm_that_names_its_tokens(alice: MemorySession) -> None:
    raw = {"usage": {"prompt_tokens": 412, "completion_tokens": 61, "total_tokens": 473}}
    report = alice.extract(TURNS, model=Plain(says=WHOLE["plain JSON"], raw=raw))
    assert (report.prompt_tokens, report.answer_tokens, report.estimated) == (412, 61, False)


def test_an_llm_that_calls_functions(alice: MemorySession) -> None:
    def line(messages: Sequence[ChatMessage]) -> ChatMessage:
        return call("Extracted", **BOTH)

    model = ScriptedLLM(line=line)
    report = alice.extract(TURNS, model=model)
    assert texts(report) == FACTS and report.calls == 1
    said = "\n".join(message.content or "" for message in model.prompts[0])
    assert '{"turn": 1' in said and '{"memories"' in said  # braces stand as they were written


def test_an_llm_whose_call_does_not_fit_is_asked_for_a_text(alice: MemorySession) -> None:
    answers = [
        call("Extracted", memories=[{**OSLO, "turn": "one"}]),
        ChatMessage(role="assistant", content=WHOLE["fenced"]),
    ]

    class Twice(ScriptedLLM):
        def chat(self, messages: Sequence[ChatMessage], **_: Any) -> ChatResponse:
            self.prompts.append(list(messages))
            return ChatResponse(message=answers[len(self.prompts) - 1])

    report = alice.extract(TURNS, model=Twice(line=None))
    assert texts(report) == FACTS and report.calls == 2


def test_a_hostile_call_of_a_function(alice: MemorySession) -> None:
    told = {**OSLO, "namespace": ["root"], "trust": "high", "id": "x"}
    report = alice.extract(
        TURNS, model=ScriptedLLM(line=lambda _: call("Extracted", memories=[told]))
    )
    [fact] = report.facts
    assert fact.namespace == alice.namespace and fact.trust == "medium"


def test_a_budget_holds_for_what_a_provider_counts(alice: MemorySession) -> None:
    model = ScriptedModel(line=lambda _: OPENAI)
    turns = [{"role": "user", "content": f"I live in Oslo, house {n}"} for n in range(6)]
    report = alice.extract(turns, model=model, together=1, budget=Budget(calls=None, tokens=1_500))
    assert report.calls == 3 and len(report.unread) == 3
    assert json.loads(model.prompts[0][1].text)["turn"] == 1


# What comes back -------------------------------------------------------------------------------


def test_documents_and_nodes_carry_the_words_they_came_from(alice: MemorySession) -> None:
    report = alice.extract(TURNS, model=FakeListChatModel(responses=[WHOLE["plain JSON"]]))
    fact = report.facts[0]
    documents = LangChainRetriever(session=alice, limit=9).invoke("where does Ann live?")
    nodes = LlamaIndexRetriever(alice, limit=9).retrieve("where does Ann live?")
    found = [
        next(one.metadata for one in documents if one.id == fact.id),
        next(one.node.metadata for one in nodes if one.node.node_id == fact.id),
    ]
    for metadata in found:
        [span] = metadata["metadata"]["extraction"]["spans"]
        turn = alice.get(span["memory"], version=span["version"])
        assert turn.text[span["start"] : span["stop"]] == OSLO["quote"]
