"""The report: parsed, not looked at."""

from __future__ import annotations

import base64
import dataclasses
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from minesim.bench import scorecard as cards
from minesim.bench.report import About, render, usd, write_report

Cells = dict[tuple[str, str], xr.Dataset]
VOID = {"meta", "img", "br", "link", "input"}
PAGE = pytest.StashKey[str]()


class Page(HTMLParser):
    """Text, headline rows, picture addresses and links of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.rows: list[list[str]] = []
        self.pictures: list[tuple[str, str]] = []
        self.links: list[str] = []
        self.notes: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        assert self.open == [], "unclosed tags"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr" and "data-agent" in found:
            self.rows.append([])
        if tag == "img":
            self.pictures.append((found["src"], found["alt"]))
        self.links += [value for name, value in found.items() if name in ("href", "src") and tag != "img"]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)
        if "td" in self.open and self.rows and "thead" not in self.open:
            self.rows[-1].append(data)


@pytest.fixture
def about() -> About:
    return About(
        title="A test <report> & more",
        baseline="always_stock",
        created="2026-01-01 00:00:00 UTC",
        command="make run",
        agents={"always_stock": "always", "threshold": "by price", "same": "the same"},
        parameters={"north": {"threshold": "factor 1.1"}, "south": {"threshold": "factor 0.9"}},
        scenarios={"north": [("energy", "day ahead")], "south": []},
        site=[("site", "200 miners")],
        fleet=[("Antminer S19j Pro (104T)", 200, 3062.0, 104.0, 29.4)],
        assumptions=["stops cost what is assumed"],
        versions={"minesim": "0.1.0"},
        licences=["prices: terms not verified"],
    )


@pytest.fixture
def card(cells: Cells) -> xr.Dataset:
    return cards.scorecard(cells)


@pytest.fixture
def text(card: xr.Dataset, about: About, request: pytest.FixtureRequest) -> str:
    """The page, rendered once for all tests of it."""
    cached = request.config.stash.get(PAGE, None)
    if cached is None:
        cached = request.config.stash[PAGE] = render(card, {}, about)
    return cached


def test_page_is_whole_and_needs_nothing_else(text: str) -> None:
    page = Page(text)
    assert all(link.startswith("#") for link in page.links)
    assert not re.search(r"""(?:src|href)\s*=\s*["']?(?:https?:)?//""", text)
    assert "@import" not in text
    assert "url(" not in text
    assert len(page.pictures) == 2 * 3
    for address, alt in page.pictures:
        kind, _, data = address.partition(",")
        assert kind == "data:image/svg+xml;base64"
        assert b"<svg" in base64.b64decode(data)[:800]
        assert alt
    assert "<title>A test &lt;report&gt; &amp; more</title>" in text


def test_numbers_on_the_page_are_those_of_the_scorecard(card: xr.Dataset, text: str) -> None:
    page = Page(text)
    assert len(page.rows) == 6
    for row, (scenario, agent) in zip(
        page.rows, [(s, a) for s in ("north", "south") for a in ("always_stock", "threshold", "same")], strict=True
    ):
        assert row[0] == agent.replace("_", " ")
        assert usd(float(cards.values(card, agent, scenario).mean())) in row
        low = cards.intervals(card, scenario)[agent].low
        assert any(cell.startswith(usd(low)) for cell in row)
    gain = cards.comparisons(card, "north", "always_stock")[0]
    assert usd(gain.difference.estimate, signed=True) in page.rows[1]
    assert any(f"p {gain.p_adjusted:.3f}" in cell or "p < 0.001" in cell for cell in page.rows[1])


def test_losses_and_ties_are_told_as_plainly_as_wins(text: str) -> None:
    words = " ".join(Page(text).words)
    north, south = words.split("Honest notes")[1:3]
    assert "No rule earned less than always stock on average." in north
    assert "Threshold did worse than always stock in 0 of 8 weeks." in north
    assert re.search("Earned less than always stock: threshold \\(\N{MINUS SIGN}\\$\\d+ a week\\)", south)
    assert "Did the same on these weeks: always stock and same." in north
    assert "Control steps with a constraint violation: threshold 1.0 %." in north
    assert "Best on these weeks: threshold, +$" in words
    assert "No rule earned more than always stock." in words


def test_cost_of_stops_is_varied(card: xr.Dataset, text: str) -> None:
    table = text.split('<table class="sensitivity">')[1].split("</table>")[0]
    mean = float(cards.values(card, "threshold", "north").mean())
    for scale in (0.0, 0.5, 1.0, 2.0, 4.0):
        assert usd(mean + (1.0 - scale) * 50.0) in table


def test_few_weeks_make_no_claim(cells: Cells, about: About) -> None:
    few = {key: cell.isel(run=slice(0, 4)) for key, cell in cells.items()}
    words = " ".join(Page(render(cards.scorecard(few), {}, about)).words)
    assert "too few weeks" in words
    assert "This is within what chance can do" in words


def test_a_week_from_the_inside_and_the_file(card: xr.Dataset, about: About, tmp_path: Path) -> None:
    steps = 2016
    trace = xr.Dataset(
        {
            f"trace_{name}": ("step", np.linspace(low, high, steps))
            for name, low, high in (
                ("energy_price_usd_per_mwh", -20.0, 3000.0),
                ("power_site_kw", 0.0, 600.0),
                ("temp_chip_max_c", 30.0, 75.0),
                ("temp_amb_c", 20.0, 40.0),
            )
        },
        coords={"start": np.datetime64("2023-08-05", "ns")},
        attrs={"dt_ctrl_s": 300.0},
    )
    shown = dataclasses.replace(about, showcase="Chosen before.")
    path = write_report(tmp_path / "latest" / "report.html", card, {"north": {"always_stock": trace}}, shown)
    page = Page(path.read_text(encoding="utf-8"))
    assert len(page.pictures) == 7
    assert any("Price, power and temperatures of one week, north" in alt for _, alt in page.pictures)
    assert "Chosen before." in " ".join(page.words)
    assert [entry.name for entry in path.parent.iterdir()] == ["report.html"]


def test_same_input_same_bytes(card: xr.Dataset, about: About, text: str) -> None:
    assert render(card, {}, about) == text


def test_dollars() -> None:
    assert usd(0.2) == "$0"
    assert usd(-0.2, signed=True) == "$0"
    assert usd(1234567.8) == "$1,234,568"
    assert usd(-1500.0) == "\N{MINUS SIGN}$1,500"
    assert usd(float("nan")) == "\N{EN DASH}"
