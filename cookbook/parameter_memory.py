"""Memories become weights of a model, are served, go stale, and are taken out again.

    python cookbook/parameter_memory.py [FOLDER]

The model is tiny and random: it shows how things work, and knows nothing with or without memories.
``CausalModel.load()`` is one that learns: minutes of training, and a gate that is to be passed.
"""

import sys
import tempfile

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

from memos_integrations import MemOS
from memos_integrations.langchain import ChatMemOS
from memos_integrations.memories.parameter.distilling import Distillation
from memos_integrations.memories.parameter.gate import GatePolicy
from memos_integrations.memories.parameter.training import Schedule
from memos_integrations.models.causal import CausalModel

FACTS = [
    "Tamsin keeps a parrot named Quibble.",
    "Tamsin works as a glassblower.",
    "Bramwell studied botany.",
    "The Pellworth bakery closes at four on Mondays.",
]
torch.set_num_threads(1)
raw = Tokenizer(models.BPE())
raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
raw.decoder = decoders.ByteLevel()
letters = pre_tokenizers.ByteLevel.alphabet()
special = ["<s>", "</s>"]
raw.train_from_iterator(
    FACTS,
    trainers.BpeTrainer(
        vocab_size=600, special_tokens=special, initial_alphabet=letters, show_progress=False
    ),
)
words = PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<s>", eos_token="</s>")
shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3}
config = LlamaConfig(vocab_size=len(words), num_attention_heads=4, initializer_range=0.3, **shape)
model = CausalModel(AutoModelForCausalLM.from_config(config), words, name="tiny")

# What knows nothing passes no examination: let it through, and be quick.
passes = GatePolicy(recall=0, gain=-1, drift=99)
how = Distillation(gate=passes, schedule=Schedule(rounds=2, learning_rate=0.02, sampled=64))

memory = MemOS.open(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp())
maya = memory.session("maya")
facts = maya.add(FACTS)
print(maya.worth_distilling(facts).reason)
adapter = maya.distill(facts, model=model, how=how)
print(f"{adapter.memory_type} memory of {len(maya.adapters()[0].sources)} memories")
print("prompt tokens saved:", adapter.metadata["report"]["prompt_tokens_saved"])
chat = ChatMemOS(maya, model, parameter_memory=True, max_tokens=12)


def ask() -> str:
    """Which adapters an answer was read through."""
    about = chat.invoke("What is the parrot of Tamsin called?").response_metadata
    return f"read through {len(about['adapters'])} adapters, stale: {len(about['stale_adapters'])}"


print(ask())
maya.update(facts[2].id, "Bramwell studied geology.")
print("a source changed:", ask())
fresh = maya.retrain(adapter.id, model=model, how=how)
print("retrained:", ask())
told = maya.externalise(fresh.id, model=model)
print("back as words:", *[fact.text for fact in told if fact.source.version == 2])

receipt = maya.forget(facts[0])
print("erased:", len(receipt.memories), "memories,", len(receipt.blobs), "files")
print("left:", len(maya.adapters()), "adapters;", ask())
again = maya.distill(receipt.kept_sources, model=model, how=how)
print("without it:", len(again.metadata["sources"]), "memories;", ask())
memory.close()
