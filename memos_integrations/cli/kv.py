"""``memcube kv``: the KV caches that were made of memories."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from memos_integrations.cli.desk import EXIT_CODES, serve
from memos_integrations.cli.inputs import read_namespace
from memos_integrations.cli.options import (
    DEFAULT_PATH,
    DebugOption,
    IdArgument,
    JsonOption,
    NamespaceOption,
    PathOption,
    UserOption,
    open_session,
    open_store,
)

kv = typer.Typer(
    name="kv",
    no_args_is_help=True,
    help="The KV caches of memories: what is kept, what it brings, and how to make or drop it.",
    epilog=EXIT_CODES,
)

ModelOption = Annotated[
    str | None,
    typer.Option("--model", help="A hub id or a folder.", show_default="the bundled model"),
]


@kv.command(epilog=EXIT_CODES)
def stats(
    path: PathOption = DEFAULT_PATH,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Count the cached pieces on disk and where they were sent to, and the memories in them."""
    with serve(as_json=as_json, debug=debug) as desk:
        with open_store(path) as memory:
            pieces = memory.pieces
            found: dict[str, Any] = {
                "folder": str(pieces.folder),
                "pieces": len(pieces),
                "rounded_pieces": pieces.rounded,
                "bytes": pieces.bytes,
                "memories": len({source.cube_id for source in pieces.sources()}),
                "elsewhere": memory.remotes.report(),
            }
        shown = {**found, "bytes": decimal(found["bytes"]), "elsewhere": _places(found)}
        desk.tell(found, lambda out: _print(out, shown))


@kv.command(epilog=EXIT_CODES)
def explain(
    id: IdArgument,
    uses: Annotated[
        float | None,
        typer.Option(
            "--uses",
            help="Uses in an hour, lately.",
            show_default="as often as in the last weeks, by the memory's own count",
        ),
    ] = None,
    tokens_per_second: Annotated[
        float | None,
        typer.Option(
            "--prefill", help="Tokens a second that the model reads.", show_default="500, a guess"
        ),
    ] = None,
    user: UserOption = "me",
    namespace: NamespaceOption = None,
    path: PathOption = DEFAULT_PATH,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Say whether a memory has a cache, and from how many uses on one pays."""
    with serve(as_json=as_json, debug=debug) as desk:
        from memos_integrations.infrastructure.usage import HALF_LIFE_DAYS
        from memos_integrations.memories.activation.admission import AdmissionPolicy, Rates
        from memos_integrations.memories.activation.segments import Source
        from memos_integrations.memories.block import line
        from memos_integrations.recall import about_tokens

        with open_store(path) as memory:
            cube = memory.session(user, namespace=read_namespace(namespace)).get(id)
            cached = Source(cube.id, cube.version) in memory.pieces.sources()
        policy, rates = AdmissionPolicy(), Rates()
        # No model is loaded here, so nothing is measured.
        guesses = ["tokens", "bytes_per_token", "load_bytes_per_second"]
        if tokens_per_second is None:
            guesses.append("prefill_tokens_per_second")
        else:
            rates = replace(rates, prefill_tokens_per_second=tokens_per_second)
        counted = cube.header.behaviour
        lately = policy.heat_of(counted.heat, HALF_LIFE_DAYS * 86_400) if uses is None else uses
        tokens = about_tokens(line(cube))
        decision = policy.decide(tokens, lately, rates, cached=cached)
        document = {
            "id": cube.id,
            "version": cube.version,
            "cached": cached,
            "uses": counted.uses,
            "uses_an_hour": lately,
            "tokens": tokens,
            "worth_it": decision.admit,
            "expected_uses": decision.expected_uses,
            "break_even_uses": decision.break_even_uses,
            "saved_seconds_a_use": decision.saved_seconds,
            "build_seconds": decision.build_seconds,
            "prefill_tokens_per_second": rates.prefill_tokens_per_second,
            "load_bytes_per_second": rates.load_bytes_per_second,
            "bytes_per_token": rates.bytes_per_token,
            "guesses": guesses,
            "reason": decision.reason,
        }
        shown = {**document, "guesses": ", ".join(guesses)}
        desk.tell(document, lambda out: _print(out, shown))


@kv.command(epilog=EXIT_CODES)
def warm(
    limit: Annotated[int, typer.Option("--limit", help="How many memories, hottest first.")] = 8,
    system: Annotated[
        str, typer.Option("--system", help="The system prompt before the memories.")
    ] = "",
    model: ModelOption = None,
    user: UserOption = "me",
    namespace: NamespaceOption = None,
    path: PathOption = DEFAULT_PATH,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Compute the cache of a prompt with the memories that are used most."""
    with (
        serve(as_json=as_json, debug=debug) as desk,
        open_session(path, user, namespace) as session,
    ):
        from memos_integrations.local_chat import LocalChat
        from memos_integrations.memories.block import block
        from memos_integrations.recall import in_use_order

        words = session.list(limit=10_000, filters={"memory_type": "plaintext"})
        cubes = sorted(words, key=lambda cube: -cube.header.behaviour.heat)[:limit]
        chat = LocalChat(session, model)
        session.record_uses(cubes, prompt="memcube kv warm")
        written = block(in_use_order(cubes))
        said = f"{system}\n\n{written}" if system else written
        tokens = chat.warm([{"role": "system", "content": said}])
        chat.close()
        document = {"memories": len(cubes), "computed_tokens": tokens, **chat.stats()}
        desk.tell(
            document,
            lambda out: out.print(
                f"computed {tokens:,} tokens of {len(cubes)} memories for {chat.model.name}"
            ),
        )


@kv.command(epilog=EXIT_CODES)
def clear(
    path: PathOption = DEFAULT_PATH,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Delete every cached piece, here and where they were sent to. Nothing is lost but time."""
    with serve(as_json=as_json, debug=debug) as desk:
        with open_store(path) as memory:
            count, size = len(memory.pieces), memory.pieces.bytes
            places = memory.remotes.places()
            memory.pieces.clear()
            memory.remotes.clear()
        desk.tell(
            {"pieces": count, "bytes": size, "places": places},
            lambda out: out.print(
                f"deleted {count:,} pieces, {decimal(size)}"
                + (f", and all in {', '.join(places)}" if places else "")
            ),
        )


def _places(found: dict[str, Any]) -> str:
    """A line for each place that caches were sent to."""
    said = [
        f"{one['place']}: "
        + (one["failure"] or f"{one['pieces']:,} pieces, {decimal(one['bytes'])}")
        for one in found["elsewhere"]
    ]
    return "\n".join(said) or "nowhere"


def _print(out: Console, found: dict[str, Any]) -> None:
    table = Table.grid(padding=(0, 2))
    for name, value in found.items():
        shown = f"{value:,.3g}" if isinstance(value, float) else str(value)
        table.add_row(name.replace("_", " "), shown)
    out.print(table)
