"""Tiny random models of many architectures, and random prompts with memories in them."""

from __future__ import annotations

import random
from typing import Any

import torch
import transformers as hf
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from memos_integrations.memories.activation.engine import ActivationEngine
from memos_integrations.memories.activation.segments import Prompt, Source, Span
from memos_integrations.models.causal import CausalModel

WORDS = 97
SHAPE: dict[str, Any] = {
    "vocab_size": WORDS,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2_048,
    "initializer_range": 0.3,  # so that it matters what is attended to
    "pad_token_id": 0,
    "bos_token_id": None,
    "eos_token_id": None,
}
OLD: dict[str, Any] = {
    "vocab_size": WORDS,
    "n_embd": 32,
    "n_layer": 3,
    "n_head": 4,
    "n_positions": 2_048,
    "initializer_range": 0.3,
    "bos_token_id": None,
    "eos_token_id": None,
}
PLAIN = {k: v for k, v in SHAPE.items() if k not in ("num_key_value_heads", "pad_token_id")}
LINEAR = {
    "num_hidden_layers": 4,
    "head_dim": 8,
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
}
SLIDING = ["sliding_attention", "sliding_attention", "full_attention"]
CONFIGS: dict[str, Any] = {
    "llama": lambda: hf.LlamaConfig(**SHAPE),
    "qwen2": lambda: hf.Qwen2Config(**SHAPE),
    "qwen3": lambda: hf.Qwen3Config(**SHAPE, head_dim=8),
    "mistral, sliding": lambda: hf.MistralConfig(**SHAPE, sliding_window=48),
    "gemma2": lambda: hf.Gemma2Config(**SHAPE, head_dim=8, sliding_window=40),
    "gemma3": lambda: hf.Gemma3TextConfig(
        **SHAPE, head_dim=8, sliding_window=40, layer_types=SLIDING
    ),
    "phi3": lambda: hf.Phi3Config(**SHAPE),
    "gpt2": lambda: hf.GPT2Config(**OLD),
    "gptj": lambda: hf.GPTJConfig(**OLD, rotary_dim=8),
    "gpt_neox": lambda: hf.GPTNeoXConfig(**PLAIN),
    "falcon": lambda: hf.FalconConfig(
        vocab_size=WORDS,
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        initializer_range=0.3,
        bos_token_id=None,
        eos_token_id=None,
    ),
    "olmo2": lambda: hf.Olmo2Config(**SHAPE),
    "mixtral": lambda: hf.MixtralConfig(**SHAPE, num_local_experts=4, num_experts_per_tok=2),
    "cohere": lambda: hf.CohereConfig(**SHAPE),
}
REFUSED: dict[str, Any] = {
    "qwen3_next": lambda: hf.Qwen3NextConfig(**{**SHAPE, **LINEAR}),
    "mamba": lambda: hf.MambaConfig(
        vocab_size=WORDS,
        hidden_size=32,
        num_hidden_layers=3,
        state_size=8,
        initializer_range=0.3,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=0,
    ),
    "dynamic rope": lambda: hf.LlamaConfig(
        **SHAPE, rope_parameters={"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}
    ),
    "llama4": lambda: hf.Llama4TextConfig(
        **SHAPE,
        head_dim=8,
        attention_chunk_size=32,
        num_local_experts=2,
        intermediate_size_mlp=48,
    ),
}

_TOKENIZER = Tokenizer(WordLevel({f"w{i}": i for i in range(WORDS)}, "w0"))


def build(name: str, dtype: torch.dtype = torch.float32) -> CausalModel:
    """A model with random weights, the same each time."""
    return model_from({**CONFIGS, **REFUSED}[name](), name, dtype)


def model_from(config: Any, name: str, dtype: torch.dtype = torch.float32) -> CausalModel:
    """The same for a config."""
    torch.manual_seed(7)
    model = hf.AutoModelForCausalLM.from_config(config)
    tokenizer = hf.PreTrainedTokenizerFast(tokenizer_object=_TOKENIZER)
    return CausalModel(model.to(dtype), tokenizer, name=name)


def prompt_of(seed: int, length: int = 230, memories: int = 4, salt: str = "") -> Prompt:
    """Random tokens; the same seed begins the same, whatever the length."""
    dice = random.Random(seed)
    tokens = tuple(dice.randrange(1, WORDS) for _ in range(2_000))[:length]
    spans, at = [], dice.randrange(5, 20)
    for i in range(memories):
        end = at + dice.randrange(3, 90)
        if end >= length:
            break
        spans.append(Span(at, end, Source(f"m{seed}-{i}", 1)))
        at = end + dice.choice((0, 0, 2))
    return Prompt(tokens, tuple(spans), salt=salt)


def logits(engine: ActivationEngine, prompt: Prompt) -> tuple[torch.Tensor, int]:
    """Of the next token, and how much of the prompt came from the cache."""
    read = engine.prefill(prompt)
    engine.tree.release(read.lease)
    return read.logits, read.usage.cached_tokens
