"""``memcube lineage``: the same files as from a session."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from memos_integrations import MemOS
from memos_integrations.cli import app
from memos_integrations.infrastructure.prov_export.formats import BY_ENDING
from memos_integrations.testing import WordEmbedder


@pytest.fixture
def id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A merged memory, archived since; the command line opens its store the same way."""
    monkeypatch.setenv("MEMCUBE_PATH", str(tmp_path / "store"))
    monkeypatch.setattr("memos_integrations.memos.default_embedder", WordEmbedder)
    with MemOS.open(tmp_path / "store", embedder=WordEmbedder()) as memory:
        me = memory.session("me")
        both = me.merge([one.id for one in me.add(["The boat is red", "The lamp is old"])])
        me.archive(both.id, reason="nobody needs it")
    return both.id


def run(*words: object, code: int = 0) -> str:
    done = CliRunner().invoke(app, list(map(str, words)))
    assert done.exit_code == code, done.output
    return done.output


def test_without_a_format_it_is_text(id: str) -> None:
    said = run("lineage", id)
    assert said.startswith("3 versions of 3 memories · 3 activities by 1 agent")
    assert "archive by me" in said
    assert f"= {id}@1  generated to archived (nobody needs it)" in said


@pytest.mark.parametrize("ending", BY_ENDING)
def test_a_file_is_that_of_the_session(id: str, ending: str, tmp_path: Path) -> None:
    written, wanted = tmp_path / f"cli{ending}", tmp_path / f"session{ending}"
    assert "lineage written" in run("lineage", id, "--output", written, "--full")
    with MemOS.open(tmp_path / "store", embedder=WordEmbedder()) as memory:
        memory.session("me").save_lineage(id, wanted, full=True)
    assert written.read_bytes() == wanted.read_bytes()


@pytest.mark.parametrize("format", sorted({*BY_ENDING.values()} - {"png"}))
def test_on_the_screen(id: str, format: str) -> None:
    shown = run("lineage", id, "--format", format)
    document = json.loads(run("lineage", id, "--format", format, "--json"))
    assert document["content"] == shown
    assert (document["id"], document["format"], document["output"]) == (id, format, None)
    counts = document["counts"]
    assert (counts["versions"], counts["activities"], counts["agents"]) == (3, 3, 1)
    assert counts["verbs"] == {"add": 1, "merge": 1, "archive": 1}


def test_a_part_of_it(id: str) -> None:
    near = json.loads(run("lineage", id, "--json", "--depth", 0))
    assert near["counts"]["versions"] == 1
    later = json.loads(run("lineage", id, "--json", "--direction", "derived"))
    assert later["counts"]["versions"] == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--output", "x.doc"), "names no format"),
        (("--format", "png"), "a png is no text"),
        (("--format", "svg", "--output", "x.txt"), "is no svg file"),
        (("--output", "missing/x.txt"), "cannot be written"),
        (("--output", "missing/x.svg"), "cannot be written"),
        (("--depth", "-1"), "depth"),
        (("--format", "word"), "word"),
    ],
)
def test_what_it_refuses(
    id: str, words: tuple[str, ...], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = set(tmp_path.iterdir())
    assert said in " ".join(run("lineage", id, *words, code=2).split())
    assert set(tmp_path.iterdir()) == before
