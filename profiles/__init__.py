"""Who answers: one profile a module.

``AGENTRAIL_MODEL`` names the model as ``provider:model``.  Without it the small model that runs on
this machine answers, so the first start needs no account.
"""

import os

MODEL = os.environ.get("AGENTRAIL_MODEL") or "local:smollm2-135m"

WINDOW = 2048 if MODEL.startswith("local:") else 128_000
"""Tokens that the model takes in."""
