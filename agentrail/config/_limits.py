"""How much a document may have, in every format."""

from typing import Final

DEEPEST: Final = 32
"""How many levels."""

LONGEST_PATH: Final = 500
"""How many characters in the names of all levels above a value."""

LONGEST_NUMBER: Final = 100
"""How many digits that are read: no number that is taken has as many."""

MOST: Final = 100_000
"""How many values, each counted as often as it is written or named."""
