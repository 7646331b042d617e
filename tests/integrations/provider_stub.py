"""A server on this machine that answers as OpenAI and Anthropic do, and caches prefixes."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

BLOCK = 16
"""Characters that it caches together; a character counts as a token."""


class Provider:
    """Keeps the request bodies, and says of each prompt how much of it was known.

    OpenAI's way caches any prefix; Anthropic's what ends with a ``cache_control``. Tools come
    before the system prompt and the messages, as in the prompts of either.
    """

    def __init__(self) -> None:
        self.url = ""
        self.bodies: list[dict[str, Any]] = []
        self._known: list[str] = []
        self._lock = threading.Lock()

    def answer(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """What is answered, all but the streaming of it."""
        with self._lock:
            self.bodies.append(body)
            if path.endswith("/messages"):
                return _anthropic(body, *self._read(*_marked(body)))
            whole = _openai_prompt(body)
            return _openai(*self._read(whole, len(whole)))

    def _read(self, whole: str, upto: int) -> tuple[int, int, int]:
        """Characters in all, those that were known, those that are known from now on."""
        prefix = whole[:upto]
        cached = max((_same(prefix, one) for one in self._known), default=0) // BLOCK * BLOCK
        self._known.append(prefix)
        return len(whole), cached, upto - cached


def _same(one: str, other: str) -> int:
    at = 0
    while at < min(len(one), len(other)) and one[at] == other[at]:
        at += 1
    return at


def _openai_prompt(body: dict[str, Any]) -> str:
    said = [f"<{one['role']}>{_text(one.get('content'))}" for one in body["messages"]]
    return json.dumps(body.get("tools") or []) + "".join(said)


def _marked(body: dict[str, Any]) -> tuple[str, int]:
    """The prompt of a request to Anthropic, and where its last mark ends."""
    text, end = json.dumps(body.get("tools") or []), 0
    chats = [{"role": "system", "content": body.get("system") or ""}, *body["messages"]]
    for chat in chats:
        text += f"<{chat['role']}>"
        content = chat["content"]
        for piece in [{"text": content}] if isinstance(content, str) else content:
            text += str(piece.get("text", ""))
            end = len(text) if "cache_control" in piece else end
    return text, end


def _text(content: Any) -> str:
    if isinstance(content, list):
        return "".join(str(piece.get("text", "")) for piece in content)
    return str(content or "")


def _openai(whole: int, cached: int, _: int) -> dict[str, Any]:
    said = {"role": "assistant", "content": "I see."}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "stub",
        "choices": [{"index": 0, "message": said, "finish_reason": "stop"}],
        "usage": {
            "prompt_tokens": whole,
            "completion_tokens": 2,
            "total_tokens": whole + 2,
            "prompt_tokens_details": {"cached_tokens": cached},
        },
    }


def _anthropic(body: dict[str, Any], whole: int, cached: int, written: int) -> dict[str, Any]:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": body["model"],
        "content": [{"type": "text", "text": "I see."}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": whole - cached - written,
            "output_tokens": 2,
            "cache_read_input_tokens": cached,
            "cache_creation_input_tokens": written,
            "cache_creation": {
                "ephemeral_5m_input_tokens": written,
                "ephemeral_1h_input_tokens": 0,
            },
        },
    }


def _events(body: dict[str, Any], answer: dict[str, Any]) -> str:
    """A streamed answer of OpenAI's; its usage only where it is asked for."""
    base = {**answer, "object": "chat.completion.chunk"}
    said = answer["choices"][0]["message"]
    usage, asked = base.pop("usage"), body.get("stream_options") or {}
    delta = {"index": 0, "delta": said, "finish_reason": "stop"}
    chunks: list[dict[str, Any]] = [{**base, "choices": [delta]}]
    if asked.get("include_usage"):
        chunks.append({**base, "choices": [], "usage": usage})
    return "".join(f"data: {json.dumps(one)}\n\n" for one in chunks) + "data: [DONE]\n\n"


@contextmanager
def serving() -> Iterator[Provider]:
    """The server, for as long as the block runs."""
    provider = Provider()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            answer = provider.answer(self.path, body)
            streamed = bool(body.get("stream"))
            said = _events(body, answer) if streamed else json.dumps(answer)
            self.send_response(200)
            kind = "text/event-stream" if streamed else "application/json"
            self.send_header("Content-Type", kind)
            self.end_headers()
            self.wfile.write(said.encode())

        def log_message(self, *_: Any) -> None:
            """Nothing on the screen."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    provider.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
