"""One self-contained HTML page of a scorecard: what was earned, how certain it is, and what it hangs on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from minesim.bench import figures
from minesim.bench.files import write_text
from minesim.bench.metrics import METRICS
from minesim.bench.overview import Overview, overview
from minesim.bench.regret import profit_at_scale
from minesim.bench.rollout import MONEY_TERMS
from minesim.bench.scorecard import HEADLINE, best_agent, comparisons, intervals, players, values
from minesim.bench.standing import at_scale, claims, has_scales
from minesim.bench.statistics import Comparison, Interval
from minesim.errors import MissingExtraError, explain

COST_SCALES = (0.0, 0.5, 1.0, 2.0, 4.0)
"""Factors at which results are repeated, because the cost of a stop is assumed."""
TIED_USD = 0.5
"""Weekly difference below which two agents did the same."""
NONE, MINUS = "\N{EN DASH}", "\N{MINUS SIGN}"


@dataclass(frozen=True)
class About:
    """What a reader has to know beside the numbers.

    Attributes:
        title: of the page.
        baseline: agent that all are compared with.
        created: when, as text.
        command: how to make it again.
        agents: agent -> what it does, in a line.
        parameters: scenario -> agent -> tuned parameters as text.
        scenarios: scenario -> facts (label, text).
        site: facts of the site (label, text).
        fleet: rows of the fleet: model, miners, rated W, rated TH/s, J/TH.
        assumptions: what is assumed rather than measured.
        versions: package -> version.
        licences: of the data shown.
        showcase: how the shown week was chosen.
    """

    title: str
    baseline: str
    created: str
    command: str
    agents: Mapping[str, str]
    parameters: Mapping[str, Mapping[str, str]]
    scenarios: Mapping[str, Sequence[tuple[str, str]]]
    site: Sequence[tuple[str, str]]
    fleet: Sequence[tuple[str, int, float, float, float]]
    assumptions: Sequence[str]
    versions: Mapping[str, str]
    licences: Sequence[str] = ()
    showcase: str = ""


@dataclass(frozen=True)
class Row:
    """One agent's line in the headline table; text as shown."""

    agent: str
    profit: str
    profit_range: str
    gain: str
    gain_range: str
    verdict: str
    behind_best: str
    behind_best_range: str
    per_kwh: str
    efficiency: str
    load: str
    stops: str
    off: str
    violations: str
    hottest: str
    is_best: bool


@dataclass(frozen=True)
class Section:
    """One scenario's part of the page."""

    name: str
    weeks: int
    seeds: int
    first: str
    last: str
    best: str
    finding: str
    rows: Sequence[Row]
    notes: Sequence[str]
    sensitivity: Sequence[tuple[str, Sequence[str]]]
    pictures: Mapping[str, str]
    facts: Sequence[tuple[str, str]] = field(default_factory=tuple)
    parameters: Mapping[str, str] = field(default_factory=dict)
    overview: Overview | None = None


def usd(value: float, *, signed: bool = False) -> str:
    """Whole dollars with thousands separated, a true minus sign, a dash where there is no number.

    >>> usd(-1234.4), usd(99.6, signed=True)
    ('\N{MINUS SIGN}$1,234', '+$100')
    """
    if not np.isfinite(value):
        return NONE
    sign = MINUS if round(value) < 0 else "+" if signed and round(value) > 0 else ""
    return f"{sign}${abs(round(value)):,}"


def _range(item: Interval, *, signed: bool = False) -> str:
    if not np.isfinite(item.low):
        return "too few weeks"
    return f"{usd(item.low, signed=signed)} to {usd(item.high, signed=signed)}"


def _p(value: float) -> str:
    return NONE if not np.isfinite(value) else "< 0.001" if value < 0.001 else f"{value:.3f}"


def write_report(path: Path, card: xr.Dataset, traces: Mapping[str, Mapping[str, xr.Dataset]], about: About) -> Path:
    """Write the page, whole or not at all.

    Args:
        path: of the HTML file.
        card: scorecard.
        traces: scenario -> agent -> traced run (with ``trace_*`` over ``step`` and attribute ``dt_ctrl_s``).
        about: everything beside the numbers.

    Returns:
        ``path``.

    Raises:
        MissingExtraError: jinja2 or matplotlib is not installed.
    """
    write_text(path, render(card, traces, about))
    return path


def render(card: xr.Dataset, traces: Mapping[str, Mapping[str, xr.Dataset]], about: About) -> str:
    """The page as text; see :func:`write_report`."""
    try:
        import jinja2
    except ImportError as error:
        raise MissingExtraError(
            explain("jinja2 is not installed", fix="Install it with: pip install 'minesim[report]'")
        ) from error
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("minesim.bench"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    sections = [_section(card, str(name), traces.get(str(name), {}), about) for name in card["scenario"].to_numpy()]
    return environment.get_template("report.html.j2").render(
        about=about,
        sections=sections,
        claims=claims_told(card),
        metrics=METRICS,
        scales=COST_SCALES,
        block_weeks=card.attrs["block_weeks"],
    )


def _section(card: xr.Dataset, scenario: str, traces: Mapping[str, xr.Dataset], about: About) -> Section:
    agents = players(card, scenario)
    ordered = [about.baseline, *(agent for agent in agents if agent != about.baseline)]
    best = best_agent(card, scenario)
    profit = intervals(card, scenario)
    against_base = {item.agent: item for item in comparisons(card, scenario, about.baseline)}
    against_best = {item.agent: item for item in comparisons(card, scenario, best)}
    starts = card["week_start"].sel(scenario=scenario).to_numpy()
    palette = figures.colours(ordered)
    terms = {
        agent: {name: float(values(card, agent, scenario, name).mean()) for name in (HEADLINE, *MONEY_TERMS)}
        for agent in ordered
    }
    base = values(card, about.baseline, scenario).mean(axis=1)
    gains = {agent: values(card, agent, scenario).mean(axis=1) - base for agent in ordered[1:]}
    pictures = {
        "profit": figures.data_address(figures.dot_plot({agent: profit[agent] for agent in ordered}, palette)),
        "money": figures.data_address(figures.money_bars(terms)),
    }
    if gains:
        pictures["weekly"] = figures.data_address(figures.weekly_gains(gains, starts, palette))
    shown = {
        agent: traces[agent]
        for agent in dict.fromkeys((about.baseline, best, *_most_different(gains)))
        if agent in traces
    }
    if shown:
        start = next(iter(shown.values()))["start"].to_numpy().reshape(-1)[0]
        pictures["week"] = figures.data_address(figures.week_figure(shown, start, palette))
    return Section(
        name=scenario,
        weeks=card.sizes["week"],
        seeds=card.sizes["seed"],
        first=str(starts[0].astype("datetime64[D]")),
        last=str((starts[-1] + np.timedelta64(7, "D")).astype("datetime64[D]")),
        best=best,
        finding=_finding(best, about.baseline, against_base),
        rows=[_row(card, scenario, agent, best, profit, against_base, against_best) for agent in ordered],
        notes=_notes(card, scenario, best, about.baseline, against_base, gains, terms),
        sensitivity=[
            (agent, [usd(_at_cost_scale(card, scenario, agent, terms[agent], scale)) for scale in COST_SCALES])
            for agent in ordered
        ],
        pictures=pictures,
        facts=about.scenarios.get(scenario, ()),
        parameters=about.parameters.get(scenario, {}),
        overview=overview(card, scenario, about.baseline) if has_scales(card) else None,
    )


def _at_cost_scale(card: xr.Dataset, scenario: str, agent: str, terms: Mapping[str, float], scale: float) -> float:
    """Weekly profit at a cost scale: of what was tuned for it where the card has that, else of the same runs."""
    if has_scales(card) and scale in card["scale"]:
        return float(at_scale(card, agent, scenario, scale).mean())
    return float(profit_at_scale(terms, scale))


def _most_different(gains: Mapping[str, np.ndarray]) -> list[str]:
    """Beside baseline and best, the rule that earned least among those that did not do the same as the baseline."""
    moved = {agent: float(gain.mean()) for agent, gain in gains.items() if np.abs(gain).max() > TIED_USD}
    return [min(moved, key=lambda agent: moved[agent])] if moved else []


def _row(
    card: xr.Dataset,
    scenario: str,
    agent: str,
    best: str,
    profit: Mapping[str, Interval],
    against_base: Mapping[str, Comparison],
    against_best: Mapping[str, Comparison],
) -> Row:
    gain, behind = against_base.get(agent), against_best.get(agent)

    def mean(metric: str) -> float:
        table = values(card, agent, scenario, metric)
        return float(np.nanmean(table)) if np.isfinite(table).any() else float("nan")

    return Row(
        agent=agent,
        profit=usd(profit[agent].estimate),
        profit_range=_range(profit[agent]),
        gain=usd(gain.difference.estimate, signed=True) if gain else NONE,
        gain_range=f"{_range(gain.difference, signed=True)}; p {_p(gain.p_adjusted)}" if gain else "baseline",
        verdict=_verdict(gain) if gain else "",
        behind_best=usd(behind.difference.estimate, signed=True) if behind else NONE,
        behind_best_range=_range(behind.difference, signed=True) if behind else "best",
        per_kwh=f"{_of_sums(card, scenario, agent, 'profit_usd', 'energy_kwh') * 100.0:.2f}",
        efficiency=f"{mean('efficiency_j_per_th'):.1f}",
        load=f"{mean('load_factor') * 100.0:.0f} %",
        stops=f"{mean('stops_per_miner'):.1f}",
        off=f"{mean('off_share') * 100.0:.0f} %",
        violations=f"{mean('violation_share') * 100.0:.1f} %",
        hottest=f"{float(np.nanmax(values(card, agent, scenario, 'temp_chip_max_c'))):.0f}",
        is_best=agent == best,
    )


def _of_sums(card: xr.Dataset, scenario: str, agent: str, above: str, below: str) -> float:
    total = float(values(card, agent, scenario, below).sum())
    return float(values(card, agent, scenario, above).sum()) / total if total > 0.0 else float("nan")


def _verdict(item: Comparison) -> str:
    """``gain``, ``loss`` or ``open``, by the corrected p-value."""
    if not item.p_adjusted < 0.05:
        return "open"
    return "gain" if item.difference.estimate > 0.0 else "loss"


def _finding(best: str, baseline: str, against_base: Mapping[str, Comparison]) -> str:
    if best == baseline:
        return f"No rule earned more than {_words(baseline)}."
    item = against_base[best]
    told = (
        f"Best on these weeks: {_words(best)}, {usd(item.difference.estimate, signed=True)} a week over "
        f"{_words(baseline)} (95 % interval {_range(item.difference, signed=True)}; p {_p(item.p_adjusted)} after "
        f"correction for {len(against_base)} comparisons)."
    )
    if _verdict(item) == "open" and item.difference.excludes_zero:
        told += " On its own the interval leaves zero out, after the correction it does not: likely, but not proven."
    elif _verdict(item) == "open":
        told += " This is within what chance can do: read it as no proven difference."
    return told


def _notes(
    card: xr.Dataset,
    scenario: str,
    best: str,
    baseline: str,
    against_base: Mapping[str, Comparison],
    gains: Mapping[str, np.ndarray],
    terms: Mapping[str, Mapping[str, float]],
) -> list[str]:
    """Plain statements that a reader would otherwise have to dig for; losses first."""
    notes = []
    losers = [item for item in against_base.values() if item.difference.estimate < -TIED_USD]
    if losers:
        told = ", ".join(
            f"{_words(item.agent)} ({usd(item.difference.estimate, signed=True)} a week"
            + (")" if _verdict(item) == "loss" else ", not proven)")
            for item in sorted(losers, key=lambda item: item.difference.estimate)
        )
        notes.append(f"Earned less than {_words(baseline)}: {told}.")
    else:
        notes.append(f"No rule earned less than {_words(baseline)} on average.")
    if any(terms[agent][HEADLINE] < 0.0 for agent in terms):
        negative = [_words(agent) for agent in terms if terms[agent][HEADLINE] < 0.0]
        notes.append(f"Lost money outright on average: {', '.join(negative)}.")
    if best in gains:
        gain = gains[best]
        lost = int((gain < -TIED_USD).sum())
        notes.append(f"{_words(best, True)} did worse than {_words(baseline)} in {lost} of {len(gain)} weeks.")
        top = float(np.sort(gain)[-3:].sum())
        if len(gain) > 6 and gain.sum() > 0.0:
            share = top / gain.sum() * 100.0
            notes.append(
                f"Without its three best weeks it would have lost against {_words(baseline)}."
                if share > 100.0
                else f"Its three best weeks bring {share:.0f} % of its whole gain."
            )
    everyone = {baseline: 0.0 * next(iter(gains.values())), **gains} if gains else {}
    same = [
        f"{_words(first)} and {_words(second)}"
        for index, first in enumerate(everyone)
        for second in list(everyone)[index + 1 :]
        if np.allclose(everyone[first], everyone[second], atol=TIED_USD)
    ]
    if same:
        notes.append(f"Did the same on these weeks: {'; '.join(same)}.")
    hot = [
        f"{_words(agent)} {values(card, agent, scenario, 'violation_share').mean() * 100.0:.1f} %"
        for agent in terms
        if values(card, agent, scenario, "violation_share").mean() > 5e-4
    ]
    notes.append(
        f"Control steps with a constraint violation: {', '.join(hot)}." if hot else "No agent violated a constraint."
    )
    notes.append(
        f"“Best” is chosen on the same weeks that it is judged on, so the column against the best rule flatters "
        f"{_words(best)}; the comparisons with {_words(baseline)} were fixed beforehand."
    )
    return notes


def _words(agent: str, capital: bool = False) -> str:
    text = agent.replace("_", " ")
    return text.capitalize() if capital else text


def claims_told(card: xr.Dataset) -> list[str]:
    """The claims that were fixed before the test run, and what came of them."""
    if not has_scales(card):
        return []
    return [
        f"{_words(claim.agent)} against {_words(claim.against)} on {claim.scenario}: "
        f"{usd(claim.difference.estimate, signed=True)} a week ({_range(claim.difference, signed=True)}; p "
        f"{_p(claim.p_adjusted)} after correction): {'holds' if claim.holds else 'does not hold'}."
        for claim in claims(card)
    ]


def facts(**items: Any) -> list[tuple[str, str]]:
    """Facts for :class:`About` from keywords, underscores shown as blanks."""
    return [(name.replace("_", " "), str(value)) for name, value in items.items()]
