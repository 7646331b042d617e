"""No memory of the process is written to the files of a vector index by accident."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from memos_integrations.infrastructure import index_blanks
from memos_integrations.infrastructure.vectors import ChromaIndex

UNSET = b"\x5a" * 16
"""What memory holds that was allocated and not set, under ``MALLOC_PERTURB_=165``."""

WORKER = """
import sys
from pathlib import Path

import numpy as np

from memos_integrations.infrastructure.vectors import ChromaIndex

folder, dies = Path(sys.argv[1]), sys.argv[2] == "dies"
index = ChromaIndex(folder)
vectors = np.random.default_rng(0).normal(size=(60, 48)).astype("<f4")
vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
if dies:  # before anything could be put right
    index._blank = lambda: None
index.upsert("first", range(60), vectors)
assert index.query("first", vectors[7], 1)[0][0] == 7
if not dies:
    index.upsert("second", range(30), vectors[:30])
    assert index.query("second", vectors[7], 1)[0][0] == 7
    assert index.count("first") == 60 and index.count("second") == 30
    index.close()
"""


def work(folder: Path, how: str) -> None:
    environment = {**os.environ, "MALLOC_PERTURB_": "165"}
    subprocess.run([sys.executable, "-c", WORKER, str(folder), how], env=environment, check=True)


def unset(folder: Path) -> list[str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert any(path.name == index_blanks.LEVEL_0 for path in files)
    return [path.name for path in files if UNSET in path.read_bytes()]


pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="MALLOC_PERTURB_ is of the GNU C library"
)


def test_a_new_index_holds_no_memory_of_the_process(tmp_path: Path) -> None:
    work(tmp_path, "lives")
    assert unset(tmp_path) == []


def test_nor_after_a_process_died_in_between(tmp_path: Path) -> None:
    work(tmp_path, "dies")
    assert unset(tmp_path), "the worker shows what Chroma does by itself"
    index = ChromaIndex(tmp_path)
    try:
        assert unset(tmp_path) == []
        index.count("first")
        assert unset(tmp_path) == []
    finally:
        index.close()


def test_an_index_begun_anew_when_it_is_opened(tmp_path: Path) -> None:
    """What was never saved is made again by whoever opens it: in memory that is not set, too."""
    work(tmp_path, "lives")
    work(tmp_path, "lives")
    assert unset(tmp_path) == []


def test_entries_stay(tmp_path: Path) -> None:
    vectors = np.eye(64, dtype="<f4")
    with_many = np.tile(vectors, (30, 1)) + np.arange(1920, dtype="<f4")[:, None] / 1e5
    with_many /= np.linalg.norm(with_many, axis=1, keepdims=True)
    index = ChromaIndex(tmp_path)
    for first in range(0, 1920, 320):
        index.upsert("all", range(first, first + 320), with_many[first : first + 320])
    index.close()
    [folder] = index_blanks.indexes(tmp_path)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    index_blanks.blank(folder)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    again = ChromaIndex(tmp_path)
    keys = {key for page, _ in again.scan("all") for key in page}
    again.close()
    assert keys == set(range(1920))


def test_what_is_cut_short_or_of_another_format_is_left(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "data_level0.bin").write_bytes(UNSET)
    index_blanks.blank(tmp_path)  # no header
    (tmp_path / "header.bin").write_bytes(b"\x01\x00")
    index_blanks.blank(tmp_path)
    (tmp_path / "header.bin").write_bytes(struct.pack("=iQQQQ", 2, 0, 100, 0, 8))
    index_blanks.blank(tmp_path)
    assert (tmp_path / "data_level0.bin").read_bytes() == UNSET
    assert "format 2" in caplog.text
