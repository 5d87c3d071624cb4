"""Answers to reads, field by field as the firmware spells them.

Units are the firmware's: hashrates in ``hr_measure`` (GH/s for SHA-256, MH/s for Scrypt), rails of boards and chips in
mV but limits and settings in 10 mV, whole degC, W.
"""

from __future__ import annotations

import math
from typing import Any

from minesim.control.fleet import DEV_FEE_FRACTION, REJECT_FRACTION
from minesim.emulator.history import History
from minesim.emulator.miner import EmulatedMiner
from minesim.emulator.models import COLUMNS, FAN_MAX_RPM, OVERCLOCK_RESERVE, ModelPreset
from minesim.emulator.settings import MANUAL
from minesim.emulator.twin import BOOTING, FAILED, MINING, STOPPED
from minesim.emulator.view import View
from minesim.units import HASHES_PER_DIFFICULTY

Json = dict[str, Any]
SHARE_DIFFICULTY = {"sha256d": 131072.0, "scrypt": 65536.0}
"""Difficulty of shares at the pool: 131K in live payloads; for Scrypt assumed."""
PING_MS = 40
"""Round trip to a pool (assumed)."""
EVENTS_OF_BOARDS = {"1.2": "chain", "1.3": "board"}
PLATFORM, INSTALL_TYPE = "aml", "nand"
BUILD_TIME = {"1.2": "2025-05-29 19:22:26+00:00", "1.3": "2026-03-02 10:00:00+00:00"}
"""Of 1.2.6 as seen live; of 1.3 assumed."""


def status_of(miner: EmulatedMiner, view: View) -> Json:
    """State of the miner, as in ``/status`` and in ``/summary``."""
    status: Json = {"miner_state": view.state, "miner_state_time": int(view.state_s)}
    if view.phase == FAILED:
        status["description"] = view.failure
    if miner.generation == "1.3":
        status["throttled"] = miner.throttle_pct
    return status


def status(miner: EmulatedMiner, view: View, *, unlocked: bool) -> Json:
    """``GET /status``."""
    return {
        **status_of(miner, view),
        "find_miner": miner.finds,
        "restart_required": miner.restart_required,
        "reboot_required": False,
        "unlocked": unlocked,
        "warranty": "not_provided",
    }


def info(miner: EmulatedMiner) -> Json:
    """``GET /info``."""
    model, identity, network = miner.model, miner.identity, miner.settings["network"]
    return {
        "miner": model.full_name,
        "model": model.code,
        "fw_name": "Vnish",
        "fw_version": miner.version,
        "build_uuid": _uuid(miner.digest("build")),
        "build_name": "minesim-emulator",
        "build_time": BUILD_TIME[miner.generation],
        "platform": PLATFORM,
        "install_type": INSTALL_TYPE,
        "algorithm": model.algorithm,
        "hr_measure": model.hr_measure,
        "serial": identity.serial,
        "system": {
            "os": "GNU/Linux",
            "miner_name": model.code,
            "file_system_version": "",
            "mem_total": 233712,
            "mem_free": 173956,
            "mem_free_percent": 74,
            "mem_buf": 31928,
            "mem_buf_percent": 13,
            "network_status": {
                "mac": identity.mac,
                "dhcp": network["dhcp"],
                "ip": identity.host,
                "netmask": network["netmask"],
                "gateway": network["gateway"],
                "dns": network["dnsservers"],
                "hostname": network["hostname"],
            },
            "uptime": uptime_text(miner.twin.elapsed_s - miner.booted_s),
        },
    }


def uptime_text(seconds: float) -> str:
    """Uptime as the firmware writes it, with its irregular spaces.

    >>> uptime_text(360), uptime_text(3600), uptime_text(9 * 86400 + 3 * 3600 + 58 * 60)
    ('0:06', ' 1:00', '9 days,  3:58')
    """
    minutes = int(max(seconds, 0.0)) // 60
    days, minutes = divmod(minutes, 1440)
    hours, minutes = divmod(minutes, 60)
    clock = f"{hours:2d}:{minutes:02d}"
    if days:
        return f"{days} days, {clock}"
    return clock if hours else f"0:{minutes:02d}"


def model_info(miner: EmulatedMiner) -> Json:
    """``GET /model``."""
    model = miner.model
    rows = math.ceil(model.chips_per_board / COLUMNS)
    numbers = range(rows * COLUMNS)
    chips = [
        [n if n < model.chips_per_board else -1 for n in numbers[row * COLUMNS : (row + 1) * COLUMNS]]
        for row in range(rows)
    ]
    overclock: Json = {
        "min_voltage": round(100 * model.volt_min_v),
        "max_voltage": round(100 * model.volt_max_v * OVERCLOCK_RESERVE),
        "max_voltage_stock_psu": round(100 * model.volt_max_v),
        "default_voltage": round(100 * model.volt_stock_v),
        "min_freq": 50,
        "max_freq": max(1000, round(model.freq_max_mhz)),
        "default_freq": round(model.freq_stock_mhz),
        "warn_freq": round(model.freq_max_mhz),
    }
    if miner.generation == "1.3":
        overclock |= {"power_metering": False, "max_power_limit": round(1.5 * model.power_stock_w)}
    return {
        "full_name": model.full_name,
        "model": model.code,
        "algorithm": model.algorithm,
        "series": model.series,
        "platform": PLATFORM,
        "install_type": INSTALL_TYPE,
        "hr_measure": model.hr_measure,
        "serial": miner.identity.serial,
        "chain": {
            "chips_per_chain": model.chips_per_board,
            "chips_per_domain": 2,
            "num_chains": model.boards,
            "topology": {"chips": chips, "num_cols": COLUMNS, "num_rows": rows},
        },
        "cooling": {
            "min_fan_pwm": 10,
            "min_target_temp": 20,
            "max_target_temp": 90,
            "fan_min_count": {"min": min(1, model.fans), "max": model.fans, "default": model.fans},
        },
        "overclock": overclock,
    }


def summary(miner: EmulatedMiner, view: View) -> Json:
    """``GET /summary``."""
    model = miner.model
    scale = model.per_ths
    reading = view.phase != FAILED
    rate = view.hashrate_ths * scale
    running = miner.model.presets[view.preset]
    told: Json = {
        "miner_status": status_of(miner, view),
        "miner_type": f"{model.full_name} (Vnish {miner.version})",
        "hr_stock": round(model.hashrate_stock_ths * scale, 2),
        "hr_nominal": round(view.share * running.hashrate_ths * scale, 2) if view.phase == MINING else 0.0,
        "hr_realtime": round(rate, 2),
        "hr_average": round(view.average_ths * scale, 2),
        "instant_hashrate": round(rate * 1e-3, 5),
        "average_hashrate": round(view.average_ths * scale * 1e-3, 5),
        "power_consumption": view.power_w,
        "power_usage": view.power_w,
        "power_efficiency": round(view.power_w / view.hashrate_ths, 2) if view.hashrate_ths > 0.0 else 0.0,
        "hw_errors": 0,
        "hw_errors_percent": 0.0,
        "hr_error": 0.0,
        "devfee": round(rate * DEV_FEE_FRACTION, 2),
        "devfee_percent": 100.0 * DEV_FEE_FRACTION,
        "pcb_temp": {"min": view.temp_board_min_c, "max": view.temp_board_c},
        "chip_temp": {"min": view.temp_chip_min_c, "max": view.temp_chip_c},
        "found_blocks": 0,
        "best_share": 0,
        "psu": {"psu_power_metering": False},
        "pools": pools(miner, view),
        "cooling": cooling(miner, view),
        "chains": [_board_summary(miner, view, k) for k in range(model.boards)] if reading else [],
    }
    if miner.generation == "1.3":
        told["restart_count"] = miner.restarts
    return {"miner": told}


def _board_state(view: View, board: int) -> Json:
    if not view.board_works[board]:
        return {"state": "disconnected", "description": f"Board {board + 1} is not connected"}
    return {"state": {MINING: "mining", BOOTING: "initializing", STOPPED: "stopped"}.get(view.phase, "failure")}


def _board_rate(miner: EmulatedMiner, view: View, board: int) -> float:
    working = sum(view.board_works)
    return view.hashrate_ths * miner.model.per_ths / working if view.board_works[board] else 0.0


def _board_summary(miner: EmulatedMiner, view: View, board: int) -> Json:
    model = miner.model
    preset = model.presets[view.preset]
    on = view.phase == MINING and view.board_works[board]
    rate = _board_rate(miner, view, board)
    ideal = preset.hashrate_ths * model.per_ths / model.boards * view.throttle if on else 0.0
    outlet, inlet = view.boards_c[board]
    chip, chip_low = view.chips_c[board]
    told: Json = {
        "id": board + 1,
        "frequency": round(preset.freq_mhz * view.throttle, 1) if on else 0.0,
        "voltage": round(1000 * preset.volt_v) if on else 0,
        "power_consumption": round(view.power_w / max(sum(view.board_works), 1)) if on else 0,
        "hashrate_ideal": round(ideal, 2),
        "hashrate_rt": round(rate, 2),
        "hashrate_percentage": round(100.0 * rate / ideal, 1) if ideal > 0.0 else 0.0,
        "hr_error": 0.0,
        "hw_errors": 0,
        "pcb_temp": {"min": inlet, "max": outlet},
        "chip_temp": {"min": chip_low, "max": chip},
        "chip_statuses": {"red": 0, "orange": 0, "grey": model.chips_per_board if on else 0},
        "status": _board_state(view, board),
    }
    if model.liquid and isinstance(outlet, int):
        told |= {"inlet_water_temp": max(inlet or 0, 0), "outlet_water_temp": max(outlet, 0)}
    return told


def cooling(miner: EmulatedMiner, view: View) -> Json:
    """Fans as ``/summary`` tells them; here the liquid's mode is spelled ``immersion``."""
    mode = dict(miner.settings["miner"]["cooling"]["mode"])
    if mode["name"] == "immers":
        mode = {"name": "immersion"}
    if miner.generation == "1.2":
        mode = {"name": mode["name"]}
    turning = view.phase != FAILED
    fans = [
        {
            "id": fan,
            "rpm": 0 if fan < view.fans_lost else round(view.fan_duty * FAN_MAX_RPM),
            "status": "lost" if fan < view.fans_lost else "ok",
            "max_rpm": FAN_MAX_RPM,
        }
        for fan in range(miner.model.fans)
    ]
    return {
        "fan_num": miner.model.fans if turning else 0,
        "fan_duty": round(100 * view.fan_duty),
        "fans": fans if turning else [],
        "settings": {"mode": mode},
    }


def pools(miner: EmulatedMiner, view: View) -> list[Json]:
    """Pools of the user, and the developer fee's."""
    difficulty = SHARE_DIFFICULTY[miner.model.algorithm]
    share_th = HASHES_PER_DIFFICULTY * 1e-12 * difficulty
    if miner.model.algorithm == "scrypt":
        share_th /= 65536.0  # pools count Scrypt shares at 2^16 hashes for difficulty 1
    hashing = view.hashrate_ths > 0.0
    configured = miner.settings["miner"]["pools"]
    working = min(miner.pool, len(configured) - 1)
    told = []
    for number, pool in enumerate(configured):
        shares = int(miner.pool_work_th(number, view.work_th) * (1.0 - DEV_FEE_FRACTION) / share_th)
        rejected = int(shares * REJECT_FRACTION)
        active = number == working and hashing
        since_s = share_th / view.hashrate_ths if active else 0.0
        told.append(
            _pool(number, pool["url"], pool["user"], "UserPool", "active" if active else "working")
            | {
                "diff": f"{difficulty / 1000:.0f}K",
                "accepted": shares - rejected,
                "rejected": rejected,
                "ls_diff": difficulty if shares else 0.0,
                "ls_time": f"{int(since_s) // 3600}:{int(since_s) // 60 % 60:02d}:{int(since_s) % 60:02d}",
                "diffa": float(shares - rejected) * difficulty,
                "ping": PING_MS,
            }
        )
    fee = int(view.work_th * DEV_FEE_FRACTION / share_th)
    told.append(_pool(len(configured), "DevFee", "DevFee", "DevFee", "working") | {"accepted": fee})
    return told


def _pool(number: int, url: str, user: str, kind: str, state: str) -> Json:
    return {
        "id": number,
        "url": url,
        "pool_type": kind,
        "user": user,
        "status": state,
        "asic_boost": True,
        "diff": "",
        "accepted": 0,
        "rejected": 0,
        "stale": 0,
        "ls_diff": 0.0,
        "ls_time": "0",
        "diffa": 0.0,
        "ping": 0,
    }


def perf_summary(miner: EmulatedMiner, view: View) -> Json:
    """``GET /perf-summary``: the preset that runs now, which the switcher may have moved from the configured one."""
    overclock = miner.settings["miner"]["overclock"]
    if miner.applied_preset == MANUAL:
        current: Json = {"name": MANUAL, "pretty": "Disabled", "status": "untuned", "modded_psu_required": False}
        current["globals"] = dict(overclock["globals"])
    else:
        configured = miner.model.preset_index(miner.applied_preset)
        modified = miner.applied_preset in miner.modified and view.steps_below == 0
        index = configured if modified and configured is not None else view.preset
        preset = miner.model.presets[index]
        freq, volt = miner.tune_of(preset)
        current = _preset_item(miner, preset) | {"globals": {"freq": freq, "volt": volt}}
    return {"current_preset": current, "preset_switcher": dict(overclock["preset_switcher"])}


def _preset_item(miner: EmulatedMiner, preset: ModelPreset) -> Json:
    return {
        "name": preset.name,
        "pretty": preset.pretty,
        "status": "tuned" if miner.tuned(preset) else "untuned",
        "modded_psu_required": preset.modded_psu,
    }


def presets(miner: EmulatedMiner) -> list[Json]:
    """``GET /autotune/presets``: manual mode first, then by rising power; only tuned ones have ``tune_settings``."""
    globals_ = miner.settings["miner"]["overclock"]["globals"]
    manual: Json = {"name": MANUAL, "pretty": "Disabled", "status": "untuned", "modded_psu_required": False}
    manual["tune_settings"] = _tune(miner, 0.0, globals_["freq"], globals_["volt"], modified=True)
    told = [manual]
    for preset in miner.model.presets:
        item = _preset_item(miner, preset)
        if miner.tuned(preset):
            freq, volt = miner.tune_of(preset)
            item["tune_settings"] = _tune(
                miner, preset.hashrate_ths, freq, volt, modified=preset.name in miner.modified
            )
        told.append(item)
    return told


def _tune(miner: EmulatedMiner, hashrate_ths: float, freq: int, volt: int, *, modified: bool) -> Json:
    model = miner.model
    chains = [
        {"freq": freq, "serial": _board_serial(miner, k), "chips": [freq] * model.chips_per_board}
        for k in range(model.boards)
    ]
    tune: Json = {
        "hashrate": round(hashrate_ths * model.per_ths),
        "volt": 10 * volt,
        "freq": freq,
        "modified": modified,
        "chains": chains,
    }
    return tune | ({"date": None} if miner.generation == "1.3" else {})


def boards(miner: EmulatedMiner, view: View) -> list[Json]:
    """``GET /chains`` (1.2) or ``/boards`` (1.3): empty while mining is not on."""
    if view.phase not in (MINING, BOOTING):
        return []
    return [_board_chips(miner, view, k) for k in range(miner.model.boards)]


def _board_chips(miner: EmulatedMiner, view: View, board: int) -> Json:
    model, rate, state = miner.model, _board_rate(miner, view, board), _board_state(view, board)
    outlet, inlet = view.boards_c[board]
    chip_out, chip_in = view.chips_c[board]
    reads = "error" if outlet is None else "measure"
    places = ((0, inlet, chip_in), (model.chips_per_board - 1, outlet, chip_out))
    return {
        "id": board + 1,
        "freq": _chip_freq(miner, view, board),
        "hr_nominal": round(model.presets[view.preset].hashrate_ths * model.per_ths / model.boards, 2),
        "hr_realtime": round(rate, 2),
        "status": {"state": state["state"], "failure_message": state.get("description")},
        "sensors": [
            {"loc": chip, "board": pcb_c or 0, "chip": chip_c or 0, "state": reads} for chip, pcb_c, chip_c in places
        ],
        "chips": _chips(miner, view, board, rate),
    }


def _chip_freq(miner: EmulatedMiner, view: View, board: int) -> float:
    on = view.phase == MINING and view.board_works[board]
    return float(round(miner.model.presets[view.preset].freq_mhz * view.throttle)) if on else 0.0


def _chips(miner: EmulatedMiner, view: View, board: int, rate: float) -> list[Json]:
    count = miner.model.chips_per_board
    if not view.board_works[board]:
        return []
    freq = int(_chip_freq(miner, view, board))
    volt = round(1000 * miner.model.presets[view.preset].volt_v / max(count / 3, 1)) if freq else 0
    hot, cool = (value or 0 for value in view.chips_c[board])
    each = round(rate / count, 2)
    return [
        {
            "id": n,
            "freq": freq,
            "volt": volt,
            "temp": round(cool + (hot - cool) * n / max(count - 1, 1), 1),
            "hr": each,
            "errs": 0,
            "grade": "grey",
            "throttled": miner.throttle_pct < 100,
        }
        for n in range(count)
    ]


def chips(miner: EmulatedMiner, view: View) -> Json:
    """``GET /chips`` (1.2, deprecated)."""
    chains = [
        {
            "id": board["id"],
            "chips": [
                {
                    "id": chip["id"],
                    "freq": chip["freq"],
                    "hashrate": chip["hr"],
                    "temp": chip["temp"],
                    "errors": 0,
                    "status": "grey",
                }
                for chip in board["chips"]
            ],
        }
        for board in boards(miner, view)
    ]
    return {"chips_per_chain": miner.model.chips_per_board, "chains": chains}


def factory_info(miner: EmulatedMiner) -> Json:
    """``GET /chains/factory-info``."""
    model = miner.model
    return {
        "hr_stock": round(model.hashrate_stock_ths * model.per_ths, 2),
        "has_pics": False,
        "psu_model": model.psu_model,
        "psu_serial": f"PSU{miner.digest('psu')[:10].upper()}",
        "chains": [
            {
                "id": k + 1,
                "board_model": f"EMU-{model.code}",
                "serial": _board_serial(miner, k),
                "chip_bin": 1,
                "freq": round(model.freq_stock_mhz),
                "volt": round(100 * model.volt_stock_v),
                "hashrate": round(model.hashrate_stock_ths * model.per_ths / model.boards, 2),
            }
            for k in range(model.boards)
        ],
    }


def metrics(miner: EmulatedMiner, history: History, slice_s: float, step_s: float) -> Json:
    """``GET /metrics``: means over steps, latest first."""
    scale, wall = miner.model.per_ths, miner.wall
    word = EVENTS_OF_BOARDS[miner.generation]
    begin_s = miner.twin.elapsed_s - slice_s
    return {
        "timezone": miner.settings["regional"]["timezone"]["current"],
        "metrics": [
            {
                "time": int(wall.at_s(at_s)),
                "data": {
                    "hashrate": round(rate * scale, 2),
                    "pcb_max_temp": round(board_c),
                    "chip_max_temp": round(chip_c),
                    "fan_duty": round(100 * duty),
                    "power_consumption": round(power_w),
                },
            }
            for at_s, (rate, board_c, chip_c, duty, power_w) in history.series(miner.index, slice_s, step_s)
        ],
        "annotations": [
            {
                "time": int(wall.at_s(at_s)),
                "data": {"type": kind.format(word)} | ({} if board is None else {f"{word}_id": board + 1}),
            }
            for at_s, kind, board in reversed(miner.events)
            if at_s > begin_s
        ],
    }


def _board_serial(miner: EmulatedMiner, board: int) -> str:
    return f"BRD{miner.digest('board', board)[:12].upper()}"


def _uuid(digest: str) -> str:
    return "-".join((digest[:8], digest[8:12], digest[12:16], digest[16:20], digest[20:32]))
