"""Write the results of the last `make run` into the README: `python -m experiments.fill_readme`.

Numbers reach the README only through this script, from ``outputs/latest/scorecard.nc``.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import xarray as xr

from agents.baselines import AlwaysStock
from minesim.bench import scorecard
from minesim.bench.files import write_text
from minesim.bench.report import usd
from minesim.bench.standing import limit_at_scale
from minesim.errors import DataFileError, MinesimError, explain

README, CARD = Path("README.md"), Path("outputs/latest/scorecard.nc")
BEGIN, END = "<!-- results: begin (filled from `make run`) -->", "<!-- results: end -->"
BASELINE = AlwaysStock.name


def results(card: xr.Dataset) -> str:
    """A Markdown table for each scenario: profit a week and the paired gain over always-stock with its interval."""
    weeks = card["week_start"].to_numpy()[0].astype("datetime64[D]")
    parts = [
        f"Site `{card.attrs['site']}` (16 cohorts, 200 miners), {len(weeks)} test weeks from {weeks[0]}, "
        f"{card.sizes['seed']} seeds; rules and\nMPC tuned, PPO chosen on the half year before. USD a week for the "
        "site; paired intervals by block\nbootstrap over weeks, p corrected for the number of agents. Bounds: what a "
        "clairvoyant could have earned at\nmost, and a perfect plan that knows only what could be known."
    ]
    for scenario in card["scenario"].to_numpy():
        rows = [
            f"\n**{scenario}**\n",
            "| agent | net profit | gain over always stock | 95 % interval | p |",
            "|---|--:|--:|--:|--:|",
        ]
        gains = {item.agent: item for item in scorecard.comparisons(card, str(scenario), BASELINE)}
        for agent, profit in scorecard.intervals(card, str(scenario)).items():
            gain, told = gains.get(agent), ["", "", ""]
            if gain:
                item = gain.difference
                told = [
                    usd(item.estimate, signed=True),
                    f"{usd(item.low)} to {usd(item.high)}",
                    f"{gain.p_adjusted:.3f}",
                ]
            rows.append(f"| {agent.replace('_', ' ')} | {usd(profit.estimate)} | {' | '.join(told)} |")
        for name, told in (("informed", "*known only what could be known*"), ("bound", "*clairvoyant bound*")):
            limit = limit_at_scale(card, name, str(scenario), 1.0)
            if limit is not None:
                rows.append(f"| {told} | {usd(float(limit.mean()))} |  |  |  |")
        parts.append("\n".join(rows))
    return "\n".join(parts)


def main() -> int:
    """Replace the section between the markers.

    Raises:
        DataFileError: no results, or no markers.
    """
    text = README.read_text(encoding="utf-8")
    if BEGIN not in text or END not in text:
        raise DataFileError(explain("README.md has no results section", allowed=f"{BEGIN} ... {END}"))
    if not CARD.exists():
        raise DataFileError(explain(f"there is no {CARD}", fix="Run `make run` first."))
    section = f"{BEGIN}\n{results(scorecard.load(CARD))}\n{END}"
    write_text(README, re.sub(re.escape(BEGIN) + ".*?" + re.escape(END), lambda _: section, text, flags=re.DOTALL))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except MinesimError as error:
        sys.exit(f"{type(error).__name__}: {error}")
