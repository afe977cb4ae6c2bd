"""Which tool calls may be made: rules with patterns on a call's arguments."""

import difflib
import re
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from typing import Final, Literal, cast

from attrs import field, frozen
from msgspec import UnsetType

from agentrail.messages import ToolCall, ToolSpec
from agentrail.tool._match import WILD, fits, matches

Verdict = Literal["allow", "ask", "deny"]
"""A call is made, waits for somebody's approval, or is refused."""

_STRICT: Final[Mapping[Verdict, int]] = {"allow": 0, "ask": 1, "deny": 2}

_OPEN: Final = frozenset({"$ref", "allOf", "anyOf", "oneOf", "patternProperties"})
"""What of a JSON Schema may name arguments elsewhere than in its ``properties``."""

_PACKAGED: Final = re.compile(r"(?=.*(?:\*|[_?]{2}))[A-Za-z0-9_*?-]+")
"""A pattern that can be about a package's tool: the name of each has ``__`` in it."""


@frozen(slots=True)
class Rule:
    """What holds for the calls that match a pattern; make one with ``allow``, ``ask``, ``deny``."""

    verdict: Verdict
    tool: str = "*"
    """The tool's name, or a pattern of it."""
    arguments: Mapping[str, str] = field(factory=dict[str, str])
    """Patterns by argument; all of them must match."""
    reason: str = ""
    """Why, for whoever approves and for the model."""

    @property
    def weight(self) -> tuple[int, int, int, int]:
        """How specific the rule is; of two that match, the heavier one holds."""
        named = 0 if WILD.search(self.tool) else 1
        literal = len(WILD.sub("", self.tool))
        spelled = sum(len(WILD.sub("", pattern)) for pattern in self.arguments.values())
        return named, len(self.arguments), spelled, literal

    def matches(self, call: ToolCall) -> bool:
        """Tell whether the rule speaks of this call."""
        if not matches(self.tool, call.name):
            return False
        given, strict = call.arguments, self.verdict == "allow"
        return all(
            name in given and fits(glob, given[name], strict=strict)
            for name, glob in self.arguments.items()
        )


def allow(tool: str = "*", /, **arguments: str) -> Rule:
    """Return the rule that such calls are made.

    In patterns ``*`` stands for any characters but ``/``, ``**`` for any at all and ``?`` for one
    but ``/``; a pattern must match the whole name, or the whole argument as text, however a reader
    may take that: with ``%2e`` resolved, in a URL's usual spelling, each text of a list.
    """
    return Rule("allow", tool, arguments)


def ask(tool: str = "*", /, *, reason: str = "", **arguments: str) -> Rule:
    """Return the rule that such calls wait for approval.

    Patterns are those of ``allow``, but one way to read an argument is enough.
    """
    return Rule("ask", tool, arguments, reason)


def deny(tool: str = "*", /, *, reason: str = "", **arguments: str) -> Rule:
    """Return the rule that such calls are refused; patterns are those of ``ask``."""
    return Rule("deny", tool, arguments, reason)


def judge(rules: Sequence[Rule], call: ToolCall) -> Rule:
    """Return the rule that holds for a call: the most specific one, of equals the strictest.

    A tool's name is more specific than a pattern of it, more arguments than fewer, more letters
    than fewer.  A call that no rule speaks of is allowed, unless an ``allow`` names arguments of
    its tool: then only such calls of it are.
    """
    named = [rule for rule in rules if matches(rule.tool, call.name)]
    matching = [rule for rule in named if rule.matches(call)]
    if matching:
        return max(matching, key=lambda rule: (rule.weight, _STRICT[rule.verdict]))
    narrowed = any(rule.verdict == "allow" for rule in named)
    return _NOT_LISTED if narrowed else _ALLOWED


def rule_faults(
    rules: Iterable[Rule], specs: Sequence[ToolSpec], *, packages: bool = False
) -> tuple[str, ...]:
    """Return what is wrong with rules for a set of tools: a name of none of them is a slip.

    So is an argument that none of a rule's tools takes.  A rule about every tool may have none.
    With ``packages``, whose tools are not among these yet, a rule that can be about them is right.
    """
    faults: list[str] = []
    for rule in rules:
        meant = _meant(rule, specs)
        is_pattern = WILD.search(rule.tool) is not None
        if packages and (is_pattern or not meant) and _PACKAGED.fullmatch(rule.tool):
            continue
        if meant:
            faults += [f"{_named(rule)}: {fault}" for fault in _argument_faults(rule, meant)]
        elif rule.tool.strip("*"):
            faults.append(f"{_named(rule)} is about {_no_tool(rule, specs)}")
    return tuple(faults)


def rule_gaps(
    rules: Iterable[Rule], specs: Sequence[ToolSpec], packaged: Container[str]
) -> Iterator[str]:
    """Yield, of each rule, which arguments it names that its tools do not have.

    It holds for no call of such a tool.  Of tools that are not ``packaged``, one with the argument
    is enough, for who wrote the rule knew them all.
    """
    for rule in rules:
        meant = _meant(rule, specs)
        gaps = list(_argument_faults(rule, meant)) if meant else []
        if not gaps:
            brought = [spec for spec in meant if spec.name in packaged]
            gaps = [fault for spec in brought for fault in _argument_faults(rule, [spec])]
        if gaps:
            yield f"{_named(rule)}: {'; '.join(gaps)}"


def _named(rule: Rule) -> str:
    return f"{rule.verdict}({rule.tool!r})"


def _meant(rule: Rule, specs: Iterable[ToolSpec]) -> list[ToolSpec]:
    return [spec for spec in specs if matches(rule.tool, spec.name)]


def _no_tool(rule: Rule, specs: Iterable[ToolSpec]) -> str:
    names = [spec.name for spec in specs]
    if not names:
        return "no tool: the profile has none"
    near = difflib.get_close_matches(rule.tool, names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"no tool of {', '.join(names)}{hint}"


def _argument_faults(rule: Rule, specs: Sequence[ToolSpec]) -> Iterable[str]:
    """Yield the arguments of a rule that none of its tools takes."""
    known: dict[str, object] = {}
    for spec in specs:
        taken = _taken(spec)
        if taken is None:
            return
        known.update(taken)
    tools = ", ".join(spec.name for spec in specs)
    for name in rule.arguments:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            there_are = f"there are: {', '.join(known) or 'none'}"
            hint = f"did you mean {near[0]!r}?" if near else there_are
            yield f"{name!r} is no argument of {tools}; {hint}"


def _taken(spec: ToolSpec) -> Mapping[str, object] | None:
    """Return the arguments that a tool names, or None when it may take others too."""
    if isinstance(spec.parameters, UnsetType):
        return {}
    named = spec.parameters.get("properties")
    more = spec.parameters.get("additionalProperties", False) is not False
    if more or _OPEN & spec.parameters.keys() or not isinstance(named, Mapping):
        return None
    return cast("Mapping[str, object]", named)


_ALLOWED: Final = Rule("allow")
_NOT_LISTED: Final = Rule("deny", reason="no permission covers these arguments")
