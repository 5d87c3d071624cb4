"""What Prometheus is shown."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from minesim.bridge.telling.alerts import prometheus_rules
from minesim.bridge.telling.metrics import Metrics, serve
from minesim.bridge.telling.snapshot import FeedView, PolicyView
from minesim.errors import ParamsError
from tests.bridge.promtool import needs_promtool, promtool
from tests.bridge.snapshots import a_site, miner


def samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def scrape(metrics: Metrics) -> str:
    with serve(metrics, port=0) as port:
        return httpx.get(f"http://127.0.0.1:{port}/metrics").text


def test_a_scrape_tells_units_and_values() -> None:
    metrics = Metrics()
    site = a_site(miner("a", hashrate_ths=100.0, power_w=3000.0, throttle=None), power_w=3100.0, cap_w=5000.0)
    metrics.publish(site)
    metrics.count_write("preset", "done")
    metrics.count_journal_error()
    metrics.observe_cycle(0.2)
    got = samples(scrape(metrics))
    a = (("miner", "a"),)
    assert got["minesim_miner_hashrate_hashes_per_second", a] == 100e12
    assert got["minesim_miner_power_watts", a] == 3000.0
    assert got["minesim_miner_state", (("miner", "a"), ("state", "mining"))] == 1.0
    assert ("minesim_miner_throttle_ratio", a) not in got
    assert got["minesim_site_power_watts", ()] == 3100.0
    assert got["minesim_site_power_cap_watts", ()] == 5000.0
    assert got["minesim_writes_total", (("kind", "preset"), ("result", "done"))] == 1.0
    assert got["minesim_journal_errors_total", ()] == 1.0
    assert got["minesim_reconcile_duration_seconds_bucket", (("le", "0.25"),)] == 1.0


def test_a_miner_that_left_leaves_no_series() -> None:
    metrics = Metrics()
    metrics.publish(a_site(miner("a"), miner("b")))
    metrics.publish(a_site(miner("b")))
    labels = [dict(key[1]) for key in samples(scrape(metrics))]
    assert any(label.get("miner") == "b" for label in labels)
    assert not any(label.get("miner") == "a" for label in labels)


def test_unknown_is_absent_and_a_feed_without_value_is_infinitely_old() -> None:
    metrics = Metrics()
    dead = miner("a", state="unknown", hashrate_ths=None, power_w=None, temp_chip_c=None, age_s=None, holds=("stale",))
    metrics.publish(replace(a_site(dead), feeds=(FeedView("price", None, 900.0, "none"),)))
    got = samples(scrape(metrics))
    assert ("minesim_miner_power_watts", (("miner", "a"),)) not in got
    assert got["minesim_guard_held_miners", (("reason", "stale"),)] == 1.0
    assert got["minesim_feed_age_seconds", (("feed", "price"),)] == float("inf")


def test_before_the_first_cycle_counters_are_there_and_gauges_are_not() -> None:
    text = scrape(Metrics())
    assert "minesim_journal_errors_total 0.0" in text
    assert "minesim_last_cycle_timestamp_seconds" not in text


def test_two_bridges_in_a_process_share_nothing() -> None:
    one, other = Metrics(), Metrics()
    one.count_journal_error()
    assert "minesim_journal_errors_total 0.0" in scrape(other)
    assert not [family for family in REGISTRY.collect() if family.name.startswith("minesim")]


def test_a_taken_port_is_told() -> None:
    with (
        serve(Metrics(), port=0) as port,
        pytest.raises(ParamsError, match=rf"{port}.*another port"),
        serve(Metrics(), port=port),
    ):
        pass


@needs_promtool
def test_promtool_finds_no_fault_with_the_names() -> None:
    metrics = Metrics()
    metrics.publish(a_site(miner("a", holds=("ramp",)), power_w=1.0, cap_w=2.0))
    metrics.count_write("preset", "done")
    metrics.count_notification("webhook", "sent")
    promtool("check", "metrics", text=scrape(metrics))


def test_the_page_names_every_metric_and_alert() -> None:
    metrics = Metrics()
    policy = PolicyView("p", "1", 1.0)
    metrics.publish(a_site(miner("a"), power_w=1.0, cap_w=2.0, feeds=(FeedView("f", 1.0, 1.0, "x"),), policy=policy))
    page = (Path(__file__).parents[2] / "docs" / "monitoring.md").read_text()
    told = set(re.findall(r"^\| `(minesim_\w+)`", page, re.MULTILINE))
    suffixes = {"counter": "_total", "info": "_info"}
    assert told == {family.name + suffixes.get(family.type, "") for family in metrics.registry.collect()}
    alerts = re.findall(r"alert: (\w+)", prometheus_rules())
    assert re.findall(r"^\| `([A-Z]\w+)`", page, re.MULTILINE) == alerts
