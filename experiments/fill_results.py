"""Write results into pages: `python -m experiments.fill_results [PAGE RESULTS]`.

Without arguments the README gets those of the last `make run`. Numbers reach the pages of SECTIONS only this way.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer
import xarray as xr

from agents.baselines import AlwaysStock
from minesim.bench import scorecard
from minesim.bench.files import write_text
from minesim.bench.overview import overview
from minesim.bench.report import usd
from minesim.bench.standing import best_validated, broken_bounds, claims, limit_at_scale
from minesim.bench.statistics import paired_interval
from minesim.errors import DataFileError, explain

END = "<!-- results: end -->"
BASELINE = AlwaysStock.name
LATEST = Path("outputs/latest/scorecard.nc")


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


def suite(card: xr.Dataset) -> str:
    """Claims, bounds, a table of gains over the best validated rule for each market, and the mission's targets."""
    weeks = card["week_start"].to_numpy()[0].astype("datetime64[D]")
    scenarios = [str(name) for name in card["scenario"].to_numpy()]
    broken = broken_bounds(card)
    parts = [
        f"{len(scenarios)} scenarios, {len(weeks)} test weeks from {weeks[0]}, {card.sizes['seed']} seeds. USD a week "
        "for the site: what the best\nvalidated rule earns (bold), and the paired gain of everybody else over it with "
        "its 95 % interval.",
        f"Runs above their clairvoyant bound, over all agents, weeks, seeds and scales: {len(broken)}.",
    ]
    markets = {
        name.split("/")[0]: [other for other in scenarios if other.split("/")[0] == name.split("/")[0]]
        for name in scenarios
    }
    parts += [f"\n**{market}**\n\n{_gains(mine, card)}" for market, mine in markets.items()]
    parts.append("")
    for claim in claims(card):
        gain = claim.difference
        parts.append(
            f"* `{claim.scenario}`: {claim.agent} over {claim.against} {usd(gain.estimate, signed=True)} a week, "
            f"corrected p {claim.p_adjusted:.3f}: the claim {'holds' if claim.holds else 'does not hold'}."
        )
    parts.append("\n" + _targets(card))
    return "\n".join(parts)


def _gains(scenarios: Sequence[str], card: xr.Dataset) -> str:
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
            elif agent == rules[name]:
                cells.append(f"**{usd(float(scorecard.values(card, agent, name).mean()))}**")
            else:
                gain = paired_interval(scorecard.values(card, agent, name), scorecard.values(card, rules[name], name))
                cells.append(f"{usd(gain.estimate, signed=True)} ({usd(gain.low)} to {usd(gain.high)})")
        if any(cells):
            rows.append(f"| {agent.replace('_', ' ')} | {' | '.join(cells)} |")
    for limit, told in (("informed", "*known only what could be known*"), ("bound", "*clairvoyant bound*")):
        cells = []
        for name in scenarios:
            found = limit_at_scale(card, limit, name, 1.0)
            best = float(scorecard.values(card, rules[name], name).mean())
            cells.append("" if found is None else usd(float(found.mean()) - best, signed=True))
        rows.append(f"| {told} | {' | '.join(cells)} |")
    return "\n".join(rows)


def _targets(card: xr.Dataset) -> str:
    """The mission's targets beside what the champion and, in brackets, the best rule reached where claims are made."""
    champion = str(card.attrs.get("champion", ""))
    declared = [name for name in json.loads(str(card.attrs.get("declared", "[]"))) if name in card["scenario"]]
    told = {name: overview(card, name, BASELINE) for name in declared if champion in scorecard.players(card, name)}
    if not told:
        return ""
    rows = [
        f"What the mission set out to reach, and {champion.replace('_', ' ')} (in brackets the best validated rule):\n",
        f"| measure | target | {' | '.join(f'`{name}`' for name in told)} |",
        f"|---|---|{'--:|' * len(told)}",
    ]
    for number, row in enumerate(next(iter(told.values())).targets):
        cells = []
        for item in told.values():
            reached = dict(zip(item.agents, item.targets[number].reached, strict=True))
            cells.append(f"{reached[champion]} ({reached[item.rule]})")
        rows.append(f"| {row.label}, {row.units} | {row.target} | {' | '.join(cells)} |")
    return "\n".join(rows)


def _of_card(tell: Callable[[xr.Dataset], str]) -> Callable[[Path], str]:
    return lambda path: tell(scorecard.load(path))


def _as_written(path: Path) -> str:
    """A page that a benchmark has written."""
    return path.read_text(encoding="utf-8")


SECTIONS: Mapping[Path, tuple[str, Callable[[Path], str]]] = {
    Path("README.md"): ("<!-- results: begin (filled from `make run`) -->", _of_card(results)),
    Path("docs/benchmark.md"): ("<!-- results: begin (filled from hashrate_v1) -->", _of_card(suite)),
    Path("docs/cooling.md"): ("<!-- results: begin (filled from cooling_v1) -->", _as_written),
    Path("docs/calibrate.md"): ("<!-- results: begin (filled from fields_v1) -->", _as_written),
    Path("docs/pinn.md"): ("<!-- results: begin (filled from bench=networks) -->", _as_written),
    Path("docs/miner_response.md"): ("<!-- results: begin (filled from task=miner_response) -->", _as_written),
}
"""Page -> mark at which its results begin, and how they are told."""


def main(
    page: Annotated[Path, typer.Argument(help=f"One of {', '.join(map(str, SECTIONS))}")] = Path("README.md"),
    found: Annotated[Path, typer.Argument(help="Scorecard or page.md of a benchmark")] = LATEST,
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
    if not found.exists():
        raise DataFileError(explain(f"there is no {found}", fix="Run `make run` or the benchmark first."))
    section = f"{begin}\n{tell(found)}\n{END}"
    write_text(page, re.sub(re.escape(begin) + ".*?" + re.escape(END), lambda _: section, text, flags=re.DOTALL))


if __name__ == "__main__":
    typer.run(main)
