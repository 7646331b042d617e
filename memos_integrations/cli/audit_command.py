"""``memcube audit``: whether the audit log is whole, where it ends, and what stands in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from memos_integrations.cli.desk import EXIT_CODES, Fate, serve
from memos_integrations.cli.options import (
    DEFAULT_PATH,
    DebugOption,
    JsonOption,
    NamespaceOption,
    PathOption,
    UserOption,
    open_session,
)
from memos_integrations.errors import InvalidInputError, MissingExtraError

audit = typer.Typer(
    name="audit",
    no_args_is_help=True,
    help="Who did, read, or was refused what: each entry chained to the one before it.",
)


@audit.command(epilog=EXIT_CODES)
def verify(
    anchor: Annotated[
        Path | None, typer.Option(help="A head that was kept elsewhere, as `audit head` prints it.")
    ] = None,
    public_key: Annotated[
        Path | None, typer.Option(help="The Ed25519 public key (PEM) of who signed it.")
    ] = None,
    user: UserOption = "me",
    namespace: NamespaceOption = None,
    path: PathOption = DEFAULT_PATH,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Look at every entry; name the first that was changed, removed or moved (exit code 3)."""
    with serve(as_json=as_json, debug=debug) as desk:
        kept = None if anchor is None else _head(anchor)
        key = None if public_key is None else _key(public_key, private=False)
        with open_session(path, user, namespace) as session:
            verdict = session.verify_audit(anchor=kept, signed_by=key)
        document = {
            "whole": bool(verdict),
            "entries": verdict.entries,
            "first_wrong": verdict.seq,
            "problem": verdict.problem,
        }
        desk.tell(document, lambda out: out.print(str(verdict), soft_wrap=True))
        if not verdict:
            raise typer.Exit(Fate.STORE)


@audit.command(epilog=EXIT_CODES)
def head(
    sign_with: Annotated[
        Path | None, typer.Option(help="An Ed25519 private key (PEM): sign the head with it.")
    ] = None,
    user: UserOption = "me",
    namespace: NamespaceOption = None,
    path: PathOption = DEFAULT_PATH,
    debug: DebugOption = False,
) -> None:
    """Print where the log ends, as one JSON document: keep it outside of the store."""
    with serve(as_json=False, debug=debug) as desk:
        key = None if sign_with is None else _key(sign_with, private=True)
        with open_session(path, user, namespace) as session:
            found = session.audit_head(sign_with=key)
        desk.out.print(json.dumps(found.as_dict()), soft_wrap=True)


@audit.command(epilog=EXIT_CODES)
def export(
    file: Annotated[Path, typer.Argument(help="Where to; JSON Lines, oldest first.")],
    everywhere: Annotated[bool, typer.Option("--all", help="Of every namespace.")] = False,
    user: UserOption = "me",
    namespace: NamespaceOption = None,
    path: PathOption = DEFAULT_PATH,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Write the log of a namespace and below, or all of it."""
    with serve(as_json=as_json, debug=debug) as desk:
        with open_session(path, user, namespace) as session:
            written = session.export_audit(file, everywhere=everywhere)
        desk.tell({"file": str(written)}, lambda out: out.print(f"written to {written}"))


def _head(file: Path) -> Any:
    from memos_integrations.infrastructure.audit_check import Head

    try:
        return Head.from_dict(json.loads(_read(file)))
    except ValueError as error:
        if isinstance(error, InvalidInputError):
            raise
        raise InvalidInputError(f"{file} holds no head: give what `audit head` printed") from None


def _key(file: Path, *, private: bool) -> Any:
    try:
        from cryptography.hazmat.primitives import serialization
    except ImportError as error:
        raise MissingExtraError(
            "keys take the package cryptography: pip install cryptography"
        ) from error
    try:
        if private:
            key: Any = serialization.load_pem_private_key(_read(file), None)
        else:
            key = serialization.load_pem_public_key(_read(file))
    except (ValueError, TypeError) as error:
        raise InvalidInputError(f"{file} is no PEM key without a password: {error}") from None
    if "Ed25519" not in type(key).__name__:
        raise InvalidInputError(f"{file} is no Ed25519 key: openssl genpkey -algorithm ed25519")
    return key


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise InvalidInputError(f"{file} cannot be read: {error.strerror}") from None
