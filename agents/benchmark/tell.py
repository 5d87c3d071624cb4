"""The headline of a benchmark on the terminal."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from rich.console import Console
from rich.table import Table

from minesim.bench import scorecard
from minesim.bench.gate import Change
from minesim.bench.report import usd
from minesim.bench.standing import best_validated, broken_bounds, claims, limit_at_scale


def summarise(card: xr.Dataset, baseline: str, console: Console) -> None:
    """A table for each scenario, then what was claimed."""
    for scenario in (str(name) for name in card["scenario"].to_numpy()):
        rule = best_validated(card, scenario)
        table = Table(title=f"{scenario}: USD a week, 95 % intervals", title_justify="left")
        for column in ("agent", "net profit", f"against {baseline}", "95 % interval", f"against {rule}"):
            table.add_column(column, justify="left" if column == "agent" else "right")
        profit = scorecard.intervals(card, scenario)
        gains, behind = (
            {item.agent: item.difference for item in scorecard.comparisons(card, scenario, name)}
            for name in (baseline, rule)
        )
        for agent, item in profit.items():
            gain, other = gains.get(agent), behind.get(agent)
            told = (usd(gain.estimate, signed=True), f"{usd(gain.low)} to {usd(gain.high)}") if gain else ("", "")
            table.add_row(agent, usd(item.estimate), *told, usd(other.estimate, signed=True) if other else "")
        for name in ("informed", "bound"):
            limit = limit_at_scale(card, name, scenario, 1.0)
            if limit is not None:
                table.add_row(f"[dim]{name}[/dim]", usd(float(np.mean(limit))), "", "", "")
        console.print(table)
    for claim in claims(card):
        gap = claim.difference
        verdict = "holds" if claim.holds else "does not hold"
        console.print(
            f"Claim on {claim.scenario}: {claim.agent} over {claim.against} {usd(gap.estimate, signed=True)} a week, "
            f"{usd(gap.low)} to {usd(gap.high)}, p {claim.p_adjusted:.3f}: {verdict}."
        )
    for agent, scenario, scale, excess in broken_bounds(card):
        console.print(f"[red]{agent} is {excess:.2f} USD above the bound on {scenario} at cost scale {scale:g}[/red]")


def tell_changes(found: Sequence[Change], console: Console) -> bool:
    """The comparison with a baseline; returns whether an agent regressed."""
    table = Table(title="Against the baseline: USD a week, 95 % intervals", title_justify="left")
    for column in ("agent", "scenario", "change", "95 % interval", "p (Holm)", ""):
        table.add_column(column, justify="left" if column in ("agent", "scenario") else "right")
    for item in found:
        gap = item.difference
        p = "" if np.isnan(item.p_adjusted) else f"{item.p_adjusted:.3f}"
        verdict = "[red]regressed[/red]" if item.regressed else ""
        told = (usd(gap.estimate, signed=True), f"{usd(gap.low)} to {usd(gap.high)}")
        table.add_row(item.agent, item.scenario, *told, p, verdict)
    console.print(table)
    return any(item.regressed for item in found)
