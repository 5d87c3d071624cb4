"""YAML that remembers its lines and refuses what a person would not notice: keys given twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from minesim.errors import ParamsError, explain

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Document:
    """Values of a YAML file, and the line (from 1) that each place in it begins at."""

    name: str
    values: Any
    lines: dict[Path, int]

    def origin(self, place: Sequence[Any]) -> str:
        """``file:line`` of a place, or of the nearest one around it."""
        path = tuple(place)
        while path and path not in self.lines:
            path = path[:-1]
        return f"{self.name}:{self.lines.get(path, 1)}"


def read_yaml(text: str, name: str) -> Document:
    """Parse YAML of plain values.

    Raises:
        ParamsError: not YAML, or a key is given twice; the message names the line.
    """
    loader = yaml.SafeLoader(text)
    lines: dict[Path, int] = {}

    def build(node: yaml.Node, place: Path) -> Any:
        lines[place] = node.start_mark.line + 1
        if isinstance(node, yaml.MappingNode):
            result: dict[Any, Any] = {}
            for key_node, value_node in node.value:
                key = loader.construct_object(key_node)
                if not isinstance(key, str | int):
                    raise ParamsError(explain("a key is not a word", origin=f"{name}:{key_node.start_mark.line + 1}"))
                if key in result:
                    origin = f"{name}:{key_node.start_mark.line + 1}"
                    raise ParamsError(explain(f"{key!r} is given twice", origin=origin, fix="Keep one of the two."))
                result[key] = build(value_node, (*place, key))
            return result
        if isinstance(node, yaml.SequenceNode):
            return [build(entry, (*place, index)) for index, entry in enumerate(node.value)]
        return loader.construct_object(node)

    try:
        root = loader.get_single_node()
        values = None if root is None else build(root, ())
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = 1 if mark is None else mark.line + 1
        problem = getattr(error, "problem", None) or "unreadable"
        raise ParamsError(explain(f"not YAML: {problem}", origin=f"{name}:{line}")) from None
    finally:
        loader.dispose()
    return Document(name, values, lines)
