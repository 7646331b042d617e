"""What users touch: the public names, what importing them costs, the error tree."""

from __future__ import annotations

import inspect
import pickle
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import memos_integrations
from memos_integrations import errors

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "transformers", "chromadb", "langchain", "langchain_core", "llama_index")


def test_public_names_are_pinned() -> None:
    assert memos_integrations.__all__ == [
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
    assert len(memos_integrations.__all__) <= 15
    for name in memos_integrations.__all__:
        assert inspect.getdoc(getattr(memos_integrations, name))
        assert name in dir(memos_integrations)
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = memos_integrations.Nothing


def imported(statement: str) -> tuple[float, set[str]]:
    """CPU seconds of an import in a fresh process, and the heavy modules it brought."""
    script = (
        f"import sys, time; t = time.process_time(); {statement}; t = time.process_time() - t\n"
        f"print(t, *({HEAVY!r} and [m for m in {HEAVY!r} if m in sys.modules]))"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    seconds, *heavy = ran.stdout.split()
    return float(seconds), set(heavy)


def test_importing_is_light() -> None:
    runs = [imported("import memos_integrations") for _ in range(5)]
    assert min(seconds for seconds, _ in runs) < 0.3
    assert runs[0][1] == set()


def test_no_public_name_brings_a_framework() -> None:
    names = ", ".join(memos_integrations.__all__)
    assert imported(f"from memos_integrations import {names}")[1] == set()


def test_nothing_of_ours_is_called_memos() -> None:
    """MemTensor's package owns the module and the command of that name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert set(project["project"]["scripts"]) == {"memcube"}
    assert project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == [
        "memos_integrations"
    ]


ERRORS = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, errors.MemOSError)
}


def test_the_error_tree_is_the_documented_one() -> None:
    drawn = re.findall(r"^(.*?)(\w+Error)(?: \((\w+)\))?", errors.__doc__ or "", re.M)
    parents: list[str] = []
    seen = set()
    for indent, name, builtin in drawn:
        depth = len(indent) // 4 - (1 if indent.startswith("    ") else 0)
        if name not in ERRORS:
            continue
        parents[max(depth, 0) :] = [name]
        if len(parents) > 1:
            assert issubclass(ERRORS[name], ERRORS[parents[-2]]), (name, parents)
        if builtin:
            base = getattr(__builtins__, builtin, None) or __builtins__[builtin]  # type: ignore[index]
            assert issubclass(ERRORS[name], base)
        seen.add(name)
    assert seen == set(ERRORS)


@pytest.mark.parametrize("kind", ERRORS.values(), ids=ERRORS)
def test_each_error(kind: type[errors.MemOSError]) -> None:
    assert inspect.getdoc(kind)
    assert not issubclass(kind, RuntimeError), "LlamaIndex retries those"
    if kind is errors.VersionConflictError:
        error: errors.MemOSError = errors.VersionConflictError("id", expected=1, actual=2)
    else:
        error = kind("what to do")
        assert str(error) == "what to do"
        assert str(pickle.loads(pickle.dumps(error))) == "what to do"
    with pytest.raises(errors.MemOSError):
        raise error
