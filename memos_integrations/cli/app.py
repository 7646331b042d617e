"""The app: its commands, its help, and usage errors that respect ``--json``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from memos_integrations import __version__
from memos_integrations.cli.audit_command import audit
from memos_integrations.cli.commands import add, history, search, show
from memos_integrations.cli.demo_command import demo
from memos_integrations.cli.desk import EXIT_CODES, error_document, print_json
from memos_integrations.cli.eval_command import eval_
from memos_integrations.cli.forget_command import forget
from memos_integrations.cli.kv import kv
from memos_integrations.cli.lifecycle_command import lifecycle
from memos_integrations.cli.lineage_command import lineage
from memos_integrations.cli.log_command import log
from memos_integrations.cli.market_command import market
from memos_integrations.cli.parameter_command import adapters, distill
from memos_integrations.cli.pipeline_command import pipeline
from memos_integrations.cli.quarantine_command import quarantine
from memos_integrations.cli.rank_command import rank
from memos_integrations.cli.retention_command import retention
from memos_integrations.cli.transfer_command import dump, import_, load
from memos_integrations.cli.upkeep import doctor, reindex, stats


class MemcubeGroup(TyperGroup):
    """A group that prints its usage errors as JSON when ``--json`` stands on the command line."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run; see the base class."""
        words = list(sys.argv[1:] if args is None else args)
        options = words[: words.index("--")] if "--" in words else words
        as_json = standalone_mode and "--json" in options
        try:
            done = super().main(
                args=args,
                prog_name=prog_name,
                complete_var=complete_var,
                standalone_mode=standalone_mode and not as_json,
                windows_expand_args=windows_expand_args,
                **extra,
            )
        except typer.TyperException as error:
            if not as_json:
                raise
            print_json(error_document("UsageError", error.format_message()))
            sys.exit(error.exit_code)
        if as_json:
            sys.exit(done if isinstance(done, int) else 0)
        return done


app = typer.Typer(
    name="memcube",
    cls=MemcubeGroup,
    no_args_is_help=True,
    help="Durable, searchable memory for agents: a MemCube store in one folder.",
    epilog=EXIT_CODES,
    pretty_exceptions_enable=False,
)
reading = (search, show, history, lineage, lifecycle, log, stats)
for command in (
    add,
    *reading,
    forget,
    distill,
    adapters,
    quarantine,
    dump,
    load,
    demo,
    doctor,
    reindex,
):
    app.command(epilog=EXIT_CODES)(command)
app.command("import", epilog=EXIT_CODES)(import_)
app.command("eval", epilog=EXIT_CODES)(eval_)
for group in (kv, pipeline, audit, retention, market, rank):
    app.add_typer(group)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"memcube {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    pass


def main() -> None:
    """The ``memcube`` command."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal that lacks a character gets a question mark, not a traceback.
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")
    app(prog_name="memcube")
