"""What the bridge knows of one miner and may ask of it, in plain units and free of any vendor's spelling.

:class:`MinerPort` is the contract between the bridge and a firmware client (:mod:`minesim.bridge.miners.vnish`).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

from minesim.errors import MinesimError


class State(enum.StrEnum):
    """What the firmware says that the miner does."""

    MINING = "mining"
    INITIALIZING = "initializing"
    STARTING = "starting"
    AUTO_TUNING = "auto-tuning"
    RESTARTING = "restarting"
    SHUTTING_DOWN = "shutting-down"
    STOPPED = "stopped"
    FAILURE = "failure"
    UNKNOWN = "unknown"

    @property
    def started(self) -> bool | None:
        """Whether the miner is meant to run; None where the state does not tell."""
        if self in (State.STOPPED, State.SHUTTING_DOWN):
            return False
        return None if self in (State.FAILURE, State.UNKNOWN) else True


@dataclass(frozen=True)
class Identity:
    """Who a miner is.

    Attributes:
        model: as the firmware names it, e.g. ``Antminer S19j Pro``.
        serial: serial number, or ``""``.
        mac: hardware address, lower case with colons, or ``""``.
        firmware_version: e.g. ``(1, 3, 4)``.
        algorithm: ``sha256d`` or ``scrypt``; ``unknown`` where the firmware does not tell.
    """

    model: str
    serial: str
    mac: str
    firmware_version: tuple[int, ...]
    algorithm: str


@dataclass(frozen=True)
class ModelLimits:
    """What the model allows.

    Attributes:
        has_throttle: whether the firmware can throttle.
        volt_min_v, volt_max_v: rail, V; the maximum without a modified supply.
        freq_min_mhz, freq_max_mhz: MHz.
        fan_duty_min: lowest duty, share of full speed.
        temp_target_min_c, temp_target_max_c: range of the automatic fan mode's target, degC.
        power_max_w: highest power limit, None where the firmware has none.
        power_metered: whether its power is measured and not estimated.
    """

    has_throttle: bool
    volt_min_v: float
    volt_max_v: float
    freq_min_mhz: float
    freq_max_mhz: float
    fan_duty_min: float
    temp_target_min_c: float
    temp_target_max_c: float
    power_max_w: float | None
    power_metered: bool


@dataclass(frozen=True)
class Preset:
    """A power setting that the firmware offers.

    Attributes:
        name: the firmware's key; for VNish its nominal watts as text.
        power_w: nominal wall power.
        hashrate_ths: tuned hashrate, else the nominal one; None where it tells neither.
        tuned: whether this unit was tuned for it.
        modded_psu: whether it needs a modified supply.
    """

    name: str
    power_w: float
    hashrate_ths: float | None
    tuned: bool
    modded_psu: bool


@dataclass(frozen=True)
class Switcher:
    """The firmware's automatic preset switcher; temperatures of chips in degC."""

    enabled: bool
    top_preset: str | None
    min_preset: str | None
    rise_temp_c: float
    decrease_temp_c: float


class FanMode(enum.StrEnum):
    """How fans are driven."""

    AUTO = "auto"
    MANUAL = "manual"
    IMMERSION = "immersion"


@dataclass(frozen=True)
class Configuration:
    """What is configured, as opposed to what runs.

    Attributes:
        preset: configured preset; None in manual mode (voltage and clocks set by hand).
        switcher: automatic preset switcher.
        fan_mode: how fans are driven.
        fan_setting: target chip temperature (degC) in automatic, duty (0 to 1) in manual mode; None where not told.
        restart_temp_c: chip temperature at which the firmware stops mining; None where not told.
        modded_psu: whether the operator declared a modified supply.
    """

    preset: str | None
    switcher: Switcher
    fan_mode: FanMode
    fan_setting: float | None
    restart_temp_c: float | None
    modded_psu: bool


@dataclass(frozen=True)
class BoardReading:
    """One hashboard; None where its sensors say nothing."""

    number: int
    state: str
    hashrate_ths: float | None
    power_w: float | None
    temp_chip_c: float | None
    temp_board_c: float | None
    volt_v: float | None
    freq_mhz: float | None


@dataclass(frozen=True)
class PoolReading:
    """One user pool (the developer-fee entries are left out).

    Attributes:
        number: by which it is chosen.
        url, user: as configured.
        status: as the firmware spells it. VNish: ``active`` is the pool that is mined for, ``working`` a spare that
            would answer (three live units of 1.2.0), else offline, disabled, rejecting, unknown.
        accepted, rejected: shares.
    """

    number: int
    url: str
    user: str
    status: str
    accepted: int
    rejected: int

    @property
    def in_use(self) -> bool:
        """Whether it is the pool that is mined for."""
        return self.status == "active"


@dataclass(frozen=True)
class Reading:
    """What a miner reported at a moment; None where it did not tell or a sensor failed.

    Attributes:
        at_s: wall clock when the answer came, s since 1970 UTC.
        state: see :class:`State`.
        hashrate_ths: present hashrate, TH/s.
        power_w: wall power as the firmware estimates (or measures) it, W.
        temp_chip_c, temp_board_c: hottest, degC.
        fan_duty: 0 to 1.
        fans_rpm: speeds, one a fan.
        preset: the preset that runs now; it differs from the configured one while the switcher has stepped down.
        throttle: 0.2 to 1; None where the firmware has no throttle.
        boards, pools: see there.
        restart_required: whether a written setting waits for a restart.
        inconsistent: what in the answer contradicts itself, e.g. the sum of boards against the miner's hashrate.
    """

    at_s: float
    state: State
    hashrate_ths: float | None
    power_w: float | None
    temp_chip_c: float | None
    temp_board_c: float | None
    fan_duty: float | None
    fans_rpm: tuple[float, ...] = ()
    preset: str | None = None
    throttle: float | None = None
    boards: tuple[BoardReading, ...] = ()
    pools: tuple[PoolReading, ...] = ()
    restart_required: bool = False
    inconsistent: tuple[str, ...] = ()


# ---------------------------------------------------------------------- writes


@dataclass(frozen=True)
class SetPreset:
    """Choose a tuned preset by name only; ``top_preset`` moves the switcher's ceiling in the same write."""

    name: str
    top_preset: str | None = None
    repeatable: ClassVar[bool] = True


@dataclass(frozen=True)
class SetThrottle:
    """Throttle to a share of the preset, 0.2 to 1 in hundredths."""

    share: float
    repeatable: ClassVar[bool] = True


@dataclass(frozen=True)
class SetFan:
    """Drive the fans: target chip temperature in degC (automatic), duty 0 to 1 (manual), nothing (immersion)."""

    mode: FanMode
    setting: float | None = None
    repeatable: ClassVar[bool] = True


@dataclass(frozen=True)
class SwitchPool:
    """Make another of the configured user pools the working one."""

    number: int
    repeatable: ClassVar[bool] = True


class Power(enum.StrEnum):
    """Commands that change whether a miner runs; never sent twice for one intent."""

    STOP = "stop"
    START = "start"
    PAUSE = "pause"
    RESUME = "resume"
    RESTART = "restart"
    REBOOT = "reboot"


@dataclass(frozen=True)
class SetPower:
    """Stop, start, pause, resume, restart mining, or reboot."""

    command: Power
    repeatable: ClassVar[bool] = False


@dataclass(frozen=True)
class SetFields:
    """Write single settings back, by the firmware's own paths; only restoring uses it.

    Attributes:
        values: dotted path (``miner.overclock.preset``) -> JSON value.
    """

    values: tuple[tuple[str, object], ...] = field(default=())
    repeatable: ClassVar[bool] = True


Write = SetPreset | SetThrottle | SetFan | SwitchPool | SetPower | SetFields


# ---------------------------------------------------------------------- errors


class MinerError(MinesimError):
    """A miner did not do or tell what was asked."""


class MinerUnreachable(MinerError):
    """No answer, or none in time; a read may be tried again later."""


class MinerRefused(MinerError):
    """It answered that it will not: wrong state, unknown pool, wrong credentials, too many tries."""


class MinerAnswerInvalid(MinerError):
    """It answered something that is not what its interface promises."""


class WriteOutcomeUnknown(MinerError):
    """A write went out and no answer came back: it may or may not have happened, so it has to be read back."""


class MinerPort(Protocol):
    """One miner behind its firmware's interface. All methods raise :class:`MinerError` and nothing else."""

    @property
    def address(self) -> str:
        """Host, or host:port, for messages and the journal."""

    async def identity(self) -> Identity:
        """Who it is."""

    async def limits(self) -> ModelLimits:
        """What its model and firmware allow."""

    async def reading(self) -> Reading:
        """Present telemetry."""

    async def presets(self) -> tuple[Preset, ...]:
        """Presets by rising power, without the manual mode."""

    async def configuration(self) -> Configuration:
        """What is configured now."""

    async def fields(self, paths: tuple[str, ...]) -> dict[str, object]:
        """Values of single settings by dotted path, as the firmware spells them; absent ones are left out."""

    async def write(self, write: Write) -> None:
        """Send a write once; returning means that it was accepted, not that it took effect.

        Raises:
            MinerRefused: it was answered with a refusal, or is outside what the model allows (then nothing was sent).
            WriteOutcomeUnknown: it was sent, and whether it arrived is not known.
            MinerUnreachable: it was not sent.
        """
