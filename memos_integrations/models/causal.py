"""A causal language model of transformers with its tokenizer: loaded, identified, and fed.

Any model that ``AutoModelForCausalLM`` loads: bundled, from a folder, or from the Hugging Face
hub. Keys and values that one model computed may be read by another with the same fingerprint.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memos_integrations.errors import ChatTemplateError, MissingExtraError, ModelError
from memos_integrations.models import gemma
from memos_integrations.models.chat_template import DEFAULT_STOPS, DEFAULT_TEMPLATE, render
from memos_integrations.models.fingerprint import (
    ModelFingerprint,
    hash_of_tokenizer,
    hash_of_weights,
    short_hash,
)
from memos_integrations.models.pretrained import dtype_of, folder_of, from_folder, from_hub

if TYPE_CHECKING:
    import torch

__all__ = ["DEFAULT_TEMPLATE", "CausalModel", "ModelFingerprint"]

_TURN_ENDS = ("<end_of_turn>", "<|im_end|>", "<|eot_id|>", "<|eot|>", "<turn|>")
_INSTALL = "pip install 'memos-integrations[activation]'"


class CausalModel:
    """A model and its tokenizer: ``CausalModel(model, tokenizer)``, or :meth:`load`.

    Thread-safe as far as tokens and texts go; one forward at a time is the caller's business.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        name: str | None = None,
        revision: str = "",
        chat_template: str | None = None,
    ) -> None:
        """``model`` and ``tokenizer`` are loaded already; ``model`` is put into eval mode."""
        _need("torch", "transformers", "xxhash")
        self.model: Any = model.eval()
        self.tokenizer: Any = tokenizer
        self.name = name or _name_of(model)
        self.revision = revision
        self._template = chat_template
        if chat_template is None and not getattr(tokenizer, "chat_template", None):
            self._template = DEFAULT_TEMPLATE
        standard = self._template == DEFAULT_TEMPLATE
        self.stop_strings: tuple[str, ...] = DEFAULT_STOPS if standard else ()
        """What ends an answer besides :attr:`eos_ids`, where the template is the default one."""
        self._head = _head(tokenizer)

    @classmethod
    def load(
        cls,
        source: str | Path | None = None,
        *,
        revision: str | None = None,
        dtype: str = "float32",
        device: str | None = None,
        attention: str | None = None,
        chat_template: str | None = None,
    ) -> CausalModel:
        """``None``: the bundled Gemma 3 270M; a folder; or a hub id such as ``Qwen/Qwen3-0.6B``.

        ``dtype`` is a name of torch's, ``attention`` one of transformers' implementations,
        ``device`` one of torch's, by default the GPU if there is one. A hub that does not
        answer is no error if the model was downloaded before.

        Raises ``ModelLoadError``, and ``MissingExtraError`` if a package is missing.
        """
        _need("torch", "transformers", "safetensors", "xxhash")
        options: dict[str, Any] = {"dtype": dtype_of(dtype)}
        if attention is not None:
            options["attn_implementation"] = attention
        if source is None:
            name, revision = gemma.NAME, gemma.REVISION
            model, tokenizer = from_folder(gemma.bundled_folder(), options, device)
        elif (folder := folder_of(source)) is not None:
            name = folder.resolve().name
            model, tokenizer = from_folder(folder, options, device)
        else:
            name = str(source)
            model, tokenizer, revision = from_hub(name, revision, options, device)
        return cls(
            model, tokenizer, name=name, revision=revision or "", chat_template=chat_template
        )

    # What it is ---------------------------------------------------------------------------

    @cached_property
    def fingerprint(self) -> ModelFingerprint:
        """Reads every weight: about 0.2 s for a gigabyte."""
        return ModelFingerprint(
            name=self.name,
            revision=self.revision,
            weights=hash_of_weights(self.model),
            tokenizer=hash_of_tokenizer(self.tokenizer),
            template=short_hash(self.chat_template),
            dtype=str(self.dtype).removeprefix("torch."),
            attention=str(self.model.config._attn_implementation),
        )

    @property
    def device(self) -> torch.device:
        """Where the inputs go."""
        device: torch.device = self.model.device
        return device

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights."""
        dtype: torch.dtype = self.model.dtype
        return dtype

    @cached_property
    def context_window(self) -> int:
        """Tokens that the model reads at most, prompt and answer together."""
        config = self.model.config.get_text_config(decoder=True)
        positions = getattr(config, "max_position_embeddings", None)
        return int(positions or self.tokenizer.model_max_length)

    @cached_property
    def eos_ids(self) -> frozenset[int]:
        """Tokens that end an answer."""
        generation = getattr(self.model, "generation_config", None)
        ends = getattr(generation, "eos_token_id", None)
        found = set(ends if isinstance(ends, (list, tuple)) else [ends])
        found.add(self.tokenizer.eos_token_id)
        known = self.tokenizer.get_vocab()
        found |= {known[end] for end in _TURN_ENDS if end in known and end in self.chat_template}
        return frozenset(int(one) for one in found if one is not None)

    @cached_property
    def chat_template(self) -> str:
        """The Jinja template of chats; all of them, as JSON, if the tokenizer has several."""
        used = self._template or self.tokenizer.chat_template
        return used if isinstance(used, str) else json.dumps(used, sort_keys=True)

    # Texts and tokens ---------------------------------------------------------------------

    def encode(self, text: str, *, special: bool = True) -> list[int]:
        """Token ids.

        ``special``: begin with the tokens that the model's texts begin with (BOS), unless the
        text begins with them already, as some chat templates write them. Nothing is added at
        the end: the model goes on from there.
        """
        ids: list[int] = self._tokens(text)["input_ids"]
        return self._begun(ids) if special else ids

    def offsets(
        self, text: str, *, special: bool = True
    ) -> tuple[list[int], list[tuple[int, int]]]:
        """Token ids, and the characters ``[start, end)`` of the text that each stands for.

        The spans go through the text in order and without a gap; what :meth:`encode` adds
        stands for ``(0, 0)``, and part of a character for the whole of it, or for none. Raises
        ``ModelError`` if the tokenizer cannot say.
        """
        if getattr(self.tokenizer, "is_fast", False):
            found = self._tokens(text, return_offsets_mapping=True)
            ids, raw = found["input_ids"], found["offset_mapping"]
        else:
            ids = self._tokens(text)["input_ids"]
            raw = self._spans_by_decoding(ids, text)
        spans: list[tuple[int, int]] = []
        at = 0
        for start, end in raw:
            # What a tokenizer leaves out, such as a space, belongs to the token behind it.
            spans.append((min(start, at), max(end, at)))
            at = spans[-1][1]
        if spans:
            spans[-1] = (spans[-1][0], len(text))
        whole = self._begun(ids) if special else ids
        return whole, [(0, 0)] * (len(whole) - len(ids)) + spans

    def decode(self, ids: Sequence[int]) -> str:
        """The text of tokens, without special ones, spaces as they are."""
        return str(
            self.tokenizer.decode(
                list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False
            )
        )

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        reply: bool = True,
    ) -> str:
        """A chat as the text that the model reads: role and content a message.

        By the given template, the tokenizer's, or :data:`DEFAULT_TEMPLATE`. Where the template
        is strict, system messages are merged at the head (or into the first user message), and
        so are neighbours of one role. ``reply``: end where the model's answer begins.

        Raises ``ChatTemplateError`` with the template's words if it refuses even so, or if
        there are tools and it knows none.
        """
        if tools and "tools" not in self.chat_template:
            raise ChatTemplateError(
                f"the chat template of {self.name} knows no tools: leave them out, or use another "
                "model or chat_template"
            )
        return render(self.tokenizer, self._template, messages, tools=tools, reply=reply)

    def _tokens(self, text: str, **wanted: Any) -> Any:
        # One character for one, as the offsets need it, where no tokenizer takes half a pair.
        text = text.encode("utf-8", "replace").decode()
        return self.tokenizer(text, add_special_tokens=False, verbose=False, **wanted)

    def _begun(self, ids: list[int]) -> list[int]:
        return ids if ids[: len(self._head)] == self._head else [*self._head, *ids]

    def _spans_by_decoding(self, ids: list[int], text: str) -> list[tuple[int, int]]:
        """For slow tokenizers, from what the tokens up to each one say; quadratic."""
        ends, said = [0], ""
        for count in range(1, len(ids) + 1):
            said = self.tokenizer.decode(ids[:count], clean_up_tokenization_spaces=False)
            at, whole = ends[-1], min(len(said), len(text))
            while at < whole and said[at] == text[at]:  # half a character is none
                at += 1
            ends.append(at)
        if said != text:
            raise ModelError(
                f"the tokenizer of {self.name} does not give its text back, so what its tokens "
                "stand for is unknown: use the fast tokenizer of this model"
            )
        return list(pairwise(ends))


def _head(tokenizer: Any) -> list[int]:
    """What the tokenizer puts before a text, such as BOS; not what it puts behind."""
    plain = tokenizer("a", add_special_tokens=False)["input_ids"]
    whole: list[int] = tokenizer("a")["input_ids"]
    places = range(len(whole) - len(plain) + 1)
    return next((whole[:at] for at in places if whole[at : at + len(plain)] == plain), [])


def _name_of(model: Any) -> str:
    """The hub id or the folder's name that the model was loaded from; else its class."""
    name = str(getattr(model, "name_or_path", "") or "")
    return (Path(name).name if Path(name).is_dir() else name) or type(model).__name__


def _need(*packages: str) -> None:
    for package in packages:
        if find_spec(package) is None:
            raise MissingExtraError(f"a language model needs {package}: {_INSTALL}")
