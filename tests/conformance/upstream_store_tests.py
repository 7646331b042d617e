"""LangGraph's own store tests, run over ``MemOSStore``: ``make upstream``.

Fetches the source archives of langgraph-checkpoint, -sqlite and -postgres, and runs their
``test_store.py``, ``test_async_store.py`` and ``test_ttl.py`` unchanged: the names of their
stores lead here to a ``MemOSStore`` instead. What asks a store for its inner life (its SQL
statements, tables, connections) is left out, by name, below.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SUITES = {
    "langgraph-checkpoint": ("tests/test_store.py",),
    "langgraph-checkpoint-sqlite": (
        "tests/test_store.py",
        "tests/test_async_store.py",
        "tests/test_ttl.py",
    ),
    "langgraph-checkpoint-postgres": ("tests/test_store.py", "tests/test_async_store.py"),
}

STAND_IN = Path(__file__).with_name("upstream_stand_in.py")


def main() -> int:
    """Run every suite; 0 if all pass."""
    constraints = Path(__file__).parents[2] / "constraints.txt"
    worst = 0
    with tempfile.TemporaryDirectory() as name:
        for package, files in SUITES.items():
            folder = Path(name) / package
            fetch = ["download", "--quiet", "--no-deps", "--no-binary", package, package]
            subprocess.run(
                [sys.executable, "-m", "pip", *fetch, "-c", str(constraints), "-d", str(folder)],
                check=True,
            )
            archive = next(folder.glob("*.tar.gz"))
            shutil.unpack_archive(archive, folder, filter="data")
            source = next(path for path in folder.iterdir() if path.is_dir())
            shutil.copy(STAND_IN, source / "conftest.py")
            print(f"== {source.name}", flush=True)
            options = ["-q", "-p", "no:cacheprovider", "-o", "asyncio_mode=auto", "-W", "default"]
            run = subprocess.run(
                [sys.executable, "-m", "pytest", *options, *files], cwd=source, check=False
            )
            worst = max(worst, run.returncode)
    return worst


if __name__ == "__main__":
    raise SystemExit(main())
