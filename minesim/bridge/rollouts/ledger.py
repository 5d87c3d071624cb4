"""Books what miners earn and draw while a rollout runs, and closes a day as a comparable period.

Silent miners are left out of profit and reference alike: that a miner does not answer says nothing about what it earns.
A period is not valid if less than 80 % of its miner time was booked, or if somebody said so.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from minesim.bridge.rollouts.arms import CellPeriod, Period
from minesim.bridge.telling.outcomes import Market

METERING_S = 900.0
"""Interval over which a demand charge takes its mean (the usual one; assumed)."""
BOOKED_MIN = 0.8


@dataclass(frozen=True)
class Work:
    """What one miner did since the last cycle.

    Attributes:
        wave, model: whose; ``""`` in a switchback.
        rated_w, rated_ths: of its model, W and TH/s.
        power_w, hashrate_ths: reported; None while silent.
        cost_usd: wear and starts since the last cycle.
    """

    wave: str
    model: str
    rated_w: float
    rated_ths: float
    power_w: float | None
    hashrate_ths: float | None
    cost_usd: float = 0.0


@dataclass(frozen=True)
class Cell:
    """Sums of one wave and model since the period began; energies in J, ``interval_j`` of the metering interval."""

    profit_usd: float = 0.0
    reference_usd: float = 0.0
    interval_j: float = 0.0
    peak_w: float = 0.0
    rated_w: float = 0.0


@dataclass(frozen=True)
class OpenPeriod:
    """A period that is not over; a plain value.

    Attributes:
        start_s: s since 1970 UTC.
        interval_s: start of the present metering interval.
        cells: wave -> model -> sums.
        booked_s, due_s: miner time with readings, and all of it, s.
        valid: False once something ruled that must not be compared.
    """

    start_s: float
    interval_s: float
    cells: Mapping[str, Mapping[str, Cell]] = field(default_factory=dict)
    booked_s: float = 0.0
    due_s: float = 0.0
    valid: bool = True


def open_period(start_s: float) -> OpenPeriod:
    """Begin a period."""
    return OpenPeriod(start_s, start_s)


def book(period: OpenPeriod, now_s: float, seconds: float, works: Iterable[Work], market: Market) -> OpenPeriod:
    """Add a cycle.

    Args:
        period: so far.
        now_s: end of the cycle, s since 1970 UTC.
        seconds: its length.
        works: one a miner.
        market: what a TH/s earned and a MWh cost, at the margin, in this cycle.
    """
    cells = {wave: dict(models) for wave, models in period.cells.items()}
    over = now_s - period.interval_s >= METERING_S
    length_s = max(METERING_S, now_s - period.interval_s)
    rated_w: dict[tuple[str, str], float] = {}
    booked_s = due_s = 0.0
    for work in works:
        key = (work.wave, work.model)
        rated_w[key] = rated_w.get(key, 0.0) + work.rated_w
        due_s += seconds
        cell = cells.setdefault(work.wave, {}).get(work.model, Cell())
        if work.power_w is not None and work.hashrate_ths is not None:
            booked_s += seconds
            hours = seconds / 3600.0
            cell = replace(
                cell,
                profit_usd=cell.profit_usd
                + hours * market.profit_usd_per_h(work.hashrate_ths, work.power_w)
                - work.cost_usd,
                reference_usd=cell.reference_usd + hours * work.rated_ths * market.revenue_usd_per_ths_h,
                interval_j=cell.interval_j + seconds * work.power_w,
            )
        cells[work.wave][work.model] = cell
    for (wave, model), watts in rated_w.items():
        cell = replace(cells[wave][model], rated_w=max(watts, cells[wave][model].rated_w))
        if over:
            cell = replace(cell, peak_w=max(cell.peak_w, cell.interval_j / length_s), interval_j=0.0)
        cells[wave][model] = cell
    return replace(
        period,
        interval_s=now_s if over else period.interval_s,
        cells=cells,
        booked_s=period.booked_s + booked_s,
        due_s=period.due_s + due_s,
    )


def spoil(period: OpenPeriod) -> OpenPeriod:
    """Mark it as not to be compared: a person, a failed feed or a long hold of the guard ruled."""
    return replace(period, valid=False)


def close(period: OpenPeriod, end_s: float, candidate: bool | None = None) -> Period:
    """End it.

    Args:
        period: what was booked.
        end_s: s since 1970 UTC.
        candidate: in a switchback, whether the site ran the candidate.
    """
    booked = period.booked_s / period.due_s if period.due_s > 0.0 else 0.0
    cells = tuple(
        CellPeriod(wave, model, cell.profit_usd, cell.reference_usd, cell.peak_w, cell.rated_w)
        for wave, models in sorted(period.cells.items())
        for model, cell in sorted(models.items())
        if cell.reference_usd > 0.0 and math.isfinite(cell.profit_usd)
    )
    return Period(period.start_s, end_s, cells, candidate, period.valid and booked >= BOOKED_MIN and bool(cells))
