"""Memories become weights by themselves once that pays, leave the prompt, and come back as words.

    python cookbook/promotion.py [FOLDER]

The model is tiny and random: see ``parameter_memory.py``. Here all is eager; by default a memory
must have stood still for a week, and the training must pay within a month.
"""

import sys
import tempfile
from datetime import timedelta

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

from memos_integrations import MemOS
from memos_integrations.local_chat import LocalChat
from memos_integrations.memories.parameter.distilling import Distillation
from memos_integrations.memories.parameter.gate import GatePolicy
from memos_integrations.memories.parameter.trainer import ParameterTrainer
from memos_integrations.memories.parameter.training import Schedule
from memos_integrations.memories.parameter.worth import WorthPolicy
from memos_integrations.models.causal import CausalModel
from memos_integrations.operation.scheduling.rules import Rules
from memos_integrations.recall import Recall, RecallPolicy

FACTS = ["Quibble learned to whistle.", "Ottoline drives a tram.", "Bramwell studied botany."]
torch.set_num_threads(1)
raw = Tokenizer(models.BPE())
raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
raw.decoder = decoders.ByteLevel()
letters = pre_tokenizers.ByteLevel.alphabet()
learner = trainers.BpeTrainer(
    vocab_size=600,
    special_tokens=["<s>", "</s>"],
    initial_alphabet=letters,
    show_progress=False,
)
raw.train_from_iterator(FACTS, learner)
words = PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<s>", eos_token="</s>")
shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3}
config = LlamaConfig(vocab_size=len(words), num_attention_heads=4, initializer_range=0.3, **shape)
model = CausalModel(AutoModelForCausalLM.from_config(config), words, name="tiny")

passes = GatePolicy(recall=0, gain=-1, drift=99)
how = Distillation(gate=passes, schedule=Schedule(rounds=2, learning_rate=0.02, sampled=64))
eager = WorthPolicy(stable=timedelta(0), horizon=timedelta(days=3_650))

memory = MemOS.open(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp())
maya = memory.session("maya")
facts = maya.add(FACTS)
chat = LocalChat(maya, model, parameter_memory=True)
recall = Recall(RecallPolicy(skip_known=chat))
scheduler = memory.scheduler(
    trainer=ParameterTrainer(model, how=how, policy=eager),
    rules=Rules(consolidate_uses=5, stable_for=0),
)


def prompt() -> str:
    """How many memories a question brings into the prompt."""
    return f"{len(recall.find(maya, 'Who drives, whistles, or studied?'))} memories in the prompt"


scheduler.tick()
print("at first:", prompt())
print(scheduler.explain(facts[0].id).training)
for turn in range(8):
    maya.record_uses(facts, prompt=f"turn {turn}")
    maya.search("whistle, tram or botany", limit=3)
print("trained:", *[f"{job.kind} {job.status}" for job in scheduler.tick().jobs])
print(f"{len(maya.adapters())} adapter:", prompt())
maya.delete(facts[1].id)
print("one deleted:", prompt())
told = maya.externalise(maya.adapters()[0].cube.id, model=model, keep=True)
print("and back:", *[fact.kept.text for fact in told if fact.kept])
memory.close()
