"""Answers in the forms that providers give, written by hand: what a reader must be able to read.

All are about these two turns, and hold the statements OSLO and PLUMS where they are whole.
"""

from __future__ import annotations

import json
from typing import Any

TURNS = [
    {"role": "user", "speaker": "Ann", "content": "I live in Oslo, and I moved here last May."},
    {"role": "user", "speaker": "Ann", "content": "No pears for me: plums, always plums!"},
]
OSLO = {"kind": "fact", "text": "Ann lives in Oslo.", "turn": 1, "quote": "I live in Oslo"}
PLUMS = {
    "kind": "preference",
    "text": "Ann prefers plums.",
    "turn": 2,
    "quote": "plums, always plums",
}
BOTH: dict[str, Any] = {"memories": [OSLO, PLUMS]}
_JSON = json.dumps(BOTH)
_PRETTY = json.dumps(BOTH, indent=2)

WHOLE = {
    "plain JSON": _JSON,
    "pretty JSON with spaces around": f"\n\n{_PRETTY}\n ",
    "arguments of a tool call, read by the provider": BOTH,
    "arguments under the name of the call": {"arguments": BOTH},
    "a call written as text": json.dumps({"name": "Extracted", "parameters": BOTH}),
    "fenced": f"```json\n{_PRETTY}\n```",
    "fenced without a language": f"```\n{_PRETTY}\n```",
    "fenced, between words": f"Here is what I found:\n\n```json\n{_PRETTY}\n```\n\nShall I go on?",
    "a fence that is never closed": f"```json\n{_PRETTY}",
    "words before": f"Sure! Here are the memories: {_JSON}",
    "words after": f"{_JSON}\n\nNote: I left out the greeting. {{}}",
    "a thought before": f"<think>\nThe user said {{something}}.\n</think>\n\n{_JSON}",
    "a bare list": json.dumps([OSLO, PLUMS]),
    "a bare list, between words": f"The memories are [{_JSON[14:-2]}] as asked.",
    "braces in the words before": f"Using {{kind, text}}: {_JSON}",
    "fields nobody asked for": json.dumps(
        {
            "reasoning": "the user said so",
            "memories": [{**OSLO, "confidence": 0.9}, {**PLUMS, "id": "m-1"}],
        }
    ),
    "numbers as text": json.dumps({"memories": [{**OSLO, "turn": "1"}, {**PLUMS, "turn": "2"}]}),
    "kinds in other words": json.dumps(
        {"memories": [{**OSLO, "kind": "Biographical"}, {**PLUMS, "kind": "PREFERENCE"}]}
    ),
    "null where nothing is known": json.dumps({"memories": [{**OSLO, "when": None}, PLUMS]}),
}
"""Both statements are in it."""

CUT = {
    "broken off in the second": _JSON[: _JSON.index("always")],
    "broken off in its fence": "```json\n" + _PRETTY[: _PRETTY.rindex('"quote"')],
    "broken off after a comma": _JSON[: _JSON.index('"text": "Ann prefers') - 1],
    "a list broken off": json.dumps([OSLO, PLUMS])[:-30],
}
"""The first statement is whole."""

BROKEN = {
    "nothing": "",
    "white space": " \n ",
    "prose": "Ann lives in Oslo and likes plums.",
    "a refusal": "I'm sorry, but I can't help with that.",
    "a Python literal": str(BOTH),
    "another object": json.dumps({"answer": "Ann lives in Oslo."}),
    "memories that are no list": json.dumps({"memories": "Ann lives in Oslo."}),
    "a number": "42",
    "null": "null",
    "a bomb of brackets": "[" * 100_000,
    "a bomb of objects": '{"memories": ' * 10_000,
    "a bomb in an entry": '{"memories": [' + '{"text": ' * 20_000,
    "a number of a million figures": "1" * 150_000,
    "too long": json.dumps({"memories": [OSLO] * 3_000}) + " " * 200_000,
    "nothing but lines": "```json\n" + "\n" * 190_000,
    "nothing but fences": "```\n" * 40_000,
    "nothing but brackets and room": "[ " * 90_000,
    "no text at all": None,
    "an object of Python": object(),
}
"""Nothing can be taken from it."""
