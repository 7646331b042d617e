"""Archives that an enemy, or a bad disk, might hand over; by kind."""

from __future__ import annotations

import hashlib
import io
import json
import random
import struct
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

Case = tuple[str, bytes]
MANIFEST = "manifest.json"
TENSORS = "vectors/00000.safetensors"
WRONG: list[Any] = [{"x": 1}, [[1]], 1.5, 10**40, "\x00", "\ud800"]
TABLES = ("activities", "memories", "versions", "edges", "links", "transitions", "grants")


def unpacked(raw: bytes) -> dict[str, bytes]:
    """The members of an archive."""
    with zipfile.ZipFile(io.BytesIO(raw)) as file:
        return {name: file.read(name) for name in file.namelist()}


def packed(members: dict[str, bytes], *, sign: bool = True, **said: Any) -> bytes:
    """An archive whose manifest has the right hashes, and says ``said``, too."""
    content = dict(members)
    manifest = {**json.loads(content.pop(MANIFEST)), **said}
    if sign:
        manifest["members"] = {
            name: {"sha256": hashlib.sha256(raw).hexdigest(), "size": len(raw)}
            for name, raw in content.items()
        }
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as file:
        for name, raw in content.items():
            file.writestr(name, raw)
        file.writestr(MANIFEST, json.dumps(manifest))
    return target.getvalue()


def with_entry(raw: bytes, name: str, content: bytes = b"x", mode: int = 0o100600) -> bytes:
    """An archive with one more member, which the manifest does not know."""
    target = io.BytesIO(raw)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile warns of duplicates
        with zipfile.ZipFile(target, "a") as file:
            entry = zipfile.ZipInfo("x" if "\x00" in name else name)
            entry.external_attr = mode << 16
            file.writestr(entry, content)
    return target.getvalue()


def cut(raw: bytes) -> Iterator[Case]:
    for n in range(100):
        yield f"cut to {n} %", raw[: len(raw) * n // 100]
    yield "something behind it", raw + b"x"
    yield "a comment", raw[:-2] + struct.pack("<H", 4) + b"abcd"


def noise(raw: bytes) -> Iterator[Case]:
    draw = random.Random(5)
    for n in range(30):
        yield f"noise {n}", draw.randbytes(draw.randrange(2000))
        yield f"noise with an end {n}", draw.randbytes(draw.randrange(2000)) + raw[-22:]


def names(raw: bytes) -> Iterator[Case]:
    told = "/etc/passwd ../x ../../x a/../../x C:\\x \\\\host\\x ./x memories.jsonl/ vectors/.. x "
    told += "Memories.jsonl MEMORIES.JSONL manifest.JSON vectors/1.safetensors blobs/x blobs/../x "
    told += "memories.jsonl. memories.jsonl: vectors/000000.safetensors ~/x $HOME/x nul con aux"
    for name in [
        *told.split(),
        "memories.jsonl ",
        " memories.jsonl",
        "ｍemories.jsonl",
        "a" * 60_000,
    ]:
        yield f"named {name[:30]}", with_entry(raw, name)
    for name in unpacked(raw):
        yield f"twice {name}", with_entry(raw, name)
    for kind in (0o120000, 0o020000, 0o010000, 0o140000, 0o060000, 0o040000):
        yield f"no file {kind:o}", with_entry(raw, "audit.jsonl", b"/etc/passwd", kind | 0o777)


def bombs(raw: bytes) -> Iterator[Case]:
    members = unpacked(raw)
    yield "grows", packed({**members, "audit.jsonl": b" " * 30_000_000})
    yield "a long line", packed({**members, "audit.jsonl": random.Random(1).randbytes(40 << 20)})
    many = io.BytesIO()
    with zipfile.ZipFile(many, "w") as file:
        for n in range(70_000):
            file.writestr(zipfile.ZipInfo(f"{n:040d}"), b"")
    yield "many members", many.getvalue()
    for size in (0, 1, 10, 2**31, 2**40):
        manifest = json.loads(members[MANIFEST])
        manifest["members"]["memories.jsonl"]["size"] = size
        yield (
            f"size {size}",
            packed({**members, MANIFEST: json.dumps(manifest).encode()}, sign=False),
        )
    nested = b'{"a":' * 200_000 + b"1" + b"}" * 200_000 + b"\n"
    for table in TABLES:
        yield f"nested {table}", packed({**members, f"{table}.jsonl": nested})
    yield "nested manifest", packed(members, counts=_nested(900))
    for at, value in ((20, 2**31), (16, 2**31), (8, 9)):  # of a member, in the directory
        place = raw.rindex(b"PK\x01\x02") + at
        yield f"directory at {at}", raw[:place] + struct.pack("<L", value) + raw[place + 4 :]


def _nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def manifests(raw: bytes) -> Iterator[Case]:
    members = unpacked(raw)
    said = json.loads(members[MANIFEST])
    for name in said:
        rest = {key: value for key, value in said.items() if key != name}
        if name not in ("counts", "members"):  # these have a default, or are written anew
            yield f"without {name}", _with_manifest(members, rest)
        for wrong in ({"x": 1}, [[1]], 7):
            yield f"{name} is {wrong}", _with_manifest(members, {**said, name: wrong})
    yield "further", _with_manifest(members, {**said, "more": 1})
    for version in (0, 2, "1", None, 1.5):
        yield f"version {version}", _with_manifest(members, {**said, "version": version})
    for name, member in said["members"].items():
        for key, value in (("sha256", "0" * 64), ("sha256", "x"), ("size", member["size"] + 1)):
            wrong = {**said["members"], name: {**member, key: value}}
            yield f"{name} {key}", _with_manifest(members, {**said, "members": wrong})
        less = {one: about for one, about in said["members"].items() if one != name}
        yield f"{name} unsaid", _with_manifest(members, {**said, "members": less})
        kept = {one: content for one, content in members.items() if one != name}
        yield f"{name} missing", _with_manifest(kept, said)
    for table, count in said["counts"].items():
        counts = {**said["counts"], table: count + 1}
        yield f"count of {table}", _with_manifest(members, {**said, "counts": counts})
    for text in (b"", b"{}", b"[]", b"{", b"\xff", b'{"format": NaN}', b"null", b"1" * 5000):
        yield f"manifest {text[:9]!r}", _replaced(members, MANIFEST, text)


def _with_manifest(members: dict[str, bytes], said: Any) -> bytes:
    return _replaced(members, MANIFEST, json.dumps(said).encode())


def _replaced(members: dict[str, bytes], name: str, content: bytes) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as file:
        for one, raw in {**members, name: content}.items():
            file.writestr(one, raw)
    return target.getvalue()


def rows(raw: bytes) -> Iterator[Case]:
    """Every field of every table, with the right hashes."""
    members = unpacked(raw)
    for table in TABLES:
        name = f"{table}.jsonl"
        lines = [json.loads(line) for line in members[name].splitlines()]
        for field in lines[-1]:
            for wrong in WRONG:
                if field == "score" and isinstance(wrong, int | float):
                    continue  # a number is what it should be
                changed = [*lines[:-1], {**lines[-1], field: wrong}]
                yield f"{table}.{field} {wrong!r:.20}", _with_lines(members, name, changed)
            less = {key: value for key, value in lines[-1].items() if key != field}
            yield f"{table} no {field}", _with_lines(members, name, [*lines[:-1], less])
        yield f"{table} more", _with_lines(members, name, [*lines[:-1], {**lines[-1], "more": 1}])
        if table != "transitions":  # two alike may follow one another there
            doubled = {**members, name: members[name] + members[name].splitlines()[-1] + b"\n"}
            said = json.loads(members[MANIFEST])["counts"]
            yield f"{table} doubled", packed(doubled, counts={**said, table: said[table] + 1})
        yield f"{table} open", packed({**members, name: members[name][:-1]})
        yield f"{table} NaN", packed({**members, name: b'{"id": NaN}\n' + members[name]})


def _with_lines(members: dict[str, bytes], name: str, lines: list[Any]) -> bytes:
    written = "".join(json.dumps(line) + "\n" for line in lines).encode()
    return packed({**members, name: written})


def structure(raw: bytes) -> Iterator[Case]:
    """Rows that are right one by one, and do not fit together."""
    members = unpacked(raw)
    said = json.loads(members[MANIFEST])["counts"]

    def told(table: str) -> list[Any]:
        return [json.loads(line) for line in members[f"{table}.jsonl"].splitlines()]

    def case(table: str, lines: list[Any]) -> bytes:
        written = "".join(json.dumps(line) + "\n" for line in lines).encode()
        counts = {**said, table: len(lines)}
        return packed({**members, f"{table}.jsonl": written}, counts=counts)

    for table in ("activities", "memories", "versions"):
        lines = told(table)
        yield f"{table} short", case(table, lines[1:])
        yield (
            f"{table} reversed",
            case(table, lines[::-1]) if table == "versions" else case(table, lines[:-1]),
        )
    for edge in told("edges"):
        yield "an edge into the future", case("edges", [{**edge, "s": edge["o"], "o": edge["s"]}])
        yield "an edge to itself", case("edges", [{**edge, "o": edge["s"]}])
        yield "an edge to nothing", case("edges", [{**edge, "o": [edge["o"][0], 99]}])
    for version in told("versions"):
        others = [one for one in told("versions") if one != version]
        yield "a gap", case("versions", [*others, {**version, "version": 40}])
        erased = {**version, "payload": {"type": "erased"}}
        yield "an erased one", case("versions", [*others, erased])
        blob = {"type": "parameter", "blob": "0" * 64, "size": 1, "model": "m"}
        yield (
            "weights that are not there",
            case("versions", [*others, {**version, "payload": blob}]),
        )


def tensors(raw: bytes) -> Iterator[Case]:
    members = unpacked(raw)
    rows = np.frombuffer(members[TENSORS][-4 * 16 :], "<f4").reshape(1, 16)
    count = json.loads(members[MANIFEST])["counts"]["vectors"]
    fine = np.repeat(rows, count, axis=0).copy()
    for value in (np.nan, np.inf, -np.inf, 7.0):
        broken = fine.copy()
        broken[-1, 3] = value
        yield f"{value}", packed({**members, TENSORS: save({"vectors": broken})})
    for kind in ("float64", "float16", "int8", "int32", "int64", "bool", "uint8"):
        yield kind, packed({**members, TENSORS: save({"vectors": fine.astype(kind)})})
    shapes: list[Any] = [fine[:, :8], fine[:-1], fine[:0], fine.reshape(-1), fine[None], fine.T]
    for shape in [*shapes, np.concatenate([fine, fine]), np.zeros((count, 16), "f4")]:
        packing = save({"vectors": np.ascontiguousarray(shape)})
        yield f"shape {np.shape(shape)}", packed({**members, TENSORS: packing})
    yield "another name", packed({**members, TENSORS: save({"vector": fine})})
    yield "two", packed({**members, TENSORS: save({"vectors": fine, "x": fine})})
    good = save({"vectors": fine})
    for n in range(0, len(good), max(1, len(good) // 40)):
        yield f"cut at {n}", packed({**members, TENSORS: good[:n]})
    for length in (0, 1, 2**31, 2**63, 2**64 - 1):
        yield (
            f"header of {length}",
            packed({**members, TENSORS: struct.pack("<Q", length) + good[8:]}),
        )
    yield "code", packed({**members, TENSORS: b"cos\nsystem\n(S'touch ran'\ntR."})
    yield "no vectors", packed({k: v for k, v in members.items() if k != TENSORS})
    yield "no names", packed({k: v for k, v in members.items() if k != "vectors.jsonl"})
    blob = {**members, f"blobs/{hashlib.sha256(b'x').hexdigest()}": b"x"}
    yield "a blob of no memory", packed(blob)
    yield "a blob of another name", packed({**members, f"blobs/{'0' * 64}": b"x"})


KINDS = (cut, noise, names, bombs, manifests, rows, structure, tensors)


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, but those of a store that is open."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "store" not in path.parts
    }
