"""The KV cache of a prompt's beginning as the bytes of one safetensors file.

Its pieces stand one after the other, as in ``piece_files``, with their tokens. Not in it: where
they stand in a tree, which depends on whose store it is.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from memos_integrations.errors import ActivationCorruptError, WrongModelError
from memos_integrations.memories.activation.catalogue import header_size, signed
from memos_integrations.memories.activation.piece_files import packed, stored_in
from memos_integrations.memories.activation.segments import Source
from memos_integrations.memories.activation.tensors import Pair, Piece
from memos_integrations.models.causal import CausalModel

FORMAT = "memos-activation-1"

Pieces = Sequence[tuple[tuple[int, ...], Piece]]
"""From the first token of a prompt on: the tokens of each piece, and their keys and values."""


def to_bytes(pieces: Pieces, sources: Iterable[Source], model: CausalModel) -> bytes:
    """A safetensors file; what it says of itself stands in its header."""
    tensors: dict[str, torch.Tensor] = {}
    about = []
    for n, (tokens, piece) in enumerate(pieces):
        layers, found = packed(piece)
        tensors |= {f"{n}.{name}": one for name, one in found.items()}
        about.append({"tokens": tokens, "layers": layers, "count": len(piece)})
    said = {
        "format": FORMAT,
        "pieces": json.dumps(about),
        "sources": json.dumps([[one.cube_id, one.version] for one in sources]),
        "model": json.dumps(asdict(model.fingerprint)),
    }
    return save(tensors, signed(said))


def from_bytes(content: bytes, model: CausalModel) -> tuple[Pieces, frozenset[Source]]:
    """The pieces, for the model that computed them, and the memories that they are made of.

    The bytes are those that their sha256 names (blobs are checked where they are read); here it
    is checked that they are such a file. Raises :class:`ActivationCorruptError` and
    :class:`WrongModelError`.
    """
    try:
        about = json.loads(content[8 : 8 + header_size(content)])["__metadata__"]
        if about["format"] != FORMAT or about != signed(about):
            raise ValueError("its header was altered, or is of another release")
        _check_model(json.loads(about["model"]), model)
        sources = frozenset(Source(str(id), int(n)) for id, n in json.loads(about["sources"]))
        tensors = load(content)
        pieces = [_piece(n, one, tensors) for n, one in enumerate(json.loads(about["pieces"]))]
        return pieces, sources
    except WrongModelError:
        raise
    except (SafetensorError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise ActivationCorruptError(
            f"the KV cache is damaged, or another kind of file: {error}"
        ) from error


def _check_model(made_for: Mapping[str, str], model: CausalModel) -> None:
    own = model.fingerprint
    parts = ("weights", "tokenizer", "template", "dtype", "attention")
    other = [name for name in parts if asdict(own)[name] != made_for[name]]
    if other:
        raise WrongModelError(
            f"the KV cache was computed by {made_for['name']}, and {own.name} differs in "
            f"{', '.join(other)}: load that model, or precompute the memories with this one"
        )


def _piece(
    n: int, about: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]
) -> tuple[tuple[int, ...], Piece]:
    tokens, which = tuple(map(int, about["tokens"])), [int(i) for i in about["layers"]]
    own = {
        name.removeprefix(f"{n}."): one for name, one in tensors.items() if name.startswith(f"{n}.")
    }
    layers: list[Pair | None] = [None] * int(about["count"])
    for i, stored in zip(which, stored_in(which, own), strict=True):
        keys, values = stored
        if any(one.ndim != 4 or one.shape[-2] != len(tokens) for one in stored):
            raise ValueError(f"layer {i} of piece {n} holds another number of tokens")
        layers[i] = keys, values
    if not tokens or not which:
        raise ValueError(f"piece {n} is empty")
    return tokens, Piece(layers)
