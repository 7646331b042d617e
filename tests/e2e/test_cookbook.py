"""The cookbook's scripts run as they stand, and say what they promise."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = sorted((Path(__file__).parents[2] / "cookbook").glob("*.py"))

SAYS = {
    "langchain_agent": [
        "Tuesday, ann: In which city do I live?\n    agent: I remember this: ",
        "user: I live in Oslo.\nTuesday, bob: In which city do I live?\n    agent: I do not know.",
        "user: I live in Bergen.\nFriday",
        "Saturday, ann: In which city do I live?\n    agent: I do not know.",
    ],
    "langgraph_store": [
        "known: Ann eats no walnuts",
        "home, version 1: Ann lives in Oslo\nhome, version 2: Ann lives in Bergen\nfound: home",
        "why: meaning #1",
        "namespaces: [('users', 'ann'), ('users', 'bob')]",
    ],
}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_script(script: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error::DeprecationWarning:memos_integrations", str(script)]
    ran = subprocess.run(
        [*command, str(tmp_path / "store")], cwd=tmp_path, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    assert "Warning" not in ran.stderr, ran.stderr
    for said in SAYS[script.stem]:
        assert said in ran.stdout
    assert len(script.read_text().splitlines()) <= 80
