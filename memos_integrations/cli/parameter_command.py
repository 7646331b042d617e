"""``memcube distill`` and ``memcube adapters``: memories as weights of a model."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from memos_integrations.cli.desk import serve
from memos_integrations.cli.kv import ModelOption
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
    from memos_integrations.verbs.distill import AdapterNote


def distill(
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Memories' ids.")],
    model: ModelOption = None,
    kind: Annotated[
        Literal["lora", "prefix"],
        typer.Option(help="A low-rank adapter, or trained keys and values before every prompt."),
    ] = "lora",
    positions: Annotated[
        int | None, typer.Option(help="Of a prefix.", min=2, show_default="128")
    ] = None,
    dtype: Annotated[
        str, typer.Option(help="Of the model's weights: float32, bfloat16, float16 or auto.")
    ] = "float32",
    checkpoint: Annotated[
        Path | None, typer.Option(help="A file to go on from after a crash.")
    ] = None,
    drift: Annotated[
        float, typer.Option(help="Nats a token that other texts may move.", min=0)
    ] = 0.05,
    recall: Annotated[
        float, typer.Option(help="Share of what the model with the memories answers.", min=0)
    ] = 0.7,
    gain: Annotated[float, typer.Option(help="Points better than the bare model.")] = 0.1,
    user: UserOption = "me",
    namespace: NamespaceOption = None,
    path: PathOption = DEFAULT_PATH,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Train an adapter that knows memories, examine it, and keep it if it passes.

    Takes minutes. Exit code 1: one is not there; 2: the adapter did not pass.
    """
    with serve(as_json=as_json, debug=debug) as desk:
        with open_session(path, user, namespace) as session, Progress(transient=True) as bar:
            from memos_integrations.memories.parameter.distilling import Distillation
            from memos_integrations.memories.parameter.gate import GatePolicy
            from memos_integrations.models.causal import CausalModel

            if positions is not None and kind != "prefix":
                raise InvalidInputError("--positions are those of a prefix: give --kind prefix")
            how = Distillation(kind=kind, gate=GatePolicy(drift=drift, recall=recall, gain=gain))
            if positions is not None:
                how = replace(how, positions=positions)
            task = bar.add_task("distilling", visible=not as_json)
            cube = session.distill(
                ids,
                model=CausalModel.load(model, dtype=dtype),
                how=how,
                checkpoint=checkpoint,
                progress=lambda step, steps, loss: bar.update(
                    task, completed=step, total=steps, description=f"distilling, loss {loss:.3f}"
                ),
            )
        desk.tell(
            {"id": cube.id, **cube.metadata["report"]},
            lambda out: _report(out, cube.id, cube.metadata["report"]),
        )


def adapters(
    user: UserOption = "me",
    namespace: NamespaceOption = None,
    path: PathOption = DEFAULT_PATH,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """List the adapters of a namespace, and which of their sources have changed since."""
    with serve(as_json=as_json, debug=debug) as desk:
        with open_session(path, user, namespace) as session:
            notes = session.adapters()
        desk.tell({"adapters": [_plain(one) for one in notes]}, lambda out: _list(out, notes))


def _plain(note: AdapterNote) -> dict[str, Any]:
    payload = note.cube.payload.model_dump()
    return {
        "id": note.cube.id,
        "kind": payload["kind"],
        "model": payload["model"],
        "bytes": payload["size"],
        "sources": [asdict(one) for one in note.sources],
        "outdated": [asdict(one) for one in note.outdated],
        "report": note.cube.metadata["report"],
    }


def _report(out: Console, id: str, report: dict[str, Any]) -> None:
    table = Table("", "answers", "probability", title=f"adapter {id}")
    for title, name in (
        ("bare model", "bare"),
        ("memories in the prompt", "in_context"),
        ("adapter alone", "adapted"),
    ):
        table.add_row(title, f"{report[name]:.0%}", f"{report[f'{name}_probability']:.3f}")
    out.print(table)
    said = f"{report['drift']:.3f} nats a token away on other texts"
    if perplexity := _perplexity(report):
        said += f", their perplexity {perplexity}"
    out.print(f"{said}; {report['prompt_tokens_saved']} prompt tokens saved")


def _perplexity(report: dict[str, Any]) -> str:
    """Of other texts, before and after; nothing in the report of an older release."""
    bare, adapted = report.get("bare_perplexity"), report.get("perplexity")
    return "" if bare is None or adapted is None else f"{bare:.4g} → {adapted:.4g}"


def _list(out: Console, notes: list[AdapterNote]) -> None:
    names = "id", "kind", "model", "memories", "changed since", "answers", "drift", "perplexity"
    table = Table(*names)
    for note in notes:
        plain, report = _plain(note), note.cube.metadata["report"]
        table.add_row(
            note.cube.id,
            plain["kind"],
            plain["model"],
            str(len(note.sources)),
            str(len(note.outdated) or ""),
            f"{report['adapted']:.0%}",
            f"{report['drift']:.3f}",
            _perplexity(report),
        )
    out.print(table if notes else "no adapters")
