"""Memory across sessions: what users said, found again by its words and its meaning."""

from agentrail.memory._memory import Memory
from agentrail.memory._model import Embedder, word_vectors
from agentrail.memory._sql import Forgotten, Remembered

__all__ = ["Embedder", "Forgotten", "Memory", "Remembered", "word_vectors"]
