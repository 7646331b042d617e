"""Folders that are made once, whoever comes first and whatever breaks."""

from __future__ import annotations

import logging
import multiprocessing
import os
from pathlib import Path
from typing import Any

import pytest

from memos_integrations.models.made_once import made_once


def fill(folder: Path) -> None:
    (folder / "weights").write_bytes(b"0123456789" * 1_000)
    (folder / "config").write_text("{}")
    with (folder.parent / "calls").open("a") as file:
        file.write("made\n")


def calls(folder: Path) -> int:
    return len((folder.parent / "calls").read_text().splitlines())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "model"


def left_overs(folder: Path) -> list[Path]:
    return list(folder.parent.glob("*.part"))


def test_it_is_made_once(folder: Path) -> None:
    for _ in range(3):
        assert made_once(folder, "v1", fill) == folder
    assert calls(folder) == 1
    assert {path.name for path in folder.iterdir()} == {"weights", "config", "manifest.json"}
    assert not left_overs(folder)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: (folder / "weights").unlink(), "weights is missing"),
        (lambda folder: os.truncate(folder / "weights", 9_999), "9,999 bytes, not 10,000"),
        (lambda folder: (folder / "manifest.json").unlink(), "manifest.json is missing"),
        (lambda folder: (folder / "manifest.json").write_text("{"), "cannot be read"),
        (lambda folder: (folder / "manifest.json").write_text("[]"), "cannot be read"),
        (lambda folder: (folder / "manifest.json").write_text("{}"), "cannot be read"),
    ],
)
def test_a_damaged_one_is_made_again_with_a_warning(
    folder: Path, damage: Any, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    made_once(folder, "v1", fill)
    damage(folder)
    with caplog.at_level(logging.WARNING):
        made_once(folder, "v1", fill)
    assert words in caplog.text
    assert calls(folder) == 2
    assert (folder / "weights").stat().st_size == 10_000
    assert not left_overs(folder)


def test_another_source_makes_it_again(folder: Path) -> None:
    made_once(folder, "v1", fill)
    made_once(folder, "v2", fill)
    assert calls(folder) == 2


def test_what_fails_leaves_nothing(folder: Path) -> None:
    def fail(beside: Path) -> None:
        fill(beside)
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        made_once(folder, "v1", fail)
    assert not folder.exists()
    assert not left_overs(folder)
    made_once(folder, "v1", fill)
    assert (folder / "config").exists()


def _killed(folder: Path) -> None:
    def die(beside: Path) -> None:
        (beside / "weights").write_bytes(b"half")
        os._exit(9)

    made_once(folder, "v1", die)


def test_a_killed_process_leaves_nothing_that_is_used(folder: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(target=_killed, args=(folder,))
    process.start()
    process.join(60)
    assert process.exitcode == 9
    assert len(left_overs(folder)) == 1
    assert not folder.exists()
    made_once(folder, "v1", fill)
    assert (folder / "weights").stat().st_size == 10_000
    assert not left_overs(folder)


def _together(folder: Path, start: Any) -> None:
    start.wait(60)
    made_once(folder, "v1", fill)
    assert (folder / "weights").stat().st_size == 10_000


def test_processes_at_once_make_it_once(folder: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    start = spawn.Barrier(3)
    processes = [spawn.Process(target=_together, args=(folder, start)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert calls(folder) == 1
    assert not left_overs(folder)
