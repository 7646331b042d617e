"""``memcube demo`` from end to end, as a newcomer runs it, and what it does when a step fails."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from memos_integrations import MemOS
from memos_integrations.cli.demo_view import print_model
from memos_integrations.demo.folder import MARKER, fresh_folder, store_in
from memos_integrations.demo.script import Question, read_script
from memos_integrations.demo.tour import Tour, verdict
from memos_integrations.errors import NotAStoreError, StoreLockedError
from memos_integrations.testing import WordEmbedder

Done = subprocess.CompletedProcess[str]


def memcube(*words: object, **env: str) -> Done:
    command = [sys.executable, "-m", "memos_integrations", *map(str, words)]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, **env}, timeout=240
    )


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The demo's folder and its JSON document."""
    folder = tmp_path_factory.mktemp("demo") / "memcube-demo"
    done = memcube("demo", "--path", folder, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    return folder, json.loads(done.stdout)


# The conversation -----------------------------------------------------------------------------


def test_the_conversation_is_one() -> None:
    script = read_script()
    messages = [message for session in script.sessions for message in session.messages]
    times = [datetime.fromisoformat(message["timestamp"]) for message in messages]
    assert len(script.sessions) == 3 and 75 <= len(messages) <= 90
    assert all(earlier < later for earlier, later in pairwise(times))
    assert all(moment.utcoffset() is not None for moment in times)
    assert (times[-1] - times[0]).days > 14
    assert len({message["id"] for message in messages}) == len(messages)
    assert {(message["role"], message["name"]) for message in messages} == {
        ("user", "Maya"),
        ("assistant", "Assistant"),
    }


def test_each_question_has_one_right_memory() -> None:
    script = read_script()
    texts = [m["content"] for session in script.sessions for m in session.messages]
    assert len(script.questions) == 6
    for question in [*script.questions, script.update, script.delete]:
        if question.question != "What does Moss eat?":  # the assistant repeats that one
            assert sum(map(question.is_answered_by, texts)) == 1


# The whole ------------------------------------------------------------------------------------


def test_one_process_writes_and_another_asks(played: tuple[Path, dict[str, Any]]) -> None:
    _, document = played
    assert document["load"]["process"] != document["tour"]["process"]
    assert sum(s["memories"] for s in document["load"]["sessions"]) == document["tour"]["memories"]


def test_questions_are_answered_through_both_adapters(played: tuple[Path, dict[str, Any]]) -> None:
    questions = played[1]["tour"]["questions"]
    assert [q["question"] for q in questions] == [q.question for q in read_script().questions]
    assert sum(q["rank"] is not None for q in questions) >= 5
    for question in questions:
        assert question["ok"] and len(question["hits"]) == 3
        for hit in question["hits"]:
            assert 0 < hit["score"] <= 1 and hit["why"] and hit["event_time"] and hit["speaker"]


def test_the_store_is_as_the_demo_says(played: tuple[Path, dict[str, Any]]) -> None:
    folder, document = played
    tour = document["tour"]
    assert all(promise["held"] for promise in tour["promises"]) and len(tour["promises"]) == 6
    with MemOS.open(store_in(folder)) as memory:
        maya = memory.session("maya")
        assert maya.count() == tour["memories"] - 1
        assert [cube.version for cube in maya.history(tour["update"]["id"])] == [1, 2]
        gone = tour["delete"]["id"]
        hits = maya.search(tour["delete"]["question"], limit=200)
        assert gone not in {hit.cube.id for hit in hits}
        assert [cube.text for cube in maya.history(gone)] == [tour["delete"]["text"]]


def test_the_model_reads_its_cache(played: tuple[Path, dict[str, Any]]) -> None:
    folder, document = played
    model = document["tour"]["model"]
    assert model["same_output"] and model["text"]
    assert 0.9 * model["prompt_tokens"] < model["cached_tokens"] < model["prompt_tokens"]
    assert set(model["first_token_seconds"]) == {"cold", "warm", "from disk"}
    assert list((store_in(folder) / "kv").glob("??/*.safetensors"))


def test_people_see_both_times_and_that_the_words_are_the_same(
    played: tuple[Path, dict[str, Any]],
) -> None:
    model = played[1]["tour"]["model"]
    seen = shown(model)
    for name, seconds in model["first_token_seconds"].items():
        assert re.search(rf"first token, {name} +{seconds * 1e3:.0f} ms", seen)
    assert "\n  same output: yes\n" in seen and "times sooner" in seen
    assert "\n  same output: no\n" in shown({**model, "same_output": False})


def shown(model: dict[str, Any]) -> str:
    out = Console(file=io.StringIO(), width=100, record=True)
    print_model(out, model)
    return out.export_text()


def test_the_pictures_are_there(played: tuple[Path, dict[str, Any]]) -> None:
    folder, document = played
    png, svg = (Path(file) for file in document["tour"]["draw"]["files"])
    assert png == folder / "lineage.png" and png.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert svg == folder / "lineage.svg" and "</svg>" in svg.read_text()


def test_people_see_it_all_and_can_go_on(tmp_path: Path) -> None:
    folder = tmp_path / "memcube-demo"
    folder.mkdir()
    (folder / MARKER).touch()
    (folder / "old.png").touch()
    done = memcube("demo", "--no-model", "--path", folder, COLUMNS="100")
    assert (done.returncode, done.stderr) == (0, "")
    assert not (folder / "old.png").exists()
    for words in (
        "28 memories",
        "Which nuts must I leave out",
        "cosine",
        "same ids from LangChain and LlamaIndex",
        "version 2",
        "gone",
        str(folder / "lineage.svg"),
        f"--path {folder}/store --user maya",
    ):
        assert words in done.stdout
    assert "✗" not in done.stdout
    onwards = memcube("search", "Porto", "--path", folder / "store", "--user", "maya", "--json")
    found = [hit["cube"]["payload"]["text"] for hit in json.loads(onwards.stdout)["hits"][:2]]
    assert any("Monday 26 October" in text for text in found)


# The folder -----------------------------------------------------------------------------------


def test_other_folders_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    done = memcube("demo", "--no-model", "--path", tmp_path, "--json")
    assert done.returncode == 3
    assert json.loads(done.stdout)["error"]["type"] == "NotAStoreError"
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_link_and_a_file_are_left_alone(tmp_path: Path) -> None:
    ours = tmp_path / "ours"
    fresh_folder(ours)
    (tmp_path / "link").symlink_to(ours)
    (tmp_path / "file").write_text("mine")
    for name in ("link", "file"):
        with pytest.raises(NotAStoreError, match="new folder"):
            fresh_folder(tmp_path / name)
    assert (ours / MARKER).exists() and (tmp_path / "file").read_text() == "mine"


def test_a_demo_in_use_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    fresh_folder(folder)
    with MemOS.open(store_in(folder), embedder=WordEmbedder()) as memory:
        memory.session("maya").add("still here")
        with pytest.raises(StoreLockedError):
            fresh_folder(folder)
        assert memory.session("maya").count() == 1


# Steps that do not hold -----------------------------------------------------------------------


def test_a_missing_memory_is_told(tmp_path: Path) -> None:
    unanswered = Question("Where is the treasure?", ["under the oak"])
    with MemOS.open(tmp_path, embedder=WordEmbedder()) as memory:
        session = memory.session("maya")
        session.add(["one thing", "another thing"])
        tour = Tour(session)
        answers = [tour.ask(unanswered)] * 6
        steps = {
            "update": tour.update(unanswered),
            "delete": tour.delete(unanswered),
            "draw": {"ok": True},
        }
    assert [answer["rank"] for answer in answers] == [None] * 6
    held = [promise["held"] for promise in verdict(answers, steps)]
    assert held == [False, True, False, False, True]


@pytest.mark.parametrize(("found", "enough"), [(6, True), (5, True), (4, False), (0, False)])
def test_five_of_six_is_enough(found: int, enough: bool) -> None:
    answers = [{"rank": 1 if n < found else None, "ok": True} for n in range(6)]
    fine = {"update": {"ok": True}, "delete": {"ok": True}, "draw": {"ok": True}}
    first, *_ = verdict(answers, fine)
    assert first["held"] is enough and first["promise"].startswith(f"{found} of 6")


def test_a_tour_that_fails_is_no_success(tmp_path: Path) -> None:
    fresh_folder(tmp_path)
    with MemOS.open(store_in(tmp_path)) as memory:
        memory.session("maya").add(["one thing", "another thing"])
    for flags in ([], ["--json"]):
        done = memcube("demo", "--no-model", "--step", "tour", "--path", tmp_path, *flags)
        assert done.returncode == 1 and done.stderr == ""
    assert not all(promise["held"] for promise in json.loads(done.stdout)["promises"])
