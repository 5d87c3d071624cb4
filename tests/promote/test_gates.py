"""Gates with answers that were reckoned by hand."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from minesim.errors import ParamsError
from minesim.promote.gates import MARGINS, Gate, int8_gate, rehearsal_gates, scorecard_gates
from minesim.promote.rehearsal import BROKEN, Rehearsed
from tests.promote.cards import WEEKS, card

ONE = {"a": {"always_stock": 1000.0, "threshold": 1300.0, "peak_avoiding": 1305.0}}


def gates(found: xr.Dataset, agent: str = "threshold", **options: Any) -> dict[str, Gate]:
    alike = options.pop("alike", [str(name) for name in found["scenario"].to_numpy()])
    table = scorecard_gates(found, agent, "always_stock", "a", alike, **options)
    return {gate.name: gate for gate in table}


def failed(table: dict[str, Gate]) -> set[str]:
    return {name for name, gate in table.items() if not gate.passed}


def test_a_rule_that_earns_more_every_week_passes() -> None:
    table = gates(card(ONE, {"a": 1600.0}))
    assert failed(table) == set()
    assert table["gain"].value == pytest.approx(300.0)
    assert table["closed"].value == pytest.approx(0.5)
    assert table["worst_scenario"].value == pytest.approx(5.0 / 1305.0)


def test_a_gain_that_chance_explains_is_none() -> None:
    spread = {"threshold": 2000.0 * np.repeat([1.0, -1.0], WEEKS // 2)}
    table = gates(card(ONE, {"a": 4000.0}, spread=spread))
    assert table["gain"].value < 0.0
    assert "gain" in failed(table)
    assert "estimate 300" in table["gain"].note


def test_equal_profit_is_no_gain() -> None:
    table = gates(card({"a": {"always_stock": 1000.0, "threshold": 1000.0}}, {"a": 1600.0}))
    assert {"gain", "closed", "stress"} <= failed(table)


@pytest.mark.parametrize(("bound", "share", "passes"), [(2200.0, 0.25, True), (2201.0, 300 / 1201, False)])
def test_a_quarter_of_the_way_to_the_bound(bound: float, share: float, passes: bool) -> None:
    gate = gates(card(ONE, {"a": bound}))["closed"]
    assert gate.value == pytest.approx(share)
    assert gate.passed == passes


def test_without_a_bound_the_gate_fails_and_says_how_to_get_one() -> None:
    gate = gates(card(ONE, {"a": None}))["closed"]
    assert not gate.passed
    assert math.isnan(gate.value)
    assert "bounds=true" in gate.note


def test_a_bound_below_the_agent_proves_nothing() -> None:
    gate = gates(card(ONE, {"a": 1299.0}))["closed"]
    assert not gate.passed
    assert "in error" in gate.note


def test_where_the_incumbent_is_at_the_bound_nothing_is_closed() -> None:
    table = gates(card({"a": {"always_stock": 1000.0, "threshold": 1004.0}}, {"a": 1005.0}))
    assert "nothing to be gained" in table["closed"].note
    assert "closed" in failed(table)


@pytest.mark.parametrize(("rule", "passes"), [(1306.5, True), (1306.6, False)])
def test_half_a_per_cent_behind_the_best_rule(rule: float, passes: bool) -> None:
    table = gates(card({"a": {**ONE["a"], "peak_avoiding": rule}}, {"a": 1600.0}))
    assert table["worst_scenario"].passed == passes


def test_one_bad_scenario_of_several_is_enough() -> None:
    profit = {"a": ONE["a"], "b": {"always_stock": 900.0, "threshold": 950.0, "peak_avoiding": 1000.0}}
    table = gates(card(profit, {"a": 1600.0, "b": 1200.0}))
    assert failed(table) == {"worst_scenario"}
    assert table["worst_scenario"].value == pytest.approx(0.05)
    assert "on b" in table["worst_scenario"].note
    assert table["gain_suite"].value == pytest.approx(175.0)
    assert table["closed_suite"].value == pytest.approx(350.0 / 900.0)


def test_a_gain_here_and_a_loss_elsewhere() -> None:
    profit = {"a": ONE["a"], "b": {"always_stock": 1000.0, "threshold": 600.0, "peak_avoiding": 600.0}}
    assert {"gain_suite", "closed_suite"} <= failed(gates(card(profit, {"a": 1600.0, "b": 1200.0})))


def test_scenarios_that_the_bundle_cannot_act_in_do_not_count() -> None:
    profit = {"a": ONE["a"], "b": {"always_stock": 1000.0, "threshold": 600.0, "peak_avoiding": 900.0}}
    assert failed(gates(card(profit, {"a": 1600.0, "b": 1200.0}), alike=["a"])) == set()


def test_scenarios_where_it_does_not_play_are_left_out() -> None:
    profit = {"a": ONE["a"], "b": {"always_stock": 900.0, "peak_avoiding": 1000.0}}
    table = gates(card(profit, {"a": 1600.0, "b": None}))
    assert failed(table) == set()
    assert "gain_suite" not in table
    assert "worst of 1" in table["worst_scenario"].what


def test_a_loss_making_best_rule_is_measured_by_its_size() -> None:
    profit = {"a": {"always_stock": -2000.0, "threshold": -1008.0, "peak_avoiding": -1000.0}}
    table = gates(card(profit, {"a": -500.0}))
    assert table["worst_scenario"].value == pytest.approx(0.008)
    assert failed(table) == {"worst_scenario"}


@pytest.mark.parametrize(("gain", "passes"), [(0.05, True), (0.28, True), (0.31, False)])
def test_the_missions_gain(gain: float, passes: bool) -> None:
    table = gates(card(ONE, {"a": 1600.0}), gain=gain)
    assert table["gain_share"].passed == passes


def test_too_few_weeks_say_nothing() -> None:
    table = gates(card(ONE, {"a": 1600.0}, weeks=2))
    assert "at least 3" in table["gain"].note
    assert "gain" in failed(table)


def test_a_gain_that_lives_on_cheap_stops() -> None:
    """300 USD of gain, 110 USD more for stops: at four times the cost 300 - 3 x 110 is a loss."""
    table = gates(card(ONE, {"a": 1600.0}, metrics={("threshold", "restart_usd"): 110.0}))
    assert table["stress"].value == pytest.approx(-30.0)
    assert failed(table) == {"stress"}


@pytest.mark.parametrize(
    ("metric", "value", "gate"),
    [
        ("stops_per_miner", 14.1, "stops"),
        ("trips", 1.0, "trips"),
        ("temp_chip_max_c", 80.1, "heat"),
        ("violation_share", 0.021, "violations"),
        ("hashrate_rel_sd", 0.11, "stability"),
        ("efficiency_j_per_th", 30.7, "efficiency"),
    ],
)
def test_each_margin(metric: str, value: float, gate: str) -> None:
    assert failed(gates(card(ONE, {"a": 1600.0}, metrics={("threshold", metric): value}))) == {gate}
    unknown = gates(card(ONE, {"a": 1600.0}, metrics={("threshold", metric): math.nan}))
    assert failed(unknown) == {gate}, "what cannot be measured is not passed"


def test_a_site_that_is_hot_already_may_stay_as_hot() -> None:
    hot = {(name, "temp_chip_max_c"): 82.0 for name in ("always_stock", "threshold")}
    assert failed(gates(card(ONE, {"a": 1600.0}, metrics=hot))) == set()


def test_every_margin_has_its_case() -> None:
    cases = next(mark for mark in test_each_margin.pytestmark if mark.name == "parametrize").args[1]
    assert {gate for _, _, gate in cases} == {margin.name for margin in MARGINS}


def test_over_itself() -> None:
    with pytest.raises(ParamsError, match="itself"):
        scorecard_gates(card(ONE, {"a": 1600.0}), "threshold", "threshold", "a", ["a"])


@given(value=st.floats(allow_nan=True), bar=st.floats(allow_nan=False), at_least=st.booleans(), strict=st.booleans())
def test_a_gate_is_what_it_says(value: float, bar: float, at_least: bool, strict: bool) -> None:
    gate = Gate("", "", value, bar, at_least, "1", strict=strict)
    if math.isnan(value):
        assert not gate.passed
    elif value == bar:
        assert gate.passed != strict
    else:
        assert gate.passed == ((value > bar) == at_least)


def rehearsed(profit: float, **broken: int) -> Rehearsed:
    return Rehearsed(np.full(3, profit), {**dict.fromkeys(BROKEN, 0), **broken}, {})


@pytest.mark.parametrize(("profit", "passes"), [(99.6, True), (99.4, False), (101.0, True)])
def test_eight_bits_may_cost_half_a_per_cent(profit: float, passes: bool) -> None:
    assert int8_gate(rehearsed(profit), rehearsed(100.0)).passed == passes


def at_rehearsal(agent: Rehearsed, incumbent: float, rule: float) -> set[str]:
    done = {"ppo": agent, "always_stock": rehearsed(incumbent), "peak_avoiding": rehearsed(rule)}
    return {
        gate.name for gate in rehearsal_gates(done, "ppo", "always_stock", "peak_avoiding", "bridge") if not gate.passed
    }


def test_rehearsal() -> None:
    assert at_rehearsal(rehearsed(200.0), 100.0, 200.9) == set()
    assert at_rehearsal(rehearsed(100.0), 100.0, 100.0) == set(), "quiet weeks"
    assert at_rehearsal(rehearsed(100.0), 100.02, 100.0) == {"rehearsal"}
    assert at_rehearsal(rehearsed(200.0), 100.0, 202.0) == {"rehearsal_rule"}
    assert at_rehearsal(rehearsed(200.0, ramp=2, trips=1), 100.0, 200.0) == {"envelope"}


def test_what_was_broken_is_named() -> None:
    done = dict.fromkeys(("ppo", "always_stock"), rehearsed(1.0, ramp=2, trips=1))
    gate = rehearsal_gates(done, "ppo", "always_stock", "always_stock", "bridge")[0]
    assert gate.value == 3.0
    assert gate.note == "ramp 2, trips 1"


def test_the_docs_name_every_gate_margin_and_count() -> None:
    page = (Path(__file__).parents[2] / "docs" / "promotion.md").read_text(encoding="utf-8")
    for margin in MARGINS:
        unit = "" if margin.unit == "1" else f" {margin.unit}"
        assert re.search(rf"^\| `{margin.name}` \| .* \| {margin.bar:g}{unit} \|$", page, re.MULTILINE), margin.name
    for name, what in BROKEN.items():
        assert re.search(rf"^\| `{name}` \| {re.escape(what)}", page, re.MULTILINE), name
    profit = {"a": ONE["a"], "b": ONE["a"]}
    done = dict.fromkeys(("ppo", "always_stock"), rehearsed(1.0))
    table = [
        *gates(card(profit, {"a": 1600.0, "b": 1600.0}), gain=0.05).values(),
        *rehearsal_gates(done, "ppo", "always_stock", "always_stock", "bridge"),
        int8_gate(done["ppo"], done["ppo"]),
    ]
    for gate in table:
        assert f"`{gate.name}`" in page, gate.name
