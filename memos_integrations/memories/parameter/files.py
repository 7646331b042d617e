"""Tensors with a manifest in one safetensors file, whole or not at all; never pickle."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from memos_integrations.errors import AdapterCorruptError, StoreFullError

Tensors = dict[str, torch.Tensor]


def packed(tensors: Mapping[str, torch.Tensor], manifest: Mapping[str, Any]) -> bytes:
    """The bytes of a file; the manifest is signed with a hash over it and over the tensors."""
    plain = {name: one.detach().cpu().contiguous() for name, one in tensors.items()}
    written = json.dumps(manifest, sort_keys=True)
    return save(plain, {"manifest": written, "sum": _sum(plain, written)})


def unpacked(content: bytes, what: str) -> tuple[Tensors, dict[str, Any]]:
    """The inverse of :func:`packed`; :class:`AdapterCorruptError` for anything else."""
    try:
        size = int.from_bytes(content[:8], "little")
        about = json.loads(content[8 : 8 + size])["__metadata__"]
        tensors = load(content)
        if about["sum"] != _sum(tensors, about["manifest"]):
            raise ValueError("its hash is another one")
        manifest = json.loads(about["manifest"])
        if not isinstance(manifest, dict):
            raise ValueError("it has no manifest")
    except (SafetensorError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise AdapterCorruptError(f"{what} is damaged, or another kind of file: {error}") from error
    return tensors, manifest


def write(path: Path, content: bytes) -> None:
    """A file appears whole or not at all, and outlives a crash."""
    aside = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with aside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise StoreFullError(f"{path} cannot be written: {error}") from error


def _sum(tensors: Mapping[str, torch.Tensor], manifest: str) -> str:
    hasher = hashlib.sha256(manifest.encode())
    for name, one in sorted(tensors.items()):
        hasher.update(f"{name} {tuple(one.shape)} {one.dtype}".encode())
        hasher.update(one.reshape(-1).view(torch.uint8).numpy().tobytes())
    return hasher.hexdigest()
