"""``memcube retention``: how long memories live, and which must not go."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any

import typer

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

retention = typer.Typer(
    name="retention",
    no_args_is_help=True,
    help="How long memories live, and legal holds, for a namespace and all below it.",
)

TypeOption = Annotated[str | None, typer.Option("--type", help="Only of this semantic type.")]
MemoryOption = Annotated[str | None, typer.Option("--id", help="Only this memory.")]
ReasonOption = Annotated[str, typer.Option(help="Why; it is kept.")]


@retention.command("list", epilog=EXIT_CODES)
def list_rules(
    lifted: Annotated[bool, typer.Option("--all", help="Also those that were lifted.")] = False,
    user: UserOption = "me",
    namespace: NamespaceOption = None,
    path: PathOption = DEFAULT_PATH,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Show the rules and holds."""
    with serve(as_json=as_json, debug=debug) as desk:
        with open_session(path, user, namespace) as session:
            rules = session.retention(lifted=lifted)
        lines = [_line(one) for one in rules] or ["no rules"]
        said = "\n".join(lines)
        document = {"rules": [_plain(one) for one in rules]}
        desk.tell(document, lambda out: out.print(said, soft_wrap=True))


@retention.command("set", epilog=EXIT_CODES)
def set_rule(
    ttl: Annotated[
        str | None, typer.Option(help="After it was last written: 30d, 12h, 15m, 20s or never.")
    ] = None,
    unused: Annotated[str | None, typer.Option(help="After it was last used; the same.")] = None,
    semantic_type: TypeOption = None,
    id: MemoryOption = None,
    reason: ReasonOption = "asked for",
    user: UserOption = "me",
    namespace: NamespaceOption = None,
    path: PathOption = DEFAULT_PATH,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Let memories end."""
    with serve(as_json=as_json, debug=debug) as desk:
        spans = {"ttl": _span(ttl), "unused": _span(unused)}
        with open_session(path, user, namespace) as session:
            rule = session.retain(**spans, semantic_type=semantic_type, id=id, reason=reason)
        desk.tell(_plain(rule), lambda out: out.print(_line(rule), soft_wrap=True))


@retention.command(epilog=EXIT_CODES)
def hold(
    semantic_type: TypeOption = None,
    id: MemoryOption = None,
    reason: ReasonOption = "legal hold",
    user: UserOption = "me",
    namespace: NamespaceOption = None,
    path: PathOption = DEFAULT_PATH,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Keep memories from ending, from being deleted and from being erased."""
    with serve(as_json=as_json, debug=debug) as desk:
        with open_session(path, user, namespace) as session:
            rule = session.hold(semantic_type=semantic_type, id=id, reason=reason)
        desk.tell(_plain(rule), lambda out: out.print(_line(rule), soft_wrap=True))


@retention.command(epilog=EXIT_CODES)
def lift(
    rule: Annotated[str, typer.Argument(metavar="RULE", help="Its id, as `list` prints it.")],
    user: UserOption = "me",
    namespace: NamespaceOption = None,
    path: PathOption = DEFAULT_PATH,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """End a rule or a hold."""
    with serve(as_json=as_json, debug=debug) as desk:
        with open_session(path, user, namespace) as session:
            session.lift(rule)
        desk.tell({"lifted": rule}, lambda out: out.print(f"lifted {rule}"))


@retention.command(epilog=EXIT_CODES)
def sweep(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    erase: Annotated[bool, typer.Option("--erase", help="Erase it, for good.")] = False,
    user: UserOption = "me",
    namespace: NamespaceOption = None,
    path: PathOption = DEFAULT_PATH,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Put away what has outlived its rule; searches leave it out already."""
    with serve(as_json=as_json, debug=debug) as desk:
        with open_session(path, user, namespace) as session:
            swept = session.sweep(dry_run=dry_run, erase=erase)
        document = {
            "dry_run": swept.dry_run,
            "erased": erase,
            "memories": [
                {
                    "id": one.memory_id,
                    "namespace": list(one.namespace),
                    "rule": one.rule.id,
                    "because": str(one.rule),
                }
                for one in swept.due
            ],
        }
        desk.tell(document, lambda out: out.print(str(swept), soft_wrap=True))


_UNITS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}


def _span(given: str | None) -> timedelta | None:
    if given is None:
        return None
    if given == "never":
        return timedelta.max
    found = re.fullmatch(r"(\d{1,9})([dhms])", given)
    if found is None:
        raise InvalidInputError(f"{given!r} is no span of time: write 30d, 12h, 15m, 20s or never")
    return timedelta(seconds=int(found[1]) * _UNITS[found[2]])


def _line(rule: Any) -> str:
    lifted = f", lifted by {rule.lifted_by}" if rule.lifted_by else ""
    return f"{rule.id}  {rule} (set by {rule.set_by}{lifted})"


def _plain(rule: Any) -> dict[str, Any]:
    times = {"at": rule.at.isoformat()}
    if rule.lifted_at is not None:
        times["lifted_at"] = rule.lifted_at.isoformat()
    return {**vars(rule), "namespace": list(rule.namespace), **times}
