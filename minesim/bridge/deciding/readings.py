"""From miners' answers to arrays: what each reports, what of it can be believed, and what each does now."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from minesim.bridge.deciding.guard import AGE_MAX_S, Sight, Why
from minesim.bridge.deciding.memory import Command, MinerMemory
from minesim.bridge.miners.fleet import Bools, Floats, MinerFacts, MinerFleet
from minesim.bridge.miners.miner import Configuration, Power, Reading, State
from minesim.bridge.writing.plan import halted
from minesim.control.observe import FAULT_AGE_S
from minesim.control.telemetry import NO_ANSWER_AGE_S, Telemetry

CHIP_OFFSET_K: Final = 15.0
"""Firmwares estimate chip = board + 15 K (63 of 77 VNish models)."""
UNREACHABLE_S: Final = 300.0
"""A miner that has told nothing for a control step is unreachable; the twin too shows a missed answer as a fault."""
JUMP_K: Final = 20.0
JUMP_K_PER_S: Final = 1.0
"""A temperature cannot change by more than the first plus the second times the time between: a board of 2.5 kJ/K warms
by 0.5 K/s at 1.2 kW without any air, and its chips follow the load by 15 K at once (assumed)."""
AHEAD_S: Final = 5.0
"""A reading from further in the future contradicts itself (assumed)."""


@dataclass(frozen=True)
class MinerNow:
    """A miner as the bridge knows it in a pass; None where it never answered.

    Attributes:
        reading: its last telemetry.
        configuration: its last configuration.
        pending: whether a write to it has not been read back yet.
        by_hand: whether it is left alone because a person changed it.
        halted_by: the command with which the bridge halted it, None where it did not.
    """

    reading: Reading | None = None
    configuration: Configuration | None = None
    pending: bool = False
    by_hand: bool = False
    halted_by: Power | None = None


@dataclass(frozen=True)
class SiteNow:
    """The site's own instruments; None where there are none or they are silent.

    Attributes:
        power_w: at the site's meter, W.
        at_s: when it was read, s since 1970 UTC.
        temp_intake_c: room sensor at the intakes, degC.
    """

    power_w: float | None = None
    at_s: float | None = None
    temp_intake_c: float | None = None

    def fresh_power_w(self, now_s: float) -> float | None:
        """The meter's power while it is fresh."""
        if self.power_w is None or self.at_s is None or not -AHEAD_S <= now_s - self.at_s <= AGE_MAX_S:
            return None
        return self.power_w


def remember(memory: MinerMemory, now: MinerNow, now_s: float, temp_idle_c: float) -> tuple[MinerMemory, bool, bool]:
    """Take a reading in.

    Args:
        memory: of the miner.
        now: its last answers.
        now_s: present time, s since 1970 UTC.
        temp_idle_c: temperature that a standing miner without sensors is taken to have, degC.

    Returns:
        The memory with the reading, whether the reading contradicts itself or the one before, and whether a sensor of
        a hashing miner is silent. A reading with an impossible jump or time is not taken in: it is believed once
        enough time has passed for the jump to be possible.
    """
    reading = now.reading
    if reading is None:
        return memory, False, False
    hashing = reading.state is State.MINING and not halted_now(now)
    chip_c, board_c = _temps_c(reading, None if hashing else temp_idle_c)
    if reading.at_s - now_s > AHEAD_S or (hashing and _jumped(memory, reading, chip_c, board_c)):
        return memory, True, False
    odd = bool(reading.inconsistent) or _powerless(reading)
    silent = chip_c is None or (hashing and reading.power_w is None)
    new = replace(
        memory,
        known_s=min(reading.at_s, now_s),
        seen=True,
        hashrate_ths=_or(reading.hashrate_ths, memory.hashrate_ths if hashing else 0.0),
        power_w=_or(reading.power_w, memory.power_w if hashing else 0.0),
        temp_chip_c=_or(chip_c, memory.temp_chip_c),
        temp_board_c=_or(board_c, memory.temp_board_c),
        fan_duty=_or(reading.fan_duty, memory.fan_duty),
        hashing=float(hashing),
    )
    return new, odd, silent


def halted_now(now: MinerNow) -> bool:
    """Whether a miner stands, as far as it tells."""
    return now.reading is not None and halted(now.reading, now.halted_by) is True


def _temps_c(reading: Reading, idle_c: float | None) -> tuple[float | None, float | None]:
    """Chip and board; one stands for the other, and a standing miner without sensors is as warm as its air."""
    chip_c, board_c = reading.temp_chip_c, reading.temp_board_c
    if idle_c is not None and not (chip_c or board_c):  # the firmware tells zeros when nothing is powered
        return idle_c + CHIP_OFFSET_K, idle_c
    if chip_c is None and board_c is not None:
        return board_c + CHIP_OFFSET_K, board_c
    if board_c is None and chip_c is not None:
        return chip_c, chip_c - CHIP_OFFSET_K
    return chip_c, board_c


def _powerless(reading: Reading) -> bool:
    return reading.state is State.MINING and (reading.hashrate_ths or 0.0) > 0.0 and reading.power_w == 0.0


def _jumped(memory: MinerMemory, reading: Reading, chip_c: float | None, board_c: float | None) -> bool:
    if not memory.hashing or reading.at_s <= memory.known_s:
        return False
    possible_k = JUMP_K + JUMP_K_PER_S * (reading.at_s - memory.known_s)
    pairs = ((chip_c, memory.temp_chip_c), (board_c, memory.temp_board_c))
    return any(new is not None and abs(new - old) > possible_k for new, old in pairs)


def _or(value: float | None, other: float) -> float:
    return other if value is None else float(value)


def command_now(now: MinerNow, facts: MinerFacts | None, memory: MinerMemory, top_w: float) -> Command:
    """What a miner does, or will do once what is on its way has arrived.

    The firmware's answer counts, except while a write is pending or where it does not tell: then what was sent last
    stands, and not what was decided and never sent. A miner of which nothing is known is taken to run at its highest
    preset.
    """
    told, target = _told(now, facts, top_w), memory.target
    if target is not None and told is not None and told.same(target):
        return target
    stands = target if memory.sent else memory.before
    if stands is not None and (now.pending or told is None or told.same(stands)):
        return stands
    return told if told is not None else Command(True, "", 1.0, top_w)


def _told(now: MinerNow, facts: MinerFacts | None, top_w: float) -> Command | None:
    if now.reading is None or now.configuration is None or now.reading.state.started is None:
        return None
    name = now.configuration.preset or ""
    presets = () if facts is None else facts.presets
    full_w = next((preset.power_w for preset in presets if preset.name == name), now.reading.power_w or top_w)
    throttle = 1.0 if now.reading.throttle is None else now.reading.throttle
    run = not halted_now(now)
    return Command(run, name, throttle, full_w * throttle if run else 0.0)


def may_draw_w(now: MinerNow, facts: MinerFacts | None, current: Command, top_w: float) -> float:
    """The most that a miner may come to draw without a further write, W.

    Its switcher may take it up to its top preset, a write that is on its way may not have arrived, and who stopped it
    may start it.
    """
    told = _told(now, facts, top_w)
    if told is not None and not told.run and now.halted_by is None:
        tuned = {preset.name: preset.power_w for preset in (() if facts is None else facts.presets)}
        return max(current.power_w, tuned.get(told.preset, top_w))
    most_w = current.power_w if told is None or not now.pending else max(current.power_w, told.power_w)
    configuration = now.configuration
    if configuration is None or not configuration.switcher.enabled or not current.run:
        return most_w
    tuned_w = {preset.name: preset.power_w for preset in (() if facts is None else facts.presets) if preset.tuned}
    top = configuration.switcher.top_preset
    reach_w = tuned_w.get(top, top_w) if top else max(tuned_w.values(), default=top_w)
    return max(most_w, reach_w)


def sight(
    fleet: MinerFleet,
    memory: Mapping[str, MinerMemory],
    now: Mapping[str, MinerNow],
    odd: Bools,
    silent: Bools,
    draws_w: Floats,
    now_s: float,
    neighbour_hold_s: float,
    site_w: float,
    temp_intake_c: float,
) -> Sight:
    """Lay out what is known of all miners, for the guard.

    Args:
        fleet: the miners.
        memory: of each, after :func:`remember`.
        now: last answers of each.
        odd, silent: from :func:`remember`, (N,).
        draws_w: from :func:`may_draw_w`, (N,).
        now_s: present time, s since 1970 UTC.
        neighbour_hold_s: for how long a lost miner keeps its group from rising, s.
        site_w, temp_intake_c: of the site.
    """
    records = [memory[member.address] for member in fleet.members]
    answers = [now.get(member.address, MinerNow()) for member in fleet.members]
    lost_s = np.array([max(now_s - record.known_s, 0.0) for record in records])
    seen = np.array([record.seen for record in records])
    unreachable = ~seen | (lost_s >= UNREACHABLE_S)
    age_s = np.where(unreachable, NO_ANSWER_AGE_S, lost_s)
    freshly = (unreachable | (age_s > AGE_MAX_S)) & (lost_s <= neighbour_hold_s)
    groups_lost = np.bincount(fleet.group_of, weights=freshly)
    manual = [a.configuration is not None and a.configuration.preset is None for a in answers]
    states = [None if a.reading is None else a.reading.state for a in answers]
    others = [
        state is not None and state.started is False and a.halted_by is None
        for state, a in zip(states, answers, strict=True)
    ]
    return Sight(
        telemetry=Telemetry(
            hashrate_ths=np.array([record.hashrate_ths for record in records]),
            power_w=np.array([record.power_w for record in records]),
            temp_chip_c=np.where(silent, np.nan, np.array([record.temp_chip_c for record in records])),
            temp_board_c=np.where(silent, np.nan, np.array([record.temp_board_c for record in records])),
            fan_duty=np.array([record.fan_duty for record in records]),
            hashing=np.array([record.hashing for record in records]),
            age_s=age_s,
            power_site_w=np.float64(site_w),
            temp_intake_c=np.float64(temp_intake_c),
        ),
        holds={
            Why.COOLING: np.array([record.cooling for record in records]),
            Why.WRITE_PENDING: np.array([a.pending for a in answers]),
            Why.MANUAL_MODE: np.array(manual, bool),
            Why.BY_HAND: np.array([a.by_hand for a in answers]),
            Why.STOPPED_BY_SOMEBODY: np.array(others, bool),
            Why.TUNING: np.array([state is State.AUTO_TUNING for state in states]),
            Why.FAILURE: np.array([state in (State.FAILURE, State.UNKNOWN) for state in states]),
            Why.NO_PRESETS: ~fleet.usable,
            Why.CONTRADICTORY: odd,
            Why.UNREACHABLE: unreachable,
        },
        neighbour_unknown=groups_lost[fleet.group_of] - freshly > 0.0,
        may_draw_w=draws_w,
    )


def cohort_telemetry(seen: Sight, memory: list[MinerMemory], fleet: MinerFleet) -> tuple[Telemetry, Floats]:
    """Readings of cohorts, as the twin's representative miner would give them, and the weights of miners, (M, N).

    Means of what answers for power, hashrate, fans and the hashing share, the hottest for temperatures. A miner that
    has told nothing for ``FAULT_AGE_S`` is left out while others of its cohort answer; a silent sensor shows its last
    good value. The age is the median, so a cohort is faulty when most of it is.
    """
    cohorts = np.arange(len(fleet.cohorts.models))[:, None]
    told = seen.telemetry
    ever = np.array([record.seen for record in memory])
    member = (fleet.cohort_of == cohorts).astype(np.float64)
    heard = member * (ever & (told.age_s <= FAULT_AGE_S))
    heard = np.where(heard.sum(axis=1, keepdims=True) > 0.0, heard, member)
    weights = heard / np.maximum(heard.sum(axis=1, keepdims=True), 1.0)
    idle_c = float(told.temp_intake_c)
    chip_c = np.array([_or_nan(record.temp_chip_c, idle_c + CHIP_OFFSET_K) for record in memory])
    board_c = np.array([_or_nan(record.temp_board_c, idle_c) for record in memory])
    telemetry = Telemetry(
        hashrate_ths=weights @ told.hashrate_ths,
        power_w=weights @ told.power_w,
        temp_chip_c=np.max(np.where(heard > 0.0, chip_c, -np.inf), axis=1),
        temp_board_c=np.max(np.where(heard > 0.0, board_c, -np.inf), axis=1),
        fan_duty=weights @ told.fan_duty,
        hashing=weights @ told.hashing,
        age_s=np.array([np.median(told.age_s[row > 0.0]) if row.any() else NO_ANSWER_AGE_S for row in member]),
        power_site_w=told.power_site_w,
        temp_intake_c=told.temp_intake_c,
    )
    return telemetry, weights


def _or_nan(value: float, other: float) -> float:
    return other if math.isnan(value) else value
