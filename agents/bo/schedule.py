"""Tomorrow's power of a tuned unit: the best setting of its curve in each hour, by the dynamic programme of the MPC.

Settings of the curve are states, off is another. What a change costs, expected charges of coincident peaks and the
demand charge decide beside the price; see :func:`agents.baselines.planning.plan` for the recursion.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from agents.baselines.planning import HOURS_PER_DAY, W_PER_MW, Kinds, Moves, plan
from agents.bo.study import Trial
from minesim.errors import ParamsError, explain
from minesim.physics.firmware import FirmwareParams
from minesim.site_spec import STOP_USD
from minesim.tuning.device import Vector
from minesim.tuning.problem import TuningProblem

OFF = 0
KW_PER_MW = 1000.0


@dataclass(frozen=True)
class TunedCurve:
    """Settings of one unit that are worth running, in rising power; each hashes more than those below.

    Attributes:
        settings: (P, D).
        power_w, hashrate_ths: as measured, (P,).
    """

    settings: Vector
    power_w: Vector
    hashrate_ths: Vector


def tuned_curve(problem: TuningProblem, trials: Sequence[Trial]) -> TunedCurve:
    """The measured settings within the limits that no other one beats in both hashrate and power.

    Raises:
        ParamsError: none was within the limits.
    """
    kept = [
        (t.measured.power_w, t.measured.hashrate_ths, t.setting)
        for t in trials
        if t.measured is not None and np.isfinite(problem.measured_score(t.measured))
    ]
    if not kept:
        raise ParamsError(explain(f"no trial of {problem.serial} was within the limits", fix="Tune the unit first."))
    front: list[tuple[float, float, tuple[float, ...]]] = []
    for power_w, hashrate_ths, setting in sorted(kept, key=lambda row: (row[0], -row[1])):
        if not front or hashrate_ths > front[-1][1]:
            front.append((power_w, hashrate_ths, setting))
    powers_w, hashrates_ths, settings = zip(*front, strict=True)
    return TunedCurve(np.array(settings), np.array(powers_w), np.array(hashrates_ths))


@dataclass(frozen=True)
class Tomorrow:
    """What the coming hours cost.

    Attributes:
        price_usd_per_mwh: of energy, (K,).
        hashprice_usd_per_ths_day: what a TH/s earns in a day, held over the horizon.
        peak_probability: chance that the coincident peak falls into the hour, (K,); empty for no such charge.
        cp_rate_usd_per_kw: charge of that peak.
        demand_rate_usd_per_kw: charge of the month's highest power, as far as these hours are to bear it.
        peak_w: the unit's highest power of the month so far, W.
        power_max_w: no hour may use more, W.
    """

    price_usd_per_mwh: Vector
    hashprice_usd_per_ths_day: float
    peak_probability: Vector = field(default_factory=lambda: np.zeros(0))
    cp_rate_usd_per_kw: float = 0.0
    demand_rate_usd_per_kw: float = 0.0
    peak_w: float = 0.0
    power_max_w: float = np.inf

    def __post_init__(self) -> None:
        hours = len(self.price_usd_per_mwh)
        if hours == 0 or not np.isfinite(self.price_usd_per_mwh).all():
            raise ParamsError(explain("price_usd_per_mwh is empty or holds no number", allowed="a price for each hour"))
        chance = self.peak_probability
        if len(chance) not in (0, hours) or not ((chance >= 0.0) & (chance <= 1.0)).all():
            raise ParamsError(
                explain(
                    f"peak_probability has {len(chance)} values", allowed=f"{hours} values between 0 and 1, or none"
                )
            )

    @property
    def net_usd_per_mwh(self) -> Vector:
        """Price with the expected charge of the coincident peak, (K,)."""
        if not len(self.peak_probability):
            return self.price_usd_per_mwh
        return self.price_usd_per_mwh + self.cp_rate_usd_per_kw * KW_PER_MW * self.peak_probability


MOVES = Moves(
    stop_usd=STOP_USD,
    start_h=(FirmwareParams().start_delay_s + FirmwareParams().ramp_s) / 3600.0,
    change_h=FirmwareParams().preset_change_s / 3600.0,
)
"""What a change costs one unit where nothing else is said."""


@dataclass(frozen=True)
class Schedule:
    """A plan of one unit.

    Attributes:
        state: 0 for off, else 1 + the row of the curve, (K,).
        power_w: (K,).
        value_usd: expected, after all costs and charges.
    """

    state: NDArray[np.int64]
    power_w: Vector
    value_usd: float


def best_schedule(curve: TunedCurve, tomorrow: Tomorrow, state: int = OFF, moves: Moves = MOVES) -> Schedule:
    """The schedule of the highest expected value, exactly.

    Charges of coincident peaks are linear in power and enter the price. The demand charge is that of one of the
    curve's powers: the best schedule below each of them is found, and the best of those kept.

    Args:
        curve: what the unit can run.
        tomorrow: what the hours cost.
        state: what runs now.
        moves: cost of changes.
    """
    caps = np.unique(np.concatenate([[0.0], curve.power_w]))
    if tomorrow.demand_rate_usd_per_kw == 0.0:
        caps = caps[-1:]
    found = [_below(min(cap, tomorrow.power_max_w), curve, tomorrow, state, moves) for cap in caps]
    return max(found, key=lambda schedule: schedule.value_usd)


def best_static(curve: TunedCurve, tomorrow: Tomorrow, state: int = OFF, moves: Moves = MOVES) -> Schedule:
    """The best single state for all hours."""
    hours = len(tomorrow.price_usd_per_mwh)
    allowed = [s for s in range(len(curve.power_w) + 1) if s == OFF or curve.power_w[s - 1] <= tomorrow.power_max_w]
    held = [valued(curve, tomorrow, np.full(hours, s), state, moves) for s in allowed]
    return max(held, key=lambda schedule: schedule.value_usd)


def threshold(curve: TunedCurve, tomorrow: Tomorrow, row: int, state: int = OFF, moves: Moves = MOVES) -> Schedule:
    """One setting wherever the hour pays for it by itself, off elsewhere; what changes cost is not looked at."""
    worth = tomorrow.hashprice_usd_per_ths_day / HOURS_PER_DAY * curve.hashrate_ths[row]
    pays = worth > tomorrow.net_usd_per_mwh * curve.power_w[row] / W_PER_MW
    return valued(curve, tomorrow, np.where(pays, 1 + row, OFF), state, moves)


def valued(curve: TunedCurve, tomorrow: Tomorrow, states: NDArray[np.int64], state: int, moves: Moves) -> Schedule:
    """What a given plan is worth, by the same costs as the dynamic programme.

    Args:
        curve: what the unit can run.
        tomorrow: what the hours cost.
        states: the plan, (K,).
        state: what runs before.
        moves: cost of changes.
    """
    kinds = _kinds(curve)
    earn, power_mw = kinds.earn_ths[0, states], kinds.power_mw[0, states]
    gain = tomorrow.hashprice_usd_per_ths_day / HOURS_PER_DAY * earn - tomorrow.net_usd_per_mwh * power_mw
    before = np.concatenate([[state], states[:-1]])
    idle_h = moves.start_h * kinds.start[before, states] + moves.change_h * kinds.change[0, before, states]
    costs = moves.stop_usd * kinds.stop[before, states] + np.maximum(gain, 0.0) * idle_h
    power_w = power_mw * W_PER_MW
    raised_kw = max(float(power_w.max()) - tomorrow.peak_w, 0.0) / 1000.0
    value = float((gain - costs).sum()) - tomorrow.demand_rate_usd_per_kw * raised_kw
    return Schedule(states.astype(np.int64), power_w, value)


def _below(cap_w: float, curve: TunedCurve, tomorrow: Tomorrow, state: int, moves: Moves) -> Schedule:
    kinds = _kinds(curve)
    hours = len(tomorrow.price_usd_per_mwh)
    # The programme knows no forbidden states: one above the cap costs more than all else together.
    beyond = kinds.power_mw > cap_w / W_PER_MW * (1.0 + 1e-9)
    worst = float(np.abs(tomorrow.hashprice_usd_per_ths_day * kinds.earn_ths).max()) + moves.stop_usd + 1.0
    worst += float(np.abs(tomorrow.net_usd_per_mwh).max() * kinds.power_mw.max())
    penalty_ths = worst * hours * HOURS_PER_DAY / tomorrow.hashprice_usd_per_ths_day
    allowed = replace(kinds, earn_ths=np.where(beyond, -penalty_ths, kinds.earn_ths))
    price = tomorrow.net_usd_per_mwh[None]
    revenue, one, none = np.array([tomorrow.hashprice_usd_per_ths_day]), np.ones(1), np.zeros(1)
    now, states = state, []
    for hour in range(hours):
        ahead = price[:, hour:]
        worth = np.zeros((1, ahead.shape[1], 1))
        now = int(plan(allowed, moves, revenue, ahead, worth, none, one, np.array([[now]]))[0, 0])
        states.append(now)
    return valued(curve, tomorrow, np.array(states), state, moves)


def _kinds(curve: TunedCurve) -> Kinds:
    """One unit as a kind of miner: off, then the settings of its curve."""
    power_mw = np.concatenate([[0.0], curve.power_w])[None] / W_PER_MW
    earn_ths = np.concatenate([[0.0], curve.hashrate_ths])[None]
    size = power_mw.shape[1]
    on = np.arange(size) > OFF
    return Kinds(
        of_cohort=np.zeros(1, np.int64),
        power_mw=power_mw,
        earn_ths=earn_ths,
        stop=np.where(on[:, None] & ~on[None], 1.0, 0.0),
        start=np.where(~on[:, None] & on[None], 1.0, 0.0),
        change=np.where(on[:, None] & on[None] & ~np.eye(size, dtype=bool), 1.0, 0.0)[None],
        held_mw=np.minimum(power_mw[:, :, None], power_mw[:, None, :]),
        step_earn_ths_per_mw=np.zeros(0),
        step_power_frac=np.zeros(0),
    )
