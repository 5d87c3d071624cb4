"""Requests and answers without a web framework, so that tests can talk to 1,000 miners in one process."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

JSON_TYPE, TEXT_TYPE, HTML_TYPE = "application/json", "text/plain; charset=utf-8", "text/html; charset=utf-8"
BINARY_TYPE = "application/octet-stream"


@dataclass(frozen=True)
class Request:
    """One HTTP request.

    Attributes:
        method: upper case.
        path: with its leading slash, without the query.
        query: last value of each parameter.
        headers: by lower-case name.
        body: as it came.
        client: who asks, for the log.
    """

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    client: str = "-"

    def json(self) -> Any:
        """The body as JSON.

        Raises:
            BadRequest: it is none.
        """
        try:
            return json.loads(self.body)
        except ValueError as error:
            raise BadRequest("Failed to parse JSON") from error

    def record(self) -> dict[str, Any]:
        """The body as a JSON object.

        Raises:
            BadRequest: it is none.
        """
        value = self.json()
        if not isinstance(value, dict):
            raise BadRequest("invalid type, expected an object")
        return value


class BadRequest(Exception):
    """The request cannot be understood."""


@dataclass(frozen=True)
class Reply:
    """One HTTP answer."""

    status: int = 200
    body: bytes = b""
    content_type: str = JSON_TYPE


EMPTY = Reply()
"""A success without a body, as most writes answer."""


def json_reply(value: Any, status: int = 200) -> Reply:
    """An answer in JSON."""
    return Reply(status, json.dumps(value, separators=(",", ":")).encode())


def error(text: str, status: int) -> Reply:
    """An answer that says what went wrong."""
    return json_reply({"err": text}, status)


@dataclass(frozen=True)
class Delivery:
    """An answer and how it travels.

    Attributes:
        reply: the answer; None where none comes.
        refused: whether there is no connection at all.
        cut: whether the connection breaks after half of the body.
        drip_s: time that the body takes, s.
    """

    reply: Reply | None
    refused: bool = False
    cut: bool = False
    drip_s: float = 0.0
