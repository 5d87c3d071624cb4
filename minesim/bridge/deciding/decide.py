"""The decider: from telemetry and feeds to a bounded command for each miner, with the reasons.

Every ``step_s``, aligned to UTC, the policy decides on the same observation as in the twin. In every pass between, the
guard looks at the standing commands again, so that heat, silence and the cap are acted on within a poll; nothing rises
then but what was granted at the decision and waits for its turn.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np

from minesim.arrays import NUMPY
from minesim.bridge.clock import CLOCK_JUMP_S
from minesim.bridge.deciding import guard
from minesim.bridge.deciding.guard import Bounded, Sight, SitePower, Why
from minesim.bridge.deciding.memory import LONG_AGO_S, Command, Memory, MeterMemory, MinerMemory
from minesim.bridge.deciding.readings import (
    MinerNow,
    SiteNow,
    cohort_telemetry,
    command_now,
    may_draw_w,
    remember,
    sight,
)
from minesim.bridge.deciding.split import bound_by_arm, choose
from minesim.bridge.feeds import ROW_S, FeedBook
from minesim.bridge.miners.fleet import Bools, Floats, Member, MinerFacts, MinerFleet, miner_fleet
from minesim.bridge.miners.miner import Write
from minesim.bridge.writing.owned import is_halt
from minesim.bridge.writing.plan import Desired
from minesim.control import observe
from minesim.control.actuate import command_power_w
from minesim.control.envelope import ControlHistory, Limits, limits
from minesim.control.fleet import CohortSpec
from minesim.control.meter import MeterState
from minesim.control.policy import Policy
from minesim.economics import reserve
from minesim.errors import ActionError, MinesimError, ParamsError, explain
from minesim.physics.firmware import FirmwareCommand
from minesim.units import SECONDS_PER_HOUR

HOT_MEMORY_S: Final = 3600.0
"""A miner that got too hot stays below the preset that it then ran for this long, lest it swing (assumed)."""
LATE_S: Final = 120.0
"""A write that goes out later than this after it was decided counts from when it went out (assumed)."""
GAP_S: Final = 3600.0
"""After a longer pause the meter starts anew in the running interval: what was drawn meanwhile is not known."""


@dataclass(frozen=True)
class Settings:
    """How the decider works; numbers are assumed where no source is given.

    Attributes:
        limits: of the envelope; ``bridge`` on hardware.
        cap_w: highest power of the site, W.
        meter_tolerance: relative error of the site's meter (1 %: a class 1 meter).
        overhead_w: what the site draws beside its miners, W; used where no meter sees it.
        step_s: time between decisions, s, as in training; divides 900.
        fallback_after_s: how long decisions may be impossible before the fallback, s.
        fallback_level: share of rated power that nothing exceeds then; the lowest preset where that is higher.
        neighbour_hold_s: for how long a lost miner keeps its group from rising, s. It stays counted at its highest
            preset for as long as it is lost.
        clock_jump_s: the wall clock may leave the steady one by this, s; more is a jump.
        clock_hold_s: no decision for this long after a jump, s.
        month_peak_kw: highest demand interval of the running month before the bridge's first start, kW.
    """

    limits: Limits = field(default_factory=lambda: limits("bridge"))
    cap_w: float = math.inf
    meter_tolerance: float = 0.01
    overhead_w: float = 0.0
    step_s: float = 300.0
    fallback_after_s: float = 900.0
    fallback_level: float = 0.0
    neighbour_hold_s: float = 1800.0
    clock_jump_s: float = CLOCK_JUMP_S
    clock_hold_s: float = 300.0
    month_peak_kw: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 < self.step_s <= ROW_S or ROW_S % self.step_s:
            raise ParamsError(explain(f"step_s is {self.step_s} s", allowed=f"a whole part of {ROW_S} s"))


@dataclass(frozen=True)
class MinerDecision:
    """Why one miner does what it does.

    Attributes:
        address: of the miner.
        before: what it did.
        asked: what the policy asked of it.
        bounded: what came out of the guard; rises are spread over the minutes of the step.
        why: worst reason for the difference.
        candidate: whether the candidate decided on it, in a rollout.
    """

    address: str
    before: Command
    asked: Command
    bounded: Command
    why: Why
    candidate: bool = False


@dataclass(frozen=True)
class Decision:
    """A record of one decision, to explain it and to judge it later.

    Attributes:
        at_s: when, s since 1970 UTC.
        observation: physical values by channel name; one number, or one a cohort.
        action: of the cohorts, in [-1, 1].
        reserve_share: share of the load that the policy would offer as reserve, None without that product.
        miners: one a miner.
        expected_power_w: of the site under the bounded commands, W.
        expected_hashrate_ths: of all miners, TH/s.
        expected_profit_usd_per_h: their net revenue less energy at the present price, USD/h, without demand charges.
        candidate_action: of the candidate, None where no miner runs it.
    """

    at_s: float
    observation: dict[str, float | list[float]]
    action: list[float]
    reserve_share: float | None
    miners: tuple[MinerDecision, ...]
    expected_power_w: float
    expected_hashrate_ths: float
    expected_profit_usd_per_h: float
    candidate_action: list[float] | None = None


@dataclass(frozen=True)
class Pass:
    """What a pass comes to.

    Attributes:
        desired: what each miner is to do now, by address.
        changed: miners whose command differs from what they do.
        why: worst reason of each miner.
        trouble: why no decision was possible, in sentences; empty if all is well.
        fallback: whether the fallback is in force.
        decision: the record, None between decisions.
        power_w: power of the site that the meter or the miners report, W.
        counted_w: power that is counted against the cap, W.
        candidate_error: why the candidate failed in this pass, so that the incumbent decided for all; else ``""``.
    """

    desired: dict[str, Desired]
    changed: frozenset[str]
    why: dict[str, Why]
    trouble: tuple[str, ...]
    fallback: bool
    decision: Decision | None
    power_w: float
    counted_w: float
    candidate_error: str = ""


class Decider:
    """Decides for a site.

    Args:
        members: the miners.
        cohorts: the cohorts that the policy knows.
        policy: see :class:`minesim.control.policy.Policy`.
        book: the feeds' series.
        settings: how it works.
        memory: of an earlier run.
        candidate: a second policy for the miners that :meth:`step` is told; see :mod:`minesim.bridge.rollouts.rollout`.
    """

    def __init__(
        self,
        members: Sequence[Member],
        cohorts: Sequence[CohortSpec],
        policy: Policy,
        book: FeedBook,
        settings: Settings | None = None,
        memory: Memory | None = None,
        *,
        candidate: Policy | None = None,
    ) -> None:
        self.members = tuple(members)
        self.cohorts = tuple(cohorts)
        self.policy = policy
        self.candidate = candidate
        self.book = book
        self.settings = Settings() if settings is None else settings
        self.memory = Memory() if memory is None else memory
        self._facts: dict[str, MinerFacts] = {}
        self._fleet: MinerFleet | None = None
        self._monotonic_s: float | None = None
        self.schema = observe.schema(len(self.cohorts))

    # ------------------------------------------------------------------ the fleet

    def learn(self, facts: Mapping[str, MinerFacts]) -> None:
        """Take in what miners told about themselves, by address; at the start, and whenever it changes."""
        self._facts.update(facts)
        self._fleet = None

    @property
    def fleet(self) -> MinerFleet:
        """The fleet as its miners told it."""
        if self._fleet is None:
            ceilings = {}
            for member in self.members:
                record, facts = self.memory.miners.get(member.address), self._facts.get(member.address)
                ceiling = _ceiling(record, facts)
                if record is not None and ceiling != record.ceiling:
                    self.memory.miners[member.address] = replace(record, ceiling=ceiling)
                if ceiling:
                    ceilings[member.address] = ceiling
            self._fleet = miner_fleet(self.members, self.cohorts, self._facts, ceilings)
        return self._fleet

    # ------------------------------------------------------------------ memory

    def to_json(self) -> dict[str, Any]:
        """Everything that a restart needs, as JSON values."""
        return {"decider": self.memory.to_json(), "feeds": self.book.to_json()}

    def recall(self, document: Mapping[str, Any]) -> None:
        """Go on where an earlier run stopped.

        Raises:
            DataFileError: not what :meth:`to_json` gives.
        """
        self.memory = Memory.from_json(document.get("decider", {}))
        self.book.recall(document.get("feeds", {}))
        self._fleet = None

    def release(self, addresses: Iterable[str]) -> None:
        """Take the switchers' present top presets for the operator's wish, after a person has released these miners."""
        for address in addresses:
            facts = self._facts.get(address)
            if facts is not None and address in self.memory.miners:
                ceiling = facts.configuration.switcher.top_preset
                self.memory.miners[address] = replace(self.memory.miners[address], ceiling=ceiling)
        self._fleet = None

    def note_sent(self, addresses: Iterable[str], halted: Collection[str] = frozenset()) -> None:
        """Remember that a write for the standing command of these miners went out.

        Only this counts as an own write: in shadow mode, where nothing is sent, dwell times and stop budgets rest. A
        later write for the same command changes only when its rise was, since a move of two writes rises with the last,
        and the budget of stops: a miner that came back by itself was stopped once more.

        Args:
            addresses: of miners that were written to.
            halted: those of them that may have been stopped or paused by it.
        """
        for address in addresses:
            record = self.memory.miners[address]
            if record.target is None:
                continue
            if record.sent:
                self._redate_rise(address)
                if address in halted:
                    record = self.memory.miners[address]
                    self.memory.miners[address] = replace(record, stops_today=record.stops_today + 1.0)
                continue
            index = self.fleet.index_of[address]
            change_w, least_w = record.change_w, float(self.fleet.curves.terms.rise_min_w[index])
            rose, stopped = change_w > least_w, record.stops or address in halted
            sent_s, at_s = self._sent(record)
            self.memory.miners[address] = replace(
                record,
                sent=True,
                touched=True,
                wrote_s=at_s if abs(change_w) > least_w else record.wrote_s,
                raised_s=at_s if rose else record.raised_s,
                stops_today=record.stops_today + stopped,
            )
            if rose:
                self.memory.rises.append((sent_s, change_w, address))

    def _sent(self, record: MinerMemory) -> tuple[float, float]:
        """When the last pass was, and since when a write in it counts: its decision, unless that was long before."""
        sent_s = record.asked_s if self.memory.passed_s is None else self.memory.passed_s
        return sent_s, record.asked_s if sent_s - record.asked_s <= LATE_S else sent_s

    def _redate_rise(self, address: str) -> None:
        """Take the rise of a standing command for one of the last pass."""
        record = self.memory.miners[address]
        if record.change_w > float(self.fleet.curves.terms.rise_min_w[self.fleet.index_of[address]]):
            sent_s, at_s = self._sent(record)
            others = [rise for rise in self.memory.rises if rise[2] != address or rise[0] < record.asked_s]
            self.memory.rises = [*others, (sent_s, record.change_w, address)]
            self.memory.miners[address] = replace(record, raised_s=at_s)

    def note_unremembered(
        self, writes: Iterable[tuple[str, float, Write]], first_tops: Mapping[str, str | None]
    ) -> None:
        """Take in writes that an earlier process sent and was ended before it could remember them.

        How much they added is not known: each counts as a rise, unless it is a halt, and the site waits for as long as
        if its whole ramp had been used.

        Args:
            writes: address, when (s since 1970 UTC) and what.
            first_tops: the switchers' top presets before the bridge's first write, by address.
        """
        whole_w = self.settings.limits.ramp_up_per_5min * self.fleet.curves.power_rated_site_w
        for address, at_s, write in writes:
            record = self.memory.miners.get(address)
            if record is None or not record.touched:
                day = self.book.calendar(at_s)["local_day"]
                record = replace(record or MinerMemory(known_s=at_s, local_day=day), ceiling=first_tops.get(address))
            halt = is_halt(write)
            self.memory.miners[address] = replace(
                record,
                touched=True,
                wrote_s=at_s,
                raised_s=record.raised_s if halt else at_s,
                stops_today=record.stops_today + halt,
            )
            if not halt and math.isfinite(whole_w):
                self.memory.rises.append((at_s, whole_w, address))
        self._fleet = None

    # ------------------------------------------------------------------ passes

    def due(self, now_s: float) -> bool:
        """Whether the next pass is a decision."""
        return math.floor(now_s / self.settings.step_s) > self.memory.slot

    def step(
        self,
        now_s: float,
        monotonic_s: float,
        now: Mapping[str, MinerNow],
        site: SiteNow,
        candidates: Collection[str] = frozenset(),
    ) -> Pass:
        """Make a pass: a decision where one is due and possible, else the guard alone.

        Args:
            now_s, monotonic_s: wall and steady clock, s.
            now: last answers of the miners, by address; one that never answered may be left out.
            site: last readings of the site's instruments.
            candidates: miners that run the candidate.
        """
        clock = self._clock(now_s, monotonic_s)
        calendar = self.book.calendar(now_s)
        lost = self.book.lost(now_s)
        amb_c = self.book.value("temp_amb_c", now_s)
        intake_c = site.temp_intake_c if site.temp_intake_c is not None else (0.0 if math.isnan(amb_c) else amb_c)
        self._take_facts(now)
        odd, silent = self._take_readings(now, now_s, intake_c, calendar["local_day"])
        fleet, memory = self.fleet, self.memory
        answers = [now.get(member.address, MinerNow()) for member in self.members]
        current = self._powered(
            [
                command_now(answer, self._facts.get(member.address), memory.miners[member.address], float(top_w))
                for member, answer, top_w in zip(self.members, answers, fleet.top_w, strict=True)
            ]
        )
        draws_w = np.array(
            [
                may_draw_w(answer, self._facts.get(member.address), command, float(top_w))
                for member, answer, command, top_w in zip(self.members, answers, current, fleet.top_w, strict=True)
            ]
        )
        measured_w = site.fresh_power_w(now_s)
        estimated_w = sum(memory.miners[member.address].power_w for member in self.members)
        site_w = estimated_w + self.settings.overhead_w if measured_w is None else measured_w
        self._book_energy(site_w, now_s)
        seen = sight(
            fleet, memory.miners, now, odd, silent, draws_w, now_s, self.settings.neighbour_hold_s, site_w, intake_c
        )
        history = self._history(current, now_s, calendar["local_day"])
        power = SitePower(self.settings.cap_w, measured_w, self.settings.meter_tolerance, self.settings.overhead_w)

        decided: _Decided | None = None
        is_due = self.due(now_s)
        troubles = [f"Nothing usable is known of {name}." for name in lost] + ([clock] if clock else [])
        if is_due:
            if not troubles:
                decided = self._decide(now_s, seen, history, power, candidates)
            memory.slot = math.floor(now_s / self.settings.step_s)
        if memory.policy_error:
            troubles.append(memory.policy_error)
        fallback = self._in_fallback(bool(troubles), now_s)
        if decided is None:
            asked = self._standing(current, hold=bool(troubles), fallback=fallback, fleet=fleet)
            standing = replace(
                self.settings.limits,
                ramp_up_per_min=math.inf,
                ramp_up_per_5min=math.inf,
                dwell_up_s=0.0,
                stops_per_day=math.inf,
            )
            bounded = guard.bound(asked, seen, history, standing, fleet, power, self.settings.step_s)
            bounded = self._told(bounded, bool(troubles), fallback, history)
        else:
            asked, bounded = decided.asked, decided.bounded
        result = self._settle(current, asked, bounded, history, now_s, decided is not None)
        if is_due:
            self._renew_stops(calendar["local_day"])
        memory.passed_s = now_s
        return Pass(
            desired=result.desired,
            changed=result.changed,
            why={m.address: Why(int(w)) for m, w in zip(self.members, bounded.why, strict=True)},
            trouble=tuple(troubles),
            fallback=fallback,
            decision=None if decided is None else self._record(decided, current, now_s),
            power_w=site_w,
            counted_w=float(bounded.counted_w.sum()),
            candidate_error="" if decided is None else decided.candidate_error,
        )

    # ------------------------------------------------------------------ taking in

    def _clock(self, now_s: float, monotonic_s: float) -> str:
        """Watch the wall clock; a sentence while it is not to be trusted."""
        memory, settings = self.memory, self.settings
        jump_s = 0.0
        if memory.passed_s is not None:
            if self._monotonic_s is not None:
                jump_s = (now_s - memory.passed_s) - (monotonic_s - self._monotonic_s)
            elif now_s < memory.passed_s:
                jump_s = now_s - memory.passed_s
        self._monotonic_s = monotonic_s
        if abs(jump_s) > settings.clock_jump_s:
            memory.shift(jump_s)
            memory.clock_held_until_s = now_s + settings.clock_hold_s
            memory.slot = min(memory.slot, math.floor(now_s / settings.step_s))
        left_s = memory.clock_held_until_s - now_s
        return f"The clock jumped; no decision for another {left_s:.0f} s." if left_s > 0.0 else ""

    def _take_facts(self, now: Mapping[str, MinerNow]) -> None:
        """Notice a switcher or supply that was configured anew."""
        for address, answer in now.items():
            facts = self._facts.get(address)
            if facts is None or answer.configuration is None or answer.configuration is facts.configuration:
                continue
            told, had = answer.configuration, facts.configuration
            self._facts[address] = replace(facts, configuration=told)
            if told.switcher != had.switcher:
                self._fleet = None

    def _take_readings(
        self, now: Mapping[str, MinerNow], now_s: float, idle_c: float, local_day: float
    ) -> tuple[Bools, Bools]:
        odd, silent = np.zeros(len(self.members), bool), np.zeros(len(self.members), bool)
        miners = self.memory.miners
        for index, member in enumerate(self.members):
            record = miners.get(member.address)
            if record is None:
                ceiling = _ceiling(None, self._facts.get(member.address))
                record = MinerMemory(known_s=now_s, ceiling=ceiling, local_day=local_day)
            record, odd[index], silent[index] = remember(record, now.get(member.address, MinerNow()), now_s, idle_c)
            # One that was paused, or refused its stop, and got cool while it hashed needs no standing.
            standing_k = 0.0 if record.hashing else guard.COOL_K
            if record.cooling and record.temp_chip_c <= self.settings.limits.temp_chip_soft_c - standing_k:
                record = replace(record, cooling=False)
            miners[member.address] = record
        return odd, silent

    def _renew_stops(self, local_day: float) -> None:
        """Begin a new day's budget of stops, as the twin does: after the first control step of the day was decided."""
        for address, record in self.memory.miners.items():
            if record.local_day != local_day:
                self.memory.miners[address] = replace(record, local_day=local_day, stops_today=0.0)

    def _book_energy(self, site_w: float, now_s: float) -> None:
        """Book the site's power since the pass before into the demand intervals that it lies in."""
        memory, month = self.memory, self.book.calendar(now_s)["billing_month"]
        if memory.meter is None:
            memory.meter = MeterMemory(0.0, self.settings.month_peak_kw, month, now_s)
            return
        meter, opened_s = memory.meter, math.floor(now_s / ROW_S) * float(ROW_S)
        if now_s - meter.until_s > GAP_S:
            meter = replace(meter, interval_kwh=0.0, until_s=opened_s)
        while meter.until_s < now_s:
            start_s = math.floor(meter.until_s / ROW_S) * float(ROW_S)
            end_s = min(start_s + ROW_S, now_s)
            kwh = site_w * 1e-3 * (end_s - meter.until_s) / SECONDS_PER_HOUR
            kwh += 0.0 if meter.until_s == start_s else meter.interval_kwh
            month = self.book.calendar(start_s)["billing_month"]
            peak_kw = meter.month_peak_kw if month == meter.billing_month else 0.0
            if end_s == start_s + ROW_S:
                peak_kw = max(peak_kw, kwh * SECONDS_PER_HOUR / ROW_S)
            meter = MeterMemory(kwh, peak_kw, month, end_s)
        memory.meter = meter

    def _in_fallback(self, troubled: bool, now_s: float) -> bool:
        memory = self.memory
        if not troubled:
            memory.trouble_since_s = None
            return False
        if memory.trouble_since_s is None:
            memory.trouble_since_s = now_s
        return now_s - memory.trouble_since_s >= self.settings.fallback_after_s

    # ------------------------------------------------------------------ deciding

    def _history(self, current: Sequence[Command], now_s: float, local_day: float) -> ControlHistory:
        """The bridge's own writes, and what each miner does now, as the envelope takes them, (N,)."""
        records = [self.memory.miners[member.address] for member in self.members]
        self.memory.rises = [rise for rise in self.memory.rises if now_s - guard.RAMP_WINDOW_S < rise[0] <= now_s]
        return ControlHistory(
            command=self._indexed(current),
            command_w=np.array([command.power_w for command in current]),
            since_up_s=_since_s([record.raised_s for record in records], now_s),
            since_write_s=_since_s([record.wrote_s for record in records], now_s),
            stops_today=np.array([record.stops_today for record in records]),
            up_window_w=np.array([self._window_w({member.address for member in self.members}, now_s)]),
            local_day=np.float64(local_day),
        )

    def _window_w(self, addresses: Collection[str], now_s: float) -> float:
        """What miners rose by in the earlier control steps of five minutes, W."""
        since_s = now_s - guard.RAMP_WINDOW_S + self.settings.step_s
        return sum(rise_w for at_s, rise_w, name in self.memory.rises if at_s > since_s and name in addresses)

    def _powered(self, commands: Sequence[Command]) -> list[Command]:
        """Commands with the power that their presets and throttles mean by the fleet's curves, where they are there."""
        power_w = command_power_w(self._indexed(commands), self.fleet.curves, xp=NUMPY)
        names = self.fleet.preset_names
        return [
            replace(command, power_w=float(power_w[i])) if command.preset in names[i] else command
            for i, command in enumerate(commands)
        ]

    def _indexed(self, commands: Sequence[Command]) -> FirmwareCommand:
        entries = [self.fleet.preset_index(i, c.preset, c.power_w) for i, c in enumerate(commands)]
        return FirmwareCommand(
            run=np.array([float(command.run) for command in commands]),
            preset=np.array(entries, np.float64),
            throttle=np.array([command.throttle for command in commands]),
        )

    def observation(self, now_s: float, seen: Sight, history: ControlHistory, among: Bools | None = None) -> np.ndarray:
        """The observation of a decision at this time, (n,) float32, in the order of ``schema``.

        Args:
            now_s: s since 1970 UTC.
            seen, history: of all miners.
            among: miners that the policy commands, (N,), None for all: its cohorts show only these. One that has no
                miner among them shows all of its own.
        """
        fleet, meter = self.fleet, self.memory.meter
        if meter is None:
            raise ParamsError(explain("the meter has not been read", fix="Make a pass first."))
        records = [self.memory.miners[member.address] for member in self.members]
        telemetry, weights = cohort_telemetry(seen, records, fleet if among is None else _only(fleet, among))
        offered_mw = self.book.value("reserve_offered_mw", now_s)
        standing = reserve.initial_state(np.float64(float(telemetry.power_site_w) * 1e-6), xp=NUMPY)
        elapsed_s = now_s - math.floor(now_s / ROW_S) * ROW_S
        # What is due is what a policy trained in the twin sees; a pass may come some seconds late.
        elapsed_s = math.floor(elapsed_s / self.settings.step_s) * self.settings.step_s
        return np.asarray(
            observe.observe(
                telemetry,
                replace(
                    history,
                    command_w=weights @ history.command_w,
                    stops_today=weights @ history.stops_today,
                    since_write_s=np.min(np.where(weights > 0.0, history.since_write_s, np.inf), axis=1),
                ),
                MeterState(
                    interval_kwh=np.float64(meter.interval_kwh),
                    month_peak_kw=np.float64(meter.month_peak_kw),
                    billing_month=np.float64(meter.billing_month),
                    reserve=replace(standing, offered_mw=np.float64(offered_mw)),
                ),
                self.book.market(now_s),
                observe.interval_kw_per_kwh(np.float64(elapsed_s), xp=NUMPY),
                observe.encoding(fleet.cohorts),
                xp=NUMPY,
            )
        )

    def _decide(
        self, now_s: float, seen: Sight, history: ControlHistory, power: SitePower, candidates: Collection[str]
    ) -> _Decided | None:
        """Ask the policy, and the candidate for its miners; None, and the reason in memory, if the policy fails.

        A candidate that fails is left out: the policy decides for its miners too.
        """
        mine = np.array([self.candidate is not None and m.address in candidates for m in self.members], bool)
        mixed = bool(mine.any() and not mine.all())
        observation = self.observation(now_s, seen, history, ~mine if mixed else None)
        action, self.memory.policy_error = self._acted(self.policy, observation)
        if action is None:
            return None
        fleet, cohorts, limits_now = self.fleet, len(self.cohorts), self.settings.limits
        asked, _ = guard.ask(action[:cohorts], history.command, fleet)
        other, error = None, ""
        if self.candidate is not None and mine.any():
            theirs = self.observation(now_s, seen, history, mine if mixed else None)
            other, error = self._acted(self.candidate, theirs)
        if other is not None:
            wanted, _ = guard.ask(other[:cohorts], history.command, fleet)
            asked = choose(mine, wanted, asked)
        cool, shy = self._cool_enough(asked, now_s)
        if other is not None and mixed:
            ours = {member.address for member, its in zip(self.members, mine, strict=True) if its}
            others = {member.address for member in self.members} - ours
            windows_w = self._window_w(ours, now_s), self._window_w(others, now_s)
            bounded = bound_by_arm(cool, seen, history, limits_now, fleet, power, self.settings.step_s, mine, windows_w)
        else:
            bounded = guard.bound(cool, seen, history, limits_now, fleet, power, self.settings.step_s)
        bounded = replace(bounded, why=np.where(shy, np.maximum(bounded.why, int(Why.HOT_BEFORE)), bounded.why))
        if other is None:
            return _Decided(observation, action, asked, bounded, candidate_error=error)
        return _Decided(observation, action, asked, bounded, other, mine)

    def _cool_enough(self, asked: FirmwareCommand, now_s: float) -> tuple[FirmwareCommand, Bools]:
        """A request without presets at which a miner got too hot a short while ago, and whom that takes down, (N,)."""
        highest = self._highest_cool(now_s)
        lower = asked.preset > highest
        cool = FirmwareCommand(
            run=asked.run,
            preset=np.where(lower, highest, asked.preset),
            throttle=np.where(lower, 1.0, asked.throttle),
        )
        return cool, np.asarray(lower & (asked.run > 0.0))

    def _highest_cool(self, now_s: float) -> Floats:
        """Highest preset of each miner below the one at which it got too hot lately, (N,)."""
        records = [self.memory.miners[member.address] for member in self.members]
        hot_w = np.array([r.hot_preset_w if now_s - r.hot_s < HOT_MEMORY_S else math.inf for r in records])
        curves = self.fleet.curves
        below = (curves.preset_power_w < hot_w[:, None] - 1e-6).sum(axis=1) - 1.0
        return np.asarray(np.clip(below, 0.0, curves.preset_last))

    def _acted(self, policy: Policy, observation: np.ndarray) -> tuple[Floats | None, str]:
        """The action of a policy, or None and why it failed."""
        try:
            return self._checked(policy.act(observation[None])), ""
        except (MinesimError, ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
            return None, f"Policy {policy.name!r} failed: {error}"

    def _checked(self, action: Any) -> Floats:
        values = np.asarray(action, np.float64).reshape(-1)
        cohorts = len(self.cohorts)
        wanted = cohorts + (self.book.tariff.reserve is not None)
        if len(values) not in (cohorts, wanted) or not np.isfinite(values).all():
            raise ActionError(
                explain(
                    f"the action has {len(values)} numbers, {int((~np.isfinite(values)).sum())} of them not finite",
                    allowed=f"{wanted} finite numbers",
                )
            )
        return np.clip(values, -1.0, 1.0)

    def _standing(
        self, current: Sequence[Command], *, hold: bool, fallback: bool, fleet: MinerFleet
    ) -> FirmwareCommand:
        """What is asked in a pass without a decision: the standing commands, or less."""
        asked: list[Command] = []
        for member, command in zip(self.members, current, strict=True):
            record = self.memory.miners[member.address]
            target = command if record.target is None else record.target
            if hold and target.power_w > command.power_w:
                target = command
            asked.append(target)
        request = self._indexed(asked)
        if not fallback:
            return request
        curves, entries = fleet.curves, np.arange(fleet.curves.preset_power_w.shape[1])
        allowed_w = np.maximum(self.settings.fallback_level * curves.power_rated_w, curves.preset_power_w[:, 0])
        fits = (curves.preset_power_w <= allowed_w[:, None]) & (entries <= curves.preset_last[:, None])
        lowest = FirmwareCommand(request.run, fits.sum(axis=1) - 1.0, np.ones(fleet.size))
        is_lower = command_power_w(lowest, curves, xp=NUMPY) < [command.power_w for command in asked]
        return FirmwareCommand(
            run=request.run,
            preset=np.where(is_lower, lowest.preset, request.preset),
            throttle=np.where(is_lower, lowest.throttle, request.throttle),
        )

    def _told(self, bounded: Bounded, troubled: bool, fallback: bool, history: ControlHistory) -> Bounded:
        if not troubled:
            return bounded
        why = np.maximum(bounded.why, int(Why.HOLD))
        if fallback:
            why = np.where(bounded.command_w < history.command_w, np.maximum(why, int(Why.FALLBACK)), why)
        return replace(bounded, why=why)

    def _settle(
        self,
        current: Sequence[Command],
        asked: FirmwareCommand,
        bounded: Bounded,
        history: ControlHistory,
        now_s: float,
        decided: bool,
    ) -> _Settled:
        """Make the bounded commands the standing ones, and tell what each miner is to do now."""
        fleet = self.fleet
        desired: dict[str, Desired] = {}
        changed: set[str] = set()
        doing: list[Command] = []
        for i, (member, before) in enumerate(zip(self.members, current, strict=True)):
            record = self.memory.miners[member.address]
            moved, held = _moved(bounded.command, history.command, i), Why(int(bounded.why[i])) in HELD
            new = self._command(bounded.command, bounded.command_w, i)
            # A decision puts a miner on one of its own presets; the guard alone leaves it on what it runs.
            doing.append(before if held or not (moved or decided) else new)
            stands = record.target is not None and new.same(record.target)
            if decided or (not held and moved and not stands):
                self.memory.miners[member.address] = replace(
                    record,
                    target=doing[i],
                    before=before,
                    asked_s=now_s,
                    sent=False,
                    cooling=record.cooling or int(bounded.why[i]) == Why.HARD_TEMP,
                )
            if moved and before.run and int(bounded.why[i]) in (Why.SOFT_TEMP, Why.HARD_TEMP):
                ran_w = float(fleet.curves.preset_power_w[i, int(history.command.preset[i])])
                hot = replace(self.memory.miners[member.address], hot_s=now_s, hot_preset_w=ran_w)
                self.memory.miners[member.address] = hot
        rise_w = np.array([max(new.power_w - before.power_w, 0.0) for new, before in zip(doing, current, strict=True)])
        rise_w = np.where(rise_w > fleet.curves.terms.rise_min_w, rise_w, 0.0)
        risen = [(now_s - at_s, size_w) for at_s, size_w, _ in self.memory.rises]
        rated_w = fleet.curves.power_rated_site_w
        may_rise = guard.release(rise_w, history.since_up_s, risen, self.settings.limits, rated_w)
        for i, (member, before) in enumerate(zip(self.members, current, strict=True)):
            now = before if rise_w[i] > 0.0 and not may_rise[i] else doing[i]
            desired[member.address] = _desired(now, bool(fleet.throttles[i]))
            if not now.same(before):
                changed.add(member.address)
        return _Settled(desired, frozenset(changed))

    def _record(self, decided: _Decided, current: Sequence[Command], now_s: float) -> Decision:
        fleet, bounded = self.fleet, decided.bounded
        asked_w = command_power_w(decided.asked, fleet.curves, xp=NUMPY)
        command = bounded.command
        hashrate_ths = fleet.curves.at_preset(fleet.curves.preset_hashrate_ths, command.preset, xp=NUMPY)
        hashrate_ths = hashrate_ths * command.throttle * command.run
        read = self.schema.read
        revenue_usd = float(read(decided.observation, "hash_revenue_usd_per_ths_day")[0]) / 24.0
        power_w = float(bounded.command_w.sum()) + self.settings.overhead_w
        energy_usd = power_w * 1e-6 * float(read(decided.observation, "price_last_usd_per_mwh")[0])
        observation = {c.name: read(decided.observation, c.name).astype(float).tolist() for c in self.schema.channels}
        return Decision(
            at_s=now_s,
            observation={name: values[0] if len(values) == 1 else values for name, values in observation.items()},
            action=decided.action[: len(self.cohorts)].tolist(),
            reserve_share=None if len(decided.action) == len(self.cohorts) else 0.5 * (float(decided.action[-1]) + 1.0),
            miners=tuple(
                MinerDecision(
                    address=member.address,
                    before=current[i],
                    asked=self._command(decided.asked, asked_w, i),
                    bounded=self._command(command, bounded.command_w, i),
                    why=Why(int(bounded.why[i])),
                    candidate=decided.mine is not None and bool(decided.mine[i]),
                )
                for i, member in enumerate(self.members)
            ),
            expected_power_w=power_w,
            expected_hashrate_ths=float(hashrate_ths.sum()),
            expected_profit_usd_per_h=float(hashrate_ths @ fleet.curves.net_revenue_factor) * revenue_usd - energy_usd,
            candidate_action=None if decided.other is None else decided.other[: len(self.cohorts)].tolist(),
        )

    def _command(self, command: FirmwareCommand, power_w: Floats, miner: int) -> Command:
        return Command(
            run=bool(command.run[miner] > 0.5),
            preset=self.fleet.preset_names[miner][int(command.preset[miner])],
            throttle=float(command.throttle[miner]),
            power_w=float(power_w[miner]),
        )


HELD: Final = frozenset(
    {
        Why.COOLING,
        Why.WRITE_PENDING,
        Why.MANUAL_MODE,
        Why.BY_HAND,
        Why.STOPPED_BY_SOMEBODY,
        Why.TUNING,
        Why.NO_PRESETS,
        Why.FAILURE,
        Why.CONTRADICTORY,
        Why.STALE,
        Why.UNREACHABLE,
    }
)
"""Reasons under which a miner keeps doing what it does; a standing command waits until they are gone."""


@dataclass(frozen=True)
class _Decided:
    observation: np.ndarray
    action: Floats
    asked: FirmwareCommand
    bounded: Bounded
    other: Floats | None = None
    mine: Bools | None = None
    candidate_error: str = ""


@dataclass(frozen=True)
class _Settled:
    desired: dict[str, Desired]
    changed: frozenset[str]


def _only(fleet: MinerFleet, among: Bools) -> MinerFleet:
    """The fleet whose cohorts hold only some of their miners; a cohort without any of them stays whole."""
    has = np.bincount(fleet.cohort_of[among], minlength=len(fleet.cohorts.models)) > 0
    return replace(fleet, cohort_of=np.where(among | ~has[fleet.cohort_of], fleet.cohort_of, -1))


def _moved(new: FirmwareCommand, old: FirmwareCommand, miner: int) -> bool:
    """Whether one command of a miner differs from another."""
    return bool(
        new.run[miner] != old.run[miner]
        or new.preset[miner] != old.preset[miner]
        or new.throttle[miner] != old.throttle[miner]
    )


def _desired(command: Command, throttles: bool) -> Desired:
    if not command.run:
        return Desired(run=False)
    return Desired(run=True, preset=command.preset or None, throttle=command.throttle if throttles else None)


def _since_s(at_s: Sequence[float], now_s: float) -> Floats:
    """Time since moments, s; at most :data:`LONG_AGO_S`, and none for those of the future."""
    since: Floats = np.minimum(np.maximum(now_s - np.array(at_s), 0.0), LONG_AGO_S)
    return since


def _ceiling(record: MinerMemory | None, facts: MinerFacts | None) -> str | None:
    """The highest preset that the operator allows: the switcher's top preset before the bridge's first write."""
    before = None if record is None else record.ceiling
    written = record is not None and (record.touched or record.wrote_s > -math.inf)
    return before if facts is None or written else facts.configuration.switcher.top_preset
