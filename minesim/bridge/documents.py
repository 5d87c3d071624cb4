"""Plain values to JSON and back, checked; what the bridge publishes or remembers."""

from __future__ import annotations

from typing import TypeVar

from minesim.errors import DataFileError, ParamsError, explain

T = TypeVar("T")


def to_json(value: object) -> str:
    """JSON of a dataclass of plain values; finite numbers only, None for what is not known."""
    from pydantic import TypeAdapter

    return TypeAdapter(type(value)).dump_json(value).decode()


def from_json(kind: type[T], text: str | bytes, *, origin: str, fix: str) -> T:
    """Read what :func:`to_json` wrote.

    Args:
        kind: dataclass.
        text: JSON.
        origin: where it comes from, for the message.
        fix: what to do if it is broken.

    Raises:
        DataFileError: it is no such value; the first problem is named.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        value = TypeAdapter(kind).validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        problem = f"{where}: {first['msg']}" if where else str(first["msg"])
    except ParamsError as error:
        problem = str(error)
    else:
        return value
    raise DataFileError(explain(f"not a {kind.__name__.lower()}: {problem}", origin=origin, fix=fix))
