"""An adapter whose framework is not installed says what to install."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("framework", "adapter", "extra"),
    [
        ("langchain_core", "memos_integrations.langchain", "[langchain]"),
        ("llama_index", "memos_integrations.llama_index", "[llama-index]"),
    ],
)
def test_a_missing_framework_is_named(framework: str, adapter: str, extra: str) -> None:
    script = (
        f"import sys; sys.modules[{framework!r}] = None\n"
        "from memos_integrations.errors import MissingExtraError\n"
        f"try: import {adapter}\n"
        "except MissingExtraError as error: print(error)"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert f"pip install 'memos-integrations{extra}'" in ran.stdout, ran.stderr
