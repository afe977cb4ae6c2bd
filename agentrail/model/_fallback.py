"""Asks one model after another until one is in order."""

import logging
from collections.abc import Sequence
from typing import Final

from msgspec.structs import replace

from agentrail.errors import ModelError, ModelNotFound, ModelUnauthorized
from agentrail.hook import Call
from agentrail.model._provider import ModelReference
from agentrail.requests import Delta, ModelReply, ModelRequest

_log: Final = logging.getLogger(__name__)

_OF_THE_MODEL: Final = (ModelUnauthorized, ModelNotFound)
"""What no second try helps against, and another model does."""

Named = tuple[ModelReference, Call[ModelRequest, ModelReply]]
"""A model, and what asks its provider."""


def first_of(models: Sequence[Named]) -> Call[ModelRequest, ModelReply]:
    """Return what asks the models in order; see ``Models.first_of``."""
    (_, first), *others = models
    if not others:
        return first

    async def ask(request: ModelRequest) -> ModelReply:
        emitted = False

        async def emit(delta: Delta) -> None:
            nonlocal emitted
            emitted = True
            await request.emit(delta)

        asked, call = replace(request, emit=emit), first
        for other, next_call in others:
            try:
                return await call(asked)
            except ModelError as error:
                if emitted or not (error.retryable or isinstance(error, _OF_THE_MODEL)):
                    raise
                _log.warning("%s: the model %r is asked instead", error, str(other))
            asked = replace(asked, provider=other.provider, model=other.model)
            call = next_call
        return await call(asked)

    return ask
