"""``memcube audit`` and ``memcube retention``."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from typer.testing import CliRunner

from memos_integrations import MemOS
from memos_integrations.cli import app
from memos_integrations.testing import WordEmbedder


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store with two memories; the command line opens it the same way."""
    monkeypatch.setenv("MEMCUBE_PATH", str(tmp_path / "store"))
    monkeypatch.setattr("memos_integrations.memos.default_embedder", WordEmbedder)
    with MemOS.open(tmp_path / "store", embedder=WordEmbedder()) as memory:
        memory.session("me").add(["The boat is red", "The lamp is old"], semantic_type="event")
    return tmp_path / "store"


def run(*words: str, code: int = 0) -> str:
    done = CliRunner().invoke(app, list(words))
    assert done.exit_code == code, done.output
    return done.output


def test_a_head_is_signed_and_the_log_checked_against_it(store: Path, tmp_path: Path) -> None:
    ours = Ed25519PrivateKey.generate()
    private, public = tmp_path / "ours.pem", tmp_path / "ours.pub"
    private.write_bytes(
        ours.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    public.write_bytes(
        ours.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    head = tmp_path / "head.json"
    head.write_text(run("audit", "head", "--sign-with", str(private)))
    words = ["audit", "verify", "--anchor", str(head), "--public-key", str(public)]
    assert "2 entries" in run(*words)
    assert run("audit", "export", str(tmp_path / "log"), "--all")
    assert len((tmp_path / "log").read_text().splitlines()) == 2
    with sqlite3.connect(store / "memory.db") as bare:
        bare.execute("UPDATE audit SET entry = replace(entry, 'add', 'get') WHERE seq = 2")
    bare.close()
    assert "entry 2" in run(*words, code=3)
    assert json.loads(run(*words, "--json", code=3))["first_wrong"] == 2
    for wrong in (["--anchor", str(public)], ["--anchor", "nowhere"], [*words[2:5], str(head)]):
        run("audit", "verify", *wrong, code=2)


def test_rules_and_holds(store: Path) -> None:
    assert "no rules" in run("retention", "list")
    run("retention", "set", code=2)
    run("retention", "set", "--ttl", "soon", code=2)
    rule = json.loads(run("retention", "set", "--ttl", "30d", "--type", "event", "--json"))
    assert (rule["seconds"], rule["semantic_type"]) == (30 * 86_400, "event")
    assert json.loads(run("retention", "set", "--unused", "never", "--json"))["seconds"] is None
    hold = json.loads(run("retention", "hold", "--reason", "case 7", "--json"))
    assert "legal hold (me): case 7 (set by me)" in run("retention", "list")
    assert json.loads(run("retention", "sweep", "--dry-run", "--json"))["memories"] == []
    run("retention", "lift", hold["id"])
    assert "case 7" not in run("retention", "list")
    assert "lifted by me" in run("retention", "list", "--all")
    assert "0 memories erased" in run("retention", "sweep", "--erase")
