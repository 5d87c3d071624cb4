"""A scripted VNish miner behind httpx.MockTransport; values are those of live units where noted."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

from minesim.bridge.miners.vnish import VnishMiner
from minesim.bridge.miners.vnish_auth import Credentials

PASSWORD = "correct-horse-battery"
API_KEY = "0123456789abcdefFEDCBA9876543210"
TOKEN = "OwpWakIHG7ZE7xg7MGd6uL6UWOMeIzgW"

INFO_S19_126: dict[str, Any] = {  # live S19 on 1.2.6
    "miner": "Antminer S19",
    "model": "s19",
    "fw_name": "Vnish",
    "fw_version": "1.2.6",
    "build_uuid": "5b50805f-a372-4f07-bbc2-5020aa03321a",
    "build_name": "vnishnet",
    "platform": "xil",
    "install_type": "nand",
    "build_time": "2025-05-29 19:22:26+00:00",
    "algorithm": "sha256d",
    "hr_measure": "GH/s",
    "system": {
        "os": "GNU/Linux",
        "miner_name": "s19",
        "network_status": {"mac": "FE:07:26:3C:BE:1B", "dhcp": True, "ip": "192.168.1.2", "hostname": "antminer"},
        "uptime": "0:06",
    },
    "serial": "N/A",
}
MODEL_S19_126: dict[str, Any] = {  # live S19 on 1.2.6
    "full_name": "Antminer S19",
    "cooling": {"min_fan_pwm": 10, "min_target_temp": 20, "max_target_temp": 90, "fan_min_count": None},
    "overclock": {
        "max_voltage": 1535,
        "min_voltage": 1200,
        "default_voltage": 1380,
        "max_freq": 1000,
        "min_freq": 50,
        "default_freq": 675,
        "warn_freq": 850,
        "max_voltage_stock_psu": 1500,
    },
}
SUMMARY_FAILURE_126: dict[str, Any] = {  # live S19 on 1.2.6 that could not read its configuration: zeros, no boards
    "miner": {
        "miner_status": {
            "miner_state": "failure",
            "miner_state_time": 1,
            "description": "Failed to parse miner configuration",
            "failure_code": 1002,
        },
        "miner_type": "Antminer S19 (Vnish 1.2.6)",
        "hr_realtime": 0.0,
        "pcb_temp": {"min": 0, "max": 0},
        "chip_temp": {"min": 0, "max": 0},
        "power_consumption": 0,
        "power_usage": 0,
        "power_efficiency": 0.0,
        "pools": [{"id": 0, "url": "DevFee", "pool_type": "DevFee", "user": "DevFee", "status": "working"}],
        "cooling": {"fan_num": 0, "fans": [], "settings": {"mode": {"name": "auto"}}, "fan_duty": 0},
        "chains": [],
    }
}
STATUS_FAILURE_126: dict[str, Any] = {
    "miner_state": "failure",
    "miner_state_time": 1,
    "find_miner": False,
    "restart_required": False,
    "reboot_required": False,
    "unlocked": False,
}


def _board(number: int, hashrate_ghs: float, power_w: int, pcb_c: int, chip_c: int) -> dict[str, Any]:
    return {
        "id": number,
        "frequency": 400.0,
        "voltage": 13600,
        "power_consumption": power_w,
        "hashrate_ideal": 25905.6,
        "hashrate_rt": hashrate_ghs,
        "pcb_temp": {"min": 36, "max": pcb_c},
        "chip_temp": {"min": 51, "max": chip_c},
        "status": {"state": "mining"},
    }


SUMMARY_S19J_RC3: dict[str, Any] = {  # live S19j Pro on 1.2.0-rc3: the miner tells 0.700 of its boards' sum
    "miner": {
        "miner_status": {"miner_state": "mining", "miner_state_time": 3564},
        "hr_realtime": 54478.543,
        "average_hashrate": 54.50821,
        "pcb_temp": {"min": 36, "max": 50},
        "chip_temp": {"min": 51, "max": 65},
        "power_consumption": 2631,
        "power_usage": 2631,
        "power_efficiency": 0.048267957,
        "pools": [
            {
                "id": 0,
                "url": "btc.foundryusapool.com:3333",
                "pool_type": "UserPool",
                "user": "pcs19jpro.19.36x55",
                "status": "active",
                "accepted": 258,
                "rejected": 0,
            },
            {
                "id": 1,
                "url": "btc.foundryusapool.com:443",
                "pool_type": "UserPool",
                "user": "pcs19jpro.19.36x55",
                "status": "working",
                "accepted": 0,
                "rejected": 0,
            },
            {"id": 3, "url": "DevFee", "pool_type": "DevFee", "user": "DevFee", "status": "offline", "accepted": 215},
        ],
        "cooling": {
            "fan_num": 4,
            "fans": [{"id": 0, "rpm": 5820}, {"id": 1, "rpm": 5880}, {"id": 2, "rpm": 5850}, {"id": 3, "rpm": 5790}],
            "settings": {"mode": {"name": "manual"}},
            "fan_duty": 100,
        },
        "chains": [
            _board(1, 25275.506, 878, 50, 65),
            _board(2, 26131.725, 877, 49, 64),
            _board(3, 26419.26, 876, 49, 64),
        ],
    }
}
SUMMARY_S21_HYDRO: dict[str, Any] = {  # live S21+ Hydro on 1.2.8, first board
    "miner": {
        "miner_status": {"miner_state": "mining", "miner_state_time": 14334},
        "average_hashrate": 421.68,
        "instant_hashrate": 420.23,
        "pcb_temp": {"min": 28, "max": 51},
        "chip_temp": {"min": 28, "max": 51},
        "power_efficiency": 14.52,
        "cooling": {
            "fan_num": 1,
            "fans": [{"id": 0, "rpm": 0, "status": "ok", "max_rpm": 6500}],
            "settings": {"mode": {"name": "immersion"}},
            "fan_duty": 100,
        },
        "chains": [
            {
                "id": 1,
                "frequency": 727.12,
                "voltage": 21585,
                "power_consumption": 2033,
                "hashrate_rt": 138615.55,
                "pcb_temp": {"min": 29, "max": 49},
                "chip_temp": {"min": 29, "max": 49},
            }
        ],
    }
}
PRESETS: list[dict[str, Any]] = [  # live: 1500 and 2300 tuned, nominal text of 1700
    {
        "name": "disabled",
        "pretty": "Disabled",
        "status": "untuned",
        "modded_psu_required": False,
        "tune_settings": {"hashrate": 0, "volt": 13800, "freq": 675, "chains": [], "modified": True},
    },
    {
        "name": "2300",
        "pretty": "2300 watt ~ 76 TH",
        "status": "tuned",
        "modded_psu_required": False,
        "tune_settings": {"hashrate": 75910, "volt": 14210, "freq": 570, "chains": [], "modified": False},
    },
    {
        "name": "1500",
        "pretty": "1500 watt ~ 64 TH",
        "status": "tuned",
        "modded_psu_required": False,
        "tune_settings": {"hashrate": 66407, "volt": 14765, "freq": 485, "chains": [], "modified": False},
    },
    {"name": "1700", "pretty": "1700 watt ~ 67 TH", "status": "untuned", "modded_psu_required": False},
    {
        "name": "4690",
        "pretty": "4690 watt ~ 124 TH",
        "status": "tuned",
        "modded_psu_required": True,
        "tune_settings": None,
    },
]
SETTINGS: dict[str, Any] = {
    "miner": {
        "overclock": {
            "preset": "2300",
            "modded_psu": False,
            "globals": {"freq": 570, "volt": 1421},
            "preset_switcher": {  # values of a live S19j Pro site
                "enabled": True,
                "top_preset": "2300",
                "min_preset": "1500",
                "rise_temp": 79,
                "decrease_temp": 84,
                "check_time": 300,
            },
        },
        "cooling": {"mode": {"name": "auto", "param": 70}, "fan_min_duty": 10, "fan_max_duty": 100},
        "misc": {"restart_temp": 90, "quick_start": False},
        "pools": [{"url": "btc.foundryusapool.com:3333", "user": "site.1", "pass": "pool-secret-123"}],
    },
    "network": {"hostname": "antminer", "dhcp": True},
    "regional": {"timezone": {"current": "GMT"}},
    "ui": {},
}
PERF_SUMMARY: dict[str, Any] = {
    "current_preset": {"name": "1700", "pretty": "1700 watt ~ 67 TH", "status": "tuned", "modded_psu_required": False},
    "preset_switcher": {"enabled": True, "top_preset": "2300"},
}
BOARDS: list[dict[str, Any]] = [
    {"id": number, "sensors": [{"loc": 1, "board": 40, "chip": 55, "state": "measure"}], "chips": []}
    for number in (1, 2, 3)
]


class ManualClock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.seconds = 1_000.0

    def now_s(self) -> float:
        """Wall clock."""
        return 1_700_000_000.0 + self.seconds

    def monotonic_s(self) -> float:
        """Steady clock."""
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        """Move on."""
        self.seconds += seconds


Handler = Callable[[httpx.Request], httpx.Response]


@dataclass
class FakeMiner:
    """Answers like a miner and remembers what it was asked; ``overrides`` replace single endpoints."""

    version: str = "1.3.4"
    summary: dict[str, Any] = field(default_factory=lambda: copy.deepcopy(SUMMARY_S19J_RC3))
    settings: dict[str, Any] = field(default_factory=lambda: copy.deepcopy(SETTINGS))
    presets: list[dict[str, Any]] = field(default_factory=lambda: copy.deepcopy(PRESETS))
    boards: list[dict[str, Any]] = field(default_factory=lambda: copy.deepcopy(BOARDS))
    status: dict[str, Any] = field(default_factory=lambda: {**STATUS_FAILURE_126, "miner_state": "mining"})
    overrides: dict[tuple[str, str], Handler] = field(default_factory=dict)
    requests: list[httpx.Request] = field(default_factory=list)
    open_tokens: set[str] = field(default_factory=set)
    unlocks: int = 0

    def __post_init__(self) -> None:
        if self.generation == (1, 3):
            self.summary["miner"]["miner_status"]["throttled"] = 90
            self.summary["miner"]["hr_realtime"] = 77826.491

    @property
    def generation(self) -> tuple[int, int]:
        """First two numbers of the version."""
        major, minor, *_ = self.version.split(".")
        return int(major), int(minor)

    def client(self, credentials: Credentials | None = None, clock: ManualClock | None = None) -> VnishMiner:
        """A client of it."""
        return VnishMiner(
            "10.0.0.7",
            credentials or Credentials(password=PASSWORD),
            clock or ManualClock(),
            transport=httpx.MockTransport(self.answer),
        )

    def asked(self) -> list[tuple[str, str]]:
        """Methods and paths so far."""
        return [(request.method, request.url.path) for request in self.requests]

    def writes(self) -> list[tuple[str, Any]]:
        """Paths and bodies of what changes the miner."""
        return [
            (request.url.path.removeprefix("/api/v1"), json.loads(request.content) if request.content else None)
            for request in self.requests
            if request.method == "POST" and request.url.path != "/api/v1/unlock"
        ]

    def answer(self, request: httpx.Request) -> httpx.Response:
        """Answer one request."""
        self.requests.append(request)
        key = (request.method, request.url.path.removeprefix("/api/v1"))
        if key in self.overrides:
            return self.overrides[key](request)
        if key == ("POST", "/unlock"):
            return self._unlock(request)
        if (request.method == "POST" or key[1] in ("/settings", "/autotune/presets")) and not self._authorised(request):
            return httpx.Response(401)
        answers: dict[tuple[str, str], Any] = {
            ("GET", "/info"): {**INFO_S19_126, "fw_version": self.version},
            ("GET", "/model"): MODEL_S19_126,
            ("GET", "/summary"): self.summary,
            ("GET", "/status"): self.status,
            ("GET", "/perf-summary"): PERF_SUMMARY,
            ("GET", "/boards" if self.generation == (1, 3) else "/chains"): self.boards,
            ("GET", "/autotune/presets"): self.presets,
            ("GET", "/settings"): self.settings,
            ("POST", "/settings"): {"restart_required": False, "reboot_required": False},
            ("POST", "/system/reboot"): {"after": 3},
        }
        if self.generation == (1, 3):
            answers["GET", "/docs/api-doc.json"] = {"paths": {"/mining/throttle": {}, "/boards": {}}}
            answers["POST", "/mining/throttle"] = {"restart_required": False, "reboot_required": False}
        if key in answers:
            return httpx.Response(200, json=answers[key])
        if key[0] == "POST" and key[1].startswith("/mining/") and key[1] != "/mining/throttle":
            return httpx.Response(200)
        return httpx.Response(404, json={"err": "not found"})

    def _unlock(self, request: httpx.Request) -> httpx.Response:
        self.unlocks += 1
        if json.loads(request.content) != {"pw": PASSWORD}:
            return httpx.Response(403, json={"unlock_timeout": None})
        token = f"{TOKEN}{self.unlocks}"
        self.open_tokens = {token}
        return httpx.Response(200, json={"token": token})

    def _authorised(self, request: httpx.Request) -> bool:
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
        return bearer in self.open_tokens or request.headers.get("x-api-key") == API_KEY
