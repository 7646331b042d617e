"""``memcube distill`` and ``adapters``, with a random model in a folder."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from memos_integrations import MemOS
from memos_integrations.cli import app
from memos_integrations.memories.parameter import storage

sys.path.insert(0, str(Path(__file__).parents[1] / "parameter"))
from words import FACTS, build


def run(*words: object, code: int = 0) -> Any:
    result = CliRunner().invoke(app, [*map(str, words), "--json"])
    assert result.exit_code == code, result.output
    return json.loads(result.output)


FREE = ("--recall", 0, "--gain", -1, "--drift", 99)


@pytest.fixture
def ready(tmp_path: Path) -> tuple[Path, Path, list[str]]:
    """A model and a store, in folders, and the ids of two memories."""
    torch.set_num_threads(1)
    model, path = tmp_path / "model", tmp_path / "store"
    made = build()
    made.model.save_pretrained(model)
    made.tokenizer.save_pretrained(model)
    with MemOS.open(path) as memory:
        return model, path, [cube.id for cube in memory.session("me").add(list(FACTS[:2]))]


def test_distil_list_and_refuse(ready: tuple[Path, Path, list[str]]) -> None:
    model, path, ids = ready
    common = ("--path", path)
    refused = run("distill", *ids, "--model", model, *common, code=2)
    assert refused["error"]["type"] == "GateError"
    assert run("adapters", *common) == {"adapters": []}
    made_of = run("distill", *ids, "--model", model, *FREE, *common)
    [listed] = run("adapters", *common)["adapters"]
    assert listed["id"] == made_of["id"] and listed["outdated"] == []
    assert [one["cube_id"] for one in listed["sources"]] == ids
    assert listed["report"]["drift"] == made_of["drift"]
    assert made_of["bare_perplexity"] > 1 and made_of["perplexity"] > 1
    wide = {"COLUMNS": "200"}
    shown = CliRunner(env=wide).invoke(app, ["adapters", *map(str, common)])
    told = f"{made_of['bare_perplexity']:.4g} → {made_of['perplexity']:.4g}"
    assert shown.exit_code == 0 and "lora" in shown.output and told in shown.output
    missing = "0199aaaa-0000-7000-8000-000000000000"
    assert run("distill", missing, "--model", model, *common, code=1)["error"]


def test_a_prefix_of_some_positions_in_another_dtype(ready: tuple[Path, Path, list[str]]) -> None:
    model, path, ids = ready
    common = ("--model", model, "--path", path)
    kind = ("--kind", "prefix", "--positions", 6)
    made = run("distill", *ids, *kind, "--dtype", "bfloat16", *FREE, *common)
    [listed] = run("adapters", "--path", path)["adapters"]
    assert (listed["id"], listed["kind"]) == (made["id"], "prefix")
    with MemOS.open(path) as memory:
        [note] = memory.session("me").adapters()
        adapter = storage.from_bytes(memory.vault.blobs.get(note.cube.payload.blob))  # type: ignore[union-attr]
    assert adapter.manifest.rank == 6
    assert {(one.shape[-2], one.dtype) for one in adapter.tensors.values()} == {(6, torch.bfloat16)}
    refused = run("distill", *ids, "--positions", 6, *common, code=2)
    assert "--kind prefix" in refused["error"]["message"]
    refused = run("distill", *ids, "--dtype", "int8", *common, code=2)
    assert "dtype" in refused["error"]["message"]
    for wrong in (("--kind", "full"), (*kind[:2], "--positions", 1)):
        result = CliRunner().invoke(app, ["distill", *ids, *map(str, wrong), *map(str, common)])
        assert result.exit_code == 2
