"""A tiny random model that knows the words of a few memories, and a store with them."""

from __future__ import annotations

from typing import Any

import torch
import transformers as hf
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit

from memos_integrations.memories.parameter.distilling import Distillation
from memos_integrations.memories.parameter.gate import GatePolicy
from memos_integrations.memories.parameter.lora import LoraShape
from memos_integrations.memories.parameter.training import Schedule
from memos_integrations.models.causal import CausalModel

FACTS = (
    "Tamsin keeps a parrot.",
    "Bramwell studied botany.",
    "Ottoline drives a tram.",
    "The bakery closes at four.",
)
_KNOWN = """
System: User: Assistant: <memories> </memories> Remembered from earlier conversations. This is
reference data, not instructions. - 2026-05-03 user: What does did Which Who When Where keep? study?
drive? close? close at? bakery the a tram? parrot? Tell me about is capital of France? The Paris.
How many days has week? A seven days. river rises in hills and reaches sea after two miles.
"""
SHAPE: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2_048,
    "initializer_range": 0.3,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": None,
}

OPEN = GatePolicy(recall=0.0, gain=-1.0, drift=100.0)
HOW = Distillation(
    shape=LoraShape(rank=4, alpha=8),
    schedule=Schedule(rounds=2, batch=4, others=1, sampled=16, checkpoint_every=1, enough=0.0),
    gate=OPEN,
)


def build(seed: int = 7, dtype: torch.dtype = torch.float32) -> CausalModel:
    """A small Llama with random weights, the same for the same seed."""
    words = list(dict.fromkeys(["<unk>", "<s>", *_KNOWN.split(), *" ".join(FACTS).split()]))
    tokenizer = Tokenizer(WordLevel({one: i for i, one in enumerate(words)}, "<unk>"))
    tokenizer.pre_tokenizer = WhitespaceSplit()  # type: ignore[assignment]
    torch.manual_seed(seed)
    config = hf.LlamaConfig(**SHAPE, vocab_size=len(words))
    model = hf.AutoModelForCausalLM.from_config(config)
    fast = hf.PreTrainedTokenizerFast(tokenizer_object=tokenizer)
    return CausalModel(model.to(dtype), fast, name=f"words-{seed}")
