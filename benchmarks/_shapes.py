"""Models of well-known shapes with random weights: their speed, without a download.

What they write means nothing; how long it takes is that of the real one.
"""

from __future__ import annotations

from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

from memos_integrations.models.causal import CausalModel
from memos_integrations.models.pretrained import dtype_of

SHAPES: dict[str, dict[str, int]] = {
    "7b": {
        "hidden_size": 4_096,
        "intermediate_size": 11_008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "vocab_size": 32_000,
    },
    "tiny": {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 2_000,
    },
}
"""``7b`` is Llama 2 7B's, 6.7 billion weights; ``tiny`` only shows that a command runs."""


def shaped(name: str, texts: str, *, dtype: str, device: str | None) -> CausalModel:
    """A Llama of this shape, made on its device; a word of ``texts`` is a token.

    ``dtype`` is a name of torch's; ``device`` by default the GPU, if there is one.
    """
    shape = SHAPES[name]
    ends = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
    config = LlamaConfig(**shape, **ends, max_position_embeddings=8_192)
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    torch.manual_seed(0)
    with place:
        model: Any = AutoModelForCausalLM.from_config(config, dtype=dtype_of(dtype))
    return CausalModel(model, _tokenizer(texts, shape["vocab_size"]), name=f"random {name}")


def _tokenizer(texts: str, size: int) -> PreTrainedTokenizerFast:
    """Words and single digits as tokens; the vocabulary is filled up to ``size``."""
    split = pre_tokenizers.Sequence(
        [pre_tokenizers.Whitespace(), pre_tokenizers.Digits(individual_digits=True)]
    )
    found = {word for word, _ in split.pre_tokenize_str(texts)} | set("0123456789")
    words = ["?", *sorted(found - {"?"})]
    words += [f"word{i}" for i in range(size - len(words))]
    raw = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="?"))
    raw.pre_tokenizer = split
    return PreTrainedTokenizerFast(tokenizer_object=raw, unk_token="?")
