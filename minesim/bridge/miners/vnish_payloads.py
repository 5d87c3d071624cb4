"""VNish's answers in plain units: pure functions from an answer's bytes to the types of :mod:`.miner`.

Units on the wire: hashrate in GH/s or MH/s (``hr_measure`` of ``/info``), rail in 10 mV (``/model``) or mV
(``/summary``), duty in percent. A key that is absent or null reads as None where the contract allows it; a value of the
wrong type is :class:`MinerAnswerInvalid`. Messages name the place and not the value: settings carry pool passwords.
Sources: the vendor's interface descriptions and answers of live units.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from minesim.bridge.miners.miner import (
    BoardReading,
    Configuration,
    FanMode,
    Identity,
    MinerAnswerInvalid,
    ModelLimits,
    PoolReading,
    Preset,
    Reading,
    State,
    Switcher,
)
from minesim.errors import explain

MANUAL_PRESET = "disabled"
"""What VNish calls the mode in which voltage and clocks are set by hand."""
THROTTLE_SINCE = (1, 3, 3)
"""First firmware with a throttle."""
THROTTLE_PATH = "/mining/throttle"
TEMP_MIN_C, TEMP_MAX_C = -60.0, 125.0
"""Outside, a temperature is a failed sensor (assumed; the firmware stops mining at 90 degC unless told otherwise)."""
HASHRATE_TOLERANCE = 0.1
"""Boards' sum against the miner's own figure (assumed; two 1.2.0 pre-releases were off by 30 %)."""
POWER_TOLERANCE = 0.1
"""How much more than the miner its boards may draw (assumed)."""
TEMP_TOLERANCE_C = 5.0
"""How much hotter than the miner's hottest chip a board may tell to be (assumed)."""
RISE_TEMP_C, DECREASE_TEMP_C = 55.0, 75.0
"""The switcher's defaults, seen live on 1.2.6."""
READABLE_FIELDS = ("miner.overclock.", "miner.cooling.", "miner.misc.")
"""Parts of the settings without secrets; pools, network and password are none of the client's business."""

_THS_PER_UNIT = {"GH/s": 1e-3, "MH/s": 1e-6}
_MEASURE_OF = {"sha256d": "GH/s", "scrypt": "MH/s"}
_STATES = {state.value: state for state in State}
_FAN_MODES = {"immers": FanMode.IMMERSION} | {mode.value: mode for mode in FanMode}
_PREFIX_THS = {"K": 1e-9, "M": 1e-6, "G": 1e-3, "T": 1.0, "P": 1e3}
_NOMINAL_HASHRATE = re.compile(r"~\s*(\d+(?:\.\d+)?)\s*([KMGTP])H", re.IGNORECASE)
_NOMINAL_POWER = re.compile(r"(\d+(?:\.\d+)?)\s*watt", re.IGNORECASE)
_PLAIN_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_VERSION = re.compile(r"\d{1,9}(?:\.\d{1,9})+")

T = TypeVar("T")


class _Wire(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", frozen=True, allow_inf_nan=False)


class _Network(_Wire):
    mac: str | None = None


class _System(_Wire):
    network_status: _Network | None = None


class _Info(_Wire):
    miner: str | None = None
    model: str | None = None
    fw_name: str
    fw_version: str
    algorithm: str = "unknown"
    hr_measure: str | None = None
    serial: str | None = None
    system: _System | None = None


class _Overclock(_Wire):
    min_voltage: float
    max_voltage_stock_psu: float
    min_freq: float
    max_freq: float
    power_metering: bool | None = None
    max_power_limit: float | None = None


class _CoolingLimits(_Wire):
    min_fan_pwm: float
    min_target_temp: float
    max_target_temp: float


class _Model(_Wire):
    overclock: _Overclock
    cooling: _CoolingLimits


class _Status(_Wire):
    miner_state: str
    throttled: float | None = None


class _StatusPane(_Status):
    restart_required: bool | None = None


class _Range(_Wire):
    max: float | None = None


class _BoardState(_Wire):
    state: str = "unknown"


class _Board(_Wire):
    id: int
    frequency: float | None = None
    voltage: float | None = None
    power_consumption: float | None = None
    hashrate_rt: float | None = None
    pcb_temp: _Range | None = None
    chip_temp: _Range | None = None
    status: _BoardState = _BoardState()


class _Fan(_Wire):
    rpm: float


class _Cooling(_Wire):
    fan_duty: float | None = None
    fans: tuple[_Fan, ...] | None = None


class _Pool(_Wire):
    id: int
    url: str = ""
    user: str = ""
    pool_type: str = ""
    status: str = "unknown"
    accepted: int = 0
    rejected: int = 0


class _Psu(_Wire):
    psu_power_metering: bool | None = None


class _Miner(_Wire):
    miner_status: _Status
    hr_realtime: float | None = None
    power_consumption: float | None = None
    pcb_temp: _Range | None = None
    chip_temp: _Range | None = None
    psu: _Psu | None = None
    cooling: _Cooling | None = None
    chains: tuple[_Board, ...] | None = None
    pools: tuple[_Pool, ...] | None = None


class _Summary(_Wire):
    miner: _Miner | None = None


class _CurrentPreset(_Wire):
    name: str


class _PerfSummary(_Wire):
    current_preset: _CurrentPreset | None = None


class _Tuned(_Wire):
    hashrate: float = 0.0


class _Preset(_Wire):
    name: str
    pretty: str = ""
    status: str
    modded_psu_required: bool
    tune_settings: _Tuned | None = None


class _Sensor(_Wire):
    state: str


class _BoardChips(_Wire):
    id: int
    sensors: tuple[_Sensor, ...] = ()


class _Switcher(_Wire):
    enabled: bool | None = None
    top_preset: str | None = None
    min_preset: str | None = None
    rise_temp: float | None = None
    decrease_temp: float | None = None


class _OverclockSettings(_Wire):
    preset: str | None = None
    modded_psu: bool | None = None
    preset_switcher: _Switcher | None = None


class _FanSettings(_Wire):
    name: str
    param: float | None = None


class _CoolingSettings(_Wire):
    mode: _FanSettings


class _Misc(_Wire):
    restart_temp: float | None = None


class _MinerSettings(_Wire):
    overclock: _OverclockSettings
    cooling: _CoolingSettings
    misc: _Misc | None = None


class _Settings(_Wire):
    miner: _MinerSettings


class _Token(_Wire):
    token: str


class _Lockout(_Wire):
    unlock_timeout: float | None = None


class _ErrorText(_Wire):
    err: str


class _ApiDoc(_Wire):
    paths: dict[str, Any]


def _parse(adapter: TypeAdapter[T], body: bytes, origin: str) -> T:
    try:
        return adapter.validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"][:8]) or "the answer"
        # The original error quotes the value, which may be a secret: it must not be chained.
        raise MinerAnswerInvalid(
            explain(
                f"{place[:200]} is not what the firmware's interface promises ({first['type']})",
                origin=origin,
                fix="If it persists, compare the firmware version with those supported, 1.2.x and 1.3.x.",
            )
        ) from None


# ---------------------------------------------------------------------- who it is and what it allows


@dataclass(frozen=True)
class Facts:
    """What stays the same while a miner stays reachable.

    Attributes:
        identity: who it is.
        firmware_name: e.g. ``Vnish``.
        ths_per_unit: TH/s per unit of the wire's hashrates; None where the firmware does not tell its unit.
    """

    identity: Identity
    firmware_name: str
    ths_per_unit: float | None


_INFO = TypeAdapter(_Info)


def parse_info(body: bytes, origin: str) -> Facts:
    """Read ``/info``.

    Raises:
        MinerAnswerInvalid: no firmware version, an unknown unit of hashrate, or not the promised form.
    """
    info = _parse(_INFO, body, origin)
    version = _VERSION.search(info.fw_version)
    if version is None:
        raise MinerAnswerInvalid(
            explain(f"fw_version is {info.fw_version[:40]!r}", allowed="a version such as 1.3.4", origin=origin)
        )
    measure = info.hr_measure
    if measure in (None, "N/A"):
        measure = _MEASURE_OF.get(info.algorithm)
    if measure is not None and measure not in _THS_PER_UNIT:
        raise MinerAnswerInvalid(
            explain(f"hr_measure is {measure[:40]!r}", allowed=", ".join(_THS_PER_UNIT), origin=origin)
        )
    network = info.system.network_status if info.system else None
    identity = Identity(
        model=info.miner or info.model or "",
        serial="" if info.serial in (None, "N/A") else info.serial,
        mac=((network.mac if network else None) or "").lower(),
        firmware_version=tuple(int(part) for part in version.group().split(".")),
        algorithm=info.algorithm,
    )
    return Facts(identity, info.fw_name, _THS_PER_UNIT[measure] if measure is not None else None)


_MODEL = TypeAdapter(_Model)


def parse_limits(body: bytes, origin: str, *, has_throttle: bool, metered: bool) -> ModelLimits:
    """Read ``/model``.

    Args:
        body, origin: the answer and where it came from.
        has_throttle: see :func:`has_throttle`.
        metered: whether the supply meters, for firmware whose ``/model`` does not tell.

    Raises:
        MinerAnswerInvalid: not the promised form.
    """
    model = _parse(_MODEL, body, origin)
    limits = model.overclock
    return ModelLimits(
        has_throttle=has_throttle,
        volt_min_v=limits.min_voltage / 100.0,
        volt_max_v=limits.max_voltage_stock_psu / 100.0,
        freq_min_mhz=limits.min_freq,
        freq_max_mhz=limits.max_freq,
        fan_duty_min=model.cooling.min_fan_pwm / 100.0,
        temp_target_min_c=model.cooling.min_target_temp,
        temp_target_max_c=model.cooling.max_target_temp,
        power_max_w=limits.max_power_limit if limits.max_power_limit else None,
        power_metered=metered if limits.power_metering is None else limits.power_metering,
    )


_API_DOC = TypeAdapter(_ApiDoc)


def parse_api_paths(body: bytes, origin: str) -> frozenset[str]:
    """Read which paths the miner's own interface description lists, e.g. ``/mining/throttle``.

    Raises:
        MinerAnswerInvalid: not an interface description.
    """
    return frozenset(_parse(_API_DOC, body, origin).paths)


def has_throttle(version: tuple[int, ...], paths: frozenset[str] | None) -> bool:
    """Whether a firmware can throttle: new enough, and its own description (if it has one) lists it."""
    return version >= THROTTLE_SINCE and (paths is None or any(path.endswith(THROTTLE_PATH) for path in paths))


# ---------------------------------------------------------------------- telemetry

_SUMMARY = TypeAdapter(_Summary)
_PERF_SUMMARY = TypeAdapter(_PerfSummary)
_STATUS = TypeAdapter(_StatusPane)
_BOARD_CHIPS = TypeAdapter(tuple[_BoardChips, ...])


def parse_power_metered(summary: bytes, origin: str) -> bool:
    """Read from ``/summary`` whether the supply meters its power."""
    miner = _parse(_SUMMARY, summary, origin).miner
    return bool(miner and miner.psu and miner.psu.psu_power_metering)


def parse_failed_sensors(body: bytes, origin: str) -> frozenset[int]:
    """Read from ``/boards`` or ``/chains`` which boards have sensors, all of them in error.

    Raises:
        MinerAnswerInvalid: not the promised form.
    """
    boards = _parse(_BOARD_CHIPS, body, origin)
    return frozenset(b.id for b in boards if b.sensors and all(s.state == "error" for s in b.sensors))


def parse_reading(
    *,
    summary: bytes,
    perf_summary: bytes,
    status: bytes | None,
    ths_per_unit: float | None,
    failed_sensors: Collection[int],
    at_s: float,
    origin: str,
) -> Reading:
    """Compose a reading.

    Temperatures: a zero of a miner that does not hash stays a number; a zero while mining or tuning, or one outside
    -60 to 125 degC at any time, is a failed sensor. The miner's temperature is the hottest of all that is told.

    Args:
        summary, perf_summary, status: answers of the endpoints of these names; None if ``/status`` was not asked, then
            no restart is waited for, and the state is unknown while the mining process is down.
        ths_per_unit: see :class:`Facts`.
        failed_sensors: see :func:`parse_failed_sensors`.
        at_s: when the summary came, s since 1970 UTC.
        origin: where they came from.

    Raises:
        MinerAnswerInvalid: not the promised form.
    """
    miner = _parse(_SUMMARY, summary, f"{origin} /summary").miner
    pane = _StatusPane(miner_state="unknown") if status is None else _parse(_STATUS, status, f"{origin} /status")
    current = _parse(_PERF_SUMMARY, perf_summary, f"{origin} /perf-summary").current_preset
    preset = None if current is None or current.name == MANUAL_PRESET else current.name
    waits = bool(pane.restart_required)
    if miner is None:  # the mining process is not up; the status pane still tells
        return Reading(
            at_s=at_s,
            state=_state(pane.miner_state),
            hashrate_ths=None,
            power_w=None,
            temp_chip_c=None,
            temp_board_c=None,
            fan_duty=None,
            preset=preset,
            throttle=_throttle(pane.throttled),
            restart_required=waits,
        )
    state = _state(miner.miner_status.miner_state)
    hashing = state in (State.MINING, State.AUTO_TUNING)
    boards = tuple(
        _board(b, ths_per_unit, hashing=hashing, sensors_failed=b.id in failed_sensors) for b in miner.chains or ()
    )
    blind = bool(boards) and all(b.number in failed_sensors for b in boards)
    chip_c = None if blind else _temperature(miner.chip_temp, hashing)
    board_c = None if blind else _temperature(miner.pcb_temp, hashing)
    hashrate = _hashrate(miner.hr_realtime, ths_per_unit)
    power = _not_negative(miner.power_consumption)
    if power == 0.0 and hashing and hashrate:
        power = None  # nothing hashes without power
    cooling = miner.cooling or _Cooling()
    return Reading(
        at_s=at_s,
        state=state,
        hashrate_ths=hashrate,
        power_w=power,
        temp_chip_c=_hottest([chip_c, *(b.temp_chip_c for b in boards)]),
        temp_board_c=_hottest([board_c, *(b.temp_board_c for b in boards)]),
        fan_duty=_share(cooling.fan_duty),
        fans_rpm=tuple(fan.rpm for fan in cooling.fans or ()),
        preset=preset,
        throttle=_throttle(miner.miner_status.throttled),
        boards=boards,
        pools=tuple(
            PoolReading(p.id, p.url, p.user, p.status, p.accepted, p.rejected)
            for p in miner.pools or ()
            if p.pool_type == "UserPool"
        ),
        restart_required=waits,
        inconsistent=_contradictions(hashrate, power, chip_c, boards) if state is State.MINING else (),
    )


def _state(text: str) -> State:
    return _STATES.get(text, State.UNKNOWN)


def _not_negative(value: float | None) -> float | None:
    return value if value is not None and value >= 0.0 else None


def _hashrate(value: float | None, ths_per_unit: float | None) -> float | None:
    return value * ths_per_unit if value is not None and value >= 0.0 and ths_per_unit is not None else None


def _share(percent: float | None) -> float | None:
    return percent / 100.0 if percent is not None and 0.0 <= percent <= 100.0 else None


def _throttle(percent: float | None) -> float | None:
    return _share(percent) if percent else None


def _temperature(told: _Range | None, hashing: bool) -> float | None:
    if told is None or told.max is None or not TEMP_MIN_C <= told.max <= TEMP_MAX_C:
        return None
    return None if hashing and told.max <= 0.0 else told.max


def _hottest(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


def _board(board: _Board, ths_per_unit: float | None, *, hashing: bool, sensors_failed: bool) -> BoardReading:
    return BoardReading(
        number=board.id,
        state=board.status.state,
        hashrate_ths=_hashrate(board.hashrate_rt, ths_per_unit),
        power_w=_not_negative(board.power_consumption),
        temp_chip_c=None if sensors_failed else _temperature(board.chip_temp, hashing),
        temp_board_c=None if sensors_failed else _temperature(board.pcb_temp, hashing),
        volt_v=board.voltage / 1000.0 if board.voltage is not None else None,
        freq_mhz=board.frequency,
    )


def _contradictions(
    hashrate_ths: float | None, power_w: float | None, temp_chip_c: float | None, boards: tuple[BoardReading, ...]
) -> tuple[str, ...]:
    found = []
    rates = [b.hashrate_ths for b in boards if b.hashrate_ths is not None]
    if hashrate_ths is not None and rates and len(rates) == len(boards):
        total = sum(rates)
        if abs(total - hashrate_ths) > HASHRATE_TOLERANCE * max(total, hashrate_ths):
            found.append(f"boards sum to {total:.4g} TH/s, the miner tells {hashrate_ths:.4g} TH/s")
    drawn = sum(b.power_w for b in boards if b.power_w is not None)
    if power_w is not None and drawn > (1.0 + POWER_TOLERANCE) * power_w:
        found.append(f"boards draw {drawn:.0f} W, the miner tells {power_w:.0f} W")
    hottest = _hottest(b.temp_chip_c for b in boards)
    if temp_chip_c is not None and hottest is not None and hottest > temp_chip_c + TEMP_TOLERANCE_C:
        found.append(f"a board tells {hottest:.0f} degC, the miner's hottest chip is {temp_chip_c:.0f} degC")
    return tuple(found)


# ---------------------------------------------------------------------- presets and settings

_PRESETS = TypeAdapter(tuple[_Preset, ...])
_SETTINGS = TypeAdapter(_Settings)


def parse_presets(body: bytes, ths_per_unit: float | None, origin: str) -> tuple[Preset, ...]:
    """Read ``/autotune/presets``: by rising power, without the manual mode and without any whose power is not told.

    Raises:
        MinerAnswerInvalid: not the promised form.
    """
    found = []
    for row in _parse(_PRESETS, body, origin):
        power = _preset_power(row)
        if row.name == MANUAL_PRESET or power is None:
            continue
        tuned = row.tune_settings.hashrate if row.tune_settings else 0.0
        hashrate = _hashrate(tuned, ths_per_unit) if tuned > 0.0 else None
        found.append(
            Preset(
                name=row.name,
                power_w=power,
                hashrate_ths=_nominal_hashrate(row.pretty) if hashrate is None else hashrate,
                tuned=row.status == "tuned",
                modded_psu=row.modded_psu_required,
            )
        )
    return tuple(sorted(found, key=lambda preset: preset.power_w))


def _preset_power(row: _Preset) -> float | None:
    if _PLAIN_NUMBER.fullmatch(row.name):
        return float(row.name)
    told = _NOMINAL_POWER.search(row.pretty)
    return float(told.group(1)) if told else None


def _nominal_hashrate(pretty: str) -> float | None:
    told = _NOMINAL_HASHRATE.search(pretty)
    return float(told.group(1)) * _PREFIX_THS[told.group(2).upper()] if told else None


def parse_configuration(body: bytes, origin: str) -> Configuration:
    """Read ``/settings``: what is configured, as opposed to what runs.

    Raises:
        MinerAnswerInvalid: not the promised form, or an unknown fan mode.
    """
    miner = _parse(_SETTINGS, body, origin).miner
    overclock, fan = miner.overclock, miner.cooling.mode
    switcher = overclock.preset_switcher or _Switcher()
    mode = fan_mode(fan.name)
    if mode is None:
        raise MinerAnswerInvalid(
            explain(f"the fan mode is {fan.name[:40]!r}", allowed="auto, manual, immers or immersion", origin=origin)
        )
    setting = {FanMode.AUTO: fan.param, FanMode.MANUAL: _share(fan.param), FanMode.IMMERSION: None}[mode]
    restart_temp = miner.misc.restart_temp if miner.misc else None
    return Configuration(
        preset=None if overclock.preset == MANUAL_PRESET else overclock.preset,
        switcher=Switcher(
            enabled=bool(switcher.enabled),
            top_preset=switcher.top_preset,
            min_preset=switcher.min_preset,
            rise_temp_c=RISE_TEMP_C if switcher.rise_temp is None else switcher.rise_temp,
            decrease_temp_c=DECREASE_TEMP_C if switcher.decrease_temp is None else switcher.decrease_temp,
        ),
        fan_mode=mode,
        fan_setting=setting,
        restart_temp_c=restart_temp or None,
        modded_psu=bool(overclock.modded_psu),
    )


def fan_mode(name: str) -> FanMode | None:
    """Fan mode by either of the firmware's spellings; None if it is unknown.

    >>> fan_mode("immers")
    <FanMode.IMMERSION: 'immersion'>
    """
    return _FAN_MODES.get(name)


def parse_fields(body: bytes, paths: Iterable[str], origin: str) -> dict[str, object]:
    """Read single settings by dotted path; absent ones are left out, null is kept as None.

    Raises:
        MinerAnswerInvalid: not a JSON object.
    """
    try:
        tree = json.loads(body)
    except (ValueError, RecursionError):
        tree = None
    if not isinstance(tree, dict):
        raise MinerAnswerInvalid(explain("the settings are not a JSON object", origin=origin))
    found: dict[str, object] = {}
    for path in paths:
        node: object = tree
        for part in path.split("."):
            if not isinstance(node, dict) or part not in node:
                break
            node = node[part]
        else:
            found[path] = node
    return found


# ---------------------------------------------------------------------- credentials and refusals

_TOKEN = TypeAdapter(_Token)
_LOCKOUT = TypeAdapter(_Lockout)
_ERROR_TEXT = TypeAdapter(_ErrorText)


def parse_token(body: bytes, origin: str) -> str:
    """Read the session token of an unlock.

    Raises:
        MinerAnswerInvalid: no token, or one that cannot travel in a header.
    """
    token = _parse(_TOKEN, body, origin).token
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise MinerAnswerInvalid(explain("the session token is empty or not plain text", origin=origin))
    return token


def parse_lockout_s(body: bytes) -> float | None:
    """Read for how long no further unlock is allowed, s; None where it is not told."""
    try:
        timeout = _LOCKOUT.validate_json(body).unlock_timeout
    except ValidationError:
        return None
    return timeout if timeout is not None and timeout >= 0.0 else None


def parse_error_text(body: bytes) -> str:
    """Read the reason of a refusal, ``""`` where there is none."""
    try:
        return _ERROR_TEXT.validate_json(body).err
    except ValidationError:
        return ""
