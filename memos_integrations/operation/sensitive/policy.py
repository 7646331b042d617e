"""What becomes of sensitive content, by its kind, and who may see what was sealed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from memos_integrations.cube import Principal
from memos_integrations.errors import InvalidInputError
from memos_integrations.operation.sensitive.finding import LABELS, Detector
from memos_integrations.operation.sensitive.rules import rules

Action = Literal["keep", "mask", "refuse", "encrypt"]
"""``keep``: only label it. ``mask``: a mask stands for it, for good. ``refuse``: the memory is not
written. ``encrypt``: a mask stands for it, and it is sealed with the caller's key."""

CONTACTS = ("email", "phone", "address")
"""Kept by default: how to reach somebody is often what a memory is for."""


def _default_actions() -> Mapping[str, Action]:
    return {label: "keep" if label in CONTACTS else "mask" for label in LABELS}


@dataclass(frozen=True)
class SensitivePolicy:
    """Given to :meth:`MemOS.open`, it is asked at each add, update, append and merge."""

    actions: Mapping[str, Action] = field(default_factory=_default_actions)
    """By label: what becomes of it. Labels: ``secret``, ``card``, ``iban``, ``national_id``,
    ``email``, ``phone``, ``address``, and what detectors of your own say."""
    otherwise: Action = "mask"
    """For labels that are not named in ``actions``."""
    keys: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    """By id: 32 bytes each. They are kept nowhere in the store."""
    key: str | None = None
    """The id of the key that seals; by default the last of ``keys``. The others only open."""
    readers: Mapping[str, Collection[str]] = field(default_factory=dict)
    """By label: the roles that may see what was sealed."""
    owners: bool = True
    """Whether who owns a memory may see what was sealed of it. What was made of it by somebody
    else, by merging or in a branch, shows them nothing."""
    detectors: tuple[Detector, ...] = field(default_factory=lambda: (rules(),))
    """What finds it; see :func:`rules` and :func:`presidio`."""

    def __post_init__(self) -> None:
        for action in (*self.actions.values(), self.otherwise):
            if action not in get_args(Action):
                raise InvalidInputError(
                    f"action {action!r}: use one of {', '.join(get_args(Action))}"
                )
        for name, key in self.keys.items():
            if not isinstance(key, bytes) or len(key) != 32:
                raise InvalidInputError(f"key {name!r} is not 32 bytes: AES-256 takes 32")
        if self.key is not None and self.key not in self.keys:
            raise InvalidInputError(f"key {self.key!r} is not among keys: {', '.join(self.keys)}")
        if "encrypt" in (*self.actions.values(), self.otherwise) and not self.keys:
            raise InvalidInputError("encrypt needs a key: give keys={'2026': os.urandom(32)}")
        if any(isinstance(roles, str) for roles in self.readers.values()):
            raise InvalidInputError("readers are lists of roles, such as {'phone': ['support']}")

    @property
    def sealing(self) -> str | None:
        """The id of the key that seals; ``None``: there is none."""
        return self.key if self.key is not None else next(reversed(list(self.keys)), None)

    def action(self, label: str) -> Action:
        """What becomes of content of this kind."""
        return self.actions.get(label, self.otherwise)

    def may_see(self, who: Principal, owner: str, label: str) -> bool:
        """Whether somebody who may read a memory may see what was sealed of it.

        ``owner``: of the memory that it was said in, not of one that was made of that.
        """
        if self.owners and owner == who.id:
            return True
        return not set(self.readers.get(label, ())).isdisjoint(who.roles)
