"""``memcube kv``: warm, stats, explain, clear; with a random model in a folder."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast
from typer.testing import CliRunner, Result

from memos_integrations import MemOS
from memos_integrations.cli import app
from memos_integrations.local_chat import LocalChat
from memos_integrations.memories.block import block
from tests.activation.test_invalidation import MODEL as LETTERS


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as ``save_pretrained`` writes it."""
    folder = tmp_path_factory.mktemp("model")
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    raw.train_from_iterator(["memories"], trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<s>", eos_token="</s>")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=4_096,
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def store(tmp_path: Path) -> tuple[Path, list[str]]:
    path = tmp_path / "store"
    with MemOS.open(path) as memory:
        cubes = memory.session("me").add([f"I like walnuts of kind number {i}" for i in range(4)])
    return path, [cube.id for cube in cubes]


def run(*words: object) -> Result:
    return CliRunner().invoke(app, ["kv", *map(str, words)])


def answer(result: Result, code: int = 0) -> Any:
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


def test_warm_stats_explain_clear(store: tuple[Path, list[str]], model: Path) -> None:
    path, ids = store
    there = ("--path", path, "--json")
    assert answer(run("stats", *there))["pieces"] == 0
    assert answer(run("explain", ids[0], *there))["cached"] is False
    warmed = answer(run("warm", "--model", model, "--system", "Be brief.", *there))
    assert warmed["memories"] == 4 and warmed["computed_tokens"] > 100
    found = answer(run("stats", *there))
    assert found["rounded_pieces"] == 0 and found["elsewhere"] == []
    assert found["memories"] == 4 and found["pieces"] > 0 and found["bytes"] > 1_000
    assert (
        answer(run("warm", "--model", model, "--system", "Be brief.", *there))["computed_tokens"]
        == 0
    ), "another process finds it"
    assert answer(run("explain", ids[0], *there))["cached"] is True
    assert answer(run("clear", *there))["pieces"] == found["pieces"]
    assert answer(run("stats", *there))["pieces"] == 0
    assert not list((path / "kv").glob("??/*.safetensors"))


def test_stats_says_what_lies_elsewhere(store: tuple[Path, list[str]], tmp_path: Path) -> None:
    """Without any model loaded."""
    path, ids = store
    there = tmp_path / "there"
    with MemOS.open(path) as memory:
        session = memory.session("me")
        cubes = session.get_many(ids)
        session.record_uses(cubes, prompt="asked")
        chat = LocalChat(memory, LETTERS, remote=there)
        chat.engine.precompute(chat.read(f"{block(cubes)}\nQuestion"))
        chat.close()
    files = list(there.rglob("*.safetensors"))
    found = answer(run("stats", "--path", path, "--json"))
    [place] = found["elsewhere"]
    assert (place["place"], place["failure"]) == (str(there), "")
    assert place["pieces"] == found["pieces"] == len(files) > 0
    assert place["bytes"] == sum(file.stat().st_size for file in files)
    assert f"{len(files)} pieces, " in run("stats", "--path", path).stdout
    assert answer(run("clear", "--path", path, "--json"))["places"] == [str(there)]
    assert answer(run("stats", "--path", path, "--json"))["elsewhere"] == []
    assert "nowhere" in run("stats", "--path", path).stdout


def test_explain_gives_figures(store: tuple[Path, list[str]]) -> None:
    path, ids = store
    often = answer(run("explain", ids[0], "--uses", "20", "--path", path, "--json"))
    never = answer(run("explain", ids[0], "--uses", "0", "--path", path, "--json"))
    assert often["worth_it"] and not never["worth_it"]
    assert often["break_even_uses"] == never["break_even_uses"] > 1
    shown = run("explain", ids[0], "--path", path)
    assert shown.exit_code == 0 and "break even uses" in shown.stdout


def test_explain_takes_the_uses_that_were_counted(store: tuple[Path, list[str]]) -> None:
    path, ids = store
    with MemOS.open(path) as memory:
        session = memory.session("me")
        found = {session.search("walnuts", limit=1)[0].cube.id for _ in range(21)}
    used = found.pop()
    unused = next(one for one in ids if one != used)
    often, never = (answer(run("explain", one, "--path", path, "--json")) for one in (used, unused))
    assert often["uses"] == 21 and never["uses"] == never["expected_uses"] == 0
    assert often["uses_an_hour"] == pytest.approx(21 / (7 * 24), rel=0.01)
    assert often["expected_uses"] == pytest.approx(often["uses_an_hour"] * math.log(2))
    given = answer(run("explain", ids[0], "--uses", "0.5", "--path", path, "--json"))
    assert given["uses_an_hour"] == 0.5


def test_explain_says_what_it_guesses(store: tuple[Path, list[str]]) -> None:
    path, ids = store
    guessed = answer(run("explain", ids[0], "--path", path, "--json"))
    assert guessed["guesses"] == [
        "tokens",
        "bytes_per_token",
        "load_bytes_per_second",
        "prefill_tokens_per_second",
    ]
    assert all(isinstance(guessed[name], int | float) for name in guessed["guesses"])
    told = answer(run("explain", ids[0], "--prefill", "50", "--path", path, "--json"))
    assert "prefill_tokens_per_second" not in told["guesses"]
    assert told["prefill_tokens_per_second"] == 50
    assert told["build_seconds"] == pytest.approx(10 * guessed["build_seconds"])
    shown = run("explain", ids[0], "--path", path).stdout
    assert "guesses" in shown and "bytes_per_token, load_bytes_per_second" in shown


def test_a_change_deletes_what_is_cached(store: tuple[Path, list[str]], model: Path) -> None:
    """Without any model loaded."""
    path, ids = store
    answer(run("warm", "--model", model, "--path", path, "--json"))
    with MemOS.open(path) as memory:
        memory.session("me").delete(ids[0])
        assert ids[0] not in {source.cube_id for source in memory.pieces.sources()}
    for file in (path / "kv").glob("??/*.safetensors"):
        assert ids[0].encode() not in file.read_bytes()


def test_what_cannot_be_used(store: tuple[Path, list[str]], tmp_path: Path) -> None:
    path, _ = store
    assert run("stats", "--path", tmp_path / "nowhere").exit_code == 3
    missing = answer(
        run("explain", "01890a5d-ac96-774b-bcce-b302099a8057", "--path", path, "--json"), 1
    )
    assert missing["error"]["type"] == "CubeNotFoundError"
    no_model = answer(run("warm", "--model", tmp_path / "none", "--path", path, "--json"), 2)
    assert no_model["error"]["type"] == "ModelLoadError"
