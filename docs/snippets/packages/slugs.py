# /// plugin
# id = "slugs"
# version = "1.0.0"
# description = "Makes titles fit for addresses."
# ///

import re

from agentrail import tool


@tool
def slug(title: str) -> str:
    """Make a title fit for the address of a page."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


tools = [slug]
