"""Figures of a report as SVG data addresses, so that a page needs no other file."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from minesim.bench.rollout import INCOME_TERMS, MONEY_TERMS
from minesim.bench.statistics import Interval
from minesim.errors import MissingExtraError, explain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, GREY, FAINT = "#1f2933", "#7b8794", "#d9dee4"
AGENT_COLOURS = ("#52606d", "#0072b2", "#d55e00", "#cc79a7", "#009e73", "#b8860b", "#56b4e9", "#8c564b")
"""Colours that people with colour-blindness can tell apart (after Okabe and Ito)."""
TERM_COLOURS = {
    "revenue_usd": "#2a9d63",
    "reserve_usd": "#8fd0ab",
    "energy_usd": "#c0392b",
    "demand_usd": "#e08e45",
    "coincident_usd": "#8e5ea2",
    "wear_usd": "#95a5a6",
    "restart_usd": "#566573",
}
TERM_NAMES = {
    "revenue_usd": "revenue",
    "reserve_usd": "reserve",
    "energy_usd": "energy",
    "demand_usd": "demand charge",
    "coincident_usd": "coincident peak",
    "wear_usd": "wear",
    "restart_usd": "stops, restarts",
}
STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.5,
    "text.color": INK,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.7,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "svg.hashsalt": "minesim",
}


def colours(agents: Sequence[str]) -> dict[str, str]:
    """One colour for each agent, the same in every figure."""
    return {agent: AGENT_COLOURS[index % len(AGENT_COLOURS)] for index, agent in enumerate(agents)}


def new_figure(width: float, height: float, rows: int = 1, **options: Any) -> tuple[Figure, Any]:
    """Figure and axes in the report's style, without touching matplotlib's global state.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure as NewFigure
    except ImportError as error:
        raise MissingExtraError(
            explain("matplotlib is not installed", fix="Install it with: pip install 'minesim[report]'")
        ) from error
    with rc_context(STYLE):
        figure = NewFigure(figsize=(width, height), layout="constrained")
        return figure, figure.subplots(rows, 1, **options)


def data_address(figure: Figure) -> str:
    """The figure as a ``data:image/svg+xml`` address; the same figure gives the same bytes."""
    from matplotlib import rc_context

    buffer = io.BytesIO()
    with rc_context(STYLE):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def dot_plot(profits: Mapping[str, Interval], palette: Mapping[str, str], unit: str = "USD a week") -> Figure:
    """Mean of each agent with its interval, the first agent (the baseline) marked by a line."""
    figure, axes = new_figure(6.4, 0.5 * len(profits) + 0.9)
    names = list(profits)
    baseline = profits[names[0]].estimate
    axes.axvline(0.0, color=INK, linewidth=0.9)
    axes.axvline(baseline, color=palette[names[0]], linewidth=0.9, linestyle=(0, (4, 3)))
    for row, name in enumerate(names):
        item = profits[name]
        axes.plot([item.low, item.high], [row, row], color=palette[name], linewidth=2.2, solid_capstyle="round")
        axes.plot([item.estimate], [row], "o", color=palette[name], markersize=7)
        axes.annotate(
            f"{item.estimate:,.0f}",
            (item.estimate, row),
            xytext=(0, 6),
            textcoords="offset points",
            ha="center",
            fontsize=8.5,
        )
    axes.set_yticks(range(len(names)), [name.replace("_", " ") for name in names])
    axes.set_ylim(len(names) - 0.5, -0.7)
    axes.set_xlabel(f"net profit, {unit} (mean over the weeks, 95 % interval)")
    axes.grid(axis="y", visible=False)
    axes.locator_params(axis="x", nbins=6)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    return figure


def money_bars(terms: Mapping[str, Mapping[str, float]], unit: str = "USD a week") -> Figure:
    """Where the money went: income above zero, costs below, net profit as a mark; one bar an agent."""
    figure, axes = new_figure(6.4, 4.0)
    names = list(terms)
    shown = [term for term in MONEY_TERMS if any(abs(terms[name][term]) > 1e-9 for name in names)]
    above, below = np.zeros(len(names)), np.zeros(len(names))
    for term in shown:
        sign = 1.0 if term in INCOME_TERMS else -1.0
        part = np.array([sign * terms[name][term] for name in names])
        base = np.where(part >= 0.0, above, below)
        axes.bar(range(len(names)), part, 0.62, bottom=base, color=TERM_COLOURS[term], label=TERM_NAMES[term])
        above, below = above + np.maximum(part, 0.0), below + np.minimum(part, 0.0)
    net = [terms[name]["profit_usd"] for name in names]
    axes.plot(range(len(names)), net, "D", color="white", markeredgecolor=INK, markersize=6.5, label="net profit")
    for position, value in enumerate(net):
        axes.annotate(
            f"{value:,.0f}",
            (position, value),
            xytext=(9, -3),
            textcoords="offset points",
            fontsize=8.5,
            color=INK,
            bbox={"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none", "alpha": 0.8},
        )
    axes.axhline(0.0, color=INK, linewidth=0.9)
    axes.set_xticks(range(len(names)), [name.replace("_", "\n") for name in names], fontsize=8.5)
    axes.set_ylabel(unit)
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.grid(axis="x", visible=False)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=8.5, frameon=False)
    return figure


def weekly_gains(gains: Mapping[str, np.ndarray], starts: np.ndarray, palette: Mapping[str, str]) -> Figure:
    """Gain of each agent over the baseline, week by week: shows whether a mean hangs on a few weeks."""
    figure, axes = new_figure(11.0, 3.1)
    width = 0.86 / max(len(gains), 1)
    days = starts.astype("datetime64[D]")
    for index, (name, gain) in enumerate(gains.items()):
        offset = (index - (len(gains) - 1) / 2.0) * width
        axes.bar(np.arange(len(gain)) + offset, gain, width, color=palette[name], label=name.replace("_", " "))
    axes.axhline(0.0, color=INK, linewidth=0.9)
    every = max(1, len(days) // 9)
    axes.set_xticks(range(0, len(days), every), [str(day)[5:] for day in days[::every]])
    axes.set_xlim(-0.6, len(days) - 0.4)
    axes.set_xlabel("week beginning (UTC)")
    axes.set_ylabel("gain over always stock,\nUSD a week")
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.grid(axis="x", visible=False)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8.5, frameon=False)
    return figure


def week_figure(traces: Mapping[str, xr.Dataset], start: np.datetime64, palette: Mapping[str, str]) -> Figure:
    """One week: price, the power of the shown agents, and temperatures.

    Args:
        traces: agent -> traced run with ``trace_*`` over ``step``.
        start: of the week, UTC.
        palette: colour of each agent.
    """
    figure, (price_axes, power_axes, temp_axes) = new_figure(
        11.0, 7.4, 3, sharex=True, gridspec_kw={"height_ratios": [1.0, 1.25, 1.25]}
    )
    first = next(iter(traces.values()))
    minutes = np.arange(first.sizes["step"]) * int(first.attrs["dt_ctrl_s"]) // 60
    time = start.astype("datetime64[m]") + minutes.astype("timedelta64[m]")
    price = first["trace_energy_price_usd_per_mwh"].to_numpy()
    price_axes.step(time, price, where="post", color=INK, linewidth=1.1)
    price_axes.set_ylabel("energy price,\nUSD/MWh")
    if price.max() > 10.0 * max(float(np.median(np.abs(price))), 1.0):
        price_axes.set_yscale("symlog", linthresh=100.0)
        ticks = [tick for tick in (-100, -10, 0, 50, 100, 200, 500, 1000, 2000, 5000) if price.min() <= tick]
        price_axes.set_yticks([tick for tick in ticks if tick <= price.max() * 1.2], minor=False)
        price_axes.yaxis.set_major_formatter("{x:,.0f}")
        price_axes.minorticks_off()
    _lines(power_axes, traces, time, "trace_power_site_kw", palette)
    power_axes.set_ylabel("site power, kW")
    power_axes.set_ylim(bottom=0.0)
    _lines(temp_axes, traces, time, "trace_temp_chip_max_c", palette)
    temp_axes.plot(time, first["trace_temp_amb_c"].to_numpy(), color="#56b4e9", linewidth=1.3, label="outside air")
    temp_axes.axhline(80.0, color="#c0392b", linewidth=0.9, linestyle=(0, (4, 3)))
    temp_axes.annotate("80 °C limit", (time[0], 80.0), xytext=(3, 3), textcoords="offset points", fontsize=8)
    temp_axes.set_ylabel("hottest chip and\noutside air, °C")
    days = np.arange(time[0].astype("datetime64[D]"), time[-1] + np.timedelta64(1, "m"), np.timedelta64(1, "D"))
    labels = [day.astype("datetime64[D]").item().strftime("%a %d %b") for day in days]
    temp_axes.set_xticks(days.astype("datetime64[m]"), labels)
    temp_axes.set_xlim(time[0], time[-1])
    entries = temp_axes.get_legend_handles_labels()
    figure.legend(*entries, loc="outside lower center", ncols=4, fontsize=8.5, frameon=False)
    return figure


def _lines(
    axes: Axes, traces: Mapping[str, xr.Dataset], time: np.ndarray, variable: str, palette: Mapping[str, str]
) -> None:
    for name, trace in traces.items():
        axes.plot(
            time,
            trace[variable].to_numpy(),
            color=palette[name],
            linewidth=1.3,
            label=name.replace("_", " "),
            alpha=0.9,
        )
