"""VNish's writes: pure functions from a write of :mod:`minesim.bridge.miners.miner` to an endpoint and a body.

Every limit is checked here, before anything is sent. ``POST /settings`` merges what it is given, so a body holds only
the fields that change: a whole overclock block sent with another preset's name would overwrite that preset's tuning.
Source: the vendor's interface descriptions of 1.2.6 and 1.3.4; what clients of live units send.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from minesim.bridge.miners.miner import (
    FanMode,
    MinerRefused,
    ModelLimits,
    PoolReading,
    Power,
    Preset,
    SetFan,
    SetFields,
    SetPower,
    SetPreset,
    SetThrottle,
    SwitchPool,
    Write,
)
from minesim.bridge.miners.vnish_endpoints import Endpoint
from minesim.bridge.miners.vnish_payloads import MANUAL_PRESET, fan_mode
from minesim.errors import explain, nearest

PRESET = "miner.overclock.preset"
TOP_PRESET = "miner.overclock.preset_switcher.top_preset"
FAN_MODE = "miner.cooling.mode"
WRITABLE_FIELDS = (PRESET, TOP_PRESET, FAN_MODE)
"""The only settings that a body of ``POST /settings`` can hold."""
THROTTLE_MIN_PERCENT = 20

_POWER_ENDPOINTS = {
    Power.STOP: Endpoint.STOP,
    Power.START: Endpoint.START,
    Power.PAUSE: Endpoint.PAUSE,
    Power.RESUME: Endpoint.RESUME,
    Power.RESTART: Endpoint.RESTART,
    Power.REBOOT: Endpoint.REBOOT,
}


@dataclass(frozen=True)
class WireWrite:
    """What is sent; ``body`` None means none."""

    endpoint: Endpoint
    body: dict[str, object] | None = None


def touched_fields(write: Write) -> tuple[str, ...]:
    """Settings that a write changes, by dotted path: what to read before the first write, to put it back later."""
    match write:
        case SetPreset(top_preset=None):
            return (PRESET,)
        case SetPreset():
            return (PRESET, TOP_PRESET)
        case SetFan():
            return (FAN_MODE,)
        case SetFields(values):
            return tuple(path for path, _ in values)
        case _:
            return ()


def preset_write(write: SetPreset, presets: Sequence[Preset], origin: str) -> WireWrite:
    """Choose a tuned preset by name, with the switcher's ceiling if that is given.

    Raises:
        MinerRefused: unknown, untuned, needs a modified supply, or above the ceiling given with it.
    """
    chosen = _known_preset(write.name, presets, origin)
    if not chosen.tuned:
        raise MinerRefused(
            explain(
                f"preset {write.name!r} is not tuned",
                allowed=", ".join(p.name for p in presets if p.tuned) or "none is tuned",
                origin=origin,
                fix="An untuned preset is ignored or starts hours of tuning; tune it on the miner's own page first.",
            )
        )
    if chosen.modded_psu:
        raise MinerRefused(explain(f"preset {write.name!r} needs a modified power supply", origin=origin))
    values: dict[str, object] = {PRESET: write.name}
    if write.top_preset is not None:
        top = _known_preset(write.top_preset, presets, origin)
        if top.power_w < chosen.power_w:
            raise MinerRefused(
                explain(
                    f"top_preset {write.top_preset!r} is below preset {write.name!r}",
                    allowed=f"{write.name} W or more",
                    origin=origin,
                )
            )
        values[TOP_PRESET] = write.top_preset
    return _settings(values)


def throttle_write(write: SetThrottle, limits: ModelLimits, origin: str) -> WireWrite:
    """Throttle in whole percent.

    Raises:
        MinerRefused: the firmware has no throttle, or the share is outside 0.2 to 1 or no whole percent.
    """
    if not limits.has_throttle:
        raise MinerRefused(
            explain(
                "the firmware has no throttle",
                allowed="VNish 1.3.3 or newer",
                origin=origin,
                fix="Choose a preset instead.",
            )
        )
    percent = _whole(write.share * 100.0)
    if percent is None or not THROTTLE_MIN_PERCENT <= percent <= 100:
        raise MinerRefused(explain(f"throttle is {write.share!r}", allowed="0.2 to 1 in hundredths", origin=origin))
    return WireWrite(Endpoint.THROTTLE, {"percent": percent})


def fan_write(write: SetFan, limits: ModelLimits, fans_rpm: Sequence[float], origin: str) -> WireWrite:
    """Choose how fans are driven.

    Args:
        write: mode and setting.
        limits: of the model.
        fans_rpm: present speeds; immersion mode stops fans, so it is refused where any turns.
        origin: for messages.

    Raises:
        MinerRefused: outside the model's limits, or immersion mode on a miner in air.
    """
    if write.mode is FanMode.IMMERSION and any(rpm > 0.0 for rpm in fans_rpm):
        raise MinerRefused(
            explain(
                f"immersion mode would stop fans that turn at {max(fans_rpm):.0f} rpm",
                allowed="a miner without turning fans",
                origin=origin,
            )
        )
    return _settings({FAN_MODE: _fan_body(write.mode, write.setting, limits, origin)})


def pool_write(write: SwitchPool, pools: Sequence[PoolReading], origin: str) -> WireWrite:
    """Make another user pool the working one.

    Raises:
        MinerRefused: not one of the user's pools; the developer-fee entries are none.
    """
    numbers = [pool.number for pool in pools]
    if write.number not in numbers:
        raise MinerRefused(
            explain(
                f"pool {write.number!r} is no user pool",
                allowed=", ".join(map(str, numbers)) or "none is configured",
                origin=origin,
            )
        )
    return WireWrite(Endpoint.SWITCH_POOL, {"pool_id": write.number})


def power_write(write: SetPower) -> WireWrite:
    """Stop, start, pause, resume, restart or reboot."""
    return WireWrite(_POWER_ENDPOINTS[write.command])


def fields_write(write: SetFields, limits: ModelLimits, presets: Sequence[Preset], origin: str) -> WireWrite:
    """Put settings back. What was configured before may be written again, be it tuned or not.

    Raises:
        MinerRefused: a path outside :data:`WRITABLE_FIELDS`, twice the same, none at all, or an impossible value.
    """
    values: dict[str, object] = {}
    for path, value in write.values:
        if path in values:
            raise MinerRefused(explain(f"field {path!r} is given twice", origin=origin))
        values[path] = _field_value(path, value, limits, presets, origin)
    if not values:
        raise MinerRefused(explain("no field is given to write", allowed="one or more", origin=origin))
    return _settings(values)


def _field_value(path: str, value: object, limits: ModelLimits, presets: Sequence[Preset], origin: str) -> object:
    if path == PRESET and isinstance(value, str):
        return _known_preset(value, presets, origin).name
    if path == TOP_PRESET and (value is None or isinstance(value, str)):
        return value if value is None else _known_preset(value, presets, origin).name
    if path == FAN_MODE and isinstance(value, Mapping) and isinstance(value.get("name"), str):
        mode = fan_mode(value["name"])
        param = value.get("param")
        if mode is not None and (param is None or (isinstance(param, int | float) and not isinstance(param, bool))):
            setting = param / 100.0 if mode is FanMode.MANUAL and param is not None else param
            return _fan_body(mode, None if mode is FanMode.IMMERSION else setting, limits, origin)
    if path not in WRITABLE_FIELDS:
        raise MinerRefused(explain(f"field {path!r} is not written", allowed=", ".join(WRITABLE_FIELDS), origin=origin))
    raise MinerRefused(explain(f"field {path!r} cannot be a {type(value).__name__} like this", origin=origin))


def _known_preset(name: str, presets: Sequence[Preset], origin: str) -> Preset:
    for preset in presets:
        if preset.name == name:
            return preset
    fix = "Manual mode is left to people." if name == MANUAL_PRESET else nearest(name, [p.name for p in presets])
    raise MinerRefused(explain(f"no preset {name!r}", origin=origin, fix=fix))


def _fan_body(mode: FanMode, setting: float | None, limits: ModelLimits, origin: str) -> dict[str, object]:
    if mode is FanMode.IMMERSION:
        if setting is not None:
            raise MinerRefused(explain(f"immersion mode takes no setting, got {setting!r}", origin=origin))
        return {"name": "immers"}
    if mode is FanMode.AUTO:
        degrees = _whole(setting)
        low, high = limits.temp_target_min_c, limits.temp_target_max_c
        if degrees is None or not low <= degrees <= high:
            raise MinerRefused(
                explain(
                    f"the fans' target is {setting!r} degC", allowed=f"{low:g} to {high:g} degC, whole", origin=origin
                )
            )
        return {"name": "auto", "param": degrees}
    percent = _whole(setting * 100.0 if setting is not None else None)
    least = round(limits.fan_duty_min * 100.0)
    if percent is None or not least <= percent <= 100:
        raise MinerRefused(
            explain(f"fan duty is {setting!r}", allowed=f"{least / 100.0:g} to 1 in hundredths", origin=origin)
        )
    return {"name": "manual", "param": percent}


def _whole(value: float | None) -> int | None:
    """The whole number that ``value`` is but for rounding, or None."""
    if value is None or not math.isfinite(value) or abs(value - round(value)) > 1e-6:
        return None
    return round(value)


def _settings(values: Mapping[str, object]) -> WireWrite:
    tree: dict[str, object] = {}
    for path, value in values.items():
        *parents, leaf = path.split(".")
        node: dict[str, Any] = tree
        for part in parents:
            node = node.setdefault(part, {})
        node[leaf] = value
    return WireWrite(Endpoint.SAVE_SETTINGS, tree)
