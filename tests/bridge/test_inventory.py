"""The inventory: one good file, and every way in which an operator may get it wrong."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minesim.bridge.settings.inventory import addresses, load_inventory, parse_inventory
from minesim.errors import ParamsError

GOOD = """\
site: north
timezone: America/Chicago
tariff: {name: demand_charge, adder_usd_per_mwh: 8.5}
cap_kw: 60
overhead_kw: 2
meter: {url: "http://meter.local/now", value: kw, factor: 1000, tolerance: 0.02}
limits: {temp_chip_soft_c: 78}
credentials: {password: env:VNISH_PASSWORD}
cohorts:
  - name: s19j
    model: s19j pro
    miners:
      - 10.0.1.11-18
      - {address: 10.0.1.80:8080, name: a80, group: rack-2, credentials: {api_key: file:/run/keys/a80}}
  - name: xp
    model: Antminer S19 XP
    miners: [miner-7.site.local]
feeds:
  power_price_usd_per_mwh: {url: "https://prices.example/da", rows: data, time: start, value: price, keep_s: 3600}
  coin_price_usd: {file: /var/lib/minesim/coin.csv, time: at, value: usd, interval_s: 300}
  difficulty: {file: /var/lib/minesim/chain.json}
  subsidy_coin: {constant: 3.125}
  temp_amb_c: {file: /var/lib/minesim/weather.csv, time: at}
"""


def test_a_site_as_its_operator_describes_it() -> None:
    site = parse_inventory(GOOD)
    assert [m.address for m in site.miners[:2]] == ["10.0.1.11", "10.0.1.12"]
    assert len(site.miners) == 10
    assert site.cohorts[0].model == "Antminer S19j Pro (104T)"
    assert [spec.count for spec in site.cohorts] == [9, 1]
    last = site.miners[8]
    assert (last.address, last.name, last.group) == ("10.0.1.80:8080", "a80", "rack-2")
    assert last.credentials is not None
    assert last.credentials.api_key == "file:/run/keys/a80"
    assert site.miners[0].credentials is not None
    assert site.miners[0].credentials.password == "env:VNISH_PASSWORD"
    assert site.limits.temp_chip_soft_c == 78.0
    assert site.limits.temp_chip_hard_c == 85.0
    settings = site.settings()
    assert (settings.cap_w, settings.overhead_w, settings.meter_tolerance) == (60e3, 2e3, 0.02)
    assert settings.fallback_after_s == 900.0
    assert site.tariff.adder_usd_per_mwh == 8.5
    assert len(site.feed_book().feeds) == 5
    assert site.feeds["power_price_usd_per_mwh"].rule("power_price_usd_per_mwh").keep_s == 3600.0
    assert [member.cohort for member in site.members()] == [0] * 9 + [1]


def changed(before: str, after: str) -> str:
    assert before in GOOD
    return GOOD.replace(before, after, 1)


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        (changed("env:VNISH_PASSWORD", "hunter2"), 8, "password is written out"),
        (changed("env:VNISH_PASSWORD", "admin:hunter2"), 8, "env:NAME or file:PATH"),
        (changed("file:/run/keys/a80", "hunter2"), 14, "api_key is written out"),
        (changed("site: north", "site: north\npassword: hunter2"), 2, "password is written out"),
        (changed('"https://prices.example/da"', '"https://me:hunter2@prices.example/da"'), 19, "without a user"),
        (changed('"https://prices.example/da"', '"https://prices.example/?api_key=hunter2"'), 19, "as a header"),
        (changed("keep_s: 3600", "headers: {X-Key: hunter2}"), 19, "a secret is written out"),
        (changed("timezone: America/Chicago", "timezone: America/Chikago"), 2, "America/Chicago"),
        (changed("demand_charge", "demand_chrage"), 3, "demand_charge"),
        (changed("adder_usd_per_mwh: 8.5", "adder: 8.5"), 3, "unknown key"),
        (changed("cap_kw: 60", "cap_kw: 6"), 4, "lowest presets"),
        (changed("cap_kw: 60", "cap_kw: sixty"), 4, "valid number"),
        (changed("cap_kw: 60", "cap_kw: -1"), 4, "greater than 0"),
        (changed("tolerance: 0.02", "tolerance: 2"), 6, "less than or equal to 0.1"),
        (changed("temp_chip_soft_c: 78", "temp_chip_soft_c: 88"), 7, "up to the hard limit of 85"),
        (changed("temp_chip_soft_c: 78", "temp_chip_hard_c: 120"), 7, "95"),
        (changed("temp_chip_soft_c: 78", "base: free"), 7, "no hard chip temperature"),
        (changed("credentials: {password: env:VNISH_PASSWORD}", "credentials: {}"), 8, "one of api_key and password"),
        (changed("model: s19j pro", "model: s19k plus"), 11, "no hardware model"),
        (changed("10.0.1.11-18", "10.0.1.18-11"), 13, "rising"),
        (changed("10.0.1.11-18", "0.0.0.0"), 13, "no miner can have"),
        (changed("10.0.1.11-18", "10.0.1.255"), 13, "no miner can have"),
        (changed("10.0.1.11-18", "224.0.0.1"), 13, "no miner can have"),
        (changed("10.0.1.11-18", "10.0.1.300"), 13, "neither an IP address nor a host name"),
        (changed("10.0.1.11-18", "http://10.0.1.11"), 13, "without http://"),
        (changed("10.0.1.11-18", "10.0.1.0/24"), 13, "network mask"),
        (changed("10.0.1.11-18", "10.0.1.11:99999"), 13, "1 to 65535"),
        (changed("10.0.1.80:8080", "10.0.1.12"), 14, "10.0.1.12 is listed twice"),
        (changed("miners: [miner-7.site.local]", "miners: []"), 17, "at least 1 item"),
        (changed("name: xp", "name: s19j"), 15, "two cohorts are called"),
        (changed("coin_price_usd:", "coin_prise_usd:"), 20, "coin_price_usd"),
        (changed("subsidy_coin: {constant: 3.125}", "subsidy_coin: {}"), 22, "one of url, file and constant"),
        (changed("keep_s: 3600", "known: tomorrow"), 19, "day_ahead"),
        (changed("overhead_kw: 2", "cap_kw: 70"), 5, "given twice"),
        (changed("site: north", "site: [north"), 2, "not YAML"),
        ("", 0, "empty"),
    ],
)
def test_each_fault_is_told_with_its_line_and_no_secret(text: str, line: int, says: str) -> None:
    with pytest.raises(ParamsError) as caught:
        parse_inventory(text, "miners.yaml")
    told = str(caught.value)
    assert says in told
    assert line == 0 or f"miners.yaml:{line}" in told
    assert "hunter2" not in told


def test_many_faults_are_told_at_once() -> None:
    text = changed("cap_kw: 60", "cap_kw: sixty").replace("overhead_kw: 2", "overhead_kw: -2")
    with pytest.raises(ParamsError) as caught:
        parse_inventory(text)
    assert "cap_kw" in str(caught.value)
    assert "overhead_kw" in str(caught.value)


def test_no_secret_shows_in_the_inventory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VNISH_PASSWORD", "hunter2")
    assert "hunter2" not in repr(parse_inventory(GOOD))


def test_a_missing_essential_feed_is_named_when_feeds_are_needed() -> None:
    site = parse_inventory(changed("  difficulty: {file: /var/lib/minesim/chain.json}\n", ""))
    with pytest.raises(ParamsError, match="no feed delivers difficulty"):
        site.feed_book()


def test_without_a_cap_there_is_none() -> None:
    assert parse_inventory(changed("cap_kw: 60\n", "")).settings().cap_w == math.inf


def test_an_unreadable_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match="cannot read the inventory"):
        load_inventory(tmp_path / "none.yaml")
    path = tmp_path / "miners.yaml"
    path.write_text(GOOD, encoding="utf-8")
    assert load_inventory(path).site == "north"
    assert os.fspath(path)


@given(
    st.lists(st.integers(1, 253), min_size=2, max_size=2, unique=True),
    st.lists(st.integers(1, 65535), min_size=2, max_size=2, unique=True),
)
def test_ranges_count_up(octets: list[int], ports: list[int]) -> None:
    low, high = sorted(octets)
    assert len(list(addresses(f"10.1.2.{low}-{high}"))) == high - low + 1
    first, last = sorted(ports)[0], min(max(ports), sorted(ports)[0] + 100)
    named = list(addresses(f"127.0.0.1:{first}-{last}"))
    assert len(named) == len(set(named)) == last - first + 1
    assert list(addresses("10.1.2.3:80")) == ["10.1.2.3"]


def test_the_example_is_a_good_one() -> None:
    site = load_inventory(Path(__file__).parents[2] / "examples" / "miners.yaml")
    assert [spec.count for spec in site.cohorts] == [40, 9]
    assert len(site.feed_book().feeds) == 5
