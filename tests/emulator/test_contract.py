"""Every answer of both generations is one that the vendor's own document allows."""

from __future__ import annotations

import re
from typing import Any

import pytest

from minesim.emulator import FIRMWARES, Emulator, Fault, FaultKind, Weather
from minesim.emulator.http import Reply
from tests.emulator import vendor

MODELS = ("Antminer S19j Pro (104T)", "Antminer L7 (9.5G)", "Antminer S21 Hydro", "Antminer S17 Pro", "Antminer L3+")
KEY = "k" * 32
BODIES: dict[tuple[str, str], Any] = {
    ("post", "/unlock"): {"pw": "admin"},
    ("post", "/lock/others"): {"pw": "admin"},
    ("post", "/settings"): {"miner": {"misc": {"quiet_mode": True}, "cooling": {"mode": {"name": "immers"}}}},
    ("post", "/mining/throttle"): {"percent": 60},
    ("post", "/mining/switch-pool"): {"pool_id": 0},
    ("post", "/notes"): {"key": "rack", "value": "B7"},
    ("put", "/notes/{note}"): {"value": "B8"},
    ("post", "/apikeys"): {"key": KEY, "description": "bridge"},
    ("post", "/apikeys/delete"): {"key": KEY},
    ("post", "/autotune/reset"): {"presets": [], "restart": False},
    ("post", "/autotune/reset-all"): {"restart": False},
    ("post", "/firmware/remove"): {"remove_stock_logs": False},
}
FORMS = {"/firmware/update", "/settings/restore"}
"""Take a file as a form; their bodies are not looked at."""


def ask(emulator: Emulator, index: int, method: str, path: str, body: Any = None, **headers: str) -> Reply:
    target = "/api/v1" + path.replace("{log_type}", "status").replace("{note}", "rack")
    reply = emulator.request(index, method.upper(), target, body, headers).reply
    assert reply is not None
    return reply


def session(emulator: Emulator, index: int = 0) -> dict[str, str]:
    token = re.search(rb'"token":"(\w{32})"', ask(emulator, index, "post", "/unlock", {"pw": "admin"}).body)
    assert token is not None
    return {"authorization": f"Bearer {token[1].decode()}"}


def reads(firmware: str) -> list[str]:
    return [path for method, path in vendor.operations(firmware) if method == "get"]


def check_reads(emulator: Emulator, index: int, *paths: str) -> None:
    headers = session(emulator, index)
    ask(emulator, index, "post", "/notes", {"key": "rack", "value": "B7"}, **headers)
    for path in paths or reads(emulator.firmware):
        reply = ask(emulator, index, "get", path, **headers)
        assert reply.status == 200, path
        vendor.check_reply(emulator.firmware, "get", path, reply.status, reply.content_type, reply.body)


@pytest.mark.parametrize("firmware", FIRMWARES)
@pytest.mark.parametrize("index", range(len(MODELS)))
def test_every_read_of_every_kind_of_machine(firmware: str, index: int) -> None:
    emulator = Emulator(MODELS, firmware=firmware, seed=3)
    check_reads(emulator, index)
    emulator.advance(1800.0)
    check_reads(emulator, index)


@pytest.mark.parametrize("firmware", FIRMWARES)
def test_every_read_in_every_state(firmware: str) -> None:
    emulator = Emulator(MODELS[:1] * 6, firmware=firmware, weather=Weather.constant(30.0))
    ask(emulator, 1, "post", "/mining/stop", **session(emulator, 1))
    ask(emulator, 2, "post", "/mining/restart", **session(emulator, 2))
    emulator.inject(
        Fault(3, FaultKind.INTAKE_BLOCKED, level=0.02),
        Fault(4, FaultKind.BOARD_LOST, level=1.0),
        Fault(5, FaultKind.SENSOR_ZERO),
    )
    for wait_s in (0.0, 10.0, 120.0, 3600.0):
        emulator.advance(wait_s)
        for index in range(6):
            check_reads(emulator, index)
    assert emulator.view(1).state == "stopped"
    assert emulator.view(3).state == "failure"
    assert emulator.view(4).board_works == (True, False, True)


@pytest.mark.parametrize("firmware", FIRMWARES)
def test_every_write_with_and_without_credentials_and_out_of_place(firmware: str) -> None:
    emulator = Emulator(MODELS[:1], firmware=firmware)
    done = []
    for method, path in vendor.operations(firmware):
        if method == "get":
            continue
        body = BODIES.get((method, path))
        if path not in FORMS:
            vendor.check_request(firmware, method, path, body)
        for headers in ({}, session(emulator), session(emulator)):
            reply = ask(emulator, 0, method, path, body, **headers)
            assert reply.status not in (404, 405) or "{note}" in path, f"{method} {path} is missing"
            vendor.check_reply(firmware, method, path, reply.status, reply.content_type, reply.body)
            emulator.advance(120.0)  # a reboot is over
        done.append(path)
    assert {"/mining/stop", "/system/reboot", "/settings", "/lock"} <= set(done)


@pytest.mark.parametrize("firmware", FIRMWARES)
def test_refusals_are_documented_too(firmware: str) -> None:
    emulator = Emulator(MODELS[:1], firmware=firmware)
    headers = session(emulator)
    refusals = [
        ("post", "/unlock", {"pw": "wrong"}, 403),
        ("post", "/settings", {"miner": {"misc": {"restart_hashrate": 101}}}, 500),
        ("post", "/mining/resume", None, 500),
        ("post", "/mining/switch-pool", {"pool_id": 1 << 30}, 500),
        ("delete", "/notes/{note}", None, 404),
        ("get", "/notes/{note}", None, 404),
    ]
    for method, path, body, status in refusals:
        reply = ask(emulator, 0, method, path, body, **headers)
        assert reply.status == status, path
        vendor.check_reply(firmware, method, path, reply.status, reply.content_type, reply.body)


@pytest.mark.parametrize("firmware", FIRMWARES)
def test_the_own_document_lists_what_the_vendors_lists(firmware: str) -> None:
    emulator = Emulator(MODELS[:1], firmware=firmware)
    reply = emulator.request(0, "GET", "/docs/api-doc.json").reply
    assert reply is not None
    own = set(re.findall(rb'"(/[a-z/-]+(?:\{name\}(?:/clear)?)?)":\{"', reply.body))
    theirs = {re.sub(r"\{\w+\}", "{name}", path).encode() for path in vendor.document(firmware)["paths"]}
    assert own == theirs
