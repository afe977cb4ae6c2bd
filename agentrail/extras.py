"""The extras of the distribution: what is installed only where it is asked for."""


def pip_install(extra: str) -> str:
    """Return the command that installs an extra.

    Where agentrail is installed it needs no package index that has agentrail: pip knows the extras
    of what is there.
    """
    return f"pip install 'agentrail-host[{extra}]'"
