"""``memcube pipeline``: files that run, files that do not, and pictures of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from memos_integrations import MemOS
from memos_integrations.cli.app import app

FILE = """
name: tidy up
inputs: {kind: note, most: 10}
steps:
  - {name: old, verb: list, with: {limit: $most, filters: {tags: $kind}}}
  - {verb: archive, with: {memories: $old}, when: $old}
"""


@pytest.fixture
def store(tmp_path: Path) -> Path:
    with MemOS.open(tmp_path / "store") as memory:
        memory.session("me").add(["one", "two"], tags=["note"])
    return tmp_path / "store"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "tidy.yaml").write_text(FILE)
    return tmp_path / "tidy.yaml"


def ran(*words: object, code: int = 0) -> Any:
    result = CliRunner().invoke(app, ["pipeline", *map(str, words), "--json"])
    assert result.exit_code == code, result.output
    return json.loads(result.output)


def test_run(store: Path, file: Path) -> None:
    planned = ran("run", file, "--path", store, "--dry-run")
    assert (planned["activity"], len(planned["steps"][1]["wrote"])) == (None, 2)
    none = ran("run", file, "--path", store, "--input", "kind=nothing")
    assert [step["skipped"] for step in none["steps"]] == [False, True]
    done = ran("run", file, "--path", store, "--input", "most=1")
    assert done["activity"] is not None
    assert done["steps"][0]["read"] == done["steps"][1]["wrote"]
    shown = CliRunner().invoke(
        app, ["pipeline", "run", str(file), "--path", str(store), "--input", "kind=nothing"]
    )
    assert (shown.exit_code, "tidy up" in shown.output) == (0, True)
    wrong = ran("run", file, "--path", store, "--input", "kind", code=2)
    assert "name=value" in wrong["error"]["message"]
    again = ran("run", file, "--path", store, code=2)
    assert again["error"]["type"] == "PipelineError"


def test_show(file: Path, tmp_path: Path) -> None:
    document = ran("show", file)
    assert [step["verb"] for step in document["steps"]] == ["list", "archive"]
    assert document["mermaid"].startswith("flowchart LR\n")
    text = CliRunner().invoke(app, ["pipeline", "show", str(file)])
    assert text.output == document["mermaid"]
    drawn = ran("show", file, "--output", tmp_path / "tidy.svg")
    assert Path(drawn["output"]).stat().st_size > 1_000
    assert ran("show", tmp_path / "none.yaml", code=2)["error"]["type"] == "InvalidInputError"
    file.write_text("name: [")
    assert "no YAML" in ran("show", file, code=2)["error"]["message"]
