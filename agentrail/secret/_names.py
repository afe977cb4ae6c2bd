"""What secrets are called."""

import re
from typing import Final

NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
"""What the name of a secret looks like: it is one of a variable and of a file too."""

PREFIX: Final = "AGENTRAIL_SECRET_"
"""How the environment variables begin that have secrets."""
