"""Every notebook runs from its first cell to its last, and shows what it promises."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))

PICTURES = {
    "01_langchain_memory": 3,
    "02_kv_cache_accelerator": 2,
    "03_lifecycle_and_provenance": 2,
    "04_llama_index_memory": 2,
    "05_parameter_memory": 2,
}
SAYS = {
    "01_langchain_memory": [
        "<memories>\nRemembered from earlier conversations.",
        "user: I am allergic to walnuts, so no pesto for me.\n",
        "['I moved to Utrecht last Friday.', 'I moved to Bergen in May.']",
        "system: Be brief.\n\n<memories>",
        "['lives in Utrecht', 'lives in Bergen']",
        "the door code, half a second later: None",
    ],
    "02_kv_cache_accelerator": [
        "same output: yes\n",
        "pieces with the old words: 0\n",
        "tokens, those before it, still come from the cache\n",
        "used most first saves more: True\n",
    ],
    "03_lifecycle_and_provenance": [
        "freeze: activated -> frozen (asked for)",
        "(update by maya, ",
        "'Bergen' version 2 by maya",
        "in spring: Maya lives in Oslo.",
        "Jonas lives in Utrecht. | replaced by: Jonas lives in Delft now.",
        "Jonas drinks coffee. / Jonas drinks water.\nJonas drinks coffee.",
        "week 4: Archive, not used for 35.0 days",
    ],
    "05_parameter_memory": [
        "the adapter was not kept\nadapters: 0",
        "parameter memory of 3 memories; changed since: 0",
        "maya | adapters: 1\njonas | adapters: 0",
        "changed: served 0, stale 1\nretrained: served 1, stale 0",
        "back as words: Bramwell studied geology.",
        "erased: served 0, stale 0 | to distil anew: 2 memories",
    ],
    "04_llama_index_memory": [
        "<memories>\nRemembered from earlier conversations.",
        "user | What should you not cook for me?\nassistant | I see.",
        "I am allergic to walnuts, so no pesto for me. | meaning #1",
    ],
}


def outputs(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [output for cell in cells for output in cell.outputs]


def words(notebook: nbformat.NotebookNode) -> str:
    """All that a reader of the outputs sees, without the pictures."""
    texts = [[one.get("text", ""), one.get("data", {})] for one in outputs(notebook)]
    return "\n".join(
        [text + "\n".join(data[kind] for kind in data if "text" in kind) for text, data in texts]
    )


def pictures(notebook: nbformat.NotebookNode) -> list[bytes]:
    found = [one.get("data", {}).get("image/png") for one in outputs(notebook)]
    return [base64.b64decode(one) for one in found if one]


def check(notebook: nbformat.NotebookNode, name: str) -> None:
    streams = {(one.output_type, one.get("name")) for one in outputs(notebook)}
    assert "error" not in {kind for kind, _ in streams}
    assert ("stream", "stderr") not in streams, words(notebook)
    assert len(pictures(notebook)) >= PICTURES[name]
    for said in SAYS[name]:
        # One print may reach us in two pieces: where a line ends is no part of what is said.
        assert " ".join(said.split()) in " ".join(words(notebook).split())


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs(path: Path, tmp_path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    where = {"metadata": {"path": tmp_path}}
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources=where).execute()
    check(notebook, path.stem)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_is_stored(path: Path) -> None:
    """Readers on the web see outputs, and nothing of the machine that made them."""
    notebook = nbformat.read(path, as_version=4)
    check(notebook, path.stem)
    assert all(len(picture) < 150_000 for picture in pictures(notebook))
    assert not re.search(r"(^|[\s'\"(=])/(?!/)\w", words(notebook))
