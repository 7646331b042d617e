"""Every notebook runs from its first cell to its last, and shows what it promises."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))

PICTURES = {"01_langchain_memory": 3}


def outputs(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [output for cell in cells for output in cell.outputs]


# The kernel's own libraries: its sockets and event loop are closed by its process's end.
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs(path: Path, tmp_path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    ).execute()
    kinds = [output.output_type for output in outputs(notebook)]
    assert "error" not in kinds
    pictures = [one for one in outputs(notebook) if "image/png" in one.get("data", {})]
    assert len(pictures) >= PICTURES[path.stem]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_is_stored(path: Path) -> None:
    """Readers on the web see outputs, and nothing of the machine that made them."""
    notebook = nbformat.read(path, as_version=4)
    stored = outputs(notebook)
    pictures = [one for one in stored if "image/png" in one.get("data", {})]
    assert len(pictures) >= PICTURES[path.stem]
    for one in stored:
        words = str(one.get("text", "")) + str(one.get("data", {}).get("text/plain", ""))
        assert not re.search(r"(^|[\s'\"(])/(?!/)\w", words), words
