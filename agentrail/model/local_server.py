"""The process that a local model runs in; a program that imports nothing of agentrail.

Its argument is the file of the weights.  It prints its address when it is ready, and ends when
its standard input does: so it never outlives the host, however the host ends.  The key that
requests need is in the environment, as ``AGENTRAIL_LOCAL_KEY``.
"""

import os
import sys
from importlib import import_module
from typing import Any, Final

SLOTS: Final = 4
"""How many calls are answered at once; the others wait."""
CONTEXT: Final = 8192
"""How many tokens all calls together may take; each has a fourth."""
CACHE_MIB: Final = 256
"""Memory for prompts that were read before."""


def main(model: str) -> None:
    """Serve the weights in the file ``model`` until standard input ends."""
    # The bindings carry no types.
    xllamacpp: Any = import_module("xllamacpp")
    params = xllamacpp.CommonParams()
    params.model.path = model
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.api_keys = [os.environ["AGENTRAIL_LOCAL_KEY"]]
    params.ui = False
    params.n_ctx = CONTEXT
    params.n_parallel = SLOTS
    params.cache_ram_mib = CACHE_MIB
    # Threads that spin while they wait collapse when another process takes their core.
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    server = xllamacpp.Server(params)
    try:
        sys.stdout.write(f"{server.listening_address}\n")
        sys.stdout.flush()
        sys.stdin.buffer.read()
    finally:
        # At once, whatever happened: the server's destructor may wait for its threads forever.
        os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1])
