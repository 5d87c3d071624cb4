"""Write results into pages: `python -m experiments.fill_results [PAGE SCORECARD]`.

Without arguments the README gets those of the last `make run`. Numbers reach the pages of SECTIONS only this way.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated

import typer
import xarray as xr

from agents.baselines import AlwaysStock
from minesim.bench import scorecard
from minesim.bench.files import write_text
from minesim.bench.report import usd
from minesim.bench.standing import best_validated, claims, limit_at_scale
from minesim.bench.statistics import paired_interval
from minesim.errors import DataFileError, explain

END = "<!-- results: end -->"
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


def across(card: xr.Dataset) -> str:
    """A Markdown table of agents and scenarios: profit a week, gain over the best validated rule, claims."""
    scenarios = [str(name) for name in card["scenario"].to_numpy()]
    rules = {name: best_validated(card, name) for name in scenarios}
    rows = [
        f"| agent | {' | '.join(f'`{name}`' for name in scenarios)} |",
        f"|---|{'--:|' * len(scenarios)}",
    ]
    for agent in (str(name) for name in card["agent"].to_numpy()):
        cells = []
        for name in scenarios:
            if agent not in scorecard.players(card, name):
                cells.append("")
                continue
            told = usd(float(scorecard.values(card, agent, name).mean()))
            if agent != rules[name]:
                gain = paired_interval(scorecard.values(card, agent, name), scorecard.values(card, rules[name], name))
                told += f" ({usd(gain.estimate, signed=True)}: {usd(gain.low)} to {usd(gain.high)})"
            cells.append(told)
        rows.append(f"| {agent.replace('_', ' ')} | {' | '.join(cells)} |")
    for limit, told in (("informed", "*known only what could be known*"), ("bound", "*clairvoyant bound*")):
        limits = [limit_at_scale(card, limit, name, 1.0) for name in scenarios]
        cells = ["" if found is None else usd(float(found.mean())) for found in limits]
        rows.append(f"| {told} | {' | '.join(cells)} |")
    weeks = card["week_start"].to_numpy()[0].astype("datetime64[D]")
    parts = [
        f"{len(weeks)} test weeks from {weeks[0]}, {card.sizes['seed']} seeds, USD a week; in brackets the paired "
        "gain over the best validated\nrule (that of the row without brackets) with its 95 % interval.\n",
        *rows,
        "",
    ]
    for claim in claims(card):
        gain = claim.difference
        parts.append(
            f"* `{claim.scenario}`: {claim.agent} over {claim.against} {usd(gain.estimate, signed=True)} a week, "
            f"corrected p {claim.p_adjusted:.3f}: the claim {'holds' if claim.holds else 'does not hold'}."
        )
    return "\n".join(parts)


SECTIONS: Mapping[Path, tuple[str, Callable[[xr.Dataset], str]]] = {
    Path("README.md"): ("<!-- results: begin (filled from `make run`) -->", results),
    Path("docs/benchmark.md"): ("<!-- results: begin (filled from the mixed scenarios) -->", across),
}
"""Page -> mark at which its results begin, and how they are told."""


def main(
    page: Annotated[Path, typer.Argument(help="README.md or docs/benchmark.md")] = Path("README.md"),
    card: Annotated[Path, typer.Argument(help="scorecard.nc of a benchmark")] = Path("outputs/latest/scorecard.nc"),
) -> None:
    """Replace the results between a page's marks.

    Raises:
        DataFileError: no results, or no marks.
    """
    if page not in SECTIONS:
        raise DataFileError(explain(f"{page} has no results", allowed=", ".join(map(str, SECTIONS))))
    begin, tell = SECTIONS[page]
    text = page.read_text(encoding="utf-8")
    if begin not in text or END not in text:
        raise DataFileError(explain(f"{page} has no results section", allowed=f"{begin} ... {END}"))
    if not card.exists():
        raise DataFileError(explain(f"there is no {card}", fix="Run `make run` or the benchmark first."))
    section = f"{begin}\n{tell(scorecard.load(card))}\n{END}"
    write_text(page, re.sub(re.escape(begin) + ".*?" + re.escape(END), lambda _: section, text, flags=re.DOTALL))


if __name__ == "__main__":
    typer.run(main)
