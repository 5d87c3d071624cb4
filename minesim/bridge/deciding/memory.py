"""What the decider remembers between passes; as JSON it survives a restart, and the next observation is the same."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from minesim.errors import DataFileError, explain

VERSION = 2
LONG_AGO_S = 1e6
"""Time since the last write of a miner that was never written to, s; as in the twin."""


@dataclass(frozen=True)
class Command:
    """What a miner is to do or does: run, the firmware's name of a preset, throttle; and its wall power, W."""

    run: bool
    preset: str
    throttle: float
    power_w: float

    def same(self, other: Command) -> bool:
        """Whether who does the one does the other: throttles are whole percent, and presets of a halted miner rest."""
        if self.run != other.run:
            return False
        return not self.run or (self.preset == other.preset and abs(self.throttle - other.throttle) < 0.0051)


@dataclass(frozen=True)
class MinerMemory:
    """One miner; times are s since 1970 UTC.

    Attributes:
        known_s: when it was last known: its last reading, or when it was first missed.
        seen: whether it ever answered.
        hashrate_ths, power_w, temp_chip_c, temp_board_c, fan_duty, hashing: last good readings.
        target: what it is to do; None before the first pass.
        before: what it did when the target was set; that stands while nothing was sent.
        asked_s: when the target was set.
        sent: whether a write for the target went out.
        wrote_s, raised_s: when it was last written to, and last raised.
        stops_today, local_day: stops in the local day of that number.
        cooling: whether it was stopped for heat and has not cooled since.
        hot_s, hot_preset_w: when it last got too hot, and the power of the preset that it then ran, W.
        touched: whether anything was ever sent to it; from then on its top preset is the bridge's.
        ceiling: the highest preset that the operator allows, None for no such limit.
    """

    known_s: float
    seen: bool = False
    hashrate_ths: float = 0.0
    power_w: float = 0.0
    temp_chip_c: float = math.nan
    temp_board_c: float = math.nan
    fan_duty: float = 0.0
    hashing: float = 0.0
    target: Command | None = None
    before: Command | None = None
    asked_s: float = -math.inf
    sent: bool = False
    wrote_s: float = -math.inf
    raised_s: float = -math.inf
    stops_today: float = 0.0
    local_day: float = -1.0
    cooling: bool = False
    hot_s: float = -math.inf
    hot_preset_w: float = math.inf
    touched: bool = False
    ceiling: str | None = None

    @property
    def change_w(self) -> float:
        """Power that the target adds to what stood before, W."""
        target_w = 0.0 if self.target is None else self.target.power_w
        return target_w - (0.0 if self.before is None else self.before.power_w)

    @property
    def stops(self) -> bool:
        """Whether the target halts a miner that ran before."""
        return self.target is not None and not self.target.run and self.before is not None and self.before.run


@dataclass(frozen=True)
class MeterMemory:
    """The demand interval (:class:`minesim.control.meter.MeterState`); energy is booked up to ``until_s``."""

    interval_kwh: float
    month_peak_kw: float
    billing_month: float
    until_s: float


@dataclass
class Memory:
    """All of it.

    Attributes:
        miners: by address.
        meter: None before the first pass.
        rises: times and sizes of rises of the set power in the last minutes, s and W, and whose.
        slot: number of the last control step that was decided or held.
        passed_s: time of the last pass.
        clock_held_until_s: no decision before this, after a jump of the clock.
        trouble_since_s: since when decisions have not been possible; None while they are.
        policy_error: why the policy failed in the last decision, else ``""``.
    """

    miners: dict[str, MinerMemory] = field(default_factory=dict)
    meter: MeterMemory | None = None
    rises: list[tuple[float, float, str]] = field(default_factory=list)
    slot: int = -1
    passed_s: float | None = None
    clock_held_until_s: float = -math.inf
    trouble_since_s: float | None = None
    policy_error: str = ""

    def to_json(self) -> dict[str, Any]:
        """JSON values; infinities and NaN as text."""
        return {"version": VERSION, **_plain(asdict(self))}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Memory:
        """The memory of an earlier run.

        Raises:
            DataFileError: not what :meth:`to_json` gives, or of another version.
        """
        if document.get("version") != VERSION:
            raise DataFileError(
                explain(
                    f"the kept memory has version {document.get('version')!r}", allowed=str(VERSION), origin="journal"
                )
            )
        try:
            values = {key: _numbers(value) for key, value in document.items() if key != "version"}
            meter = values.pop("meter")
            return cls(
                miners={address: _miner(record) for address, record in values.pop("miners").items()},
                meter=None if meter is None else MeterMemory(**meter),
                rises=[(float(at_s), float(rise_w), str(whose)) for at_s, rise_w, whose in values.pop("rises")],
                **values,
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataFileError(explain(f"the kept memory cannot be read: {error}", origin="journal")) from error

    def shift(self, by_s: float) -> None:
        """Move all times of the past by a jump of the clock, so that they lie as long ago as they really do."""
        self.rises = [(at_s + by_s, rise_w, whose) for at_s, rise_w, whose in self.rises]
        if self.trouble_since_s is not None:
            self.trouble_since_s += by_s
        if self.meter is not None:
            self.meter = MeterMemory(**(asdict(self.meter) | {"until_s": self.meter.until_s + by_s}))
        for address, miner in self.miners.items():
            moved = {name: getattr(miner, name) + by_s for name in _TIMES}
            self.miners[address] = MinerMemory(**(_shallow(miner) | moved))


_TIMES = ("known_s", "asked_s", "wrote_s", "raised_s", "hot_s")


def _shallow(record: MinerMemory) -> dict[str, Any]:
    return {entry.name: getattr(record, entry.name) for entry in fields(record)}


def _miner(record: Mapping[str, Any]) -> MinerMemory:
    commands = {key: None if record[key] is None else Command(**record[key]) for key in ("target", "before")}
    return MinerMemory(**{**record, **commands})


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def _numbers(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _numbers(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_numbers(entry) for entry in value]
    return float(value) if value in ("nan", "inf", "-inf") else value
