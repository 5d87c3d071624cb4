"""Every request that the VNish client is able to make: one table, and nothing outside it can be sent.

What can brick, wipe or lock a unit has no entry here and thus no code path: firmware, factory reset, restore, autotune
reset, API keys, password, network, notes.
Source: the vendor's interface descriptions of 1.2.6 and 1.3.4.
"""

from __future__ import annotations

import enum

API = "/api/v1"


class Endpoint(enum.Enum):
    """A method and path, whether it needs credentials, and whether it changes the miner."""

    HOME = ("GET", "/", False, False)
    API_DOC = ("GET", "/docs/api-doc.json", False, False)
    INFO = ("GET", f"{API}/info", False, False)
    MODEL = ("GET", f"{API}/model", False, False)
    SUMMARY = ("GET", f"{API}/summary", False, False)
    STATUS = ("GET", f"{API}/status", False, False)
    PERF_SUMMARY = ("GET", f"{API}/perf-summary", False, False)
    CHAINS = ("GET", f"{API}/chains", False, False)
    BOARDS = ("GET", f"{API}/boards", False, False)
    PRESETS = ("GET", f"{API}/autotune/presets", True, False)
    SETTINGS = ("GET", f"{API}/settings", True, False)
    UNLOCK = ("POST", f"{API}/unlock", False, False)
    SAVE_SETTINGS = ("POST", f"{API}/settings", True, True)
    THROTTLE = ("POST", f"{API}/mining/throttle", True, True)
    SWITCH_POOL = ("POST", f"{API}/mining/switch-pool", True, True)
    START = ("POST", f"{API}/mining/start", True, True)
    STOP = ("POST", f"{API}/mining/stop", True, True)
    PAUSE = ("POST", f"{API}/mining/pause", True, True)
    RESUME = ("POST", f"{API}/mining/resume", True, True)
    RESTART = ("POST", f"{API}/mining/restart", True, True)
    REBOOT = ("POST", f"{API}/system/reboot", True, True)

    def __init__(self, method: str, path: str, needs_auth: bool, changes: bool) -> None:
        self.method = method
        self.path = path
        self.needs_auth = needs_auth
        self.changes = changes

    def __str__(self) -> str:
        return f"{self.method} {self.path}"
