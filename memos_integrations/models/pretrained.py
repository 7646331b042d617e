"""Models and tokenizers from where transformers finds them: a folder, or the Hugging Face hub."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from memos_integrations.errors import InvalidInputError, ModelLoadError

_PATIENCE = 5.0
"""Seconds that the hub has to answer, before what was downloaded earlier is used."""


def from_folder(folder: Path, options: dict[str, Any], device: str | None) -> tuple[Any, Any]:
    """The model and tokenizer in a folder; ``options`` are those of ``from_pretrained``."""
    try:
        with quietly():
            return _load(str(folder), {"local_files_only": True}, options, device)
    except failures() as error:
        raise ModelLoadError(f"the model in {folder} cannot be loaded: {error}") from error


def from_hub(
    name: str, revision: str | None, options: dict[str, Any], device: str | None
) -> tuple[Any, Any, str]:
    """The model and tokenizer with this hub id, and their commit.

    What was downloaded earlier, if the hub does not answer.
    """
    silence = _silence(name, revision)
    where = {"revision": revision or "main", "local_files_only": silence is not None}
    try:
        model, tokenizer = _load(name, where, options, device)
    except failures() as error:
        if silence is None or _commit(name, revision) is not None:
            raise ModelLoadError(f"the model {name!r} cannot be loaded: {error}") from error
        raise ModelLoadError(
            f"the model {name!r} was not downloaded before, and the Hugging Face hub does not "
            f"give it: {silence}. Load it once with access to the hub, give a folder that holds "
            "it, or None for the bundled model"
        ) from error
    return model, tokenizer, _commit(name, revision) or revision or ""


def folder_of(source: str | Path) -> Path | None:
    """The folder that is meant; ``None`` if it is a hub id."""
    folder = Path(os.path.expanduser(source))  # noqa: PTH111 - Path's own raises RuntimeError
    if folder.is_dir():
        return folder
    if folder.exists():
        raise ModelLoadError(f"{folder} is a file: give the folder of a model, or a hub id")
    if isinstance(source, Path) or source.startswith((".", "/", "~")) or source.count("/") > 1:
        raise ModelLoadError(
            f"there is no folder {folder}: give one that holds a model, or a hub id"
        )
    return None


def dtype_of(name: str) -> Any:
    """torch's dtype of this name; ``auto`` is the one that the weights are kept in."""
    import torch

    dtype = getattr(torch, name, None)
    if name == "auto":
        return name
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise InvalidInputError(f"dtype is {name!r}: give float32, bfloat16, float16 or auto")
    return dtype


@contextmanager
def quietly() -> Iterator[None]:
    """Without the progress bars of transformers."""
    bars: Any = import_module("transformers.utils.logging")  # its functions are untyped

    shown = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            bars.enable_progress_bar()


def _load(
    place: str, where: dict[str, Any], options: dict[str, Any], device: str | None
) -> tuple[Any, Any]:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    # Without this, a model that brings code asks at the terminal whether to run it.
    where = {**where, "trust_remote_code": False}
    AutoConfig.from_pretrained(place, **where)  # says best what is wrong with a place
    tokenizer = AutoTokenizer.from_pretrained(place, **where)
    model: Any = AutoModelForCausalLM.from_pretrained(place, **where, **options)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    return model.to(device), tokenizer


def _silence(name: str, revision: str | None) -> str | None:
    """Why the hub does not give a model; ``None`` if it does."""
    from huggingface_hub import HfApi

    try:
        # Asked first: without a network, loading from the hub retries for over a minute.
        HfApi().model_info(name, revision=revision, timeout=_PATIENCE)
    except Exception as error:  # noqa: BLE001 - whatever it is, an earlier download serves
        return str(error).strip().split("\n")[0].rstrip(".") or type(error).__name__
    return None


def _commit(name: str, revision: str | None) -> str | None:
    """The commit that was downloaded, such as just now; ``None`` if there is none."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(name, "config.json", revision=revision)
    return Path(found).parent.name if isinstance(found, str) else None


def failures() -> tuple[type[Exception], ...]:
    """What transformers raises for models that are missing, damaged, unknown or too large."""
    from safetensors import SafetensorError

    usual = (OSError, ValueError, RuntimeError, ImportError, LookupError, TypeError)
    return (*usual, AttributeError, SafetensorError)
