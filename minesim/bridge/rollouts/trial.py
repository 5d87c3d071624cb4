"""A rollout inside the running bridge: who runs what now, what is booked each cycle, and each move of the rollout.

:class:`Trial` is a value holder around :mod:`.rollout`: it never writes anywhere. The loop asks it who
runs the candidate, tells it what happened, and journals the moves that come out **before** it takes them over.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from minesim.arrays import NUMPY
from minesim.bridge import documents
from minesim.bridge.rollouts.ledger import BOOKED_MIN, OpenPeriod, Work, book, close, open_period, spoil
from minesim.bridge.rollouts.rollout import Condition, Effect, Rollout, Status, begin, step, with_fleet, with_period
from minesim.bridge.rollouts.waves import HOLDBACK, Design, RolloutPlan
from minesim.bridge.telling.alerts import Alert, Severity
from minesim.bridge.telling.outcomes import Market
from minesim.bridge.telling.snapshot import PolicyView
from minesim.economics.finance import board_repair_usd, failed_restart_usd
from minesim.physics.wear import arrhenius_factor

DAY_S: Final = 86400.0
GAP_S: Final = 600.0
"""After a longer pause between two cycles nobody knows what happened meanwhile: the time is due, and not booked."""
GO_BACK: Final = "rollout back"
GO_ANEW: Final = "rollout anew"
"""What a person writes into the audit to turn a rollout back, or to start it anew."""

REPAIR_USD: Final = float(board_repair_usd("hard", 2))
FAILURES_PER_YEAR: Final = 0.05
STOP_USD: Final = 0.05
RESTART_FAILURE: Final = 2e-4
MARGIN_USD_PER_THS_DAY: Final = 0.035
AGEING_REF_C: Final = 65.0
AGEING_EV: Final = 0.7
"""Cost of running and of stopping a miner, as in the twin; a test compares them."""


@dataclass(frozen=True)
class TrialState:
    """What survives a restart; a plain value.

    Attributes:
        incumbent, candidate: name and version of the two policies.
        rollout: waves, phase, periods.
        day: the open period.
        number: which one it is: local day, or count of period lengths since 1970.
        booked_s: end of the last booked cycle, s since 1970 UTC.
        heard: number of the last audit entry of a person that was taken; clocks are set back, numbers are not.
        ran_candidate: in a switchback, whether the open period began with the candidate.
        hashing: miners that hashed in the last cycle, to see stops.
    """

    incumbent: str
    candidate: str
    rollout: Rollout
    day: OpenPeriod
    number: int
    booked_s: float
    heard: int
    ran_candidate: bool = False
    hashing: frozenset[str] = field(default_factory=frozenset)


@dataclass(frozen=True)
class Move:
    """Something that changed: for the audit, the messages, and people.

    Attributes:
        action: short name for the audit.
        text: what and why.
        severity: how soon a person has to know.
    """

    action: str
    text: str
    severity: Severity = Severity.INFO

    @property
    def alert(self) -> Alert:
        """As people are told."""
        return Alert("Rollout", self.severity, self.text)


@dataclass(frozen=True)
class Seen:
    """One miner in a cycle.

    Attributes:
        name, model: which.
        rated_w, rated_ths: of its model.
        power_w, hashrate_ths, temp_chip_c: as it tells; None while silent, or while a person or a fault rules it.
        hashing: whether it hashes.
        stands_as_told: whether it is to stand still.
    """

    name: str
    model: str
    rated_w: float
    rated_ths: float
    power_w: float | None = None
    hashrate_ths: float | None = None
    temp_chip_c: float | None = None
    hashing: bool = False
    stands_as_told: bool = False


class Trial:
    """A candidate beside the incumbent.

    Args:
        plan: how the rollout is done, if it begins here; one that goes on keeps its own.
        candidate: name, version and expiry of the candidate.
    """

    def __init__(self, plan: RolloutPlan, candidate: PolicyView) -> None:
        self.plan = plan
        self.candidate = candidate
        self._state: TrialState | None = None

    @property
    def state(self) -> TrialState:
        """The present state; only after :meth:`start`."""
        assert self._state is not None, "start it first"
        return self._state

    def take(self, state: TrialState) -> None:
        """Make a state that was journaled the present one."""
        self._state = state

    def to_json(self) -> object:
        """The state as JSON values."""
        return json.loads(documents.to_json(self.state))

    def start(
        self, kept: object, incumbent: str, models: Mapping[str, str], now_s: float, local_day: float, heard: int
    ) -> tuple[TrialState, list[Move]]:
        """Go on with a kept rollout of the same two policies, or begin one.

        Args:
            kept: what :meth:`to_json` gave, None for nothing.
            incumbent: name and version of the policy in force.
            models: miner -> model.
            now_s: s since 1970 UTC.
            local_day: number of the local day.
            heard: number of the newest audit entry; where a rollout begins, earlier words are not for it.

        Raises:
            DataFileError: what was kept is no rollout.
            ParamsError: too few miners for its design.
        """
        if kept is not None:
            state = read_state(kept, "journal")
            if (state.incumbent, state.candidate) == (incumbent, self._name):
                return self._with_fleet(state, models)
        return self._begun(incumbent, models, now_s, local_day, heard)

    def candidates(self, miners: Iterable[str], now_s: float) -> frozenset[str]:
        """Those of the miners that run the candidate now."""
        return frozenset(miner for miner in miners if self.state.rollout.runs_candidate(miner, now_s))

    def wave(self, miner: str) -> str:
        """A miner's place in words."""
        rollout = self.state.rollout
        if rollout.plan.design is Design.SWITCHBACK:
            return Design.SWITCHBACK.value
        wave = rollout.waves.get(miner, HOLDBACK)
        return wave if wave == HOLDBACK else _percent(rollout.plan.candidate_share(int(wave)))

    @property
    def summary(self) -> str:
        """The state in words."""
        rollout = self.state.rollout
        return f"{self.state.candidate}, {phase_name(rollout)}, {rollout.status.value}: {rollout.reason}"

    # ------------------------------------------------------------------ a cycle

    def after(
        self,
        seen: Sequence[Seen],
        market: Market | None,
        conditions: Iterable[Condition],
        words: Iterable[tuple[int, str, str]],
        now_s: float,
        local_day: float,
    ) -> tuple[TrialState, list[Move]]:
        """The state after a cycle, and what moved.

        Args:
            seen: every miner; all silent in a cycle that no policy ruled.
            market: what a TH/s earned and a MWh cost; None while unknown.
            conditions: what speaks against going on.
            words: what people said since: number of the audit entry, :data:`GO_BACK` or :data:`GO_ANEW`, reason.
            now_s: end of the cycle, s since 1970 UTC.
            local_day: number of the local day.
        """
        before, moves = self.state, list[Move]()
        state = before if before.rollout.status is Status.ROLLED_BACK else _booked(before, seen, market, now_s)
        said = list(conditions)
        for number, word, reason in sorted(words):
            if number <= state.heard:
                continue
            state = replace(state, heard=number)
            if word == GO_ANEW:
                models = {one.name: one.model for one in seen}
                state, begun = self._begun(state.incumbent, models, now_s, local_day, number)
                return state, [*moves, *begun]
            said.append(Condition(Effect.ROLL_BACK, f"a person said so: {reason}" if reason else "a person said so"))
        number = _number(state.rollout.plan, now_s, local_day)
        if number > state.number and state.rollout.status is not Status.ROLLED_BACK:
            state = _closed(state, number, now_s)
        state = replace(state, rollout=step(state.rollout, said, now_s))
        if state.rollout.phase != before.rollout.phase:
            state = _opened(state, number, now_s)
        move = _move(before.rollout, state.rollout, state.candidate)
        return state, [*moves, *([move] if move else [])]

    # ------------------------------------------------------------------ parts

    @property
    def _name(self) -> str:
        return f"{self.candidate.name} {self.candidate.version}".strip()

    def _begun(
        self, incumbent: str, models: Mapping[str, str], now_s: float, local_day: float, heard: int
    ) -> tuple[TrialState, list[Move]]:
        rollout = begin(self.plan, models, now_s)
        number = _number(self.plan, now_s, local_day)
        state = TrialState(incumbent, self._name, rollout, open_period(now_s), number, now_s, heard)
        text = f"Rollout of {self._name} beside {incumbent} begins: {phase_name(rollout)}."
        return _opened(state, number, now_s), [Move("rollout begins", text)]

    def _with_fleet(self, state: TrialState, models: Mapping[str, str]) -> tuple[TrialState, list[Move]]:
        before = state.rollout
        rollout = with_fleet(before, models)
        state = replace(state, rollout=rollout)
        moves = []
        if rollout.plan != self.plan:
            moves.append(Move("rollout goes on", "The rollout goes on by the plan that it began with."))
        moved = [miner for miner, wave in rollout.waves.items() if before.waves.get(miner) != wave]
        if moved:
            told = ", ".join(f"{miner}: {rollout.waves[miner]}" for miner in sorted(moved)[:10])
            moves.append(Move("rollout waves", f"{len(moved)} miners have a new wave ({told})."))
        return state, moves


def read_state(kept: object, origin: str) -> TrialState:
    """The state that the journal keeps.

    Raises:
        DataFileError: it is none.
    """
    return documents.from_json(TrialState, json.dumps(kept), origin=origin, fix="Start the rollout anew.")


def phase_name(rollout: Rollout) -> str:
    """``baseline``, or the share of the phase."""
    return "baseline" if rollout.phase < 0 else _percent(rollout.plan.candidate_share(rollout.phase))


def running_cost_usd(one: Seen, seconds: float) -> float:
    """Expected wear of a miner that hashes for a time, USD: Arrhenius ageing of its chips, as in the twin.

    The twin's part for rail voltage is left out, which a miner does not tell.
    """
    if not one.hashing:
        return 0.0
    temp_c = AGEING_REF_C if one.temp_chip_c is None else one.temp_chip_c
    ageing = float(arrhenius_factor(np.float64(temp_c), AGEING_REF_C, AGEING_EV, xp=NUMPY))
    return FAILURES_PER_YEAR * REPAIR_USD / 8760.0 * ageing * seconds / 3600.0


def stop_cost_usd(rated_ths: float) -> float:
    """Expected cost of one stop of a miner, USD: solder fatigue of a full stop, and a restart that may fail."""
    failed_usd = float(failed_restart_usd(np.float64(REPAIR_USD), np.float64(MARGIN_USD_PER_THS_DAY * rated_ths)))
    return STOP_USD + RESTART_FAILURE * failed_usd


def _booked(state: TrialState, seen: Sequence[Seen], market: Market | None, now_s: float) -> TrialState:
    seconds = now_s - state.booked_s
    if seconds <= 0.0:
        # The clock was set back: what is booked twice or not at all cannot be told any more.
        return replace(state, booked_s=now_s, day=spoil(state.day) if seconds < 0.0 else state.day)
    known = market is not None and seconds <= GAP_S
    works = [_work(state, one, seconds, known) for one in seen]
    day = book(state.day, now_s, seconds, works, market or Market(0.0, 0.0))
    return replace(state, day=day, booked_s=now_s, hashing=frozenset(one.name for one in seen if one.hashing))


def _work(state: TrialState, one: Seen, seconds: float, known: bool) -> Work:
    rollout = state.rollout
    switchback = rollout.plan.design is Design.SWITCHBACK
    wave = "" if switchback else rollout.waves.get(one.name, HOLDBACK)
    cost_usd = running_cost_usd(one, seconds)
    if one.name in state.hashing and one.stands_as_told and not one.hashing:
        cost_usd += stop_cost_usd(one.rated_ths)
    model = "" if switchback else one.model
    heard = known and one.power_w is not None and one.hashrate_ths is not None
    return Work(
        wave,
        model,
        one.rated_w,
        one.rated_ths,
        one.power_w if heard else None,
        one.hashrate_ths if heard else None,
        cost_usd,
    )


def _number(plan: RolloutPlan, now_s: float, local_day: float) -> int:
    """Which period a time lies in: days of the holdback design are local, all else is counted from 1970 UTC."""
    if plan.design is Design.HOLDBACK and plan.period_s == DAY_S:
        return int(local_day)
    return math.floor(now_s / plan.period_s)


def _closed(state: TrialState, number: int, now_s: float) -> TrialState:
    """End the open period and begin the next. One that is cut short is kept and not compared."""
    plan = state.rollout.plan
    period = close(state.day, now_s, state.ran_candidate if plan.design is Design.SWITCHBACK else None)
    long_enough = now_s - state.day.start_s >= BOOKED_MIN * plan.period_s
    last_s = state.rollout.periods[-1].end_s if state.rollout.periods else -math.inf
    rollout = state.rollout
    if state.day.start_s >= last_s:
        rollout = with_period(rollout, replace(period, valid=period.valid and long_enough))
    return _opened(replace(state, rollout=rollout), number, now_s)


def _opened(state: TrialState, number: int, now_s: float) -> TrialState:
    """Begin a period now."""
    return replace(state, day=open_period(now_s), number=number, ran_candidate=state.rollout.runs_candidate("", now_s))


def _move(before: Rollout, after: Rollout, candidate: str) -> Move | None:
    where = f"Rollout of {candidate}, {phase_name(after)}"
    if after.status is Status.ROLLED_BACK and before.status is not Status.ROLLED_BACK:
        text = f"{where}: turned back, all miners run the incumbent. Reason: {after.reason}."
        return Move("rollout turned back", text, Severity.CRITICAL)
    if after.status is Status.HELD and before.status is not Status.HELD:
        return Move("rollout held", f"{where}: held. Reason: {after.reason}.", Severity.WARNING)
    if after.status is Status.COMPLETE and before.status is not Status.COMPLETE:
        return Move("rollout complete", f"{where}: complete; the holdback stays. {after.reason}.")
    if after.phase != before.phase:
        return Move("rollout forward", f"{where}: next phase. Reason: {after.reason}.")
    if before.status is Status.HELD and after.status is Status.RUNNING:
        return Move("rollout goes on", f"{where}: goes on.")
    return None


def _percent(share: float) -> str:
    return f"{100.0 * share:.0f} %"
