"""Metrics as Prometheus reads them."""

import sys


def prometheus_text(accept: str = "") -> tuple[bytes, str] | None:
    """Return the process's metrics and their media type; None when there is no such exporter.

    It asks every instrument, which may take some milliseconds.

    Args:
        accept: what the reader takes, as its header says it; else the plain text format.
    """
    # Whoever set it up has imported it; a host that did not does not pay for that.
    if "opentelemetry.exporter.prometheus" not in sys.modules:
        return None
    from prometheus_client import REGISTRY  # noqa: PLC0415
    from prometheus_client.exposition import choose_encoder  # noqa: PLC0415

    encode, media_type = choose_encoder(accept)
    return encode(REGISTRY), media_type
