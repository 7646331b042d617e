"""The command line: what each command prints, as JSON and for people, and its exit codes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from memos_integrations import MemOS, __version__
from memos_integrations.cli import app
from memos_integrations.cli.cards import word_diff
from memos_integrations.cli.inputs import read_filters, read_time, read_window
from memos_integrations.cube import MemCube
from memos_integrations.errors import InvalidInputError
from memos_integrations.testing import WordEmbedder

NOBODY = "01890a5d-ac96-774b-bcce-b302099a8057"
OSLO = "I moved to Oslo in May 2026, to a flat with a green door."
PEANUTS = "I am allergic to peanuts."


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MEMCUBE_PATH", "MEMCUBE_USER"):
        monkeypatch.delenv(name, raising=False)


def run(*words: object, stdin: bytes | str | None = None, **env: str) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words], input=stdin, env=env)


def answer(result: Result, code: int = 0) -> Any:
    """The one JSON document, which is all that stands on stdout."""
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


def error(result: Result, code: int) -> tuple[str, str]:
    found = answer(result, code)
    assert list(found) == ["error"]
    return found["error"]["type"], found["error"]["message"]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two memories of ``me`` and one of ``acme/alice``, in a store over the default embedder."""
    path = tmp_path_factory.mktemp("cli") / "store"
    with MemOS.open(path) as memory:
        me = memory.session("me")
        oslo, _ = me.add([{"role": "user", "name": "Ada", "content": OSLO}, PEANUTS])
        me.update(oslo.id, "I moved to Bergen in May 2026, to a flat with a green door.")
        memory.session("alice", namespace=("acme", "alice")).add("Alice has a boat.")
    return path


def first(store: Path, query: str, *options: str) -> dict[str, Any]:
    hits = answer(run("search", query, "--path", store, "--json", "--limit", "1", *options))["hits"]
    cube: dict[str, Any] = hits[0]["cube"]
    return cube


# add ------------------------------------------------------------------------------------------


def test_add_prints_ids_that_show_takes(tmp_path: Path) -> None:
    result = run("add", OSLO, PEANUTS, "--tag", "a", "--tag", "b", "--path", tmp_path / "new")
    assert result.exit_code == 0
    assert "remembered 2 memories" in result.stdout
    ids = [line.strip() for line in result.stdout.splitlines() if line.strip().count("-") == 4]
    shown = answer(run("show", ids[1], "--path", tmp_path / "new", "--json"))
    assert shown["cube"]["payload"]["text"] == PEANUTS
    assert shown["cube"]["header"]["descriptive"]["tags"] == ["a", "b"]


def test_add_takes_all_that_the_session_takes(tmp_path: Path) -> None:
    options = ["--path", tmp_path, "--user", "ada", "--namespace", "acme/ada", "--json"]
    options += ["--event-time", "2026-05-31T18:30+02:00", "--type", "preference"]
    options += ["--speaker", "Ada", "--idempotency-key", "once"]
    one = answer(run("add", "Tea, not coffee.", *options))["memories"]
    assert answer(run("add", "Tea, not coffee.", *options))["memories"] == one
    cube = MemCube.model_validate(one[0])
    about = cube.header.descriptive
    assert cube.namespace == ("acme", "ada") and cube.header.governance.owner == "ada"
    assert about.event_time and about.event_time.isoformat() == "2026-05-31T16:30:00+00:00"
    assert (about.semantic_type, about.speaker) == ("preference", "Ada")
    kind, message = error(run("add", "Coffee after all.", *options), 2)
    assert kind == "IdempotencyConflictError" and "once" in message


@pytest.mark.parametrize(
    ("name", "content", "texts"),
    [
        ("note.txt", "A note.", ["A note."]),
        ("note.md", "\ufeff# A title", ["# A title"]),
        ("chat.json", '[{"role": "user", "content": "Hi"}, "plain"]', ["Hi", "plain"]),
        ("chat.json", '{"messages": [{"role": "user", "content": "Hi"}]}', ["Hi"]),
        ("one.json", '{"text": "A document"}', ["A document"]),
        ("lines.jsonl", '{"text": "One"}\n\n{"text": "Tw\\u2028o"}\n', ["One", "Tw\u2028o"]),
    ],
)
def test_add_reads_files(name: str, content: str, texts: list[str], tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_text(content, encoding="utf-8")
    found = answer(run("add", "--file", file, "--path", tmp_path / "store", "--json"))["memories"]
    assert [cube["payload"]["text"] for cube in found] == texts
    if name.startswith("note"):
        about = found[0]["header"]["descriptive"]
        assert (about["origin"], about["source"]) == ("document", name)


def test_add_reads_standard_input(tmp_path: Path) -> None:
    found = answer(run("add", "-", "--path", tmp_path, "--json", stdin="Grüße aus der Küche\n"))
    assert found["memories"][0]["payload"]["text"].strip() == "Grüße aus der Küche"


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ([], "nothing to remember"),
        ([""], "empty"),
        (["a\x00b"], "control character"),
        (["hi", "-"], "stands alone"),
        (["hi", "--event-time", "tomorrow"], "2026-05-31"),
        (["hi", "--namespace", "a//b"], "namespace"),
        (["hi", "--user", " "], "principal"),
        (["hi", "--file", "x.json"], "not both"),
        (["--file", "x.pdf"], ".jsonl"),
        (["--file", "missing.txt"], "No such file"),
        (["--file", "."], "cannot be read"),
        (["hi", "--type", "Not A Word"], "semantic_type"),
    ],
)
def test_add_refuses_what_cannot_be_used(words: list[str], hint: str, tmp_path: Path) -> None:
    store = tmp_path / "store"
    assert hint in error(run("add", *words, "--path", store, "--json"), 2)[1]
    plain = run("add", *words, "--path", store)
    assert (plain.exit_code, plain.stdout) == (2, "") and hint in plain.stderr
    assert "Traceback" not in plain.stderr
    if store.exists():
        assert answer(run("stats", "--path", store, "--json"))["memories"] == 0


@pytest.mark.parametrize(
    ("name", "content", "hint"),
    [
        ("a.json", b"[1,", "not JSON"),
        ("a.json", b"3", "int"),
        ("a.json", b"[]", "words"),
        ("a.jsonl", b'{"text": "one"}\n{"text": \n', "line 2"),
        ("a.txt", b"caf\xe9", "UTF-8"),
        ("a.json", b'[{"role": "wizard", "content": "hi"}]', "wizard"),
        ("a.json", b"[" * 100_000, "not JSON"),
    ],
)
def test_add_refuses_broken_files(name: str, content: bytes, hint: str, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    store = tmp_path / "store"
    assert hint in error(run("add", "--file", file, "--path", store, "--json"), 2)[1]


def test_standard_input_must_be_text(tmp_path: Path) -> None:
    assert "UTF-8" in error(run("add", "-", "--path", tmp_path, "--json", stdin=b"caf\xe9"), 2)[1]


# search ---------------------------------------------------------------------------------------


def test_search_gives_hits_with_scores_and_reasons(store: Path) -> None:
    found = answer(run("search", "what can she not eat?", "--path", store, "--json"))
    assert found["query"] == "what can she not eat?"
    hit = found["hits"][0]
    assert set(hit) == {"score", "parts", "why", "cube"}
    assert MemCube.model_validate(hit["cube"]).text == PEANUTS
    assert 0 < hit["score"] <= 1 and hit["parts"] and hit["why"]


def test_search_prints_whole_ids_in_a_narrow_terminal(store: Path) -> None:
    cube = first(store, "moved to Bergen")
    wide = run("search", "moved to Bergen", "--path", store, "--why", COLUMNS="100")
    narrow = run("search", "moved to Bergen", "--path", store, COLUMNS="40")
    assert cube["id"] in wide.stdout and cube["id"] in narrow.stdout
    for words in ("score", "2026-05-01", "Ada", "cosine", "dense"):
        assert words in wide.stdout


def test_search_filters(store: Path) -> None:
    def texts(*options: str) -> set[str]:
        result = run("search", "flat", "--path", store, "--json", *options)
        found = json.loads(result.stdout)["hits"]
        assert result.exit_code == (0 if found else 1)
        return {hit["cube"]["payload"]["text"][:4] for hit in found}

    assert texts("--filter", "speaker=Ada") == {"I mo"}
    assert texts("--filter", "speaker!=Ada") == {"I am"}
    assert texts("--filter", 'speaker=["Ada","Bob"]') == {"I mo"}
    assert texts("--filter", "version>=2") == {"I mo"}
    assert texts("--filter", "event_time>=2026-05-01", "--filter", "event_time<2026-06-01") == {
        "I mo"
    }
    assert texts("--since", "2026-05-01", "--until", "2026-05-02") == {"I mo"}
    assert texts("--until", "2020-01-01") == set()
    assert texts("--limit", "1", "--filter", "priority=5") == {"I mo"}
    assert texts("--namespace", "acme/alice", "--user", "alice") == {"Alic"}
    assert texts("--user", "somebody") == set()


def test_search_without_hits_is_exit_code_1(store: Path) -> None:
    nothing = run("search", "anything", "--user", "nobody", "--path", store, "--json")
    assert answer(nothing, 1) == {"query": "anything", "hits": []}
    assert "nothing found" in run("search", "x", "--user", "nobody", "--path", store).stdout


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        (["--limit", "-1"], "InvalidInputError"),
        (["--limit", "many"], "UsageError"),
        (["--min-score", "2"], "InvalidInputError"),
        (["--min-score", "nan"], "InvalidInputError"),
        (["--filter", "colour=red"], "InvalidFilterError"),
        (["--filter", "speaker"], "InvalidFilterError"),
        (["--filter", "=x"], "InvalidFilterError"),
        (["--filter", "event_time>=noon"], "InvalidInputError"),
        (["--filter", "version>=1", "--filter", "version>=2"], "InvalidFilterError"),
        (["--since", "2026-02-30"], "InvalidInputError"),
        (["--since", "2026-03-01", "--until", "2026-02-01"], "InvalidInputError"),
        (["--bogus"], "UsageError"),
        (["and", "more"], "UsageError"),
    ],
)
def test_search_refuses_what_cannot_be_used(options: list[str], kind: str, store: Path) -> None:
    assert error(run("search", "x", "--path", store, "--json", *options), 2)[0] == kind
    plain = run("search", "x", "--path", store, *options)
    assert plain.exit_code == 2 and plain.stdout == "" and plain.stderr


def test_an_empty_query_is_refused(store: Path) -> None:
    assert error(run("search", "  ", "--path", store, "--json"), 2)[0] == "InvalidInputError"


# show, history --------------------------------------------------------------------------------


def test_show_prints_every_header_group(store: Path) -> None:
    cube = first(store, "moved to Bergen")
    shown = run("show", cube["id"], "--path", store)
    assert shown.exit_code == 0
    for words in ("Bergen", cube["id"], "descriptive", "governance", "behaviour", "Ada", "owner"):
        assert words in shown.stdout
    old = answer(run("show", cube["id"], "--version", "1", "--path", store, "--json"))
    assert old["cube"]["payload"]["text"] == OSLO


@pytest.mark.parametrize("command", ["show", "history"])
def test_a_missing_id_is_exit_code_1_and_no_id_is_2(command: str, store: Path) -> None:
    assert error(run(command, NOBODY, "--path", store, "--json"), 1)[0] == "CubeNotFoundError"
    missing = run(command, NOBODY, "--path", store)
    assert (missing.exit_code, missing.stdout) == (1, "")
    assert missing.stderr.count("\n") == 1 and NOBODY in missing.stderr
    assert error(run(command, "12", "--path", store, "--json"), 2)[0] == "InvalidInputError"
    cube = first(store, "moved to Bergen")
    other = run(command, cube["id"], "--user", "alice", "--path", store, "--json")
    assert error(other, 1)[0] == "CubeNotFoundError"


def test_history_tells_what_changed_and_draws(store: Path, tmp_path: Path) -> None:
    cube, picture = first(store, "moved to Bergen"), tmp_path / "lineage.svg"
    options = [cube["id"], "--path", store]
    past = answer(run("history", *options, "--picture", picture, "--json"))
    assert (past["id"], past["deleted"], past["picture"]) == (cube["id"], None, str(picture))
    assert picture.read_text().lstrip().startswith("<?xml")
    one, two = past["versions"]
    assert (one["verb"], one["by"], one["changes"]) == ("add", "me", {})
    assert two["verb"] == "update"
    assert two["changes"] == {"text": [OSLO, OSLO.replace("Oslo", "Bergen")]}
    shown = run("history", *options).stdout
    assert "version 1" in shown and "Oslo Bergen" in shown and "update by me" in shown


def test_history_of_a_deleted_memory(tmp_path: Path) -> None:
    with MemOS.open(tmp_path) as memory:
        me = memory.session("me")
        cube = me.add(PEANUTS)[0]
        me.delete(cube.id)
    past = answer(run("history", cube.id, "--path", tmp_path, "--json"))
    assert (past["deleted"]["verb"], past["deleted"]["by"]) == ("delete", "me")
    assert "deleted" in run("history", cube.id, "--path", tmp_path).stdout
    assert error(run("show", cube.id, "--path", tmp_path, "--json"), 1)


@pytest.mark.parametrize("name", ["lineage.gif", "no/such/folder.png"])
def test_history_refuses_a_picture_that_cannot_be(name: str, store: Path, tmp_path: Path) -> None:
    cube = first(store, "moved to Bergen")
    options = ["--path", store, "--picture", tmp_path / name, "--json"]
    assert error(run("history", cube["id"], *options), 2)[0] == "InvalidInputError"


# stats, doctor, reindex -----------------------------------------------------------------------


def test_stats(store: Path) -> None:
    found = answer(run("stats", "--path", store, "--json"))
    assert found["memories"] == 3 and found["versions"] == 4
    spaces = {"/".join(space["namespace"]): space["memories"] for space in found["namespaces"]}
    assert spaces == {"me": 2, "acme/alice": 1}
    shown = run("stats", "--path", store).stdout
    assert "acme/alice" in shown and "kB" in shown


def test_doctor_finds_a_healthy_store(store: Path) -> None:
    found = answer(run("doctor", "--path", store, "--json"))
    assert found["ok"] and {"versions", "lock", "integrity"} <= {
        finding["name"] for finding in found["findings"]
    }
    shown = run("doctor", "--no-mend", "--path", store)
    assert shown.exit_code == 0 and "✓" in shown.stdout and "✗" not in shown.stdout


def test_another_embedder_is_exit_code_4_and_reindex_helps(tmp_path: Path) -> None:
    with MemOS.open(tmp_path, embedder=WordEmbedder()) as memory:
        memory.session("me").add([OSLO, PEANUTS])
    kind, message = error(run("search", "peanuts", "--path", tmp_path, "--json"), 4)
    assert kind == "EmbedderMismatchError" and "memcube reindex" in message
    assert answer(run("reindex", "--path", tmp_path, "--json")) == {"reindexed": 2}
    assert first(tmp_path, "peanuts")["payload"]["text"] == PEANUTS
    assert "embedded 2 memories anew" in run("reindex", "--path", tmp_path).stdout


# the store ------------------------------------------------------------------------------------

ON_A_STORE = (["search", "x"], ["show", NOBODY], ["history", NOBODY], ["stats"], ["reindex"])


@pytest.mark.parametrize("command", [["add", "x"], *ON_A_STORE], ids=lambda words: str(words[0]))
def test_a_locked_store_is_exit_code_3(command: list[str], tmp_path: Path) -> None:
    with MemOS.open(tmp_path, embedder=WordEmbedder()):
        kind, message = error(run(*command, "--path", tmp_path, "--json"), 3)
    assert kind == "StoreLockedError" and "in use by this process" in message


def test_doctor_on_a_locked_store_is_exit_code_3(tmp_path: Path) -> None:
    with MemOS.open(tmp_path, embedder=WordEmbedder()):
        found = answer(run("doctor", "--path", tmp_path, "--json"), 3)
        assert "✗" in run("doctor", "--path", tmp_path).stdout
    assert not found["ok"]
    assert [f["name"] for f in found["findings"] if not f["ok"]] == ["lock"]


@pytest.mark.parametrize("command", [*ON_A_STORE, ["doctor"]], ids=lambda words: str(words[0]))
def test_reading_makes_no_store(command: list[str], tmp_path: Path) -> None:
    path = tmp_path / "mistyped"
    kind, message = error(run(*command, "--path", path, "--json"), 3)
    assert kind == "StoreError" and "memcube add" in message
    assert not path.exists()


def test_a_folder_of_other_things_is_exit_code_3(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    assert error(run("add", "x", "--path", tmp_path, "--json"), 3)[0] == "NotAStoreError"
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.txt"]


def test_path_and_user_from_the_environment(store: Path) -> None:
    env = {"MEMCUBE_PATH": str(store), "MEMCUBE_USER": "nobody"}
    assert run("search", "x", **env).exit_code == 1
    assert run("search", "x", "--user", "me", **env).exit_code == 0


# the program ----------------------------------------------------------------------------------


def test_version_and_help() -> None:
    assert run("--version").stdout == f"memcube {__version__}\n"
    for words in ([], *([c] for c in ("add", "search", "show", "history", "stats", "demo"))):
        shown = run(*words, "--help")
        assert shown.exit_code == 0 and "Exit codes" in shown.stdout
    assert run("frobnicate").exit_code == 2


def test_debug_shows_where_an_error_came_from(store: Path) -> None:
    assert "Traceback" in run("show", NOBODY, "--path", store, "--debug").stderr
    both = run("show", NOBODY, "--path", store, "--debug", "--json")
    assert error(both, 1)[0] == "CubeNotFoundError"


def test_help_is_quick_because_it_loads_little() -> None:
    code = (
        "import sys, memos_integrations.cli\n"
        "heavy = ('numpy', 'sqlalchemy', 'chromadb', 'torch', 'networkx', 'matplotlib', "
        "'langchain_core', 'llama_index', 'onnxruntime')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_module_is_the_same_program(store: Path) -> None:
    command = [sys.executable, "-m", "memos_integrations"]
    shown = subprocess.run([*command, "--help"], capture_output=True, text=True, check=True)
    assert "Usage: memcube" in shown.stdout
    missing = [*command, "show", NOBODY, "--path", str(store), "--json"]
    done = subprocess.run(missing, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stderr == ""
    assert json.loads(done.stdout)["error"]["type"] == "CubeNotFoundError"


def test_a_closed_pipe_is_no_exit_code_of_ours(store: Path) -> None:
    command = [sys.executable, "-m", "memos_integrations", "search", "x", "--path", str(store)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout and process.stderr
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 141


def test_ctrl_c_is_exit_code_130(tmp_path: Path) -> None:
    pipe, store = tmp_path / "pipe.txt", tmp_path / "store"
    os.mkfifo(pipe)
    command = [sys.executable, "-m", "memos_integrations", "add", "--file", str(pipe)]
    command += ["--path", str(store)]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process,
        pipe.open("wb"),  # opens once the program reads
    ):
        for _ in range(12):
            process.send_signal(signal.SIGINT)  # one right before read() blocks may go unheeded
            with contextlib.suppress(subprocess.TimeoutExpired):
                output, errors = process.communicate(timeout=5)
                break
    assert (process.returncode, output, errors) == (130, b"", b"interrupted\n")
    assert not store.exists()


def test_a_terminal_of_few_letters_gets_question_marks(store: Path) -> None:
    command = [sys.executable, "-m", "memos_integrations", "doctor", "--path", str(store)]
    env = {"PYTHONIOENCODING": "ascii", "PATH": ""}
    done = subprocess.run(command, capture_output=True, env=env, check=False)
    assert done.returncode == 0 and done.stderr == b"" and b"? " in done.stdout


# what users type ------------------------------------------------------------------------------


def test_filters_are_read_as_json_times_or_words() -> None:
    moment = read_time("2026-05-31T18:30+02:00", "x")
    assert read_filters(
        ["speaker=Ada Lovelace", "priority>=5", "frozen=true", "event_time<2026-05-31T18:30+02:00"]
    ) == {
        "speaker": {"$eq": "Ada Lovelace"},
        "priority": {"$gte": 5},
        "frozen": {"$eq": True},
        "event_time": {"$lt": moment},
    }
    assert read_filters(["metadata.day=2026-05-31"]) == {"metadata.day": {"$eq": "2026-05-31"}}
    assert read_filters(['source="417"', "uses!=0"]) == {
        "source": {"$eq": "417"},
        "uses": {"$ne": 0},
    }
    assert read_filters(["text=a=b>c"]) == {"text": {"$eq": "a=b>c"}}


def test_times_without_a_zone_are_utc() -> None:
    assert read_time("2026-05-31", "x").isoformat() == "2026-05-31T00:00:00+00:00"
    window = read_window("2026-05-31", None)
    assert window is not None and window.end is None
    assert read_window(None, None) is None
    with pytest.raises(InvalidInputError, match="--since"):
        read_window("May", None)


def test_texts_with_little_in_common_are_shown_one_after_the_other() -> None:
    assert word_diff("a cat sat here", "a dog sat here").plain == "a cat dog sat here"
    assert word_diff("wholly other words", "nothing the same").plain == (
        "wholly other words\nnothing the same"
    )
