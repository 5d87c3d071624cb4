"""What candidate and control did in the same periods, and what their difference tells.

Within a model and a period the profit of either arm is taken as a share of what its rated operation would have earned;
models are weighted by the candidate's rated power. See :mod:`minesim.bridge.rollouts.rollout` for what is in that
profit.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from minesim.bridge.rollouts.sequential import Anytime, anytime_difference, anytime_mean
from minesim.bridge.rollouts.waves import BLOCK_PERIODS, Design, RolloutPlan, reached
from minesim.errors import ParamsError, explain


@dataclass(frozen=True)
class CellPeriod:
    """What the miners of one wave and model did in one period.

    Attributes:
        wave, model: whose; in a switchback ``""`` and all models together.
        profit_usd: revenue less energy at the marginal price, wear, starts and settled charges linear in load.
        reference_usd: what their rated hashrate would have earned, before energy.
        peak_w: their highest mean power over a metering interval, W; peaks of cells are added up, as cells that run one
            policy peak together.
        rated_w: their rated power, W.
    """

    wave: str
    model: str
    profit_usd: float
    reference_usd: float
    peak_w: float
    rated_w: float


@dataclass(frozen=True)
class Period:
    """One compared period: all cells (in a switchback: one for the whole site and the arm that ran).

    Attributes:
        start_s, end_s: s since 1970 UTC.
        cells: see :class:`CellPeriod`.
        candidate: whether the whole site ran the candidate; None in the holdback design.
        valid: False where a person, a failed feed or a long hold of the guard ruled; it is kept and not compared.
    """

    start_s: float
    end_s: float
    cells: tuple[CellPeriod, ...]
    candidate: bool | None = None
    valid: bool = True


@dataclass(frozen=True)
class Evidence:
    """What the present phase shows, as shares of rated revenue.

    Attributes:
        advance: difference of profit with the interval that decides on going forward (alpha of one phase).
        loss: the same with the interval that decides on turning back (alpha shared out over phases).
        peak_ratio: candidate's own peak per rated kW over the control's, in the phase; NaN while unknown.
        left_out: share of the candidate's rated power whose model has no control, so it is not compared.
    """

    advance: Anytime
    loss: Anytime
    peak_ratio: float
    left_out: float


def compare(
    plan: RolloutPlan, phase: int, baseline: Sequence[Period], periods: Sequence[Period], since_s: float
) -> Evidence:
    """Compare candidate and control.

    Args:
        plan: design, alpha.
        phase: whose miners are the candidate.
        baseline: valid periods in which all ran the incumbent.
        periods: valid periods of the phase.
        since_s: start of the phase, s since 1970 UTC.
    """
    shared_out = plan.alpha / len(plan.shares)
    peak_ratio = _peak_ratio(periods, phase)
    if plan.design is Design.SWITCHBACK:
        values = _block_differences(periods, plan, since_s)
        return Evidence(anytime_mean(values, plan.alpha), anytime_mean(values, shared_out), peak_ratio, 0.0)
    before, now = differences(baseline, phase), differences(periods, phase)
    return Evidence(
        anytime_difference(before, now, plan.alpha),
        anytime_difference(before, now, shared_out),
        peak_ratio,
        _left_out(periods, phase),
    )


def check_period(period: Period, after_s: float) -> None:
    """Refuse a period that overlaps the last one or holds values that are no numbers.

    Args:
        period: new one.
        after_s: end of the last one, s since 1970 UTC.

    Raises:
        ParamsError: it does.
    """
    if period.start_s < after_s:
        raise ParamsError(
            explain(
                f"period starts at {period.start_s:.0f} s",
                allowed=f"from {after_s:.0f} s on, the end of the last one",
                fix="Add each period once and in order.",
            )
        )
    for cell in period.cells:
        values = (cell.profit_usd, cell.reference_usd, cell.peak_w, cell.rated_w)
        if not all(map(math.isfinite, values)) or cell.reference_usd <= 0.0 or cell.rated_w <= 0.0:
            raise ParamsError(
                explain(
                    f"cell {cell.wave}/{cell.model} has values {values}",
                    allowed="finite numbers, reference and rated power above 0",
                    fix="Mark a period without data as not valid and leave its cells out.",
                )
            )


@dataclass(slots=True)
class _Arm:
    profit_usd: float = 0.0
    reference_usd: float = 0.0
    peak_w: float = 0.0
    rated_w: float = 0.0

    def add(self, cell: CellPeriod) -> None:
        self.profit_usd += cell.profit_usd
        self.reference_usd += cell.reference_usd
        self.peak_w += cell.peak_w
        self.rated_w += cell.rated_w


def _arms(period: Period, phase: int) -> tuple[dict[str, _Arm], dict[str, _Arm]]:
    """Candidate and control of a phase by model; in the baseline: those that will be."""
    arms: tuple[dict[str, _Arm], dict[str, _Arm]] = ({}, {})
    for cell in period.cells:
        candidate = reached(cell.wave, phase) if period.candidate is None else period.candidate
        side = arms[0 if candidate else 1]
        if cell.model not in side:
            side[cell.model] = _Arm()
        side[cell.model].add(cell)
    return arms


def differences(periods: Iterable[Period], phase: int) -> list[float]:
    """Difference of profit, as a share of rated revenue, one for each period that has both arms.

    Within models, weighted by the candidate's rated power.

    Args:
        periods: valid ones, by time.
        phase: whose miners are (or will be) the candidate.
    """
    values = []
    for period in periods:
        candidate, control = _arms(period, phase)
        both = [model for model in candidate if model in control]
        rated_w = sum(candidate[model].rated_w for model in both)
        if both:
            values.append(
                sum(candidate[model].rated_w * (_share(candidate[model]) - _share(control[model])) for model in both)
                / rated_w
            )
    return values


def _share(arm: _Arm) -> float:
    return arm.profit_usd / arm.reference_usd


def _left_out(periods: Sequence[Period], phase: int) -> float:
    if not periods:
        return 0.0
    candidate, control = _arms(periods[-1], phase)
    alone_w = sum(arm.rated_w for model, arm in candidate.items() if model not in control)
    all_w = sum(arm.rated_w for arm in candidate.values())
    return alone_w / all_w if all_w else 0.0


def _peak_ratio(periods: Sequence[Period], phase: int) -> float:
    """Highest power per rated power of the candidate over that of the control, within the phase."""
    highest = {True: 0.0, False: 0.0}
    for period in periods:
        for is_candidate, arm in zip((True, False), _arms(period, phase), strict=True):
            rated_w = sum(part.rated_w for part in arm.values())
            if rated_w:
                highest[is_candidate] = max(highest[is_candidate], sum(part.peak_w for part in arm.values()) / rated_w)
    return highest[True] / highest[False] if highest[True] and highest[False] else math.nan


def _block_differences(periods: Sequence[Period], plan: RolloutPlan, since_s: float) -> list[float]:
    """Difference of the mean period of either arm, one a block of ten periods that lies in the phase and is over."""
    blocks: dict[int, dict[bool, list[float]]] = defaultdict(lambda: {True: [], False: []})
    block_s = BLOCK_PERIODS * plan.period_s
    for period in periods:
        block = math.floor(period.start_s / block_s)
        if block * block_s >= since_s and period.candidate is not None:
            whole = _Arm()
            for cell in period.cells:
                whole.add(cell)
            blocks[block][period.candidate].append(_share(whole))
    over_s = periods[-1].end_s if periods else 0.0
    return [
        sum(arms[True]) / len(arms[True]) - sum(arms[False]) / len(arms[False])
        for block, arms in sorted(blocks.items())
        if (block + 1) * block_s <= over_s and arms[True] and arms[False]
    ]
