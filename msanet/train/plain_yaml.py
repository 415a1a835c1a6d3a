"""YAML of plain values out of any file: no aliases, no dates, nothing that grows."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import yaml

from msanet.errors import InputError

LARGEST = 200_000
"""Bytes of a file at most; the recipes that come with the package have 2,000."""

DEEPEST = 20
"""Lists and mappings within each other at most."""

PLAIN = {f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "str", "seq", "map", "merge")}


class PlainLoader(yaml.SafeLoader):
    """Refuses aliases, of which a few lines make gigabytes, deep nesting, and tags beside `PLAIN`; dates are text."""

    yaml_implicit_resolvers = {  # noqa: RUF012  # so it is in its base
        first: [(tag, pattern) for tag, pattern in resolvers if tag in PLAIN]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        if self.check_event(yaml.AliasEvent):
            raise yaml.MarkedYAMLError(problem="an alias: write out what it stands for", problem_mark=mark)
        self._depth += 1
        if self._depth > DEEPEST:
            words = f"more than {DEEPEST} lists and mappings within each other"
            raise yaml.MarkedYAMLError(problem=words, problem_mark=mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        if node is not None and node.tag not in PLAIN:
            words = "a tag: write texts, numbers, lists and mappings alone"
            raise yaml.MarkedYAMLError(problem=words, problem_mark=mark)
        return node


def read_yaml(path: Path) -> Any:
    """The values of a YAML file, see `parse_yaml`.

    Raises:
        InputError: it cannot be read, is larger than `LARGEST` or not what `parse_yaml` takes.
    """
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): check the path and its permissions") from None
    if len(content) > LARGEST:
        raise InputError(f"{path} has over {LARGEST:,} bytes: give a file of settings")
    try:
        return parse_yaml(content.decode("utf-8-sig"))
    except ValueError as error:
        reason = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
        raise InputError(f"{path} is not a YAML file of plain values ({reason}): correct it") from None


def parse_yaml(text: str) -> Any:
    """The values of a YAML text: None, booleans, whole numbers of 64 bits, finite numbers, texts, lists and mappings
    with texts as keys.

    Raises:
        InputError: it is something else; the message is the reason alone.
    """
    try:
        values = yaml.load(text, PlainLoader)
    except yaml.YAMLError as error:
        reason = getattr(error, "problem", None) or "a character that YAML does not know"
        mark = getattr(error, "problem_mark", None)
        raise InputError(f"{reason}, line {mark.line + 1}" if mark else reason) from None
    except (ValueError, LookupError):  # such as int("9" * 5000), or a word that is tagged as a number
        raise InputError("a number that cannot be read") from None
    _check(values)
    return values


def _check(value: Any) -> None:
    """Raise an InputError where a value within has no place in settings."""
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise InputError("a name that is no text: put it in quotation marks")
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            _check(item)
    elif isinstance(value, int) and abs(value) >= 2**63:
        raise InputError("a whole number over 64 bits")
    elif isinstance(value, float) and not math.isfinite(value):
        raise InputError("a number that is not finite")
