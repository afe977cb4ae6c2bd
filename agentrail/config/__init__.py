"""Files of settings: what they say, where in them, and what of several places counts."""

from agentrail.config._document import (
    Document,
    checked,
    inside,
    is_unicode,
    read_document,
    read_text,
    read_toml,
    shown,
)
from agentrail.config._layers import Layer, Layered, Source, file_layer, layered, nearest
from agentrail.config._schema import coerced, faults_of
from agentrail.config._variables import environment_layer, filled_in
from agentrail.config._watch import check_watch, everybody_writes, watch

__all__ = [
    "Document",
    "Layer",
    "Layered",
    "Source",
    "check_watch",
    "checked",
    "coerced",
    "environment_layer",
    "everybody_writes",
    "faults_of",
    "file_layer",
    "filled_in",
    "inside",
    "is_unicode",
    "layered",
    "nearest",
    "read_document",
    "read_text",
    "read_toml",
    "shown",
    "watch",
]
