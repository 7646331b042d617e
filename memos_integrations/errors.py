"""The error tree: one root, typed leaves, each also the builtin that fits.

::

    MemOSError
    ├── InvalidInputError (ValueError)        bad text, id, namespace, time, limit or option
    │   ├── SensitiveContentError             the policy refuses what the content holds
    │   ├── InvalidFilterError                an unknown filter field, operator, or kind of value
    │   └── IdempotencyConflictError          the same idempotency key with other content
    ├── CubeNotFoundError (KeyError)          no such memory in this namespace
    ├── AccessDeniedError (PermissionError)   the principal may not do this here
    ├── SealKeyError                          sealed content does not open with the keys given
    ├── RateLimitError                        a principal writes more than it may, for now
    ├── FrozenCubeError                       a frozen memory takes no updates
    ├── LegalHoldError                        a legal hold keeps the memory from going
    ├── IllegalTransitionError (ValueError)   its state does not allow that
    ├── ReadOnlyMomentError (TypeError)       a session of the past cannot be written to
    ├── MomentNotFoundError (KeyError)        no snapshot of this name
    ├── BranchNotFoundError (KeyError)        no branch of this name
    ├── BranchConflictError                   a branch and its namespace changed the same memory
    ├── VersionConflictError                  the memory moved on since the version you expected
    ├── PipelineError                         a step of a pipeline failed; nothing was written
    │   └── PipelineConflictError             what a step reads changed again and again meanwhile
    ├── EmbeddingError                        the embedder raised, or gave no proper vectors
    │   ├── EmbeddingDimensionError (ValueError)
    │   └── EmbedderMismatchError (ValueError)  the store was written with another embedder
    ├── ModelError                            a language model, or its tokenizer, cannot do this
    │   ├── ModelLoadError (OSError)          it cannot be loaded from where you said
    │   ├── ChatTemplateError (ValueError)    its chat template refuses the messages
    │   ├── ActivationCorruptError (ValueError) the file of a precomputed KV cache is damaged
    │   └── ParameterMemoryError              an adapter cannot be trained, loaded or served
    │       ├── TrainingError (ArithmeticError) loss, weights or logits are not finite
    │       ├── OutOfMemoryError (MemoryError)  training does not fit into memory
    │       ├── GateError (ValueError)          it learned too little, or moved too much else
    │       ├── WrongModelError (ValueError)    it was made for another model
    │       ├── AdapterCorruptError (ValueError) its file, or a checkpoint, is damaged
    │       └── AdapterGoneError (LookupError)  it, or what it was made of, was changed or erased
    ├── RerankError (ValueError)              a reranker gave no proper scores; searches log it
    ├── RankerError (ValueError)              a learned ranker cannot be trained or loaded
    │   ├── FeedbackError                     too little feedback to learn from
    │   ├── RankerCorruptError                its file is damaged, or is no ranker
    │   └── RankerMismatchError               it was learned with other features
    ├── ArchiveError (ValueError)             an archive is damaged, hostile, or of a newer release
    ├── PackageError (ValueError)             a package is altered, badly signed, expired or older
    ├── RecallTimeoutError (TimeoutError)     the memory took longer than it was given
    ├── MissingExtraError (ImportError)       an optional dependency is not installed
    └── StoreError
        ├── NotAStoreError (ValueError)       the folder holds something else
        ├── StoreNotWritableError (PermissionError)
        ├── StoreSchemaError (ValueError)     written by a newer release
        ├── StoreLockedError (BlockingIOError)  another process owns the folder
        ├── StoreClosedError (ValueError)     used after close()
        ├── StoreFullError (OSError)          no space left; what was acknowledged stays readable
        ├── StoreCorruptError                 the database itself is damaged
        └── BlobNotFoundError (KeyError)      no blob with this digest
            └── BlobCorruptError (ValueError)   it is there, and its bytes were altered

Nothing here subclasses ``RuntimeError``: LlamaIndex retries a coroutine that raises one.

One category of warnings stands beside the tree, for what costs time and no answer::

    UserWarning
    └── KVCacheWarning                        a cache cannot be read, written or used
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial


class MemOSError(Exception):
    """Root of every error that this package raises on purpose."""

    def __str__(self) -> str:
        # KeyError and OSError print themselves oddly; a message is a message.
        return str(self.args[0]) if len(self.args) == 1 else super().__str__()


class InvalidInputError(MemOSError, ValueError):
    """An argument cannot be used; the message says what would be right."""


class SensitiveContentError(InvalidInputError):
    """Content of a kind that the store's policy refuses; says where it stands, and not what."""

    def __init__(self, label: str, place: str) -> None:
        super().__init__(
            f"{place}: this looks like content of the kind {label!r}, which this store refuses: "
            "leave it out, or change SensitivePolicy.actions"
        )
        self.label, self.place = label, place

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.label, self.place)


class InvalidFilterError(InvalidInputError):
    """A filter names an unknown field or operator, or compares with a value of the wrong kind."""


class IdempotencyConflictError(InvalidInputError):
    """An idempotency key was used before, with other content."""


class CubeNotFoundError(MemOSError, KeyError):
    """No memory with this id in the session's namespace.

    A memory of another namespace and a missing one give the same error: who may not read
    a memory may not learn that it exists.
    """


class AccessDeniedError(MemOSError, PermissionError):
    """The principal may not do this; reading what one may not see is :class:`CubeNotFoundError`."""


class SealKeyError(MemOSError):
    """Sealed content cannot be opened: its key is missing, is another one, or it was changed."""


class RateLimitError(MemOSError):
    """A principal writes more than the store's limit; ``retry_after``: seconds until it may."""

    def __init__(self, principal: str, retry_after: float) -> None:
        super().__init__(
            f"{principal!r} writes more than this store lets it: again in {retry_after:.1f} s"
        )
        self.principal, self.retry_after = principal, retry_after

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.principal, self.retry_after)


class FrozenCubeError(MemOSError):
    """The memory is frozen: it can be read, not changed."""


class LegalHoldError(MemOSError):
    """A legal hold keeps the memory: it cannot be deleted, erased, or taken out of the hold.

    ``hold``: its id, for who may lift it.
    """

    def __init__(self, message: str, hold: str | None = None) -> None:
        super().__init__(message)
        self.hold = hold

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.args[0], self.hold)


class IllegalTransitionError(MemOSError, ValueError):
    """A memory's state does not allow what was asked; the message names what it allows."""

    def __init__(self, cube_id: str, verb: str, state: str, legal: list[str]) -> None:
        instead = f"it may {', '.join(legal)}" if legal else "nothing leads out of that"
        super().__init__(f"memory {cube_id} is {state}: it cannot {verb}, {instead}")
        self.cube_id, self.verb, self.state, self.legal = cube_id, verb, state, legal

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.cube_id, self.verb, self.state, self.legal)


class ReadOnlyMomentError(MemOSError, TypeError):
    """A session of a past moment was asked to write; use the session of today."""


class MomentNotFoundError(MemOSError, KeyError):
    """No snapshot of this name in this namespace."""


class BranchNotFoundError(MemOSError, KeyError):
    """No branch of this name in this namespace: it was never begun, was merged, or dropped."""


class BranchConflictError(MemOSError):
    """A branch and the namespace above it have changed the same memories; nothing was merged.

    ``conflicts``: each memory as it was, and as both sides have it now.
    """

    def __init__(self, name: str, conflicts: Sequence[object]) -> None:
        count = "a memory" if len(conflicts) == 1 else f"{len(conflicts)} memories"
        shown = "; ".join(map(str, conflicts[:3]))
        super().__init__(
            f"{count} changed in branch {name!r} and above it ({shown}): merge it with "
            "prefer='branch' or prefer='main', or change one side"
        )
        self.name, self.conflicts = name, tuple(conflicts)

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.name, self.conflicts)


class VersionConflictError(MemOSError):
    """The memory has another version than the caller expected."""

    def __init__(self, cube_id: str, *, expected: int, actual: int) -> None:
        super().__init__(
            f"memory {cube_id} is at version {actual}, not {expected}: "
            "read it again, then update from what you see"
        )
        self.cube_id, self.expected, self.actual = cube_id, expected, actual

    def __reduce__(self) -> tuple[object, ...]:
        made = partial(type(self), expected=self.expected, actual=self.actual)
        return made, (self.cube_id,)


class PipelineError(MemOSError):
    """A step of a pipeline failed, and nothing of the run was written.

    ``pipeline`` and ``step`` name it; ``__cause__`` is what the step raised.
    """

    def __init__(self, pipeline: str, step: str, why: str) -> None:
        super().__init__(
            f"step {step!r} of the pipeline {pipeline!r} failed: {why}. Nothing was written"
        )
        self.pipeline, self.step, self.why = pipeline, step, why

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.pipeline, self.step, self.why)


class PipelineConflictError(PipelineError):
    """What a step was given changed again and again while it was at work: run it again later."""


class EmbeddingError(MemOSError):
    """The embedder failed or returned something that is not one finite vector per text."""


class EmbeddingDimensionError(EmbeddingError, ValueError):
    """A vector has another dimension than the store."""


class EmbedderMismatchError(EmbeddingError, ValueError):
    """The store was written with another embedder; ``memcube reindex`` rebuilds its vectors."""


class ModelError(MemOSError):
    """A language model, or its tokenizer, cannot do what was asked of it."""


class ModelLoadError(ModelError, OSError):
    """A language model cannot be loaded; the message names it and says what would work."""


class ChatTemplateError(ModelError, ValueError):
    """The chat template refuses the messages however they are arranged; in its words."""


class ActivationCorruptError(ModelError, ValueError):
    """The file of a precomputed KV cache is damaged, or is no such file."""


class ParameterMemoryError(ModelError):
    """An adapter cannot be trained, loaded or served."""


class TrainingError(ParameterMemoryError, ArithmeticError):
    """The loss, the weights or the logits are no finite numbers any more; nothing was stored."""


class OutOfMemoryError(ParameterMemoryError, MemoryError):
    """Training does not fit into memory; nothing was stored."""


class GateError(ParameterMemoryError, ValueError):
    """The adapter did not pass its examination and was not stored; ``report`` has the figures."""

    def __init__(self, message: str, report: object = None) -> None:
        super().__init__(message)
        self.report = report


class WrongModelError(ParameterMemoryError, ValueError):
    """The adapter, or KV cache, was made for another model than the one that is to read it."""


class AdapterCorruptError(ParameterMemoryError, ValueError):
    """The file of an adapter, or a checkpoint of its training, is damaged."""


class AdapterGoneError(ParameterMemoryError, LookupError):
    """The adapter, or a memory it was made of, was changed or erased: train it anew."""


class RerankError(MemOSError, ValueError):
    """A reranker gave no proper scores. Searches log it and answer in their own order."""


class RankerError(MemOSError, ValueError):
    """A learned ranker cannot be trained or loaded."""


class FeedbackError(RankerError):
    """There is too little feedback to learn from; the message says how much it takes."""


class RankerCorruptError(RankerError):
    """The file of a ranker is damaged, or holds something else: train it anew."""


class RankerMismatchError(RankerError):
    """The ranker was learned with other features, or by a newer release: train it anew."""


class ArchiveError(MemOSError, ValueError):
    """An archive cannot be written or loaded; nothing was written into the store."""


class PackageError(MemOSError, ValueError):
    """A published package cannot be trusted or used; nothing of it was taken in."""


class RecallTimeoutError(MemOSError, TimeoutError):
    """A recall took longer than the caller gave it; it goes on in the background and is lost."""


class MissingExtraError(MemOSError, ImportError):
    """An optional dependency is missing; the message has the ``pip install`` that brings it."""


class StoreError(MemOSError):
    """Something about the folder or database, rather than about one call."""


class NotAStoreError(StoreError, ValueError):
    """The folder holds files that are not a memory store."""


class StoreNotWritableError(StoreError, PermissionError):
    """The folder, or a file in it, cannot be written by this user."""


class StoreSchemaError(StoreError, ValueError):
    """The store was written by a newer release of this package."""


class StoreLockedError(StoreError, BlockingIOError):
    """Another live owner holds the folder."""


class StoreClosedError(StoreError, ValueError):
    """The store was closed; open it again."""


class StoreFullError(StoreError, OSError):
    """No space left on the device; nothing of the failed call was written."""


class StoreCorruptError(StoreError):
    """The database file is damaged: restore it from a copy."""


class BlobNotFoundError(StoreError, KeyError):
    """No blob with this digest, or (:class:`BlobCorruptError`) its bytes no longer match it."""


class BlobCorruptError(BlobNotFoundError, ValueError):
    """The file is there, and no longer holds the bytes it is named after."""


class KVCacheWarning(UserWarning):
    """A KV cache cannot be read, written or used; the answer is right, and takes longer.

    Emitted beside a line in the log when a cached piece is damaged, half written, foreign, or of
    the same model with another tokenizer or data type; when it cannot be written, such as on a full
    disk; when a store elsewhere fails; when a model runs uncached, uncompiled, or one request at a
    time. A filter that makes an error of it is heeded nowhere: no request ends for it.
    """
