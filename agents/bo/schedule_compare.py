"""What hourly power from a tuned curve earns on a market's real days, against rules that hold or switch one setting."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from agents.bo.schedule import MOVES, OFF, Schedule, Tomorrow, TunedCurve, best_schedule, threshold, valued
from minesim.bench.files import write_whole
from minesim.bench.statistics import Interval, mean_interval
from minesim.errors import ParamsError, explain
from minesim.tuning.device import Vector
from minesim.tuning.problem import TuningProblem

HOURS, WEEK_DAYS, SHOWN_DAYS = 24, 7, 7
FIRST, DAYS = "2023-07-01", 182
"""The second half of 2023, the test weeks of the benchmark."""
BEST: Final = "schedule"
Rule = Callable[[Tomorrow, int], Schedule]


@dataclass(frozen=True)
class Course:
    """What a rule did over D days.

    Attributes:
        value_usd: by day, (D,).
        power_w: (D, 24).
        stops: how many.
    """

    value_usd: Vector
    power_w: Vector
    stops: int


def market_days(name: str) -> Vector:
    """Energy prices of the test half-year by local day, USD/MWh, (D, 24).

    Raises:
        ParamsError: the market's prices are not known the day before, or do not cover the half-year.
    """
    from minesim.scenario import scenario

    chosen = scenario(name)
    price = chosen.traces["power_price_usd_per_mwh"]
    if price.attrs.get("known") != "day_ahead":
        raise ParamsError(
            explain(
                f"prices of {name!r} are known {price.attrs.get('known')!r}", allowed="'day_ahead'", fix="ercot/..."
            )
        )
    series = price.to_series().tz_localize("UTC").tz_convert(chosen.site_timezone).resample("h").mean()
    # A day of 23 or 25 h is cut or filled to 24, as the last hour seen.
    series = series.loc[FIRST:].ffill()
    if len(series) < DAYS * HOURS:
        raise ParamsError(explain(f"{name!r} ends before {DAYS} days from {FIRST}", fix="Choose another scenario."))
    return np.asarray(series.to_numpy(np.float64)[: DAYS * HOURS].reshape(DAYS, HOURS))


def play(days: Vector, hashprice_usd_per_ths_day: float, rule: Rule) -> Course:
    """Plan day after day, each from where the one before ended."""
    state, values, powers, states = OFF, [], [], []
    for prices in days:
        planned = rule(Tomorrow(prices, hashprice_usd_per_ths_day), state)
        values.append(planned.value_usd)
        powers.append(planned.power_w)
        states.append(planned.state)
        state = int(planned.state[-1])
    course: NDArray[np.int64] = np.concatenate(states)
    stops = int(((course[1:] == OFF) & (course[:-1] != OFF)).sum())
    return Course(np.array(values), np.array(powers), stops)


def compare(problem: TuningProblem, curve: TunedCurve, days: Vector) -> dict[str, Course]:
    """Play the schedule and rules: stock and the most profitable tuned setting, always on or by price."""
    hashprice = problem.objective.hashprice_usd_per_ths_day
    at = problem.truth(problem.stock())
    stock = TunedCurve(problem.stock()[None], at.power_w, at.hashrate_ths)
    mean_price = float(days.mean())
    profit = hashprice * curve.hashrate_ths - 24e-6 * mean_price * curve.power_w
    row = int(np.argmax(profit))

    def always(of: TunedCurve, which: int) -> Rule:
        return lambda day, state: valued(of, day, np.full(len(day.price_usd_per_mwh), 1 + which), state, MOVES)

    rules: dict[str, Rule] = {
        "stock, always on": always(stock, 0),
        "stock, by price": lambda day, state: threshold(stock, day, 0, state),
        "tuned, always on": always(curve, row),
        "tuned, by price": lambda day, state: threshold(curve, day, row, state),
        BEST: lambda day, state: best_schedule(curve, day, state),
    }
    return {name: play(days, hashprice, rule) for name, rule in rules.items()}


def gain_over(courses: Mapping[str, Course], name: str) -> Interval:
    """What the schedule earns more than a rule, USD a day, by weeks."""
    gain = courses[BEST].value_usd - courses[name].value_usd
    weeks = len(gain) // WEEK_DAYS
    return mean_interval(gain[: weeks * WEEK_DAYS].reshape(weeks, WEEK_DAYS).mean(axis=1))


def draw_schedule(path: Path, days: Vector, courses: Mapping[str, Course]) -> None:
    """Draw the week with the dearest hour: price and power of each rule that switches."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    first = int(np.clip(int(days.max(axis=1).argmax()) - SHOWN_DAYS // 2, 0, len(days) - SHOWN_DAYS))
    shown = slice(first, first + SHOWN_DAYS)
    hours = np.arange(SHOWN_DAYS * HOURS) / HOURS
    figure, (top, bottom) = plt.subplots(2, 1, figsize=(11, 5.4), sharex=True, layout="constrained")
    top.plot(hours, days[shown].ravel(), drawstyle="steps-post", color="k", lw=1)
    top.set(ylabel="USD/MWh", yscale="symlog", title="The week with the dearest hour")
    for name, style in (("stock, by price", "C7--"), ("tuned, by price", "C0-"), (BEST, "C3-")):
        bottom.plot(hours, courses[name].power_w[shown].ravel(), style, drawstyle="steps-post", lw=1.4, label=name)
    bottom.set(xlabel="day", ylabel="wall power, W", ylim=(0, None))
    bottom.legend(frameon=False, ncols=3, loc="lower left")
    write_whole(path, lambda beside: figure.savefig(beside, dpi=110))
    plt.close(figure)
