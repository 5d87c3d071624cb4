"""Alerts of the bridge itself, and the packaged rules for Prometheus."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from minesim.bridge.deciding.guard import Why
from minesim.bridge.telling import alerts
from minesim.bridge.telling.alerts import Alert, AlertWatch, Severity, prometheus_rules
from minesim.bridge.telling.snapshot import FeedView, MinerView, PolicyView, Snapshot
from tests.bridge.promtool import needs_promtool, promtool
from tests.bridge.snapshots import NOW_S, a_site, miner

RULES = Path(alerts.__file__).parents[1] / "deploy" / "alerts.yaml"


def told(minutes: int, at: Callable[[float], MinerView | Snapshot], step_s: float = 30.0) -> list[tuple[float, Alert]]:
    """All alerts of a story, by minute; ``at`` gives the miner or the site at a minute."""
    watch, found = AlertWatch(), []
    for index in range(int(minutes * 60 / step_s)):
        minute = index * step_s / 60.0
        view = at(minute)
        site = view if isinstance(view, Snapshot) else a_site(view)
        found += [(minute, alert) for alert in watch.update(replace(site, at_s=NOW_S + minute * 60.0))]
    return found


def kinds(found: list[tuple[float, Alert]]) -> set[str]:
    return {alert.kind for _, alert in found}


@pytest.mark.parametrize(("share", "expected"), [(0.88, {"MinerHashrateDrop"}), (0.92, set())])
def test_hashrate_drop(share: float, expected: set[str]) -> None:
    """Power falls alike, so that J/TH stays."""
    found = told(
        60,
        lambda t: miner(
            "a", hashrate_ths=100.0 * (share if t >= 30 else 1), power_w=3000.0 * (share if t >= 30 else 1)
        ),
    )
    assert kinds(found) == expected
    if found:
        first, alert = found[0]
        assert 30 < first <= 36
        assert alert.miner == "a"
        assert "88" in alert.text or "8" in alert.text


@pytest.mark.parametrize(
    "change", [{"preset_power_w": 2400.0}, {"throttle": 0.8}, {"state": "restarting", "commanded_power_w": 3000.0}]
)
def test_what_was_commanded_is_no_drop(change: dict[str, object]) -> None:
    def at(t: float) -> MinerView:
        if t < 40:
            return miner("a")
        if "state" in change:  # a restart of three minutes, then a slow rise
            return (
                miner("a", hashrate_ths=0.0, **change) if t < 43 else miner("a", hashrate_ths=min(100.0, 20 * (t - 42)))
            )
        return miner("a", hashrate_ths=80.0, power_w=2400.0, **change)

    assert kinds(told(90, at)) == set()


@pytest.mark.parametrize(("share", "expected"), [(1.06, {"MinerEfficiencyLoss"}), (1.04, set())])
def test_efficiency_loss(share: float, expected: set[str]) -> None:
    assert kinds(told(90, lambda t: miner("a", power_w=3000.0 * (share if t >= 45 else 1.0)))) == expected


def test_chip_hot_is_told_at_once_also_without_history() -> None:
    found = told(1, lambda _: miner("a", temp_chip_c=86.0))
    assert found[0][0] == 0
    assert found[0][1] == Alert("MinerChipHot", Severity.CRITICAL, "chip at 86 C, above 85 C", "a")
    assert kinds(told(1, lambda _: miner("a", temp_chip_c=85.0))) == set()


def test_chip_heats_up_by_itself_or_after_a_raise() -> None:
    assert kinds(told(40, lambda t: miner("a", temp_chip_c=60.0 if t < 20 else 69.0))) == {"MinerChipHeatingUp"}
    assert kinds(told(40, lambda t: miner("a", temp_chip_c=60.0 + min(8.0, max(0.0, t - 20))))) == set()
    raised = told(
        40, lambda t: miner("a", temp_chip_c=60.0 if t < 20 else 69.0, preset_power_w=2400.0 if t < 18 else 3000.0)
    )
    assert kinds(raised) == set()


def test_a_lost_sensor_is_no_temperature() -> None:
    assert kinds(told(40, lambda t: miner("a", temp_chip_c=70.0 if t < 20 else None))) == set()


def test_a_miner_that_does_not_start_and_one_that_shall_not() -> None:
    stuck = told(40, lambda t: miner("a", state="failure" if t >= 10 else "mining", hashrate_ths=0.0))
    assert "MinerNotHashing" in kinds(stuck)
    assert min(minute for minute, alert in stuck if alert.kind == "MinerNotHashing") >= 24
    assert kinds(told(40, lambda _: miner("a", state="stopped", hashrate_ths=0.0, commanded_power_w=0.0))) == set()


def test_silence_holds_feeds_cap_and_expiry() -> None:
    site = a_site(
        miner("a", age_s=None, state="unknown", holds=("contradictory", "ramp")),
        power_w=1.1e6,
        cap_w=1.0e6,
        feeds=(FeedView("price", 4000.0, 3600.0, "same hour yesterday"), FeedView("weather", 10.0, 3600.0, "live")),
        policy=PolicyView("threshold", "3", NOW_S + 86400.0),
    )
    found = told(20, lambda _: site)
    assert kinds(found) == {"MinerUnreachable", "GuardHolds", "FeedStale", "SitePowerAboveCap", "PolicyExpires"}
    assert {alert.kind for minute, alert in found if minute == 0} == {"MinerUnreachable", "FeedStale", "PolicyExpires"}
    texts = " ".join(alert.text for _, alert in found)
    assert "weather" not in texts
    assert "ramp" not in texts


def test_the_guard_uses_these_names() -> None:
    assert set(alerts.HOLDS_TOLD) <= {why.name.lower() for why in Why}


def test_worst_first() -> None:
    found = AlertWatch().update(a_site(miner("a", age_s=400.0), miner("b", temp_chip_c=90.0)))
    assert [alert.miner for alert in found] == ["b", "a"]


def test_a_clock_set_back_forgets_and_does_not_fail() -> None:
    watch = AlertWatch()
    for minute in range(30):
        watch.update(a_site(miner("a"), at_s=NOW_S + 60.0 * minute))
    assert watch.update(a_site(miner("a", hashrate_ths=10.0, power_w=300.0), at_s=NOW_S - 3600.0)) == []


def test_memory_is_bounded() -> None:
    watch = AlertWatch()
    for index in range(2000):
        watch.update(a_site(miner("a"), at_s=NOW_S + 10.0 * index))
    assert len(watch._samples) < 80


def test_rules_are_packaged_and_share_thresholds_with_the_bridge() -> None:
    assert prometheus_rules() == RULES.read_text()
    rules = {
        rule.get("alert", ""): rule for group in yaml.safe_load(prometheus_rules())["groups"] for rule in group["rules"]
    }

    def has(name: str, *parts: str) -> None:
        text = " ".join(str(rules[name][key]) for key in ("expr", "for") if key in rules[name])
        for part in parts:
            assert re.search(rf"(?<![\d.]){re.escape(part)}(?![\d.])", text), f"{name}: {part} not in {text}"

    def minutes(seconds: float) -> str:
        return f"{seconds / 60:.0f}m"

    has("MinerHashrateDrop", f"{1 - alerts.HASHRATE_DROP_SHARE:g}", f"offset {minutes(alerts.HASHRATE_WINDOW_S)}")
    has("MinerHashrateDrop", f"steady:{minutes(alerts.HASHRATE_WINDOW_S + alerts.AVERAGE_S)}")
    has("MinerEfficiencyLoss", f"{1 + alerts.EFFICIENCY_LOSS_SHARE:g}", f"offset {minutes(alerts.EFFICIENCY_WINDOW_S)}")
    has("MinerEfficiencyLoss", f"steady:{minutes(alerts.EFFICIENCY_WINDOW_S + alerts.AVERAGE_S)}")
    has("MinerChipHot", f"{alerts.TEMP_CHIP_HOT_C:g}")
    has("MinerChipHeatingUp", f"{alerts.TEMP_CHIP_RISE_K:g}", f"offset {minutes(alerts.TEMP_CHIP_RISE_WINDOW_S)}")
    has("MinerChipHeatingUp", f"steady:{minutes(alerts.TEMP_CHIP_RISE_WINDOW_S + alerts.SETTLE_S)}")
    has("MinerNotHashing", minutes(alerts.NOT_HASHING_S))
    has("MinerUnreachable", f"{alerts.READING_AGE_MAX_S:g}")
    has("SitePowerAboveCap", minutes(alerts.OVER_CAP_S))
    has("GuardHolds", minutes(alerts.HOLD_S), "|".join(alerts.HOLDS_TOLD))
    has("PolicyExpires", "7 * 86400")
    assert alerts.POLICY_WARNING_S == 7 * 86400


@needs_promtool
def test_promtool_accepts_the_rules() -> None:
    promtool("check", "rules", str(RULES))


@needs_promtool
def test_promtool_runs_the_stories() -> None:
    promtool("test", "rules", str(Path(__file__).with_name("alerts_promtool.yaml")))
