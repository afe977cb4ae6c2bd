"""Files of settings: what they say, and where in them."""

from agentrail.config._document import Document, checked, read_document, read_text, read_toml, shown

__all__ = ["Document", "checked", "read_document", "read_text", "read_toml", "shown"]
