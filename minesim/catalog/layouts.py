"""Room layouts as data: TOML files beside this module, or a user's own file of the same form."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, fields
from importlib import resources
from pathlib import Path
from typing import Any, Final, TypeVar

from minesim.errors import CatalogError, DataFileError, ParamsError, explain, nearest
from minesim.physics.room_plan import Damper, MinerGroup, Opening, RoomFan, RoomPlan, Row, check_plan

T = TypeVar("T", Row, MinerGroup, RoomFan, Opening, Damper, RoomPlan)
_FOLDER: Final = resources.files("minesim.catalog") / "rooms"
_PARTS: Final[Mapping[str, type[Any]]] = {
    "rows": Row,
    "groups": MinerGroup,
    "fans": RoomFan,
    "openings": Opening,
    "dampers": Damper,
}


def layout_names() -> tuple[str, ...]:
    """Names of the ready-made layouts, sorted."""
    return tuple(
        sorted(entry.name.removesuffix(".toml") for entry in _FOLDER.iterdir() if entry.name.endswith(".toml"))
    )


def layout(name: str | Path) -> RoomPlan:
    """Read and check a layout.

    Args:
        name: a ready-made layout (:func:`layout_names`) or a TOML file (anything that ends in ``.toml``).

    Raises:
        CatalogError: no such layout; the nearest names are suggested.
        DataFileError: the file is missing or not TOML.
        ParamsError: an unknown or missing field, a wrong type, or an impossible room; the culprit is named.
    """
    if str(name).endswith(".toml"):
        path = Path(name)
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise DataFileError(explain(f"layout file {str(name)!r} cannot be read: {error.strerror}")) from error
        return parse_layout(text, origin=str(name))
    if name not in layout_names():
        raise CatalogError(explain(f"no layout {str(name)!r}", fix=nearest(str(name), layout_names())))
    text = (_FOLDER / f"{name}.toml").read_text(encoding="utf-8")
    return parse_layout(text, origin=f"minesim/catalog/rooms/{name}.toml")


def parse_layout(text: str, origin: str) -> RoomPlan:
    """Make a checked room of a layout's TOML text.

    Args:
        text: the TOML.
        origin: where it comes from, for messages.

    Raises:
        DataFileError, ParamsError: as :func:`layout`.
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise DataFileError(explain(f"not valid TOML: {error}", origin=origin)) from error
    parts: dict[str, Any] = {}
    for key, kind in _PARTS.items():
        entries = data.get(key, [])
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise ParamsError(
                explain(f"{key!r} is not a list of tables", origin=origin, fix=f"Write each as [[{key}]].")
            )
        parts[key] = tuple(_build(kind, entry, f"{key}[{n}]", origin) for n, entry in enumerate(entries))
    return check_plan(_build(RoomPlan, {**data, **parts}, "the room", origin), origin)


def _build(kind: type[T], entry: Mapping[str, Any], where: str, origin: str) -> T:
    label = f"{where} ({entry['name']})" if where != "the room" and "name" in entry else where
    known = {field_.name: field_ for field_ in fields(kind)}
    for key in entry:
        if key not in known:
            raise ParamsError(explain(f"{label} has an unknown field {key!r}", origin=origin, fix=nearest(key, known)))
    values: dict[str, Any] = {}
    for name, field_ in known.items():
        if name not in entry:
            if field_.default is MISSING:
                raise ParamsError(explain(f"{label} lacks {name!r}", origin=origin, fix="Add it."))
            continue
        value = entry[name]
        wanted = str(field_.type)
        if wanted == "float" and type(value) in (int, float):
            value = float(value)
        fits = {"float": type(value) is float, "int": type(value) is int, "bool": type(value) is bool}
        if not fits.get(wanted, isinstance(value, str | tuple)):
            raise ParamsError(explain(f"{name} of {label} is {value!r}", allowed=f"of type {wanted}", origin=origin))
        values[name] = value
    return kind(**values)
