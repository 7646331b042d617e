"""``memcube demo``: one process loads, another one asks, and this one leads them through it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from memos_integrations.cli.desk import Desk, Fate, print_json, serve
from memos_integrations.cli.options import DebugOption, JsonOption
from memos_integrations.errors import MissingExtraError


def demo(
    path: Annotated[
        Path, typer.Option("--path", help="The demo's folder; an older demo in it is replaced.")
    ] = Path("memcube-demo"),
    model: Annotated[
        bool,
        typer.Option(
            "--model/--no-model",
            help="Let the bundled language model answer, too; its first start takes a minute.",
        ),
    ] = True,
    step: Annotated[str | None, typer.Option(hidden=True)] = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Watch a conversation go into memory and come back. Exit code 1: a step did not hold."""
    with serve(as_json=as_json, debug=debug) as desk:
        if step == "load":
            _load(desk, path)
        elif step == "tour":
            _tour(desk, path, model=model)
        else:
            _lead(desk, path.expanduser(), model=model)


def _lead(desk: Desk, folder: Path, *, model: bool) -> None:
    from memos_integrations.cli.demo_view import print_end, print_start
    from memos_integrations.demo.folder import fresh_folder

    started = time.perf_counter()
    fresh_folder(folder)
    if not desk.json:
        print_start(desk.out)
    document: dict[str, Any] = {"folder": str(folder)}
    for step in ("load", "tour"):
        document[step], fate = _run(desk, folder, step, model=model)
        if fate != Fate.OK:
            if desk.json:
                print_json(document[step] if "error" in document[step] else document)
            raise typer.Exit(fate)
    document["seconds"] = round(time.perf_counter() - started, 1)
    desk.tell(document, lambda out: print_end(out, folder, document["seconds"]))


def _run(desk: Desk, folder: Path, step: str, *, model: bool) -> tuple[dict[str, Any], int]:
    """One step in a process of its own: its document, with ``--json``, and its exit code."""
    flags = [*(["--json"] if desk.json else []), *(["--debug"] if desk.debug else [])]
    command = [sys.executable, "-m", "memos_integrations", "demo", "--step", step]
    command += ["--path", str(folder), *flags, *([] if model else ["--no-model"])]
    desk.out.file.flush()
    done = subprocess.run(command, stdout=subprocess.PIPE if desk.json else None, check=False)
    document: dict[str, Any] = json.loads(done.stdout or b"{}") if desk.json else {}
    # A negative one means that a signal ended it.
    return document, done.returncode if done.returncode >= 0 else Fate.BUG


def _load(desk: Desk, folder: Path) -> None:
    from memos_integrations.cli.demo_view import print_loaded
    from memos_integrations.demo.load import load

    with desk.progress("remembering") as progress:
        document = load(folder, progress)
    desk.tell(document, lambda out: print_loaded(out, document))


def _tour(desk: Desk, folder: Path, *, model: bool) -> None:
    from memos_integrations.cli import demo_view as view
    from memos_integrations.demo.folder import store_in
    from memos_integrations.demo.script import USER, read_script
    from memos_integrations.demo.tour import Tour, verdict
    from memos_integrations.memos import MemOS

    script, show = read_script(), not desk.json
    with MemOS.open(store_in(folder)) as memory:
        session = memory.session(USER)
        opened = view.opened(session.count())
        if show:
            view.print_opened(desk.out, opened)
        tour, answers = Tour(session), []
        for number, question in enumerate(script.questions, 1):
            answers.append(tour.ask(question))
            if show:
                view.print_answer(desk.out, number, answers[-1])
        steps = {"update": tour.update(script.update)}
        if show:
            view.print_update(desk.out, steps["update"])
        steps["delete"] = tour.delete(script.delete)
        if show:
            view.print_delete(desk.out, steps["delete"])
        drawn = steps["update"]["id"]
        steps["draw"] = tour.draw(drawn, folder) if drawn else {"ok": False, "files": []}
        if show:
            view.print_picture(desk.out, steps["draw"])
        if model:
            try:
                steps["model"] = tour.answer(script.questions[0].question)
            except MissingExtraError as error:
                if show:
                    view.print_no_model(desk.out, str(error))
            else:
                if show:
                    view.print_model(desk.out, steps["model"])
    promises = verdict(answers, steps)
    document = {**opened, "questions": answers, **steps, "promises": promises}
    desk.tell(document, lambda out: view.print_verdict(out, promises))
    if not all(promise["held"] for promise in promises):
        raise typer.Exit(Fate.NOTHING)
