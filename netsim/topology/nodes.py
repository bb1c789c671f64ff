"""YAML with places: what a site file says, as nodes that know their line and column.

Scalars follow our own rules, not YAML 1.1's: `no`, `22:22`, `010` and `1e3` are text; only `true`,
`false`, `null`, and decimal integers without a leading zero are more. Duplicate keys are mistakes;
aliases count towards the limit of nodes; depth is bounded and nothing recurses.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from netsim.errors import Diagnostic, InputError, Limits, near_misses
from netsim.source import Source

_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,18})$")


@attrs.define(slots=True, eq=False)
class Node:
    """A value with its place: `value` is a scalar, a list of nodes, or a dict of nodes by key."""

    value: Any
    source: Source
    keys: dict[str, Source] = attrs.Factory(dict)


@attrs.define(slots=True)
class Mistakes:
    """The mistakes found so far."""

    found: list[Diagnostic] = attrs.Factory(list)

    def note(self, source: Source, message: str, *, code: str = "NS201", hint: str = "") -> None:
        """One more."""
        found = Diagnostic(source, code, message, hint)
        if len(self.found) < 200 and found not in self.found:
            self.found.append(found)

    def finish(self) -> None:
        """Raise them all, in the order of the text."""
        if self.found:
            raise InputError(
                sorted(self.found, key=lambda d: (d.source.file, d.source.line, d.source.column))
            )

    # Reading with a complaint instead of an exception

    def mapping(self, node: Node | None, what: str, keys: tuple[str, ...] = ()) -> dict[str, Node]:
        """The entries of a mapping; keys that are not in `keys` (if given) are mistakes."""
        if node is None or node.value is None:
            return {}
        if not isinstance(node.value, dict):
            self.note(node.source, f"{what} is a mapping")
            return {}
        if keys:
            for key in node.value:
                if key not in keys:
                    hint = near_misses(key, keys) or f"known keys are {', '.join(keys)}"
                    self.note(
                        node.keys.get(key, node.source),
                        f"{what} has no key {key[:40]!r}",
                        code="NS202",
                        hint=hint,
                    )
        return node.value

    def items(self, node: Node | None, what: str) -> list[Node]:
        """The members of a list; a single value counts as a list of one."""
        if node is None or node.value is None:
            return []
        if isinstance(node.value, dict):
            self.note(node.source, f"{what} is a list")
            return []
        return node.value if isinstance(node.value, list) else [node]

    def text(self, node: Node | None, what: str) -> str:
        """A text; numbers are taken as they are written."""
        if node is None or node.value is None:
            return ""
        if isinstance(node.value, list | dict | bool):
            self.note(node.source, f"{what} is a text")
            return ""
        return str(node.value)

    def integer(self, node: Node | None, what: str, low: int, high: int, default: Any = None) -> Any:
        """A whole number within bounds."""
        if node is None or node.value is None:
            return default
        if isinstance(node.value, bool) or not isinstance(node.value, int) or not low <= node.value <= high:
            self.note(node.source, f"{what} is a number from {low} to {high}")
            return default
        return node.value

    def truth(self, node: Node | None, what: str) -> bool | None:
        """True or false (0 and 1 as in sysctl)."""
        if node is None or node.value is None:
            return None
        if node.value in (0, 1):
            return bool(node.value)
        self.note(node.source, f"{what} is true or false")
        return None


def plain_scalar(text: str) -> Any:
    """The value of a plain scalar."""
    if text in ("", "~", "null"):
        return None
    if text in ("true", "false"):
        return text == "true"
    return int(text) if _INTEGER.match(text) else text


def load_yaml(text: str, file: str, limits: Limits) -> Node:
    """The nodes of a YAML text. Raises `InputError`."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    lines = text.split("\n")

    def place(mark: Any, end: Any = None) -> Source:
        line = lines[mark.line] if mark.line < len(lines) else ""
        last = end.column + 1 if end is not None and end.line == mark.line else 0
        return Source(file, mark.line + 1, mark.column + 1, last, line[:2000])

    # The events first: depth and size, aliases followed, are bounded before anything is composed.
    depth = count = 0
    sizes: dict[str, int] = {}  # of what is anchored
    started: list[tuple[str | None, int]] = []
    try:
        for event in yaml.parse(text, Loader=loader):
            count += 1
            if isinstance(event, yaml.AliasEvent):
                target = event.anchor or ""
                if any(target == anchor for anchor, _ in started):
                    raise _limit(place(event.start_mark), f"the alias *{target[:40]} is within itself")
                count += sizes.get(target, 0)
            elif isinstance(event, yaml.ScalarEvent) and event.anchor:
                sizes[event.anchor] = 1
            elif isinstance(event, yaml.CollectionStartEvent):
                started.append((event.anchor, count))
                depth += 1
                if depth > limits.yaml_depth:
                    raise _limit(
                        place(event.start_mark), f"YAML deeper than {limits.yaml_depth} (Limits.yaml_depth)"
                    )
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
                anchor, before = started.pop()
                if anchor:
                    sizes[anchor] = count - before
            if count > limits.yaml_nodes:
                raise _limit(
                    place(event.start_mark),
                    f"more than {limits.yaml_nodes} YAML nodes once aliases are followed (Limits.yaml_nodes)",
                )
        root = yaml.compose(text, Loader=loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        source = place(mark) if mark is not None else Source(file)
        raise InputError(
            [Diagnostic(source, "NS200", f"this is no YAML: {error.problem or error.context}")]
        ) from None
    except yaml.YAMLError as error:
        raise InputError([_unreadable(text, file, error)]) from None
    if root is None:
        return Node(None, Source(file, 1))
    mistakes = Mistakes()
    total = 0
    top = Node(None, place(root.start_mark, root.end_mark))
    stack: list[tuple[Any, Node, int]] = [(root, top, 0)]
    while stack:
        raw, node, level = stack.pop()
        total += 1
        if total > limits.yaml_nodes or level > limits.yaml_depth:
            raise _limit(node.source, f"YAML deeper than {limits.yaml_depth} once aliases are followed")
        if isinstance(raw, yaml.ScalarNode):
            node.value = plain_scalar(raw.value) if not raw.style else raw.value
        elif isinstance(raw, yaml.SequenceNode):
            node.value = []
            for child in raw.value:
                member = Node(None, place(child.start_mark, child.end_mark))
                node.value.append(member)
                stack.append((child, member, level + 1))
        else:
            node.value = {}
            for key, child in raw.value:
                source = place(key.start_mark, key.end_mark)
                if not isinstance(key, yaml.ScalarNode):
                    mistakes.note(source, "a key is a text")
                    continue
                if key.value in node.value:
                    mistakes.note(source, f"the key {key.value[:40]!r} appears twice", code="NS203")
                    continue
                member = Node(None, place(child.start_mark, child.end_mark))
                node.value[key.value] = member
                node.keys[key.value] = source
                stack.append((child, member, level + 1))
    mistakes.finish()
    return top


def _unreadable(text: str, file: str, error: Exception) -> Diagnostic:
    """What YAML's reader refuses: a character, at the first place where such a one stands."""
    number = getattr(error, "character", None)
    at = text.find(chr(number)) if isinstance(number, int) and number < 0x110000 else -1
    if at < 0:
        return Diagnostic(Source(file), "NS200", f"this is no YAML: {error}")
    start, line = text.rfind("\n", 0, at) + 1, text.count("\n", 0, at) + 1
    shown = text[start : text.find("\n", at) if "\n" in text[at:] else len(text)]
    source = Source(file, line, at - start + 1, at - start + 2, shown[:2000])
    return Diagnostic(source, "NS200", f"this is no YAML: the character U+{number:04X}")


def _limit(source: Source, message: str) -> InputError:
    return InputError([Diagnostic(source, "NS905", message)])


def from_plain(value: Any, pointer: str = "") -> Node:
    """Plain Python data as nodes; places are JSON pointers."""
    top = Node(None, Source(pointer=pointer or "/"))
    stack: list[tuple[Any, Node, str]] = [(value, top, pointer)]
    while stack:
        raw, node, path = stack.pop()
        if isinstance(raw, Mapping):
            node.value = {}
            for key, child in raw.items():
                inner = f"{path}/{key}"
                member = Node(None, Source(pointer=inner))
                node.value[str(key)] = member
                node.keys[str(key)] = Source(pointer=inner)
                stack.append((child, member, inner))
        elif isinstance(raw, list | tuple | Iterator):
            node.value = []
            for i, child in enumerate(raw):
                member = Node(None, Source(pointer=f"{path}/{i}"))
                node.value.append(member)
                stack.append((child, member, f"{path}/{i}"))
        else:
            node.value = raw
    return top
