"""``memcube dump``, ``load``, ``import`` and ``market``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from typer.testing import CliRunner

from memos_integrations import MemOS
from memos_integrations.cli import app
from memos_integrations.testing import WordEmbedder


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MEMCUBE_PATH", str(tmp_path / "store"))
    monkeypatch.setattr("memos_integrations.memos.default_embedder", WordEmbedder)
    with MemOS.open(tmp_path / "store", embedder=WordEmbedder()) as memory:
        memory.session("me").add(["The boat is red", "The lamp is old"])
    return tmp_path


def run(*words: str, code: int = 0) -> str:
    done = CliRunner().invoke(app, list(words))
    assert done.exit_code == code, done.output
    return done.output


def test_a_house_is_moved(place: Path) -> None:
    archive, other = str(place / "x.memcube"), ["--path", str(place / "other")]
    assert run("dump", archive).startswith("2 memories, 2 versions, ")
    assert json.loads(run("dump", archive, "--filter", "tags=none", "--json"))["memories"] == 0
    run("dump", archive, "--vectors")
    assert run("load", archive, "--dry-run", *other) == "would be: 2 added\n"
    assert run("load", archive, *other) == "2 added\n"
    assert json.loads(run("load", archive, "--json", *other))["unchanged"] == 2
    Path(archive).write_bytes(b"no archive")
    assert "no archive" in run("load", archive, *other, code=2)
    run("load", archive, "--conflicts", "merge", *other, code=2)


def test_import(place: Path) -> None:
    file = place / "m.jsonl"
    file.write_text('{"text": "Tea"}\n')
    assert run("import", "jsonl", str(file)) == "1 added\n"
    assert run("import", "jsonl", str(file)) == "1 as they were\n"
    run("import", "letta", str(file), code=2)
    run("import", "langgraph", str(file), code=2)


def test_the_market(place: Path) -> None:
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (place / "key.pem").write_bytes(pem)
    shop, who = str(place / "shop"), key.public_key().public_bytes_raw().hex()
    told = ["--key", str(place / "key.pem"), "--licence", "CC0-1.0", "--description", "boats"]
    run("market", "search", shop, code=1)
    assert "things@1: 2 memories" in run("market", "publish", shop, "things", "--version=1", *told)
    run("market", "publish", shop, "things", "--version=1", *told, code=2)
    assert "things@1  2 memories  CC0-1.0  boats" in run("market", "search", shop, "boats")
    other = ["--path", str(place / "other")]
    done = run("market", "subscribe", shop, "things", "--publisher", who, *other)
    assert done == "things@1: 2 added, 0 updated, 0 removed; 2 fetched\n"
    assert "0 fetched" in run("market", "pull", "things", *other)
    with MemOS.open(place / "other", embedder=WordEmbedder()) as memory:
        (place / "copy.txt").write_text(memory.session("me").list()[0].text)
    assert f"things of {who}" in run("market", "trace", str(place / "copy.txt"), *other)
    (place / "copy.txt").write_text("unmarked")
    run("market", "trace", str(place / "copy.txt"), *other, code=1)
    assert "erased: 2 memories" in run("market", "unsubscribe", "things", *other)
    run("market", "pull", "things", *other, code=2)
