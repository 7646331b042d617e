"""A model seen through adapters: peft's layers over the same weights, and the model left as it is.

peft keeps in its layers which adapters are active, so one model cannot serve two users at a time
through it. A view is a second tree of modules over the very same tensors: it takes no memory but
for the adapters', and what peft does to it no other view sees. So the model is never changed or
rebuilt, training and serving go on side by side, and a forward of the model itself computes the
usual bits.
"""

from __future__ import annotations

import copy
import threading
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from peft import LoraConfig, inject_adapter_in_model, set_peft_model_state_dict
from peft.tuners.tuners_utils import BaseTunerLayer

from memos_integrations.errors import AdapterCorruptError
from memos_integrations.memories.parameter.lora import LoraShape, layers_of
from memos_integrations.models.causal import CausalModel

Tensors = Mapping[str, torch.Tensor]
_WARNINGS = threading.Lock()
"""Which warnings are shown is a setting of the whole process."""


def view(model: CausalModel) -> CausalModel:
    """The same model, which adapters can be put into; its fingerprint stays the model's own."""
    shared = {id(one): one for one in (*model.model.parameters(), *model.model.buffers())}
    _ = model.fingerprint  # hashed now: adapters are not part of it
    seen = copy.copy(model)
    seen.model = copy.deepcopy(model.model, shared)
    return seen


def put(
    seen: CausalModel, name: str, tensors: Tensors, shape: LoraShape
) -> dict[str, torch.nn.Parameter]:
    """Put an adapter into a view and make it active beside those that are there; its parameters.

    They are float32 whatever the model is. Raises :class:`AdapterCorruptError` if the tensors are
    not those that a model of this shape wants.
    """
    module = seen.model
    alpha: Any = shape.alpha  # peft says int, and takes what it is
    config = LoraConfig(r=shape.rank, lora_alpha=alpha, target_modules=layers_of(tensors))
    try:
        # On the meta device first: so no random number is drawn, which others may count on. By
        # torch's own context, which is this thread's: peft's patches torch.nn for all threads,
        # and of two at once one leaves it so.
        with _WARNINGS, warnings.catch_warnings(), torch.device("meta"):
            warnings.filterwarnings("ignore", "Already found a `peft_config`")  # it is wanted
            inject_adapter_in_model(config, module, adapter_name=name)
        # A copy of each, or training would write into the tensors that were given.
        given = {key: one.detach().clone().to(seen.device) for key, one in tensors.items()}
        done: Any = set_peft_model_state_dict(module, given, name, low_cpu_mem_usage=True)
    except (RuntimeError, ValueError) as error:
        raise AdapterCorruptError(f"the adapter does not fit the model: {error}") from error
    found = {
        key: one
        for key, one in module.named_parameters()
        if ".lora_" in key and name in key.split(".")
    }
    if (
        done.unexpected_keys
        or any(one.is_meta for one in found.values())
        or len(found) != len(tensors)
    ):
        raise AdapterCorruptError(
            f"the adapter does not fit the model: {done.unexpected_keys or 'some are missing'}"
        )
    for one in found.values():
        one.data = one.data.float()
    _all_active(module)
    return found


def scale(seen: CausalModel, name: str, factor: float) -> None:
    """How much of an adapter is added: 1 is what it was trained at."""
    for layer in _adapted(seen.model):
        if name in layer.scaling:
            layer.set_scale(name, factor)


def _all_active(module: Any) -> None:
    for layer in _adapted(module):
        names = list(layer.lora_A)
        layer.set_adapter(names, inference_mode=True)


def _adapted(module: Any) -> list[Any]:
    return [one for one in module.modules() if isinstance(one, BaseTunerLayer)]
