"""What VNish answers, in plain units: values of live units, and any rubbish that may come instead."""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minesim.bridge.miners import vnish_payloads as payloads
from minesim.bridge.miners.miner import FanMode, MinerAnswerInvalid, Reading, State
from tests.bridge.vnish_fake import (
    BOARDS,
    INFO_S19_126,
    MODEL_S19_126,
    PERF_SUMMARY,
    PRESETS,
    SETTINGS,
    STATUS_FAILURE_126,
    SUMMARY_FAILURE_126,
    SUMMARY_S19J_RC3,
    SUMMARY_S21_HYDRO,
)

HERE = "10.0.0.7"


def encode(value: Any) -> bytes:
    return json.dumps(value).encode()


def read(summary: Any, *, failed: frozenset[int] = frozenset(), **status: Any) -> Reading:
    return payloads.parse_reading(
        summary=encode(summary),
        perf_summary=encode(PERF_SUMMARY),
        status=encode({**STATUS_FAILURE_126, **status}),
        ths_per_unit=1e-3,
        failed_sensors=failed,
        at_s=12.0,
        origin=HERE,
    )


def mining(**changes: Any) -> dict[str, Any]:
    summary = copy.deepcopy(SUMMARY_S19J_RC3)
    summary["miner"].update(changes)
    return summary


# ---------------------------------------------------------------------- live values


def test_identity_of_a_live_s19() -> None:
    facts = payloads.parse_info(encode(INFO_S19_126), HERE)
    assert facts.identity.model == "Antminer S19"
    assert facts.identity.serial == ""
    assert facts.identity.mac == "fe:07:26:3c:be:1b"
    assert facts.identity.firmware_version == (1, 2, 6)
    assert facts.ths_per_unit == 1e-3


@pytest.mark.parametrize(
    ("text", "version"), [("1.2.0-beta10", (1, 2, 0)), ("1.2.0-rc3", (1, 2, 0)), ("v1.3.4", (1, 3, 4)), ("1.4", (1, 4))]
)
def test_versions_with_any_suffix(text: str, version: tuple[int, ...]) -> None:
    assert payloads.parse_info(encode({**INFO_S19_126, "fw_version": text}), HERE).identity.firmware_version == version


@pytest.mark.parametrize(
    ("measure", "algorithm", "factor"),
    [
        ("GH/s", "sha256d", 1e-3),
        ("MH/s", "scrypt", 1e-6),
        ("N/A", "scrypt", 1e-6),
        (None, "sha256d", 1e-3),
        ("N/A", "unknown", None),
    ],
)
def test_unit_of_hashrate(measure: str | None, algorithm: str, factor: float | None) -> None:
    info = encode({**INFO_S19_126, "hr_measure": measure, "algorithm": algorithm})
    assert payloads.parse_info(info, HERE).ths_per_unit == factor


def test_limits_of_a_live_s19_are_in_10_mv() -> None:
    limits = payloads.parse_limits(encode(MODEL_S19_126), HERE, has_throttle=False, metered=False)
    assert (limits.volt_min_v, limits.volt_max_v) == (12.0, 15.0)
    assert (limits.freq_min_mhz, limits.freq_max_mhz) == (50.0, 1000.0)
    assert (limits.temp_target_min_c, limits.temp_target_max_c, limits.fan_duty_min) == (20.0, 90.0, 0.1)
    assert limits.power_max_w is None
    assert not limits.power_metered


def test_a_miner_in_failure_tells_zeros_and_they_stay_numbers() -> None:
    reading = read(SUMMARY_FAILURE_126)
    assert reading.state is State.FAILURE
    assert (reading.hashrate_ths, reading.power_w, reading.temp_chip_c, reading.temp_board_c) == (0.0, 0.0, 0.0, 0.0)
    assert reading.pools == ()
    assert reading.inconsistent == ()


def test_live_s19j_pro_contradicts_itself_by_thirty_percent() -> None:
    reading = read(SUMMARY_S19J_RC3)
    assert reading.state is State.MINING
    assert reading.hashrate_ths == pytest.approx(54.478543)
    assert reading.power_w == 2631.0
    assert (reading.temp_chip_c, reading.temp_board_c) == (65.0, 50.0)
    assert reading.fan_duty == 1.0
    assert reading.fans_rpm == (5820.0, 5880.0, 5850.0, 5790.0)
    assert [board.volt_v for board in reading.boards] == [13.6] * 3
    assert [(pool.number, pool.in_use) for pool in reading.pools] == [(0, True), (1, False)]
    assert reading.throttle is None
    assert len(reading.inconsistent) == 1
    assert "77.83 TH/s" in reading.inconsistent[0]
    assert "54.48 TH/s" in reading.inconsistent[0]


def test_live_hydro_without_power_at_miner_level() -> None:
    reading = read(SUMMARY_S21_HYDRO)
    assert reading.power_w is None
    assert reading.hashrate_ths is None
    assert reading.boards[0].volt_v == pytest.approx(21.585)
    assert reading.boards[0].hashrate_ths == pytest.approx(138.61555)
    assert reading.temp_chip_c == 51.0


def test_power_usage_is_never_taken_for_power() -> None:
    summary = mining(power_usage=9999, power_efficiency=9999.0)
    del summary["miner"]["power_consumption"]
    assert read(summary).power_w is None


def test_running_preset_and_restart_flag() -> None:
    reading = read(SUMMARY_S19J_RC3, restart_required=True)
    assert reading.preset == "1700"
    assert reading.restart_required


def test_while_the_mining_process_is_down_the_status_still_tells() -> None:
    reading = read({"miner": None}, miner_state="restarting")
    assert reading.state is State.RESTARTING
    assert (reading.hashrate_ths, reading.power_w, reading.temp_chip_c) == (None, None, None)


def test_presets_by_power_with_tuned_hashrate_before_the_nominal() -> None:
    presets = payloads.parse_presets(encode(PRESETS), 1e-3, HERE)
    assert [p.name for p in presets] == ["1500", "1700", "2300", "4690"]
    assert [p.power_w for p in presets] == [1500.0, 1700.0, 2300.0, 4690.0]
    assert [p.hashrate_ths for p in presets] == pytest.approx([66.407, 67.0, 75.91, 124.0])
    assert [p.tuned for p in presets] == [True, False, True, True]
    assert [p.modded_psu for p in presets] == [False, False, False, True]


@pytest.mark.parametrize(
    ("pretty", "hashrate_ths"),
    [("3400 watt ~ 16.2 GH", 0.0162), ("6619 watt ~ 422 Th LC", 422.0), ("5000 watt", None), ("", None)],
)
def test_nominal_hashrate_in_any_prefix(pretty: str, hashrate_ths: float | None) -> None:
    row = {"name": "3400", "pretty": pretty, "status": "untuned", "modded_psu_required": False}
    assert payloads.parse_presets(encode([row]), 1e-6, HERE)[0].hashrate_ths == hashrate_ths


def test_a_preset_whose_power_is_unknown_is_left_out() -> None:
    row = {"name": "mine", "pretty": "my own", "status": "tuned", "modded_psu_required": False}
    told = {"name": "eco", "pretty": "1234 watt ~ 50 TH", "status": "tuned", "modded_psu_required": False}
    presets = payloads.parse_presets(encode([row, told]), 1e-3, HERE)
    assert [(p.name, p.power_w) for p in presets] == [("eco", 1234.0)]


def test_configuration() -> None:
    configuration = payloads.parse_configuration(encode(SETTINGS), HERE)
    assert configuration.preset == "2300"
    assert configuration.switcher.enabled
    assert (configuration.switcher.rise_temp_c, configuration.switcher.decrease_temp_c) == (79.0, 84.0)
    assert (configuration.fan_mode, configuration.fan_setting) == (FanMode.AUTO, 70.0)
    assert configuration.restart_temp_c == 90.0


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ({"name": "immers"}, (FanMode.IMMERSION, None)),
        ({"name": "immersion"}, (FanMode.IMMERSION, None)),
        ({"name": "manual", "param": 85}, (FanMode.MANUAL, 0.85)),
    ],
)
def test_fan_modes_in_both_spellings(mode: dict[str, Any], expected: tuple[FanMode, float | None]) -> None:
    tree = copy.deepcopy(SETTINGS)
    tree["miner"]["cooling"]["mode"] = mode
    configuration = payloads.parse_configuration(encode(tree), HERE)
    assert (configuration.fan_mode, configuration.fan_setting) == expected


def test_manual_mode_is_no_preset() -> None:
    tree = copy.deepcopy(SETTINGS)
    tree["miner"]["overclock"]["preset"] = "disabled"
    assert payloads.parse_configuration(encode(tree), HERE).preset is None


def test_fields_keep_null_and_leave_out_what_is_absent() -> None:
    tree = copy.deepcopy(SETTINGS)
    tree["miner"]["overclock"]["preset_switcher"]["top_preset"] = None
    paths = ("miner.overclock.preset", "miner.overclock.preset_switcher.top_preset", "miner.overclock.preset.x", "a.b")
    assert payloads.parse_fields(encode(tree), paths, HERE) == {
        "miner.overclock.preset": "2300",
        "miner.overclock.preset_switcher.top_preset": None,
    }


# ---------------------------------------------------------------------- sensors


@pytest.mark.parametrize("state", ["mining", "auto-tuning"])
@pytest.mark.parametrize("chip_c", [0, -1, 126, 255, -200])
def test_impossible_temperature_while_hashing_is_a_failed_sensor(chip_c: int, state: str) -> None:
    summary = mining(chip_temp={"min": 0, "max": chip_c})
    summary["miner"]["miner_status"]["miner_state"] = state
    for board in summary["miner"]["chains"]:
        board["chip_temp"]["max"] = chip_c
    reading = read(summary)
    assert reading.temp_chip_c is None
    assert all(board.temp_chip_c is None for board in reading.boards)
    assert reading.temp_board_c == 50.0


def test_the_hottest_board_counts_even_if_the_miner_tells_less() -> None:
    summary = mining()
    summary["miner"]["chains"][1]["chip_temp"]["max"] = 83
    reading = read(summary)
    assert reading.temp_chip_c == 83.0
    assert any("83 degC" in text for text in reading.inconsistent)


def test_a_board_whose_sensors_all_fail_tells_no_temperature() -> None:
    boards = copy.deepcopy(BOARDS)
    boards[1]["sensors"] = [{"state": "error"}, {"state": "error"}]
    boards[2]["sensors"] = [{"state": "error"}, {"state": "measure"}]
    failed = payloads.parse_failed_sensors(encode(boards), HERE)
    assert failed == {2}
    reading = read(SUMMARY_S19J_RC3, failed=failed)
    assert [board.temp_chip_c for board in reading.boards] == [65.0, None, 64.0]
    assert reading.temp_chip_c == 65.0
    assert read(SUMMARY_S19J_RC3, failed=frozenset({1, 2, 3})).temp_chip_c is None


def test_a_stopped_miner_has_no_boards_to_check() -> None:
    assert payloads.parse_failed_sensors(b"[]", HERE) == frozenset()


def test_no_power_while_hashing_is_a_fault_not_a_saving() -> None:
    assert read(mining(power_consumption=0)).power_w is None


def test_boards_cannot_draw_more_than_the_miner() -> None:
    assert any("W" in text for text in read(mining(power_consumption=1500, hr_realtime=77826.0)).inconsistent)
    assert read(mining(hr_realtime=77826.0)).inconsistent == ()


def test_throttle_in_shares() -> None:
    summary = mining()
    summary["miner"]["miner_status"]["throttled"] = 85
    assert read(summary).throttle == 0.85
    assert not payloads.has_throttle((1, 2, 8), None)
    assert not payloads.has_throttle((1, 3, 2), frozenset({"/mining/throttle"}))
    assert not payloads.has_throttle((1, 3, 4), frozenset({"/mining/start"}))
    assert payloads.has_throttle((1, 3, 3), frozenset({"/api/v1/mining/throttle"}))
    assert payloads.has_throttle((1, 3, 4), None)


# ---------------------------------------------------------------------- rubbish

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)

PARSERS: dict[str, tuple[Callable[[bytes], Any], Any]] = {
    "info": (lambda body: payloads.parse_info(body, HERE), INFO_S19_126),
    "model": (lambda body: payloads.parse_limits(body, HERE, has_throttle=True, metered=False), MODEL_S19_126),
    "presets": (lambda body: payloads.parse_presets(body, 1e-3, HERE), PRESETS),
    "settings": (lambda body: payloads.parse_configuration(body, HERE), SETTINGS),
    "boards": (lambda body: payloads.parse_failed_sensors(body, HERE), BOARDS),
    "api_doc": (lambda body: payloads.parse_api_paths(body, HERE), {"paths": {"/mining/throttle": {}}}),
    "summary": (
        lambda body: payloads.parse_reading(
            summary=body,
            perf_summary=encode(PERF_SUMMARY),
            status=encode(STATUS_FAILURE_126),
            ths_per_unit=1e-3,
            failed_sensors=(),
            at_s=0.0,
            origin=HERE,
        ),
        SUMMARY_S19J_RC3,
    ),
    "token": (lambda body: payloads.parse_token(body, HERE), {"token": "x" * 32}),
    "fields": (lambda body: payloads.parse_fields(body, ("miner.overclock.preset",), HERE), SETTINGS),
}


def places(value: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a JSON value."""
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [here, *(place for key, child in children for place in places(child, (*here, key)))]


@st.composite
def damaged(draw: st.DrawFn, whole: Any) -> Any:
    """``whole`` with one place removed or replaced by anything."""
    place = draw(st.sampled_from(places(whole)))
    if not place:
        return draw(json_values)
    result = copy.deepcopy(whole)
    parent = result
    for key in place[:-1]:
        parent = parent[key]
    if draw(st.booleans()):
        del parent[place[-1]]
    else:
        parent[place[-1]] = draw(json_values)
    return result


@pytest.mark.parametrize("name", PARSERS)
@settings(deadline=None)
@given(data=st.data())
def test_damaged_answers_are_read_or_refused_but_never_crash(name: str, data: st.DataObject) -> None:
    parse, whole = PARSERS[name]
    parse(encode(whole))
    with contextlib.suppress(MinerAnswerInvalid):
        parse(encode(data.draw(damaged(whole))))


@pytest.mark.parametrize("name", PARSERS)
@settings(deadline=None)
@given(body=st.binary(max_size=60))
def test_any_bytes_are_refused_but_never_crash(name: str, body: bytes) -> None:
    with pytest.raises(MinerAnswerInvalid):
        PARSERS[name][0](body + b"\x00")


@pytest.mark.parametrize("name", PARSERS)
@pytest.mark.parametrize(
    "body", [b"", b"null", b"<html>", b"[" * 100_000, b'{"miner": ' * 5_000, b"1e999", b"\xff\xfe"]
)
def test_known_rubbish(name: str, body: bytes) -> None:
    with pytest.raises(MinerAnswerInvalid, match=HERE):
        PARSERS[name][0](body)


def test_huge_numbers_are_refused() -> None:
    for number in ("1e999", "-1e999", "NaN", "1" + "0" * 400, "1" * 5_000):
        body = encode(mining(power_consumption=4321)).replace(b"4321", number.encode())
        with pytest.raises(MinerAnswerInvalid):
            PARSERS["summary"][0](body)


def test_error_never_quotes_the_settings() -> None:
    tree = copy.deepcopy(SETTINGS)
    tree["miner"]["cooling"] = {"mode": {"name": ["pool-secret-123"]}}
    with pytest.raises(MinerAnswerInvalid) as caught:
        payloads.parse_configuration(encode(tree), HERE)
    assert "miner.cooling.mode.name" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_error_text_and_lockout_of_anything() -> None:
    assert payloads.parse_error_text(b'{"err": "Could not find pool"}') == "Could not find pool"
    assert payloads.parse_error_text(b"<html>") == ""
    assert payloads.parse_lockout_s(b'{"unlock_timeout": 300}') == 300.0
    assert payloads.parse_lockout_s(b'{"unlock_timeout": null}') is None
    assert payloads.parse_lockout_s(b"") is None
    assert payloads.parse_lockout_s(b'{"unlock_timeout": -5}') is None
