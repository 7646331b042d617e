"""LlamaIndex's own tests of memories, chat engines and chat stores, run over ours.

``python tests/conformance/upstream_llama_index.py [--checkout FOLDER]``: with a checkout of
``run-llama/llama_index``, or one that it clones from GitHub at the tag of the installed
llama-index-core; its tests are not in the source archive. The tests run unchanged; how their
objects are made, and what is left out and why, stands in ``upstream_llama_index_stand_in.py``.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

REPOSITORY = "https://github.com/run-llama/llama_index"
STAND_IN = "upstream_llama_index_stand_in"
ROUNDS = {
    "memory": (
        "memory/test_memory_base.py",
        "memory/test_chat_memory_buffer.py",
        "chat_engine/test_simple.py",
        "chat_engine/test_context.py",
        "chat_engine/test_condense_plus_context.py",
        "chat_engine/test_condense_question.py",
        "chat_engine/test_streaming_history.py",
        "storage/chat_store/test_simple_chat_store.py",
        "storage/chat_store/test_sql.py",
    ),
    "store": (
        "memory/test_memory_base.py",
        "memory/test_memory_blocks_base.py",
        "chat_engine/test_simple.py",
        "chat_engine/test_context.py",
        "chat_engine/test_condense_plus_context.py",
    ),
}


def main() -> int:
    """Run both rounds; 0 if all pass."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--checkout", type=Path, help="a checkout of run-llama/llama_index")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        core = (options.checkout or clone(Path(scratch))).resolve() / "llama-index-core"
        return max(run(core, name, files) for name, files in ROUNDS.items())


def clone(folder: Path) -> Path:
    """A shallow clone at the tag of the installed version."""
    tag = "v" + version("llama-index-core")
    command = ["git", "clone", "--quiet", "--depth", "1", "--branch", tag, REPOSITORY, str(folder)]
    subprocess.run(command, check=True)
    return folder


def run(core: Path, name: str, files: tuple[str, ...]) -> int:
    """One round, in a process of its own."""
    there = [f"tests/{file}" for file in files if (core / "tests" / file).exists()]
    missing = sorted(set(files) - {file.removeprefix("tests/") for file in there})
    print(
        f"== {name}: {len(there)} files" + (f", without {missing}" if missing else ""), flush=True
    )
    here = str(Path(__file__).parent)
    environment = {**os.environ, "MEMOS_UPSTREAM": name, "PYTHONPATH": f"{here}:{core}"}
    flags = ["-q", "-p", STAND_IN, "-p", "no:cacheprovider", "-W", "default", "-rs"]
    modes = ["-o", "asyncio_mode=auto", "--rootdir", str(core)]
    command = [sys.executable, "-m", "pytest", *flags, *modes, *there]
    return subprocess.run(command, cwd=core, env=environment, check=False).returncode


if __name__ == "__main__":
    raise SystemExit(main())
