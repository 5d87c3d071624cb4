"""Phased rollout of a candidate policy: who gets it, what is compared, and when it may go on.

**Who** (:mod:`.waves`). Each miner belongs to a wave for good: ``holdback``, or the phase in which it
first gets the candidate. Waves are drawn by seed, evenly within each model; a miner that comes later joins the wave
that lacks most. All others, the holdback among them, run the incumbent and are the control. Or the whole site
alternates in time (``SWITCHBACK``): each phase gives the candidate its share of every ten periods, drawn by seed.

**What** (:mod:`.arms`). Per period (a day by default: policies that follow prices differ by time of day)
the difference of profit between candidate and control, within each model, as a share of what rated operation would have
earned. Two groups of miners differ for good, so the first phase is a **baseline**: all run the incumbent, and what the
groups differ by then is taken off later. Intervals may be looked at after every period
(:mod:`minesim.bridge.rollouts.sequential`).

**What couples the arms**, and what is done about it:

* *Site cap and ramp.* If the candidate gives way, the control may rise into the room, and is paid for the candidate's
  restraint. While a rollout runs each arm has its own share of both (:func:`.waves.split_by_arm`).
* *Demand charge.* It hangs on the peak of the sum, so no share of the bill is one arm's doing. The profit that is
  tested holds only what adds up over miners: revenue, energy at the marginal price, wear and starts, and charges that
  are linear in the load of given intervals (coincident peaks, once settled). Beside it each arm is a site in miniature:
  its own peak per rated kW over the phase. A candidate whose peak is higher by more than a margin is held. The whole
  bill is measured by a switchback only, and over billing months.
* *Air.* A hot candidate heats its neighbours. Waves are drawn at random, so both arms breathe the same air on average;
  what is left makes the difference look smaller than it is.

**When.** Forward: the least time has passed and the lower bound is above minus the margin. Back: the upper bound is
below zero, or a condition demands it; final until a person starts anew. Hold: goes on once conditions have been gone
for an hour. Rare events (one price spike a year) are not seen in weeks: the promotion gates judge them on years.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import stdev

from minesim.bridge import documents
from minesim.bridge.rollouts.arms import Evidence, Period, check_period, compare, differences
from minesim.bridge.rollouts.sequential import Anytime
from minesim.bridge.rollouts.waves import HOLDBACK, Design, RolloutPlan, assign, reached, switchback_candidate
from minesim.bridge.telling.alerts import Alert, Severity

SITE_TROUBLE = ("SitePowerAboveCap", "FeedStale")
CONCERNED_MINERS, CONCERNED_RATIO = 3, 2.0


class Status(enum.StrEnum):
    """Where a rollout stands."""

    RUNNING = "running"
    HELD = "held"
    COMPLETE = "complete"
    ROLLED_BACK = "rolled back"


class Effect(enum.StrEnum):
    """What a condition does to the rollout."""

    HOLD = "hold"
    ROLL_BACK = "roll back"


@dataclass(frozen=True)
class Condition:
    """Something that holds now and speaks against going on: an alert, a hold of the guard, a person's word."""

    effect: Effect
    text: str


@dataclass(frozen=True)
class Rollout:
    """State of a rollout; a plain value that goes to JSON and back.

    Attributes:
        plan: how it is done.
        phase: -1 in the baseline, else index into ``plan.shares``.
        status: where it stands.
        phase_since_s: start of the phase, s since 1970 UTC; only periods that begin later count for it.
        baseline_until_s: end of the baseline; None while it lasts.
        waves: miner -> wave.
        periods: all so far.
        held_until_s: earliest moment at which a hold may end.
        reason: why it stands where it stands.
    """

    plan: RolloutPlan
    phase: int
    status: Status
    phase_since_s: float
    baseline_until_s: float | None = None
    waves: Mapping[str, str] = field(default_factory=dict)
    periods: tuple[Period, ...] = ()
    held_until_s: float = 0.0
    reason: str = ""

    def runs_candidate(self, miner: str, at_s: float) -> bool:
        """Whether a miner runs the candidate at a time.

        A held rollout stays as it is; one that turned back runs the incumbent everywhere.
        """
        if self.status is Status.ROLLED_BACK or self.phase < 0:
            return False
        if self.plan.design is Design.SWITCHBACK:
            return switchback_candidate(self.plan, self.phase, at_s)
        return reached(self.waves.get(miner, HOLDBACK), self.phase)


def begin(plan: RolloutPlan, models: Mapping[str, str], now_s: float) -> Rollout:
    """Start a rollout: with the baseline, or in a switchback with the first phase.

    Args:
        plan: how.
        models: miners -> model.
        now_s: s since 1970 UTC.

    Raises:
        ParamsError: too few miners for the design.
    """
    if plan.design is Design.SWITCHBACK:
        return Rollout(plan, 0, Status.RUNNING, now_s, reason="first phase")
    return Rollout(plan, -1, Status.RUNNING, now_s, waves=assign(models, plan), reason="baseline")


def with_fleet(rollout: Rollout, models: Mapping[str, str]) -> Rollout:
    """Take note of the miners that are there now; see :func:`assign`."""
    if rollout.plan.design is Design.SWITCHBACK:
        return rollout
    return replace(rollout, waves=assign(models, rollout.plan, rollout.waves, rollout.phase))


def with_period(rollout: Rollout, period: Period) -> Rollout:
    """Add a finished period.

    Raises:
        ParamsError: it does not follow the last one, or a number in it is none.
    """
    check_period(period, rollout.periods[-1].end_s if rollout.periods else -math.inf)
    return replace(rollout, periods=(*rollout.periods, period))


def evidence(rollout: Rollout) -> Evidence:
    """Compare candidate and control over the whole periods of the present phase."""
    since_s = rollout.phase_since_s
    inside = [period for period in rollout.periods if period.valid and period.start_s >= since_s]
    return compare(rollout.plan, rollout.phase, _baseline(rollout), inside, since_s)


def baseline_scatter(rollout: Rollout) -> float:
    """Standard deviation by period of the difference that the first phase will be judged by; NaN before two periods.

    It tells how long the rollout will take: see the table in docs/rollout.md.
    """
    values = differences(_baseline(rollout), 0)
    return stdev(values) if len(values) > 1 else math.nan


def step(rollout: Rollout, conditions: Iterable[Condition], now_s: float) -> Rollout:
    """Decide whether the rollout goes forward, waits or turns back; may be called at any time and as often as you like.

    A complete rollout goes on comparing with the holdback and can still turn back.

    Args:
        rollout: state, with all finished periods added.
        conditions: what speaks against it now.
        now_s: s since 1970 UTC.
    """
    if rollout.status is Status.ROLLED_BACK:
        return rollout
    active = list(conditions)
    found = None
    demanded = [condition.text for condition in active if condition.effect is Effect.ROLL_BACK]
    if demanded:
        return replace(rollout, status=Status.ROLLED_BACK, reason=demanded[0])
    if rollout.phase >= 0:
        found = evidence(rollout)
        if found.loss.high < 0.0:
            text = f"loses {-found.loss.estimate:.1%} of rated revenue {_interval(found.loss)}"
            return replace(rollout, status=Status.ROLLED_BACK, reason=text)
        peak_margin = rollout.plan.peak_margin
        if peak_margin is not None and found.peak_ratio > 1.0 + peak_margin:
            text = f"its own peak per rated kW is {found.peak_ratio:.2f} times that of the control"
            active.append(Condition(Effect.HOLD, text))
    if rollout.status is Status.COMPLETE:
        return rollout
    if active:
        return replace(rollout, status=Status.HELD, held_until_s=now_s + rollout.plan.clear_s, reason=active[0].text)
    if rollout.status is Status.HELD and now_s < rollout.held_until_s:
        return rollout
    return _forward(replace(rollout, status=Status.RUNNING), found, now_s)


def conditions_of(alerts: Sequence[Alert], candidates: Collection[str], miners: int) -> list[Condition]:
    """What present alerts mean for a rollout.

    It turns back when at least three miners with the candidate are in a critical state, in more than twice the share
    that there is among the others (assumed). It is held when the guard holds miners in such a proportion, by any
    critical miner with the candidate, and by trouble of the site: over its cap, or a stale feed. What happens to the
    control alone does neither.

    Args:
        alerts: all that hold now.
        candidates: miners that run the candidate.
        miners: how many miners the site has.
    """
    found = []
    critical = {alert.miner for alert in alerts if alert.miner and alert.severity >= Severity.CRITICAL}
    held = {alert.miner for alert in alerts if alert.kind == "GuardHolds"}
    text = _more_than_others(critical, candidates, miners)
    if text:
        found.append(Condition(Effect.ROLL_BACK, f"in a critical state: {text}"))
    text = _more_than_others(held, candidates, miners)
    if text:
        found.append(Condition(Effect.HOLD, f"held by the guard: {text}"))
    for alert in alerts:
        ours = alert.miner in candidates and alert.severity >= Severity.CRITICAL
        if ours or (not alert.miner and alert.kind in SITE_TROUBLE):
            found.append(Condition(Effect.HOLD, f"{alert.kind} {alert.miner}: {alert.text}"))
    return found


def _more_than_others(concerned: Collection[str], candidates: Collection[str], miners: int) -> str:
    """Say so if far more of the candidate's miners are concerned than of the others; else ``""``."""
    ours = sum(miner in candidates for miner in concerned)
    share = ours / max(1, len(candidates))
    others = (len(concerned) - ours) / max(1, miners - len(candidates))
    if ours < CONCERNED_MINERS or share <= CONCERNED_RATIO * others:
        return ""
    return f"{ours} miners with the candidate ({share:.0%}), and {others:.0%} of the others"


def _forward(rollout: Rollout, found: Evidence | None, now_s: float) -> Rollout:
    """Take the next phase if time and evidence allow, else say what is missing."""
    plan = rollout.plan
    if found is None:
        seen = len(_baseline(rollout))
        if seen < plan.baseline_periods:
            return replace(rollout, reason=f"baseline: {seen} of {plan.baseline_periods} periods")
        text = f"baseline is known, scatter {baseline_scatter(rollout):.2%} of rated revenue: first phase"
        return replace(rollout, phase=0, phase_since_s=now_s, baseline_until_s=now_s, reason=text)
    left_s = rollout.phase_since_s + plan.phase_min_s - now_s
    if left_s > 0.0:
        return replace(rollout, reason=f"least time of the phase: {left_s / 3600.0:.1f} h left")
    if not found.advance.low > -plan.margin:
        text = f"a loss of {plan.margin:.1%} is not ruled out yet {_interval(found.advance)}"
        return replace(rollout, reason=text)
    proof = f"no loss of {plan.margin:.1%} {_interval(found.advance)}"
    if rollout.phase + 1 == len(plan.shares):
        return replace(rollout, status=Status.COMPLETE, reason=proof)
    return replace(rollout, phase=rollout.phase + 1, phase_since_s=now_s, reason=proof)


def _interval(found: Anytime) -> str:
    return f"(difference {found.estimate:+.2%}, interval {found.low:+.2%} to {found.high:+.2%}, {found.count} periods)"


def _baseline(rollout: Rollout) -> list[Period]:
    until_s = math.inf if rollout.baseline_until_s is None else rollout.baseline_until_s
    return [period for period in rollout.periods if period.valid and period.end_s <= until_s]


def to_json(rollout: Rollout) -> str:
    """State as JSON."""
    return documents.to_json(rollout)


def from_json(text: str, origin: str) -> Rollout:
    """State from JSON.

    Raises:
        DataFileError: it is not the state of a rollout.
    """
    return documents.from_json(Rollout, text, origin=origin, fix="Start the rollout anew.")
