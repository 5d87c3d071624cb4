"""One error tree, so that callers can catch by meaning.

Every message says what is wrong, the value with its unit, what is allowed, where it came from and what to do;
:func:`explain` puts these parts in order, :func:`nearest` adds the names that were probably meant.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import TypeVar

T = TypeVar("T")


class MinesimError(Exception):
    """Base of all errors that minesim raises on purpose."""


class ParamsError(MinesimError):
    """A parameter is outside what the model or the limits allow."""


class CatalogError(MinesimError):
    """A catalog row is unknown, missing or contradictory."""


class ScenarioError(MinesimError):
    """A scenario is unknown, or cannot serve the requested period."""


class TraceError(ScenarioError):
    """A trace breaks the data contract (gap, unit, duplicate, impossible value)."""


class DataFileError(MinesimError):
    """A data file is missing, unreadable or not of the expected form."""


class ActionError(MinesimError):
    """An action is misshaped or not a number."""


class TelemetryError(MinesimError):
    """Telemetry is misshaped, stale or contradictory."""


class MissingExtraError(MinesimError):
    """An optional package is needed for what was asked."""


def explain(what: str, *, allowed: str = "", origin: str = "", fix: str = "") -> str:
    """Compose a message: what (with value and unit), what is allowed, where it came from, what to do.

    >>> explain("volt_v is 18.2 V", allowed="11.5 to 15.0 V", origin="site.yaml", fix="Set volt_v within that range.")
    'volt_v is 18.2 V; allowed: 11.5 to 15.0 V (from site.yaml). Set volt_v within that range.'
    """
    text = what
    if allowed:
        text += f"; allowed: {allowed}"
    if origin:
        text += f" (from {origin})"
    return f"{text}. {fix}" if fix else f"{text}."


def nearest(name: str, options: Iterable[str], count: int = 3) -> str:
    """Name the options closest to ``name``, for an error's "what to do" part.

    >>> nearest("ERCTO", ["ercot", "pjm"])
    "Did you mean 'ercot'?"
    """
    known = {option.lower(): option for option in options}
    close = [known[key] for key in difflib.get_close_matches(name.lower(), list(known), n=count, cutoff=0.5)]
    if close:
        return "Did you mean " + " or ".join(repr(option) for option in close) + "?"
    return "Known: " + ", ".join(sorted(known.values())) + "."


def pick(kind: str, name: str, table: Mapping[str, T], error: type[MinesimError] = ParamsError, origin: str = "") -> T:
    """Look a name up in a table of ready-made things.

    Args:
        kind: what the table holds, for the message.
        name: what was asked for.
        table: name -> thing.
        error: what to raise.
        origin: where the table comes from.

    Raises:
        MinesimError: of class ``error``, with the nearest names.

    >>> pick("site", "hall", {"hall": 1})
    1
    """
    if name not in table:
        raise error(explain(f"no {kind} {name!r}", fix=nearest(name, table), origin=origin))
    return table[name]
