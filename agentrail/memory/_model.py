"""The embeddings that the ``memory`` extra brings: static word vectors, averaged."""

import logging
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

Embedder = Callable[[Sequence[str]], Iterable[Iterable[float]]]
"""Returns a vector for each text, all of one length.  It is called in a worker thread."""


def is_installed() -> bool:
    """Tell whether the ``memory`` extra is installed."""
    return find_spec("numpy") is not None and find_spec("wordllama") is not None


@cache
def _model() -> Any:  # noqa: ANN401 - the package has no types
    # Its import sets up the root logger, unless that has a handler: the application's business.
    root, handler = logging.getLogger(), logging.NullHandler()
    root.addHandler(handler)
    try:
        package: Any = import_module("wordllama")
    finally:
        root.removeHandler(handler)
    # It looks for its files in the directory that it would download others to.
    directory = Path(package.__file__).parent
    return package.WordLlama.load(cache_dir=directory, disable_download=True)


def word_vectors(texts: Sequence[str]) -> Iterable[Iterable[float]]:
    """Return vectors of 256 numbers; texts without a known word get zeros.

    The model is loaded at the first call, in about half a second.
    """
    vectors: Iterable[Iterable[float]] = _model().embed(list(texts))
    return vectors
