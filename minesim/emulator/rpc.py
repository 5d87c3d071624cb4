"""The TCP interface of the mining process, port 4028: one JSON command a connection, one answer, and the end.

Keys of ``stats`` are those of stock Antminers (``fan1``, ``temp1``, ``chain_rate1``, ...), which fleet tools read. As
there, ``temp1`` is the board and ``temp2_1`` the chip; hashrates are in GH/s for every algorithm. Writing commands are
refused: there is no evidence of any.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from minesim.emulator.emulator import Emulator
from minesim.emulator.models import FAN_MAX_RPM
from minesim.emulator.payloads import pools
from minesim.emulator.twin import FAILED, MINING
from minesim.emulator.view import View

Json = dict[str, Any]
API_VERSION = "3.1"
PROCESS = "4.11.1 VNISH"
"""Fleet tools look for ``VNISH`` in the answer to ``version``; ``Antminer`` there would mean stock firmware to them."""
GHS_PER_THS = 1e3
SUCCESS, FAILURE, WARNING = "S", "E", "W"


def answer(emulator: Emulator, index: int, request: bytes) -> bytes | None:
    """Answer one request, ending with a zero byte; None where the miner keeps silent."""
    if emulator.silent(index):
        return None
    try:
        asked = json.loads(request.rstrip(b"\x00\n\r "))
        command = asked["command"]
    except (ValueError, KeyError, TypeError):
        return _encoded(_wrapped(emulator, index, FAILURE, 23, "Invalid JSON", {}))
    names = str(command).split("+")
    if len(names) == 1:
        return _encoded(_one(emulator, index, names[0]))
    return _encoded({name: [_one(emulator, index, name)] for name in names} | {"id": 1})


def _encoded(value: Json) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode() + b"\x00"


def _wrapped(emulator: Emulator, index: int, status: str, code: int, message: str, content: Json) -> Json:
    at_s = int(emulator.miners[index].wall.at_s())
    told = {"STATUS": status, "When": at_s, "Code": code, "Msg": message, "Description": f"cgminer {PROCESS}"}
    return {"STATUS": [told], **content, "id": 1}


def _one(emulator: Emulator, index: int, command: str) -> Json:
    entry = _COMMANDS.get(command)
    if entry is None:
        return _wrapped(emulator, index, FAILURE, 14, "Invalid command", {})
    code, message, key, tell = entry
    return _wrapped(emulator, index, SUCCESS, code, message, {key: tell(emulator, index)})


def _version(emulator: Emulator, index: int) -> list[Json]:
    return [{"BMMiner": PROCESS, "API": API_VERSION, "Miner": f"VNISH {emulator.firmware}", "CompileTime": ""}]


def _mining_s(view: View) -> int:
    return int(view.state_s) if view.phase == MINING else 0


def _summary(emulator: Emulator, index: int) -> list[Json]:
    view = emulator.view(index)
    users = [pool for pool in pools(emulator.miners[index], view) if pool["pool_type"] == "UserPool"]
    return [
        {
            "Elapsed": _mining_s(view),
            "GHS 5s": round(view.hashrate_ths * GHS_PER_THS, 2),
            "GHS av": round(view.average_ths * GHS_PER_THS, 2),
            "Found Blocks": 0,
            "Accepted": sum(pool["accepted"] for pool in users),
            "Rejected": sum(pool["rejected"] for pool in users),
            "Stale": 0,
            "Hardware Errors": 0,
            "Device Hardware%": 0.0,
            "Best Share": 0,
        }
    ]


def _stats(emulator: Emulator, index: int) -> list[Json]:
    miner, view = emulator.miners[index], emulator.view(index)
    model = miner.model
    preset = model.presets[view.preset]
    on = view.phase == MINING
    numbers = range(1, model.boards + 1)
    works = [on and working for working in view.board_works]
    board_rate = round(view.hashrate_ths * GHS_PER_THS / max(sum(view.board_works), 1), 2)
    ideal = view.share * preset.hashrate_ths * GHS_PER_THS if on else 0.0
    fans = range(1, model.fans + 1) if view.phase != FAILED else ()
    told: Json = {
        "STATS": 0,
        "ID": "BC50",
        "Elapsed": _mining_s(view),
        "Calls": 0,
        "GHS 5s": round(view.hashrate_ths * GHS_PER_THS, 2),
        "GHS av": round(view.average_ths * GHS_PER_THS, 2),
        "rate_unit": "GH",
        "total_rateideal": round(ideal, 2),
        "total_rate": round(view.hashrate_ths * GHS_PER_THS, 2),
        "miner_count": sum(works),
        "frequency": str(round(preset.freq_mhz * view.throttle)) if on else "0",
        "fan_num": len(fans),
        **{f"fan{n}": 0 if n <= view.fans_lost else round(view.fan_duty * FAN_MAX_RPM) for n in fans},
        "fan_pwm": round(100 * view.fan_duty),
        "temp_num": model.boards,
        "temp_max": view.temp_board_c,
        "watt": view.power_w,
        "chain_power": f"{view.power_w} W",
        "no_matching_work": 0,
    }
    for n, working, sides, chips in zip(numbers, works, view.boards_c, view.chips_c, strict=True):
        told |= {
            f"temp{n}": sides[0],
            f"temp2_{n}": chips[0],
            f"temp_pcb{n}": f"{sides[1]}-{sides[0]}",
            f"temp_chip{n}": f"{chips[1]}-{chips[0]}",
            f"freq_avg{n}": round(preset.freq_mhz * view.throttle) if working else 0,
            f"chain_rate{n}": board_rate if working else 0.0,
            f"chain_rateideal{n}": round(ideal / max(sum(works), 1), 2) if working else 0.0,
            f"chain_acn{n}": model.chips_per_board if view.board_works[n - 1] else 0,
            f"chain_acs{n}": " " + "o" * model.chips_per_board if view.board_works[n - 1] else "",
            f"chain_hw{n}": 0,
            f"chain_vol{n}": round(1000 * preset.volt_v) if working else 0,
        }
    kind = {
        "BMMiner": PROCESS,
        "Miner": f"VNISH {emulator.firmware}",
        "CompileTime": "",
        "Type": f"{model.full_name} (Vnish {emulator.firmware})",
    }
    return [kind, told]


def _pools(emulator: Emulator, index: int) -> list[Json]:
    told = pools(emulator.miners[index], emulator.view(index))
    return [
        {
            "POOL": pool["id"],
            "URL": pool["url"],
            "Status": "Alive",
            "Priority": pool["id"],
            "Quota": 1,
            "Getworks": 0,
            "Accepted": pool["accepted"],
            "Rejected": pool["rejected"],
            "Stale": pool["stale"],
            "Discarded": 0,
            "Get Failures": 0,
            "Remote Failures": 0,
            "User": pool["user"],
            "Diff": pool["diff"],
            "Stratum Active": pool["status"] == "active",
            "Stratum URL": pool["url"],
            "Last Share Time": pool["ls_time"],
            "Last Share Difficulty": pool["ls_diff"],
        }
        for pool in told
        if pool["pool_type"] == "UserPool"
    ]


def _devs(emulator: Emulator, index: int) -> list[Json]:
    view = emulator.view(index)
    working = sum(view.board_works)
    return [
        {
            "ASC": k,
            "Name": "BTM",
            "ID": k,
            "Enabled": "Y" if works else "N",
            "Status": "Alive" if works and view.phase == MINING else "Dead",
            "Temperature": float(view.boards_c[k][0] or 0),
            "MHS 5s": round(view.hashrate_ths * 1e6 / working, 2) if works else 0.0,
            "Hardware Errors": 0,
        }
        for k, works in enumerate(view.board_works)
    ]


def _devdetails(emulator: Emulator, index: int) -> list[Json]:
    boards = range(emulator.miners[index].model.boards)
    return [{"DEVDETAILS": k, "Name": "BTM", "ID": k, "Driver": "bitmain", "Kernel": "", "Model": ""} for k in boards]


def _config(emulator: Emulator, index: int) -> list[Json]:
    miner = emulator.miners[index]
    return [
        {
            "ASC Count": miner.model.boards,
            "PGA Count": 0,
            "Pool Count": len(miner.settings["miner"]["pools"]),
            "Strategy": "Failover",
            "Log Interval": 5,
            "Device Code": "",
            "OS": "Linux",
        }
    ]


_COMMANDS: dict[str, tuple[int, str, str, Callable[[Emulator, int], list[Json]]]] = {
    "version": (22, "CGMiner versions", "VERSION", _version),
    "summary": (11, "Summary", "SUMMARY", _summary),
    "stats": (70, "CGMiner stats", "STATS", _stats),
    "pools": (7, "Pools", "POOLS", _pools),
    "devs": (9, "Devices", "DEVS", _devs),
    "devdetails": (69, "Device Details", "DEVDETAILS", _devdetails),
    "config": (33, "CGMiner config", "CONFIG", _config),
}
