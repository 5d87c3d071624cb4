"""The phase map: which method wins where, over stop cost, volatility, price delay and peak charge, as one figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import xarray as xr

from minesim.bench.figures import INK, new_figure
from minesim.bench.scorecard import players
from minesim.bench.standing import RULE, at_scale, best_validated
from minesim.bench.statistics import Interval, paired_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

METHODS: Final = {
    "stock": "always stock",
    "rule": "tuned rule",
    "mpc": "MPC",
    "learned": "learned",
}
"""Kinds of methods that compete, with their names for people."""
COLOURS: Final = {"stock": "#9aa5b1", "rule": "#0072b2", "mpc": "#009e73", "learned": "#d55e00"}
PALE: Final = 0.45
LEVELS: Final = ("easy", "medium", "hard")
DELAYS: Final = {"day_ahead": "price known a day ahead", "after_interval": "price known after the hour"}
BASELINE: Final = "always_stock"


@dataclass(frozen=True)
class Cell:
    """One place of the map.

    Attributes:
        scenario, scale: where.
        winner: method with the highest mean profit on the test weeks, each represented by its best validated agent.
        agent: that agent.
        rival: the method with the next highest.
        gain: of the winner over that rival, USD a week, paired.
        gain_pct: the same in per cent of what always-stock earns, or NaN where that is not positive.
    """

    scenario: str
    scale: float
    winner: str
    agent: str
    rival: str
    gain: Interval
    gain_pct: float

    @property
    def clear(self) -> bool:
        """Whether the interval of the gain leaves out zero."""
        return self.gain.excludes_zero


def representatives(card: xr.Dataset, scenario: str, scale: float) -> dict[str, str]:
    """Method -> its agent with the highest validation profit; trained agents were judged at scale 1 only."""
    there = set(players(card, scenario))
    kinds = {
        str(agent): str(kind) for agent, kind in zip(card["agent"].to_numpy(), card["kind"].to_numpy(), strict=True)
    }
    found = {"stock": BASELINE, "rule": best_validated(card, scenario, scale, RULE)}
    if any(kinds[agent] == "mpc" for agent in there):
        found["mpc"] = best_validated(card, scenario, scale, "mpc")
    trained = [agent for agent in there if kinds[agent] in ("learned", "offline")]
    if trained:
        judged = card["validation_usd"].sel(scenario=scenario)
        found["learned"] = max(sorted(trained), key=lambda agent: float(judged.sel(agent=agent)))
    return found


def cell(card: xr.Dataset, scenario: str, scale: float) -> Cell:
    """Who wins at one place, and by how much."""
    agents = representatives(card, scenario, scale)
    profit = {method: at_scale(card, agent, scenario, scale) for method, agent in agents.items()}
    # A later method has to earn more than an earlier, simpler one to stand before it.
    winner, rival, *_ = sorted(profit, key=lambda method: (-float(profit[method].mean()), list(METHODS).index(method)))
    gain = paired_interval(profit[winner], profit[rival])
    stock = float(profit["stock"].mean())
    percent = 100.0 * gain.estimate / stock if stock > 0.0 else float("nan")
    return Cell(scenario, scale, winner, agents[winner], rival, gain, percent)


def phase_map(card: xr.Dataset) -> list[Cell]:
    """All places of a scorecard."""
    return [
        cell(card, str(scenario), float(scale))
        for scenario in card["scenario"].to_numpy()
        for scale in card["scale"].to_numpy()
    ]


def options_of(scenario: str) -> tuple[str, Mapping[str, str]]:
    """Market with tariff, and the options of a scenario's name."""
    plain, _, query = scenario.partition("?")
    return plain, dict(part.split("=", 1) for part in query.split("&")) if query else {}


def draw(cells: Sequence[Cell]) -> Figure:
    """One panel for each delay and peak charge (volatility against stop cost), and one of the real markets."""
    made = [item for item in cells if "level" in options_of(item.scenario)[1]]
    real = [item for item in cells if "level" not in options_of(item.scenario)[1]]
    panels = [
        (f"{told}, {'peak charge' if peaks else 'energy only'}", _rows(made, delay, peaks))
        for peaks in (False, True)
        for delay, told in DELAYS.items()
    ]
    panels = [(title, rows) for title, rows in panels if rows]
    if real:
        panels.append(
            ("real markets, test weeks of 2023", _by_row({item.scenario: item.scenario for item in real}, real))
        )
    heights = [len(rows) for _, rows in panels]
    figure, axes = new_figure(
        9.2,
        0.62 * sum(heights) + 0.75 * len(panels) + 0.6,
        rows=len(panels),
        squeeze=False,
        gridspec_kw={"height_ratios": heights},
    )
    for axis, (title, rows) in zip(axes[:, 0], panels, strict=True):
        _panel(axis, title, rows)
    axes[-1, 0].set_xlabel("assumed cost of stops and wear, times the assumed value")
    from matplotlib.patches import Patch

    shown = {item.winner for item in cells}
    handles = [Patch(color=COLOURS[key], label=name) for key, name in METHODS.items() if key in shown]
    handles.append(Patch(color="#4d4d4d", alpha=PALE, label="pale: the interval holds zero"))
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
    figure.supxlabel("The best method and what it earns over the runner-up, USD a week", fontsize=9.5)
    return figure


def _rows(cells: Sequence[Cell], delay: str, peaks: bool) -> dict[str, list[Cell]]:
    labels = {}
    for item in cells:
        plain, options = options_of(item.scenario)
        if options.get("price_known", "day_ahead") == delay and plain.endswith("4cp") == peaks:
            labels[item.scenario] = f"volatility {options['level']}"
    return _by_row(labels, cells)


def _by_row(labels: Mapping[str, str], cells: Sequence[Cell]) -> dict[str, list[Cell]]:
    return {
        label: sorted((item for item in cells if item.scenario == scenario), key=lambda item: item.scale)
        for scenario, label in labels.items()
    }


def _panel(axes: Axes, title: str, rows: Mapping[str, Sequence[Cell]]) -> None:
    for y, items in enumerate(rows.values()):
        for x, item in enumerate(items):
            alpha = 1.0 if item.clear else PALE
            axes.barh(y, 0.94, left=x - 0.47, height=0.88, color=COLOURS[item.winner], alpha=alpha)
            percent = f" ({item.gain_pct:+.0f} %)" if np.isfinite(item.gain_pct) and abs(item.gain_pct) < 1000 else ""
            told = "no gain" if item.gain.estimate < 0.5 else f"+{item.gain.estimate:,.0f}{percent}"
            axes.text(x, y, told, ha="center", va="center", fontsize=8, color="white" if item.clear else INK)
    scales = [item.scale for item in next(iter(rows.values()))]
    axes.set_xticks(range(len(scales)), [f"{scale:g}" for scale in scales])
    axes.set_yticks(range(len(rows)), list(rows))
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(-0.5, len(scales) - 0.5)
    axes.set_title(title, loc="left", fontsize=9.5)
    axes.grid(visible=False)
