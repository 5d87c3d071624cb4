"""The settings tree of a miner: its defaults, what the firmware accepts, and how a partial write merges."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from minesim.emulator.models import MinerModel
from minesim.physics.firmware import FirmwareParams

Tree = dict[str, Any]
POOLS_MAX = 3
MANUAL = "disabled"
"""Name of the preset that stands for voltage and clocks set by hand."""
TIMEZONES = frozenset(("GMT", *(f"GMT+{hours}" for hours in range(1, 13)), *(f"GMT-{hours}" for hours in range(1, 12))))
THEMES = frozenset({"light", "dark", "auto"})
LOCALES = frozenset({"ru", "en", "fa", "ua", "zh"})
SCREENS = ("lg", "md", "sm", "xs", "xxs")
"""Screen sizes that the web page keeps a layout for."""

_SWITCHES = (
    "asic_boost",
    "auto_chip_throttling",
    "bitmain_disable_volt_comp",
    "disable_chain_break_protection",
    "disable_restart_unbalanced",
    "disable_volt_checks",
    "downscale_preset_on_failure",
    "ignore_broken_sensors",
    "ignore_chip_sensors",
    "quick_start",
    "quiet_mode",
)
_SWITCHES_OF = {
    "1.2": ("remain_stopped_on_reboot",),
    "1.3": (
        "allow_disabling_chains_without_pics",
        "automatic_pause_on_boot",
        "keep_hashing_when_offline",
        "power_limit_enabled",
        "restore_miner_state_on_reboot",
        "retune_on_chain_break",
    ),
}
_NUMBERS: dict[str, tuple[int, int | None, int]] = {
    "max_restart_attempts": (0, None, 3),
    "max_startup_delay_time": (0, 300, 0),
    "min_operational_chains": (0, None, 1),
    "restart_hashrate": (0, 100, 80),
    "tuner_bad_chip_hr_threshold": (20, 80, 50),
}
"""Lowest, highest and default value."""
_NUMBERS_OF: dict[str, dict[str, tuple[int, int | None, int]]] = {
    "1.2": {"higher_volt_offset": (0, 100, 0), "restart_temp": (0, None, 90)},
    "1.3": {"min_startup_delay_time": (0, 300, 0), "power_limit": (0, None, 0), "restart_temp": (50, 120, 90)},
}


class SettingsRefused(Exception):
    """The firmware answers a write with an error; nothing of it is applied."""


def default_settings(
    model: MinerModel, generation: str, firmware: FirmwareParams, preset: int, user: str, hostname: str
) -> Tree:
    """The tree of a miner fresh from its set-up.

    Args:
        model: hardware.
        generation: ``1.2`` or ``1.3``.
        firmware: the twin's constants, which become fan target, restart temperature and switcher.
        preset: number of the configured preset.
        user: worker name at the pools.
        hostname: of the miner.
    """
    numbers = {**_NUMBERS, **_NUMBERS_OF[generation]}
    misc: Tree = {name: name == "asic_boost" for name in (*_SWITCHES, *_SWITCHES_OF[generation])}
    misc |= {name: default for name, (_, _, default) in numbers.items()}
    misc["restart_temp"] = round(firmware.temp_trip_c)
    chosen = model.presets[preset]
    mode: Tree = {"name": "immers"} if model.liquid else {"name": "auto", "param": round(firmware.fan_target_c)}
    cooling: Tree = {
        "mode": mode,
        "fan_min_duty": round(100 * firmware.fan_duty_min),
        "fan_max_duty": 100,
        "fan_min_count": model.fans,
    }
    if generation == "1.3":
        cooling["min_startup_water_temp"] = 0
    switcher: Tree = {
        "enabled": firmware.switcher_on,
        "top_preset": None,
        "min_preset": None,
        "rise_temp": round(firmware.switcher_rise_c),
        "decrease_temp": round(firmware.switcher_decrease_c),
        "check_time": 300,
        "autochange_top_preset": False,
        "ignore_fan_speed": False,
    }
    if generation == "1.2":
        switcher["power_delta"] = 0
    return {
        "miner": {
            "pools": [{"url": "stratum+tcp://pool.example:3333", "user": user, "pass": "x"}],
            "cooling": cooling,
            "overclock": {
                "preset": chosen.name,
                "globals": {"freq": round(chosen.freq_mhz), "volt": round(100 * chosen.volt_v)},
                "chains": [{"freq": 0, "disabled": False, "chips": []} for _ in range(model.boards)],
                "modded_psu": False,
                "preset_switcher": switcher,
            },
            "misc": misc,
        },
        "network": {
            "dhcp": True,
            "hostname": hostname,
            "ipaddress": "",
            "netmask": "255.255.255.0",
            "gateway": "",
            "dnsservers": [],
        },
        "regional": {"timezone": {"current": "GMT"}},
        "ui": {"theme": "auto", "locale": "en", "dark_side_pane": False, "disable_animation": False},
        "layout": None,
    }


def leaves(patch: Mapping[str, Any], path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    """Single values of a tree with their paths, in order; a list counts as one value, and so does the fan mode."""
    found: list[tuple[tuple[str, ...], Any]] = []
    for name, value in patch.items():
        here = (*path, name)
        if isinstance(value, Mapping) and name != "mode":
            found += leaves(value, here)
        else:
            found.append((here, value))
    return found


def tree_of(path: tuple[str, ...], value: Any) -> Tree:
    """A tree with one value."""
    for name in reversed(path):
        value = {name: value}
    tree: Tree = value
    return tree


_NULLABLE = frozenset({"top_preset", "min_preset"})
"""Fields that are null by default, so that null is a value; any other null counts as not given (assumed)."""


def merged(tree: Tree, patch: Mapping[str, Any], model: MinerModel, generation: str) -> Tree:
    """A copy of the tree with a partial write in it.

    Fields that are not given survive, lists are replaced, fields that the firmware does not know are dropped.

    Raises:
        SettingsRefused: a value of the wrong type or outside its range.
    """
    result = copy.deepcopy(tree)
    for section in ("layout", "miner", "network", "regional", "ui"):
        part = patch.get(section)
        if part is None:
            continue
        if not isinstance(part, Mapping):
            raise SettingsRefused(f"invalid type for {section}")
        if section == "layout" and result[section] is None:
            result[section] = dict.fromkeys(SCREENS)
        _merge(result[section], part, section)
    _check(result, model, generation)
    return result


def _merge(target: Tree, patch: Mapping[str, Any], path: str) -> None:
    for name, value in patch.items():
        if name not in target or (value is None and name not in _NULLABLE):
            continue
        present = target[name]
        if isinstance(present, dict) and name != "mode":
            if not isinstance(value, Mapping):
                raise SettingsRefused(f"invalid type for {path}.{name}")
            _merge(present, value, f"{path}.{name}")
        else:
            target[name] = copy.deepcopy(value)


def _whole(value: Any, low: int, high: int | None, path: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise SettingsRefused(f"{path}: invalid type, expected an integer")
    if value < low or (high is not None and value > high):
        raise SettingsRefused(f"{path}: {value} is out of range")


def _check(tree: Tree, model: MinerModel, generation: str) -> None:
    misc, cooling, overclock = (tree["miner"][name] for name in ("misc", "cooling", "overclock"))
    numbers = {**_NUMBERS, **_NUMBERS_OF[generation]}
    for name, value in misc.items():
        if name in numbers:
            _whole(value, *numbers[name][:2], f"misc.{name}")
        elif not isinstance(value, bool):
            raise SettingsRefused(f"misc.{name}: invalid type, expected a boolean")
    for name in ("fan_min_duty", "fan_max_duty"):
        _whole(cooling[name], 0, 100, f"cooling.{name}")
    _check_mode(cooling["mode"])
    _check_overclock(overclock, model)
    pools = tree["miner"]["pools"]
    texts = ("url", "user", "pass")
    if not isinstance(pools, list) or len(pools) > POOLS_MAX:
        raise SettingsRefused(f"pools: up to {POOLS_MAX} pools")
    for pool in pools:
        if not isinstance(pool, Mapping) or not all(isinstance(pool.get(name), str) for name in texts):
            raise SettingsRefused("pools: url, user and pass are needed")
    tree["miner"]["pools"] = [{name: pool[name] for name in texts} for pool in pools]
    _check_network(tree["network"])
    _check_pages(tree)
    _whole(cooling["fan_min_count"], 0, None, "cooling.fan_min_count")
    if "min_startup_water_temp" in cooling:
        _whole(cooling["min_startup_water_temp"], 0, 20, "cooling.min_startup_water_temp")
    if str(tree["regional"]["timezone"]["current"]) not in TIMEZONES:
        raise SettingsRefused("regional.timezone.current: unknown variant")


def _check_network(network: Tree) -> None:
    if not isinstance(network["dhcp"], bool):
        raise SettingsRefused("network.dhcp: invalid type, expected a boolean")
    for name in ("hostname", "ipaddress", "netmask", "gateway"):
        if not isinstance(network[name], str):
            raise SettingsRefused(f"network.{name}: invalid type, expected a string")
    servers = network["dnsservers"]
    if not isinstance(servers, list) or not all(isinstance(server, str) for server in servers):
        raise SettingsRefused("network.dnsservers: invalid type, expected an array of strings")


def _check_pages(tree: Tree) -> None:
    ui = tree["ui"]
    for name, words in (("theme", THEMES), ("locale", LOCALES)):
        if str(ui[name]) not in words:
            raise SettingsRefused(f"ui.{name}: unknown variant")
    for name in ("dark_side_pane", "disable_animation"):
        if not isinstance(ui[name], bool):
            raise SettingsRefused(f"ui.{name}: invalid type, expected a boolean")
    for name, value in (tree["layout"] or {}).items():
        if value is not None and not isinstance(value, Mapping):
            raise SettingsRefused(f"layout.{name}: invalid type, expected an object")


def _check_mode(mode: Any) -> None:
    name = mode.get("name") if isinstance(mode, Mapping) else None
    if name == "auto":
        _whole(mode.get("param"), 20, 90, "cooling.mode.param")
    elif name == "manual":
        _whole(mode.get("param"), 0, 100, "cooling.mode.param")
    elif name != "immers":
        raise SettingsRefused("cooling.mode: unknown variant, expected one of `auto`, `manual`, `immers`")


def _check_overclock(overclock: Tree, model: MinerModel) -> None:
    if not isinstance(overclock["preset"], str):
        raise SettingsRefused("overclock.preset: invalid type, expected a string")
    if not isinstance(overclock["modded_psu"], bool):
        raise SettingsRefused("overclock.modded_psu: invalid type, expected a boolean")
    boards = overclock["chains"]
    if not isinstance(boards, list) or not all(isinstance(board, Mapping) for board in boards):
        raise SettingsRefused("overclock.chains: invalid type, expected an array of objects")
    for board in boards:
        for name, kind in (("freq", int), ("disabled", bool), ("chips", list)):
            if board.get(name) is not None and type(board[name]) is not kind:
                raise SettingsRefused(f"overclock.chains.{name}: invalid type")
    for name in ("freq", "volt"):
        _whole(overclock["globals"][name], 0, None, f"overclock.globals.{name}")
    switcher = overclock["preset_switcher"]
    for name, low, high in (("rise_temp", 0, 85), ("decrease_temp", 25, 90), ("check_time", 60, 600)):
        _whole(switcher[name], low, high, f"preset_switcher.{name}")
    if "power_delta" in switcher:
        _whole(switcher["power_delta"], 0, 50, "preset_switcher.power_delta")
    for name in ("enabled", "autochange_top_preset", "ignore_fan_speed"):
        if not isinstance(switcher[name], bool):
            raise SettingsRefused(f"preset_switcher.{name}: invalid type, expected a boolean")
    for name in ("top_preset", "min_preset"):
        if switcher[name] is not None and (
            not isinstance(switcher[name], str) or model.preset_index(switcher[name]) is None
        ):
            raise SettingsRefused(f"preset_switcher.{name}: unknown preset")
