"""Files of settings: what they say, where in them, and what of several places counts."""

from agentrail.config._document import Document, checked, read_document, read_text, read_toml, shown
from agentrail.config._layers import Layer, Layered, Source, file_layer, layered
from agentrail.config._schema import coerced, faults_of
from agentrail.config._variables import environment_layer, filled_in

__all__ = [
    "Document",
    "Layer",
    "Layered",
    "Source",
    "checked",
    "coerced",
    "environment_layer",
    "faults_of",
    "file_layer",
    "filled_in",
    "layered",
    "read_document",
    "read_text",
    "read_toml",
    "shown",
]
