"""Where feeds come from: an address that answers JSON, a file, a constant."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Protocol

import httpx

from minesim.bridge.feeds import FeedError, Interval
from minesim.bridge.settings.secret import read_secret
from minesim.errors import ParamsError, explain

TIMEOUT_S: Final = 10.0
BYTES_MAX: Final = 4_000_000
"""A longer answer is none of ours (assumed)."""
MILLISECONDS_FROM: Final = 1e11
"""Numbers above this (year 5138 in seconds) are taken for milliseconds since 1970."""


@dataclass(frozen=True)
class Layout:
    """How values lie in an answer.

    Attributes:
        rows: dotted path to the list of rows, ``""`` where the answer is the list; one row may stand alone.
        time: path in a row to its start: ISO 8601 (with zone, else UTC), or s or ms since 1970; ``""`` for now.
        value: path in a row to its value.
        factor: multiplies the value, to bring it to the series' unit.
        interval_s: how long a value holds, s.
    """

    rows: str = ""
    time: str = ""
    value: str = "value"
    factor: float = 1.0
    interval_s: float = 3600.0

    def read(self, answer: Any, now_s: float, origin: str) -> list[Interval]:
        """Intervals of an answer; rows without a value (null, empty) are left out.

        Raises:
            FeedError: a path leads nowhere, or a time or value cannot be read.
        """
        rows = _at(answer, self.rows, origin)
        if not isinstance(rows, list):
            rows = [rows]
        found: list[Interval] = []
        for row in rows:
            value = _at(row, self.value, origin)
            if value is None or value == "":
                continue
            start_s = now_s if not self.time else _seconds(_at(row, self.time, origin), origin)
            found.append(Interval(start_s, self.interval_s, _number(value, origin) * self.factor))
        return found


class Source(Protocol):
    """What a feed reads."""

    async def read(self, now_s: float) -> Sequence[Interval]:
        """Whatever it tells now.

        Raises:
            FeedError: no answer, or one that cannot be read.
        """


@dataclass(frozen=True)
class ConstantSource:
    """The same value always, for what changes once in years."""

    value: float

    async def read(self, now_s: float) -> Sequence[Interval]:
        """The value, from now on."""
        return [Interval(now_s, 3600.0, self.value)]


@dataclass(frozen=True)
class FileSource:
    """A CSV or JSON file that something else keeps up to date."""

    path: Path
    layout: Layout

    async def read(self, now_s: float) -> Sequence[Interval]:
        """Its rows."""
        origin = str(self.path)
        try:
            if self.path.stat().st_size > BYTES_MAX:
                raise FeedError(explain(f"the file is longer than {BYTES_MAX} bytes", origin=origin))
            text = self.path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise FeedError(explain(f"cannot read the file: {error}", origin=origin)) from error
        if self.path.suffix == ".csv":
            return self.layout.read(list(csv.DictReader(io.StringIO(text))), now_s, origin)
        return self.layout.read(_json(text, origin), now_s, origin)


@dataclass(frozen=True)
class HttpSource:
    """An address that answers JSON.

    Attributes:
        url: asked with GET.
        layout: of its answer.
        headers: references to secrets (``env:NAME``, ``file:PATH``) by header name, read anew at each call.
        client: connections are kept open in it.
    """

    url: str
    layout: Layout
    headers: Mapping[str, str] = field(default_factory=dict)
    client: httpx.AsyncClient = field(default_factory=lambda: httpx.AsyncClient(timeout=TIMEOUT_S), repr=False)

    async def read(self, now_s: float) -> Sequence[Interval]:
        """Its rows."""
        origin = self.url.partition("?")[0]
        try:
            headers = {name: read_secret(reference).reveal() for name, reference in self.headers.items()}
            answer = await self.client.get(self.url, headers=headers)
        except httpx.HTTPError as error:
            raise FeedError(explain(f"no answer: {type(error).__name__}", origin=origin)) from None
        except ParamsError as error:
            raise FeedError(str(error)) from error
        if answer.status_code != 200:
            raise FeedError(explain(f"answered with status {answer.status_code}", allowed="200", origin=origin))
        if len(answer.content) > BYTES_MAX:
            raise FeedError(explain(f"answered more than {BYTES_MAX} bytes", origin=origin))
        return self.layout.read(_json(answer.text, origin), now_s, origin)


@dataclass(frozen=True)
class SeriesFeed:
    """A series and its source: a :class:`minesim.bridge.feeds.Feed`."""

    series: str
    source: Source

    async def fetch(self, now_s: float) -> Sequence[Interval]:
        """What the source tells now.

        Raises:
            FeedError: it does not.
        """
        return await self.source.read(now_s)


def _json(text: str, origin: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        raise FeedError(explain("the content is not JSON", origin=origin)) from None


def _at(value: Any, path: str, origin: str) -> Any:
    for part in path.split(".") if path else []:
        if isinstance(value, dict) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        else:
            raise FeedError(explain(f"nothing is found at {path!r}", origin=origin, fix="Check the feed's paths."))
    return value


def _number(value: Any, origin: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if isinstance(value, bool) or not math.isfinite(number):
        raise FeedError(explain(f"{str(value)[:40]!r} is not a number", origin=origin))
    return number


def _seconds(value: Any, origin: str) -> float:
    if isinstance(value, int | float) or (isinstance(value, str) and value.replace(".", "", 1).isdigit()):
        number = _number(value, origin)
        return number * (1e-3 if abs(number) > MILLISECONDS_FROM else 1.0)
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        raise FeedError(explain(f"{str(value)[:40]!r} is not a time", allowed="ISO 8601", origin=origin)) from None
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()
