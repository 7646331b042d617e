"""``memcube pipeline``: run a pipeline from a YAML file, or show what it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from memos_integrations.cli.desk import EXIT_CODES, serve
from memos_integrations.cli.options import (
    DEFAULT_PATH,
    DebugOption,
    JsonOption,
    NamespaceOption,
    PathOption,
    UserOption,
    open_session,
)
from memos_integrations.errors import InvalidInputError

if TYPE_CHECKING:
    from memos_integrations.verbs.pipeline import PipelineRun

pipeline = typer.Typer(
    name="pipeline",
    no_args_is_help=True,
    help="Several verbs as one: run a pipeline from a YAML file, or show it.",
    epilog=EXIT_CODES,
)

FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="A pipeline in YAML.")]


@pipeline.command(epilog=EXIT_CODES)
def run(
    file: FileArgument,
    given: Annotated[
        list[str] | None,
        typer.Option("--input", metavar="NAME=VALUE", help="An input; JSON, or else text."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be written.")
    ] = False,
    user: UserOption = "me",
    namespace: NamespaceOption = None,
    path: PathOption = DEFAULT_PATH,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Do all steps, or none. Pipelines that call functions are run from Python."""
    with serve(as_json=as_json, debug=debug) as desk:
        from memos_integrations.interface.pipeline import Pipeline

        wanted, inputs = Pipeline.load(file), dict(map(_input, given or ()))
        with open_session(path, user, namespace) as session:
            done = session.run(wanted, inputs, dry_run=dry_run)
        desk.tell(_document(done), lambda out: _print(out, done))


@pipeline.command(epilog=EXIT_CODES)
def show(
    file: FileArgument,
    output: Annotated[
        Path | None,
        typer.Option("--output", metavar="FILE", help="Draw it there: .svg, .png or .mmd."),
    ] = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Check a pipeline, and show it as a Mermaid flowchart or a picture."""
    with serve(as_json=as_json, debug=debug) as desk:
        from memos_integrations.interface.pipeline import Pipeline

        wanted = Pipeline.load(file)
        steps = [{"name": one.name, "verb": one.verb, "uses": one.uses} for one in wanted.ordered()]
        document: dict[str, Any] = {"name": wanted.name, "steps": steps, "output": None}
        if output is not None:
            document["output"] = str(wanted.save(output))
            desk.tell(document, lambda out: typer.echo(f"drawn: {output}"))
        else:
            document["mermaid"] = wanted.mermaid()
            desk.tell(document, lambda out: typer.echo(document["mermaid"], nl=False))


def _input(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise InvalidInputError(f"--input {text!r}: write it as name=value")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


def _document(done: PipelineRun) -> dict[str, Any]:
    steps = [
        {
            "name": one.name,
            "verb": one.verb,
            "read": one.read,
            "wrote": one.wrote,
            "skipped": one.skipped,
            "attempts": one.attempts,
            "seconds": round(one.seconds, 6),
        }
        for one in done.steps
    ]
    return {
        "pipeline": done.pipeline,
        "activity": done.activity_id,
        "dry_run": done.dry_run,
        "steps": steps,
    }


def _print(out: Console, done: PipelineRun) -> None:
    table = Table(title=f"{done.pipeline}{' (dry run: nothing written)' if done.dry_run else ''}")
    for column in ("step", "verb", "read", "wrote", "ms"):
        table.add_column(column, overflow="fold")
    for one in done.steps:
        counts = ("skipped", "") if one.skipped else (str(len(one.read)), str(len(one.wrote)))
        table.add_row(one.name, one.verb, *counts, f"{one.seconds * 1000:.1f}")
    out.print(table)
