"""What users touch: the public names, and what importing them costs."""

from __future__ import annotations

import ast
import inspect
import json
import subprocess
import sys
import tomllib
from importlib import import_module
from importlib.metadata import entry_points, files
from pathlib import Path

import pytest

import memos_integrations

ROOT = Path(__file__).parents[2]
HEAVY = {
    "chromadb",
    "langchain",
    "langchain_classic",
    "langchain_core",
    "langgraph",
    "llama_index",
    "onnxruntime",
    "sentence_transformers",
    "torch",
    "transformers",
}
PUBLIC = [
    "Hit",
    "IndexPolicy",
    "MemCube",
    "MemOS",
    "MemOSError",
    "MemorySession",
    "Namespace",
    "Principal",
    "SearchPolicy",
    "TimeWindow",
]


def test_public_names_are_pinned() -> None:
    assert memos_integrations.__all__ == PUBLIC
    assert len(PUBLIC) <= 15
    assert set(PUBLIC) <= set(dir(memos_integrations))
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = memos_integrations.Nothing


def explained(module: object, name: str) -> str:
    """The docstring of a class, or the string that stands after an assignment."""
    body = ast.parse(inspect.getsource(module)).body  # type: ignore[arg-type]
    for one, after in zip(body, [*body[1:], None], strict=True):
        if isinstance(one, ast.ClassDef) and one.name == name:
            return ast.get_docstring(one) or ""
        if isinstance(one, ast.Assign) and ast.unparse(one.targets[0]) == name:
            return str(after.value.value) if isinstance(after, ast.Expr) else ""  # type: ignore[attr-defined]
    return ""


@pytest.mark.parametrize("name", PUBLIC)
def test_public_names_are_documented(name: str) -> None:
    home = import_module(f"memos_integrations.{memos_integrations._HOME[name]}")
    assert getattr(memos_integrations, name) is getattr(home, name)
    assert len(explained(home, name)) > 20


@pytest.mark.parametrize("name", ["MemOS", "MemorySession", "MemCube", "Hit", "TimeWindow"])
def test_public_methods_are_documented(name: str) -> None:
    kind = getattr(memos_integrations, name)
    methods = {
        attribute: value
        for attribute, value in vars(kind).items()
        if not attribute.startswith(("_", "model_"))
        and (callable(value) or isinstance(value, property | classmethod))
    }
    assert [attribute for attribute, value in methods.items() if not inspect.getdoc(value)] == []


def imported(statement: str) -> tuple[float, set[str]]:
    """CPU seconds of an import in a fresh process, and the packages that it brought."""
    script = (
        f"import sys, time\nt = time.process_time()\n{statement}\nt = time.process_time() - t\n"
        "import json; print(json.dumps([t, sorted({m.split('.')[0] for m in sys.modules})]))"
    )
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=True
    )
    seconds, packages = json.loads(ran.stdout)
    return seconds, set(packages)


def test_importing_is_quick_and_light() -> None:
    runs = [imported("import memos_integrations") for _ in range(5)]
    assert min(seconds for seconds, _ in runs) < 0.3
    assert runs[0][1] & HEAVY == set()
    assert "sqlalchemy" not in runs[0][1], "public names are imported when they are first used"


def test_no_public_name_brings_a_framework() -> None:
    assert imported("from memos_integrations import MemCube")[1] & HEAVY == set()
    assert imported("from memos_integrations import *")[1] & HEAVY == set()


def test_nothing_of_ours_is_called_memos() -> None:
    """MemTensor's package owns the module and the command of that name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert set(project["project"]["scripts"]) == {"memcube"}
    assert project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == [
        "memos_integrations"
    ]
    assert not (ROOT / "memos").exists()
    ours = {
        e.name for e in entry_points(group="console_scripts") if e.value.startswith("memos_int")
    }
    assert ours == {"memcube"}
    assert {f.parts[0] for f in files("memos-integrations") or ()}.isdisjoint({"memos"})
