"""The vendor's own interface documents, where they are at hand; they are not part of the project."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

FOLDER = Path(__file__).parents[2] / ".." / "shared" / "reference" / "openapi"
_URI = "urn:vendor"


@cache
def document(firmware: str) -> dict[str, Any]:
    """The document of a firmware version; the test is skipped where it is missing."""
    path = FOLDER / f"vnish-v{firmware}.json"
    if not path.exists():
        pytest.skip(f"{path.name} is not at hand")
    found: dict[str, Any] = json.loads(path.read_text())
    return found


@cache
def _registry(firmware: str) -> Registry:
    return Registry().with_resource(_URI, Resource(document(firmware), DRAFT202012))


def _pointer(*parts: str) -> str:
    return "/".join(part.replace("~", "~0").replace("/", "~1") for part in ("", *parts))


def _check(firmware: str, value: Any, *pointer: str) -> None:
    schema = {"$ref": f"{_URI}#{_pointer(*pointer)}"}
    errors = sorted(Draft202012Validator(schema, registry=_registry(firmware)).iter_errors(value), key=str)
    assert not errors, "\n".join(f"{'/'.join(map(str, e.absolute_path))}: {e.message}" for e in errors[:5])


def operations(firmware: str) -> list[tuple[str, str]]:
    """All (method, path) of a version."""
    return [(method, path) for path, verbs in document(firmware)["paths"].items() for method in verbs]


def check_reply(firmware: str, method: str, path: str, status: int, content_type: str, body: bytes) -> None:
    """Fail unless the document allows this answer to the operation ``path`` (as the document spells it)."""
    responses = document(firmware)["paths"][path][method]["responses"]
    assert str(status) in responses, f"{method} {path} answers {status}; documented: {sorted(responses)}"
    content = responses[str(status)].get("content", {})
    if not content:
        if status == 200 and not path.startswith("/logs/"):
            assert body == b"", f"{method} {path} is documented without a body"
        return
    assert content_type in content
    if content_type == "application/json":
        pointer = ("paths", path, method, "responses", str(status), "content", content_type, "schema")
        _check(firmware, json.loads(body), *pointer)


def check_request(firmware: str, method: str, path: str, body: Any) -> None:
    """Fail unless the document allows this body of a request."""
    if "requestBody" in document(firmware)["paths"][path][method]:
        _check(firmware, body, "paths", path, method, "requestBody", "content", "application/json", "schema")
