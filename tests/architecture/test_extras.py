"""How an extra is installed is told in one wording, and of extras that there are."""

import re
import tomllib
from pathlib import Path

from agentrail.extras import pip_install

ROOT = Path(__file__).parents[2]
COMMAND = re.compile(r"pip install '([\w-]+)\[([\w,]+)\]'")
INSTALLS = re.compile(r"install [^ ]*agentrail|agentrail-host\[|/path/to/agentrail")
CALL = re.compile(r"""\bpip_install\(["'](\w+)["']\)""")


def told() -> list[str]:
    """Every line of the code and the pages that names what is installed."""
    pages = [ROOT / "README.md", *ROOT.glob("docs/**/*.md")]
    code = [*ROOT.glob("agentrail/**/*.py"), *ROOT.glob("plugins/*.py")]
    lines = [line for each in pages + code for line in each.read_text("utf-8").splitlines()]
    return [line for line in lines if INSTALLS.search(line)]


def test_the_command_installs_extras_of_this_distribution() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    called = {
        extra
        for each in ROOT.glob("agentrail/**/*.py")
        for extra in CALL.findall(each.read_text("utf-8"))
    }

    assert called == set(project["optional-dependencies"])
    for extra in called:
        assert pip_install(extra) == f"pip install '{project['name']}[{extra}]'"


def test_there_is_one_wording_for_it() -> None:
    other = {line for line in told() if not COMMAND.search(line)}

    assert other == {"    return f\"pip install 'agentrail-host[{extra}]'\""}
