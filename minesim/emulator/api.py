"""The firmware's HTTP interface: paths, who may use them, and what they do.

Two generations, 1.2 and 1.3, differ in their paths and fields (see ``docs/emulator.md``).
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from minesim.emulator import auth, payloads
from minesim.emulator.history import KEPT_S, History
from minesim.emulator.http import (
    BINARY_TYPE,
    EMPTY,
    HTML_TYPE,
    TEXT_TYPE,
    BadRequest,
    Reply,
    Request,
    error,
    json_reply,
)
from minesim.emulator.miner import PAUSED_MODE, REBOOT_AFTER_S, STOPPED_MODE, EmulatedMiner, Refused
from minesim.emulator.settings import SettingsRefused
from minesim.emulator.view import View

API_ROOT = "/api/v1"
PAGE = (
    "<!doctype html><html><head><title>AnthillOS</title></head>"
    "<body>AnthillOS, emulated by minesim: no real miner.</body></html>"
)
DOCS_PAGE = (
    "<!doctype html><html><head><title>Miner API</title></head>"
    '<body>Emulated by minesim. <a href="/docs/api-doc.json">api-doc.json</a></body></html>'
)
NOTES_MAX = 100
"""Notes that fit (assumed)."""
LOGS = {
    "1.2": ("status", "miner", "autotune", "system", "messages", "api"),
    "1.3": ("status", "miner", "autotune", "pool", "hwscan", "system", "messages", "api"),
}
OPEN, EITHER, SESSION = "open", "either", "session"
"""Who may use a path: everybody; a session or an API key; a session only."""


@dataclass(frozen=True)
class Call:
    """What an endpoint is given.

    Attributes:
        miner: that is asked.
        view: what its firmware sees.
        history: the fleet's past.
        request: the request.
        argument: last part of a path with a variable end.
        defer_preset: whether a new preset has to wait for a restart.
    """

    miner: EmulatedMiner
    view: View
    history: History
    request: Request
    argument: str = ""
    defer_preset: bool = False


Endpoint = Callable[[Call], Reply]


@dataclass(frozen=True)
class Route:
    """One path and method of one or both generations; a path ending in ``/*`` takes one more part."""

    method: str
    path: str
    access: str
    endpoint: Endpoint
    generations: tuple[str, ...] = ("1.2", "1.3")
    dangerous: bool = False


# ---------------------------------------------------------------------- reads


def _auth_check(call: Call) -> Reply:
    return json_reply({"unlock_timeout": None})


def _status(call: Call) -> Reply:
    unlocked = bool(call.miner.tokens)
    return json_reply(payloads.status(call.miner, call.view, unlocked=unlocked))


def _metrics(call: Call) -> Reply:
    try:
        slice_s = int(call.request.query.get("time_slice", "86400"))
        step_s = int(call.request.query.get("step", "900"))
    except ValueError:
        return error("Failed to parse the query", 500)
    if not 0 < slice_s <= KEPT_S or step_s <= 0:
        return error(f"time_slice: 1 to {KEPT_S:.0f} s, step: above 0 s", 500)
    return json_reply(payloads.metrics(call.miner, call.history, float(slice_s), float(step_s)))


def _log(call: Call) -> Reply:
    miner, kind = call.miner, call.argument
    if kind not in LOGS[miner.generation]:
        return error(f"No log {kind!r}", 500)
    if kind == "api":
        lines = [f"[{miner.wall.at_s(at_s):.0f}] {who} {what} {code}" for at_s, who, what, code in miner.api_log]
    else:
        lines = list(miner.logs.get(kind, ()))
    return Reply(200, "".join(line + "\n" for line in lines).encode(), TEXT_TYPE)


def _note(call: Call) -> Reply:
    value = call.miner.notes.get(call.argument)
    return error("Note not found", 404) if value is None else json_reply({"value": value})


# ---------------------------------------------------------------------- writes


def _unlock(call: Call) -> Reply:
    return auth.unlock(call.miner, call.request.record().get("pw"))


def _find_miner(call: Call) -> Reply:
    call.miner.finds = not call.miner.finds
    return json_reply({"on": call.miner.finds})


def _locate_miner(call: Call) -> Reply:
    call.miner.locates = not call.miner.locates
    return json_reply({"is_enabled": call.miner.locates})


def _commands() -> dict[str, Callable[[EmulatedMiner], None]]:
    return {
        "start": lambda miner: miner.start(STOPPED_MODE),
        "stop": lambda miner: miner.stop(STOPPED_MODE),
        "pause": lambda miner: miner.stop(PAUSED_MODE),
        "resume": lambda miner: miner.start(PAUSED_MODE),
        "restart": lambda miner: miner.restart(),
    }


def _mining(name: str) -> Endpoint:
    command = _commands()[name]

    def endpoint(call: Call) -> Reply:
        command(call.miner)
        return EMPTY

    return endpoint


def _throttle(call: Call) -> Reply:
    if not call.miner.has_throttle:
        return error("Not Found", 404)
    percent = call.request.record().get("percent")
    if isinstance(percent, bool) or not isinstance(percent, int) or not 20 <= percent <= 100:
        return error("percent: 20 to 100", 500)
    call.miner.throttle(percent)
    return _saved(False)


def _saved(restart_required: bool) -> Reply:
    return json_reply({"restart_required": restart_required, "reboot_required": False})


def _switch_pool(call: Call) -> Reply:
    number = call.request.record().get("pool_id")
    if isinstance(number, bool) or not isinstance(number, int):
        return error("pool_id: invalid type", 500)
    call.miner.switch_pool(number, float(call.history.work_th[call.miner.index]))
    return EMPTY


def _write_settings(call: Call) -> Reply:
    miner, patch = call.miner, call.request.record()
    for name in ("password", "network"):
        if patch.get(name) is not None:
            miner.dangerous[f"settings/{name}"] += 1
    password = patch.get("password")
    if password is not None:
        if not isinstance(password, dict) or password.get("current") != miner.password:
            return error("Wrong password", 500)
        if not isinstance(password.get("pw"), str):
            return error("password.pw: invalid type, expected a string", 500)
        miner.password = password["pw"]
    return _saved(miner.write_settings(patch, defer=call.defer_preset))


def _reboot(call: Call) -> Reply:
    call.miner.reboot()
    return json_reply({"after": int(REBOOT_AFTER_S)})


def _clear_log(call: Call) -> Reply:
    kind, _, tail = call.argument.partition("/")
    if tail != "clear" or kind not in LOGS[call.miner.generation]:
        return error("Not Found", 404)
    (call.miner.api_log if kind == "api" else call.miner.logs.setdefault(kind, call.miner.new_log())).clear()
    return EMPTY


def _add_note(call: Call) -> Reply:
    note, notes = call.request.record(), call.miner.notes
    key, value = note.get("key"), note.get("value")
    if not isinstance(key, str) or not isinstance(value, str):
        return error("key and value are needed", 500)
    if key in notes:
        return error("Note already exists", 409)
    if len(notes) >= NOTES_MAX:
        return error("No space left", 507)
    notes[key] = value
    return EMPTY


def _put_note(call: Call) -> Reply:
    value = call.request.record().get("value")
    if not isinstance(value, str):
        return error("value is needed", 500)
    call.miner.notes[call.argument] = value
    return EMPTY


def _delete_note(call: Call) -> Reply:
    return error("Note not found", 404) if call.miner.notes.pop(call.argument, None) is None else EMPTY


def _api_keys(call: Call) -> Reply:
    return json_reply([{"key": key, "description": text} for key, text in call.miner.api_keys.items()])


def _add_api_key(call: Call) -> Reply:
    given, keys = call.request.record(), call.miner.api_keys
    key, text = given.get("key"), given.get("description")
    if not isinstance(key, str) or len(key) != auth.KEY_LENGTH or not isinstance(text, str):
        return error("key: exactly 32 characters, and a description", 500)
    status = "inserted" if key not in keys else "nochanges" if keys[key] == text else "updated"
    keys[key] = text
    return json_reply({"status": status})


def _delete_api_key(call: Call) -> Reply:
    call.miner.api_keys.pop(str(call.request.record().get("key")), None)
    return EMPTY


def _backup(call: Call) -> Reply:
    content = json.dumps(call.miner.settings).encode()
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        entry = tarfile.TarInfo("settings.json")
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return Reply(200, packed.getvalue(), BINARY_TYPE)


def _after(call: Call) -> Reply:
    return json_reply({"after": int(REBOOT_AFTER_S)})


def _read(tell: Callable[[Call], Any]) -> Endpoint:
    return lambda call: json_reply(tell(call))


def routes() -> tuple[Route, ...]:
    """All paths below ``/api/v1``."""
    old, new = ("1.2",), ("1.3",)
    return (
        Route("POST", "/unlock", OPEN, _unlock),
        Route("GET", "/auth-check", EITHER, _auth_check),
        Route("POST", "/lock", SESSION, lambda call: auth.lock(call.miner, call.request)),
        Route("POST", "/lock/others", SESSION, lambda call: auth.lock_others(call.miner, call.request)),
        Route("GET", "/info", OPEN, _read(lambda call: payloads.info(call.miner))),
        Route("GET", "/model", OPEN, _read(lambda call: payloads.model_info(call.miner))),
        Route("GET", "/status", OPEN, _status),
        Route("GET", "/summary", OPEN, _read(lambda c: payloads.summary(c.miner, c.view))),
        Route("GET", "/perf-summary", OPEN, _read(lambda c: payloads.perf_summary(c.miner, c.view))),
        Route("GET", "/chains", OPEN, _read(lambda c: payloads.boards(c.miner, c.view)), old),
        Route("GET", "/chips", OPEN, _read(lambda c: payloads.chips(c.miner, c.view)), old),
        Route("GET", "/boards", OPEN, _read(lambda c: payloads.boards(c.miner, c.view)), new),
        Route("GET", "/chains/factory-info", OPEN, _read(lambda call: payloads.factory_info(call.miner))),
        Route("GET", "/layout", OPEN, _read(lambda call: call.miner.settings["layout"])),
        Route("GET", "/ui", OPEN, _read(lambda call: call.miner.settings["ui"])),
        Route("GET", "/metrics", OPEN, _metrics),
        Route("GET", "/settings", EITHER, _read(lambda call: call.miner.settings)),
        Route("POST", "/settings", EITHER, _write_settings),
        Route("POST", "/settings/backup", EITHER, _backup),
        Route("POST", "/settings/restore", EITHER, _after, dangerous=True),
        Route("POST", "/settings/factory-reset", EITHER, _after, dangerous=True),
        Route("GET", "/autotune/presets", EITHER, _read(lambda call: payloads.presets(call.miner))),
        Route("POST", "/autotune/reset", EITHER, lambda call: EMPTY, dangerous=True),
        Route("POST", "/autotune/reset-all", EITHER, lambda call: EMPTY, dangerous=True),
        *(Route("POST", f"/mining/{name}", EITHER, _mining(name)) for name in _commands()),
        Route("POST", "/mining/switch-pool", EITHER, _switch_pool),
        Route("POST", "/mining/throttle", EITHER, _throttle, new),
        Route("POST", "/find-miner", OPEN, _find_miner),
        Route("POST", "/locate-miner", OPEN, _locate_miner, new),
        Route("POST", "/system/reboot", EITHER, _reboot),
        Route("GET", "/logs/*", OPEN, _log),
        Route("POST", "/logs/*", EITHER, _clear_log),
        Route("GET", "/notes", OPEN, _read(lambda call: call.miner.notes)),
        Route("POST", "/notes", EITHER, _add_note),
        Route("GET", "/notes/*", OPEN, _note),
        Route("PUT", "/notes/*", EITHER, _put_note),
        Route("DELETE", "/notes/*", EITHER, _delete_note),
        Route("GET", "/apikeys", EITHER, _api_keys),
        Route("POST", "/apikeys", EITHER, _add_api_key, dangerous=True),
        Route("POST", "/apikeys/delete", EITHER, _delete_api_key, dangerous=True),
        Route("POST", "/firmware/update", EITHER, _after, dangerous=True),
        Route("POST", "/firmware/remove", EITHER, _after, dangerous=True),
        Route("POST", "/activate-warranty", EITHER, _read(lambda call: {"success": False}), dangerous=True),
        Route("POST", "/cancel-warranty", EITHER, _read(lambda call: {"success": False}), dangerous=True),
    )


class FirmwareApi:
    """The interface of one generation."""

    def __init__(self, generation: str) -> None:
        chosen = [route for route in routes() if generation in route.generations]
        self._exact = {(r.method, r.path): r for r in chosen if not r.path.endswith("/*")}
        self._open_ended = {(r.method, r.path[:-1]): r for r in chosen if r.path.endswith("/*")}
        self._paths = sorted({r.path for r in chosen})

    def find(self, method: str, path: str) -> tuple[Route | None, str, bool]:
        """Route of a request below ``/api/v1``, its variable end, and whether the path exists at all."""
        route = self._exact.get((method, path))
        if route is not None:
            return route, "", True
        head, slash, argument = path[1:].partition("/")
        route = self._open_ended.get((method, f"/{head}/")) if slash and argument else None
        if route is not None:
            return route, argument, True
        methods = ("GET", "POST", "PUT", "DELETE")
        exists = any(
            (other, path) in self._exact or (argument and (other, f"/{head}/") in self._open_ended) for other in methods
        )
        return None, "", bool(exists)

    def answer(self, call: Call) -> Reply:
        """Answer a request."""
        request = call.request
        if not request.path.startswith(API_ROOT + "/"):
            return self._page(request)
        path = request.path.removeprefix(API_ROOT)
        route, argument, exists = self.find(request.method, path)
        if route is None:
            return error("Method Not Allowed", 405) if exists else error("Not Found", 404)
        if not self._allowed(route, call):
            return json_reply({"unlock_timeout": None}, 401) if path == "/auth-check" else error("Unauthorized", 401)
        if route.dangerous:
            call.miner.dangerous[path.removeprefix("/")] += 1
        call = Call(call.miner, call.view, call.history, request, argument, call.defer_preset)
        try:
            return route.endpoint(call)
        except BadRequest as refused:
            return error(str(refused), 400)
        except (Refused, SettingsRefused) as refused:
            return error(str(refused), 500)

    @staticmethod
    def _allowed(route: Route, call: Call) -> bool:
        if route.access == OPEN:
            return True
        if auth.has_session(call.miner, call.request):
            return True
        return route.access == EITHER and auth.has_key(call.miner, call.request)

    def _page(self, request: Request) -> Reply:
        if request.method != "GET":
            return error("Not Found", 404)
        if request.path == "/docs/api-doc.json":
            return json_reply(self.document())
        if request.path in ("/docs", "/docs/"):
            return Reply(200, DOCS_PAGE.encode(), HTML_TYPE)
        if request.path == "/":
            return Reply(200, PAGE.encode(), HTML_TYPE)
        return error("Not Found", 404)

    def document(self) -> dict[str, Any]:
        """A description of the paths that are emulated, in the form of OpenAPI."""
        paths: dict[str, Any] = {}
        for (method, path), route in sorted({**self._exact, **self._open_ended}.items()):
            name = path if route.path == path else f"{path}{{name}}"
            if route.endpoint is _clear_log:
                name += "/clear"
            paths.setdefault(name, {})[method.lower()] = {"responses": {"200": {"description": "success"}}}
        return {
            "openapi": "3.1.0",
            "info": {"title": "minesim emulator", "version": "0.1.0"},
            "servers": [{"url": API_ROOT}],
            "paths": paths,
        }
