"""From what a miner should do to the few writes that are still missing, and whether a write took effect.

Pure functions of a miner's last answers and of what the journal knows of it (:class:`Known`). A person's change by
hand is noticed and never fought: the miner is held until it is released.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from minesim.bridge.miners.miner import (
    Configuration,
    Power,
    Reading,
    SetFan,
    SetFields,
    SetPower,
    SetPreset,
    SetThrottle,
    State,
    SwitchPool,
    Write,
)
from minesim.bridge.writing.owned import PAIR, Held, Known, Owned, is_halt
from minesim.control.actuate import THROTTLE_MIN

RESTART_WINDOW_S: Final = 3600.0
"""A halted miner that runs again is halted once more, since a power cut restarts it too; the second time within this is
taken as somebody's wish (assumed)."""

WARMING_UP: Final = frozenset({State.INITIALIZING, State.STARTING, State.RESTARTING, State.AUTO_TUNING})
"""States on the way to mining."""


class Note(enum.StrEnum):
    """Why a plan does less than what is desired."""

    PENDING = "pending"
    OLD_READING = "old reading"
    BUSY = "busy"
    STOPPED_BY_SOMEBODY = "stopped by somebody"
    FAILURE = "failure"
    STATE_UNKNOWN = "state unknown"
    NO_THROTTLE = "no throttle"
    CHANGED_BY_HAND = "changed by hand"
    MANUAL_MODE = "manual mode"

    @property
    def sentence(self) -> str:
        """The reason in words."""
        return _SENTENCES[self]


_SENTENCES: Final[Mapping[Note, str]] = {
    Note.PENDING: "An earlier write has not been read back yet.",
    Note.OLD_READING: "The last reading is older than the last write.",
    Note.BUSY: "The miner is starting, tuning or shutting down; settings wait until it mines or stands.",
    Note.STOPPED_BY_SOMEBODY: "The miner was stopped, but not by the bridge, so the bridge does not start it.",
    Note.FAILURE: "The firmware reports a failure.",
    Note.STATE_UNKNOWN: "The firmware does not tell what the miner does.",
    Note.NO_THROTTLE: "The firmware does not report a throttle, so none is written.",
    Note.CHANGED_BY_HAND: "Somebody changed the miner by hand; it is left alone until it is released.",
    Note.MANUAL_MODE: "Voltage and clocks are set by hand (manual mode); the miner is left alone until it is released.",
}


@dataclass(frozen=True)
class Desired:
    """What one miner should do.

    Attributes:
        run: whether it should mine.
        preset: name of a tuned preset; None leaves it as it is.
        throttle: share of the preset, 0.2 to 1; None leaves it as it is.
    """

    run: bool
    preset: str | None = None
    throttle: float | None = None


@dataclass(frozen=True)
class Plan:
    """Writes in their order, why they are fewer than what is desired, and what is owned after this look."""

    writes: tuple[Write, ...]
    notes: tuple[Note, ...]
    owned: Owned


def plan(
    desired: Desired, configuration: Configuration, reading: Reading, known: Known, *, halt: Power = Power.STOP
) -> Plan:
    """List the writes that a miner still needs; none where it does what is desired.

    A lower throttle is written first and a higher one last, so that no order draws more than the higher of the old and
    the new setting. A stop goes out even while a set-point waits for its read-back.

    Args:
        desired: what it should do.
        configuration, reading: its last answers.
        known: what the journal knows of it.
        halt: how to halt it, :attr:`Power.STOP` or :attr:`Power.PAUSE`.
    """
    owned = _after_a_look(desired, configuration, reading, known)
    if owned.held is not None:
        return Plan((), (Note(owned.held.value),), owned)
    down = halted(reading, owned.halted_by)
    if down is None:
        note = Note.FAILURE if reading.state is State.FAILURE else Note.STATE_UNKNOWN
        return Plan((), (note,), owned)
    if not desired.run:
        if down:
            return Plan((), (), owned)
        if known.pending is not None and not known.pending.repeatable:
            return Plan((), (Note.PENDING,), owned)
        return Plan((SetPower(halt),), (), owned)
    if known.pending is not None:
        return Plan((), (Note.PENDING,), owned)
    if reading.state in WARMING_UP or reading.state is State.SHUTTING_DOWN:
        return Plan((), (Note.BUSY,), owned)
    preset = _preset_write(desired, configuration)
    if down:
        if owned.halted_by is None:
            return Plan((), (Note.STOPPED_BY_SOMEBODY,), owned)
        return Plan((*preset, SetPower(PAIR[owned.halted_by])), (), owned)
    lower, higher, notes = _throttle_writes(desired, reading)
    if not preset and reading.restart_required and owned.restart_owed_at_s is not None:
        return Plan((*lower, SetPower(Power.RESTART)), notes, owned)
    return Plan((*lower, *preset, *higher), notes, owned)


def _after_a_look(desired: Desired, configuration: Configuration, reading: Reading, known: Known) -> Owned:
    """What is owned after comparing a miner with what the bridge made of it."""
    owned = known.owned
    if owned.held is not None:
        return owned
    if configuration.preset is None:
        return replace(owned, held=Held.MANUAL_MODE, held_detail="voltage and clocks are set by hand")
    preset, ceiling = configuration.preset, _ceiling(configuration)
    if owned.preset is None:
        owned = replace(owned, preset=preset, top_preset=ceiling)
    elif (preset, ceiling) != (owned.preset, owned.top_preset):
        asked = [write for write in known.asked if isinstance(write, SetPreset)]
        ours = {owned.preset} | {write.name for write in asked}
        ours_top = {owned.top_preset} | {write.top_preset for write in asked}
        if preset not in ours:
            return _held(owned, f"preset {preset!r} instead of {owned.preset!r}")
        if ceiling not in ours_top:
            return _held(owned, f"top_preset {ceiling!r} instead of {owned.top_preset!r}")
        owned = replace(owned, preset=preset, top_preset=ceiling)
    owed_at_s = owned.restart_owed_at_s
    if owed_at_s is not None and known.pending is None and not reading.restart_required and reading.at_s > owed_at_s:
        owned = replace(owned, restart_owed_at_s=None)
    halting = any(is_halt(write) for write in (known.pending, *known.asked) if write is not None)
    if owned.halted_by is None or halting or halted(reading, owned.halted_by) is not False:
        return owned
    # It runs although the bridge halted it, and no halt is under way.
    if desired.run:
        return replace(owned, halted_by=None, halt_confirmed=False)
    if not owned.halt_confirmed:
        return owned
    if owned.undone_at_s is not None and 0.0 <= reading.at_s - owned.undone_at_s < RESTART_WINDOW_S:
        return _held(owned, "it was started again twice after the bridge had halted it")
    return replace(owned, undone_at_s=reading.at_s, halt_confirmed=False)


def _held(owned: Owned, detail: str) -> Owned:
    return replace(owned, held=Held.CHANGED_BY_HAND, held_detail=detail)


def _ceiling(configuration: Configuration) -> str | None:
    """The preset above which an enabled switcher does not go."""
    return configuration.switcher.top_preset if configuration.switcher.enabled else None


def _preset_write(desired: Desired, configuration: Configuration) -> tuple[Write, ...]:
    """The preset by name, and the switcher's ceiling with it where the switcher is on."""
    if desired.preset is None:
        return ()
    top_preset = desired.preset if configuration.switcher.enabled else None
    if configuration.preset == desired.preset and _ceiling(configuration) == top_preset:
        return ()
    return (SetPreset(desired.preset, top_preset),)


def _throttle_writes(
    desired: Desired, reading: Reading
) -> tuple[tuple[Write, ...], tuple[Write, ...], tuple[Note, ...]]:
    """A lower throttle, a higher one (at most one of the two), and why there is none."""
    if desired.throttle is None:
        return (), (), ()
    percent = min(max(round(100.0 * desired.throttle), round(100.0 * THROTTLE_MIN)), 100)
    if reading.throttle is None:
        return (), (), (Note.NO_THROTTLE,) if percent < 100 else ()
    change = percent - round(100.0 * reading.throttle)
    write = (SetThrottle(percent / 100.0),)
    return (write if change < 0 else ()), (write if change > 0 else ()), ()


# ---------------------------------------------------------------------- read-back


def halted(reading: Reading, by: Power | None) -> bool | None:
    """Tell whether a miner stands; None where the firmware does not tell.

    Which state a paused miner shows is not documented, so one that the bridge paused also stands when it hashes
    nothing.

    Args:
        reading: its telemetry.
        by: how the bridge halted it, None where it did not.
    """
    started = reading.state.started
    if started is None:
        return None
    return not started or (by is Power.PAUSE and reading.state is State.MINING and reading.hashrate_ths == 0.0)


def satisfied(write: Write, configuration: Configuration, reading: Reading) -> bool | None:
    """Tell whether a write took effect; None where these answers cannot tell.

    A preset counts once it is configured: what runs may differ, while the switcher has stepped down or a restart is
    due. Whether a miner rebooted cannot be told after it mines again.

    Args:
        write: what was sent.
        configuration, reading: answers that came after it.
    """
    match write:
        case SetPreset(name, top_preset):
            return configuration.preset == name and top_preset in (None, configuration.switcher.top_preset)
        case SetThrottle(share):
            return None if reading.throttle is None else math.isclose(reading.throttle, share, abs_tol=0.005)
        case SetFan(mode, setting):
            if configuration.fan_mode is not mode:
                return False
            if setting is None or configuration.fan_setting is None:
                return True if setting is None else None
            return math.isclose(configuration.fan_setting, setting, abs_tol=0.005)
        case SwitchPool(number):
            working = [pool.number for pool in reading.pools if pool.in_use]
            return number in working if working else None
        case SetPower(command):
            return _power_satisfied(command, reading)
        case SetFields():
            return None


def _power_satisfied(command: Power, reading: Reading) -> bool | None:
    if command in PAIR:
        return halted(reading, command)
    if command in (Power.START, Power.RESUME):
        stands = halted(reading, Power.PAUSE if command is Power.RESUME else Power.STOP)
        return None if stands is None else not stands
    if reading.state in WARMING_UP:
        return True
    if command is Power.REBOOT:
        return None
    return False if reading.restart_required else reading.state.started


def read_back_limit_s(write: Write) -> float:
    """Time after which a write that did not show counts as failed, s.

    A throttle takes about 80 s (hass-miner's changelog). No durations are published for the rest: assumed.
    """
    match write:
        case SetThrottle():
            return 180.0
        case SetPower(command):
            return 600.0 if command in (Power.RESTART, Power.REBOOT) else 300.0
        case _:
            return 240.0
