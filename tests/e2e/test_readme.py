"""Every Python block of the README and the docs runs as it stands."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCKS = [
    pytest.param(block, id=f"{page.stem}-{number}")
    for page in PAGES
    for number, block in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(), re.S), 1)
]


@pytest.mark.parametrize("block", BLOCKS)
def test_block_runs(block: str, tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning:memos_integrations", "-c", block],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr


def test_quick_starts_answer_what_they_ask(tmp_path: Path) -> None:
    """LangChain's block, then LlamaIndex's on the same folder."""
    agent, retriever, llama_index = re.findall(r"```python\n(.*?)```", PAGES[0].read_text(), re.S)[
        :3
    ]
    for block, answer in (
        (agent, ""),
        (retriever, "walnuts"),
        (llama_index, "street organ workshop"),
    ):
        assert len(block.strip().splitlines()) <= 12
        ran = subprocess.run(
            [sys.executable, "-c", block], cwd=tmp_path, capture_output=True, text=True
        )
        assert (ran.returncode, answer in ran.stdout) == (0, True), ran.stdout + ran.stderr


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
