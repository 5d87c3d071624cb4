"""What the firmware is known to do, one by one."""

from __future__ import annotations

import json

import pytest

from minesim.emulator import FIRMWARES, Emulator, Weather
from minesim.emulator.auth import SESSION_S, UNLOCK_TIMEOUT_S, WRONG_PASSWORDS
from minesim.emulator.http import EMPTY
from tests.emulator.firmware import S19J_PRO, Client

XP = "Antminer S19 XP"
"""Has presets above stock power, which are untuned."""


def client_of(model: str = S19J_PRO, firmware: str = "1.3.4", **options: object) -> Client:
    return Client(Emulator((model,), firmware=firmware, **options))


# ---------------------------------------------------------------------- presets


@pytest.mark.parametrize("name", ["3517", "no such preset", "4513"])
def test_a_refused_preset_still_answers_success_and_changes_nothing(name: str) -> None:
    client = client_of(XP)
    before = client.configured()
    assert client.preset(name) == {"restart_required": False, "reboot_required": False}
    client.emulator.advance(600.0)
    assert client.configured() == client.running() == before


def test_a_preset_that_this_unit_was_never_tuned_for_is_refused_like_any_other() -> None:
    client = client_of()
    client.emulator.miners[0].untuned.add("1585")
    listed = {preset["name"]: preset for preset in client.get("/autotune/presets")}
    assert listed["1585"]["status"] == "untuned"
    assert "tune_settings" not in listed["1585"]
    assert "tune_settings" in listed["1881"]
    client.preset("1585")
    assert client.configured() == "3062"


def test_presets_are_a_list_with_manual_mode_first_and_volts_in_three_units() -> None:
    client = client_of()
    presets = client.get("/autotune/presets")
    assert [preset["name"] for preset in presets][:2] == ["disabled", "995"]
    top = presets[-1]
    assert top["pretty"] == "3062 watt ~ 104 TH"
    # 13.7 V: mV in what was tuned and on the boards, 10 mV in settings, limits and the running preset.
    assert top["tune_settings"]["volt"] == pytest.approx(13_746, abs=10)
    assert client.get("/perf-summary")["current_preset"]["globals"]["volt"] == pytest.approx(1_375, abs=1)
    assert client.get("/settings")["miner"]["overclock"]["globals"]["volt"] == pytest.approx(1_375, abs=1)
    assert client.get("/model")["overclock"]["default_voltage"] == pytest.approx(1_375, abs=1)
    assert client.summary()["chains"][0]["voltage"] == pytest.approx(13_746, abs=10)


def test_a_change_of_preset_costs_minutes_without_hashing() -> None:
    client = client_of()
    client.preset("2176")
    silent_s = 0.0
    client.emulator.advance(10.0)
    while client.state() != "mining":
        assert client.summary()["hr_realtime"] == 0.0
        client.emulator.advance(10.0)
        silent_s += 10.0
    assert 120.0 <= silent_s <= 240.0


def test_sending_the_old_block_with_a_new_name_spoils_the_new_preset() -> None:
    client = client_of()
    block = client.get("/settings")["miner"]["overclock"]
    client.post("/settings", {"miner": {"overclock": block | {"preset": "1585"}}})
    client.emulator.advance(1800.0)
    assert client.configured() == "1585"
    assert client.summary()["power_consumption"] > 2500
    tune = next(p for p in client.get("/autotune/presets") if p["name"] == "1585")["tune_settings"]
    assert tune["modified"] is True


def test_sending_the_presets_own_tuning_is_harmless() -> None:
    client = client_of()
    tune = next(p for p in client.get("/autotune/presets") if p["name"] == "1585")["tune_settings"]
    client.preset("1585", globals={"freq": tune["freq"], "volt": tune["volt"] // 10})
    client.emulator.advance(1800.0)
    assert client.summary()["power_consumption"] < 1750
    tune = next(p for p in client.get("/autotune/presets") if p["name"] == "1585")["tune_settings"]
    assert tune["modified"] is False


def test_manual_mode_runs_what_is_next_to_its_clock() -> None:
    client = client_of()
    client.preset("disabled", globals={"freq": 300, "volt": 1250})
    client.emulator.advance(1800.0)
    running = client.get("/perf-summary")["current_preset"]
    assert (running["name"], running["globals"]) == ("disabled", {"freq": 300, "volt": 1250})
    assert client.summary()["power_consumption"] < 2000


def test_a_preset_for_a_modified_supply_needs_the_operators_word() -> None:
    client = client_of(XP)
    assert [p["name"] for p in client.get("/autotune/presets") if p["modded_psu_required"]] == ["4513"]
    answer = client.post("/settings", {"miner": {"overclock": {"modded_psu": True}}})
    assert answer["restart_required"] is True
    assert client.get("/status")["restart_required"] is True
    client.post("/mining/restart")
    assert client.get("/status")["restart_required"] is False


# ---------------------------------------------------------------------- preset switcher


def switcher(**values: object) -> dict[str, object]:
    return {"enabled": True, "check_time": 60, "rise_temp": 79, "decrease_temp": 84} | values


def test_the_switcher_overrides_a_preset_unless_its_ceiling_moves_along() -> None:
    client = client_of()
    client.preset("3062", preset_switcher=switcher(top_preset="3062"))
    client.preset("1585")
    client.emulator.advance(3600.0)
    assert client.configured() == "1585"
    assert client.running() == "3062"

    client.preset("1585", preset_switcher={"top_preset": "1585"})
    client.emulator.advance(3600.0)
    assert client.running() == "1585"


def test_the_switcher_steps_down_when_hot_and_not_below_its_floor() -> None:
    client = client_of(weather=Weather.constant(44.0))
    hot = switcher(decrease_temp=50, rise_temp=40, min_preset="2176")
    client.preset("2766", preset_switcher=hot)
    client.wait(7200.0)
    assert client.configured() == "2766"
    assert client.running() == "2176"
    assert client.get("/settings")["miner"]["overclock"]["preset_switcher"]["min_preset"] == "2176"


def test_the_switcher_looks_only_every_check_time() -> None:
    client = client_of(weather=Weather.constant(44.0))
    client.preset("3062", preset_switcher=switcher(decrease_temp=50, rise_temp=40, check_time=600))
    running = []
    for _ in range(12):
        client.emulator.advance(300.0)
        running.append(client.running())
    assert len(set(running)) >= 4
    assert all(running[i] != running[i + 2] for i in range(0, 8, 2))


def test_switched_off_it_gives_the_configured_preset_back() -> None:
    client = client_of(weather=Weather.constant(44.0))
    client.preset("3062", preset_switcher=switcher(decrease_temp=50, rise_temp=40))
    client.emulator.advance(1800.0)
    assert client.running() != "3062"
    client.post("/settings", {"miner": {"overclock": {"preset_switcher": {"enabled": False}}}})
    client.emulator.advance(600.0)
    assert client.running() == "3062"


# ---------------------------------------------------------------------- throttle


def test_throttle_takes_about_eighty_seconds_and_mining_goes_on() -> None:
    client = client_of()
    client.emulator.advance(1800.0)
    before = client.summary()
    answer = client.post("/mining/throttle", {"percent": 50})
    assert answer == {"restart_required": False, "reboot_required": False}
    assert client.get("/status")["throttled"] == client.summary()["miner_status"]["throttled"] == 50
    client.emulator.advance(20.0)
    soon = client.summary()["hr_realtime"]
    client.emulator.advance(60.0)
    late = client.summary()["hr_realtime"]
    assert client.state() == "mining"
    assert soon > 0.62 * before["hr_realtime"]
    assert late == pytest.approx(0.5 * before["hr_realtime"], rel=0.09)


def test_there_is_no_throttle_before_1_3() -> None:
    client = client_of(firmware="1.2.6")
    assert client.refused("/mining/throttle", {"percent": 50})[0] == 404
    assert "throttled" not in client.get("/status")


@pytest.mark.parametrize("percent", [19, 101, 55.5, "60", None, True])
def test_throttle_takes_whole_percents_from_20_to_100(percent: object) -> None:
    assert client_of().refused("/mining/throttle", {"percent": percent})[0] == 500


# ---------------------------------------------------------------------- stop, start, pause, resume, restart, reboot


def test_writes_answer_with_an_empty_body() -> None:
    client = client_of()
    for path in ("/mining/restart", "/mining/pause", "/mining/resume", "/mining/stop", "/mining/start"):
        assert client.reply("POST", path) == EMPTY


@pytest.mark.parametrize(
    ("first", "wrong", "says"),
    [
        (None, "start", "resume-mode"),
        (None, "resume", "resume-mode"),
        ("stop", "resume", "resume-mode"),
        ("stop", "pause", "pause-mode"),
        ("stop", "stop", "pause-mode"),
        ("pause", "start", "resume-mode"),
        ("pause", "stop", "pause-mode"),
    ],
)
def test_commands_of_the_wrong_pair_are_refused(first: str | None, wrong: str, says: str) -> None:
    client = client_of()
    if first:
        client.post(f"/mining/{first}")
    status, text = client.refused(f"/mining/{wrong}")
    assert status == 500
    assert f"failed-to-activate-{says}" in text


def test_a_stopped_miner_draws_next_to_nothing_and_takes_minutes_to_come_back() -> None:
    client = client_of()
    client.emulator.advance(600.0)
    client.post("/mining/stop")
    assert client.state() == "shutting-down"
    client.emulator.advance(60.0)
    assert client.state() == "stopped"
    assert client.summary()["power_consumption"] < 25
    assert client.get("/boards") == []
    client.post("/mining/start")
    assert client.state() == "starting"
    seen = []
    for _ in range(60):
        client.emulator.advance(10.0)
        seen.append(client.state())
    assert seen.count("initializing") * 10 > 200
    assert seen[-1] == "mining"


def test_a_stop_and_a_start_in_one_breath_cost_minutes_too() -> None:
    client = client_of()
    client.post("/mining/stop")
    client.post("/mining/start")
    client.emulator.advance(60.0)
    assert client.state() == "initializing"


def test_a_restart_costs_minutes_and_is_counted() -> None:
    client = client_of()
    client.post("/mining/restart")
    assert client.state() == "restarting"
    client.emulator.advance(120.0)
    assert client.state() == "initializing"
    assert client.summary()["restart_count"] == 1
    client.emulator.advance(600.0)
    assert client.state() == "mining"


def test_a_reboot_takes_the_miner_off_the_network_and_its_sessions_with_it() -> None:
    client = client_of()
    assert client.post("/system/reboot") == {"after": 3}
    client.emulator.advance(10.0)
    assert client.emulator.request(0, "GET", "/api/v1/status").refused
    client.emulator.advance(60.0)
    assert client.get("/info")["system"]["uptime"] == "0:00"
    assert client.refused("/mining/stop")[0] == 401
    assert Client(client.emulator).state() == "initializing"


@pytest.mark.parametrize(
    ("firmware", "setting"), [("1.2.6", "remain_stopped_on_reboot"), ("1.3.4", "restore_miner_state_on_reboot")]
)
def test_a_stopped_miner_mines_after_a_reboot_unless_told_to_stay(firmware: str, setting: str) -> None:
    for stays in (False, True):
        client = client_of(firmware=firmware)
        client.post("/settings", {"miner": {"misc": {setting: stays}}})
        client.post("/mining/stop")
        client.emulator.advance(60.0)
        client.post("/system/reboot")
        client.emulator.advance(1200.0)
        assert client.state() == ("stopped" if stays else "mining")


# ---------------------------------------------------------------------- readings


def test_a_failed_miner_tells_zeros_and_no_boards() -> None:
    client = client_of()
    client.post("/settings", {"miner": {"cooling": {"mode": {"name": "manual", "param": 0}}}})
    client.emulator.advance(1800.0)
    miner = client.summary()
    assert miner["miner_status"]["miner_state"] == "failure"
    assert miner["miner_status"]["description"] == "Overheating"
    assert miner["chains"] == miner["cooling"]["fans"] == []
    for name in ("hr_realtime", "hr_average", "power_consumption", "power_usage", "power_efficiency"):
        assert miner[name] == 0
    assert miner["chip_temp"] == miner["pcb_temp"] == {"min": 0, "max": 0}


def test_a_booting_miner_has_power_and_temperatures_but_no_hashes() -> None:
    client = client_of()
    client.emulator.advance(600.0)
    client.post("/mining/restart")
    client.emulator.advance(60.0)
    miner = client.summary()
    assert miner["hr_realtime"] == 0.0
    assert miner["chip_temp"]["max"] > 20
    assert 100 < miner["power_consumption"] < 250


def test_temperatures_are_whole_degrees_and_the_chip_is_the_board_and_fifteen() -> None:
    client = client_of()
    client.emulator.advance(1000.0)
    miner = client.summary()
    assert all(isinstance(v, int) for name in ("pcb_temp", "chip_temp") for v in miner[name].values())
    assert miner["chip_temp"]["max"] == miner["pcb_temp"]["max"] + 15


@pytest.mark.parametrize(("model", "unit", "per_ths"), [(S19J_PRO, "GH/s", 1e3), ("Antminer L7 (9.5G)", "MH/s", 1e6)])
def test_hashrates_are_in_the_unit_of_the_algorithm(model: str, unit: str, per_ths: float) -> None:
    client = client_of(model)
    client.emulator.advance(1200.0)
    assert client.get("/info")["hr_measure"] == client.get("/model")["hr_measure"] == unit
    miner = client.summary()
    rated_ths = client.emulator.miners[0].model.hashrate_stock_ths
    assert miner["hr_realtime"] == pytest.approx(rated_ths * per_ths, rel=0.03)
    assert miner["instant_hashrate"] == pytest.approx(miner["hr_realtime"] / 1e3, rel=1e-3)


def test_the_liquids_mode_is_written_immers_and_read_immersion() -> None:
    client = client_of("Antminer S21 Hydro")
    status, _ = client.refused("/settings", {"miner": {"cooling": {"mode": {"name": "immersion"}}}})
    assert status == 500
    client.post("/settings", {"miner": {"cooling": {"mode": {"name": "immers"}}}})
    assert client.get("/settings")["miner"]["cooling"]["mode"] == {"name": "immers"}
    assert client.summary()["cooling"]["settings"]["mode"] == {"name": "immersion"}
    assert client.summary()["chains"][0]["outlet_water_temp"] > 0


def test_pools_have_a_fee_entry_that_cannot_be_switched_to() -> None:
    client = client_of()
    own = [{"url": f"stratum+tcp://{name}.example:3333", "user": "me", "pass": "x"} for name in ("one", "two")]
    client.post("/settings", {"miner": {"pools": own}})
    client.emulator.advance(3600.0)
    client.post("/mining/switch-pool", {"pool_id": 1})
    client.emulator.advance(3600.0)
    one, two, fee = client.summary()["pools"]
    assert [pool["pool_type"] for pool in (one, two, fee)] == ["UserPool", "UserPool", "DevFee"]
    assert [pool["status"] for pool in (one, two)] == ["working", "active"]
    # 104 TH/s for an hour at difficulty 131,072 are 665 shares.
    assert one["accepted"] + one["rejected"] == pytest.approx(665 * 0.98, rel=0.03)
    assert two["accepted"] == pytest.approx(one["accepted"], rel=0.03)
    assert client.refused("/mining/switch-pool", {"pool_id": fee["id"]}) == (500, "Could not find pool")


def test_find_miner_toggles_without_credentials_whatever_is_sent() -> None:
    emulator = Emulator((S19J_PRO,))
    answers = [emulator.request(0, "POST", "/api/v1/find-miner", {"on": True}).reply for _ in range(3)]
    assert [json.loads(answer.body) for answer in answers if answer] == [{"on": True}, {"on": False}, {"on": True}]


def test_metrics_come_latest_first_with_their_events() -> None:
    client = client_of()
    client.wait(7200.0)
    client.post("/mining/restart")
    client.emulator.advance(3600.0)
    told = client.get("/metrics?time_slice=7200&step=1800")
    times = [row["time"] for row in told["metrics"]]
    assert times == sorted(times, reverse=True)
    assert 4 <= len(times) <= 5
    assert [event["data"]["type"] for event in told["annotations"]] == ["restart"]
    assert min(row["data"]["hashrate"] for row in told["metrics"]) < max(
        row["data"]["hashrate"] for row in told["metrics"]
    )
    assert client.reply("GET", "/metrics?time_slice=300000").status == 500


def test_logs_tell_what_was_done_and_asked() -> None:
    client = client_of()
    client.post("/mining/stop")
    assert b"Mining stopped" in client.reply("GET", "/logs/status").body
    assert b'"POST /api/v1/mining/stop" 200' in client.reply("GET", "/logs/api").body
    assert client.reply("GET", "/logs/*").status == 500
    client.post("/logs/status/clear")
    assert client.reply("GET", "/logs/status").body == b""


# ---------------------------------------------------------------------- settings


@pytest.mark.parametrize("firmware", FIRMWARES)
def test_partial_writes_merge(firmware: str) -> None:
    client = client_of(firmware=firmware)
    before = client.get("/settings")
    client.post("/settings", {"miner": {"misc": {"quiet_mode": True}, "overclock": {}, "cooling": None}, "post": True})
    after = client.get("/settings")
    assert after["miner"]["misc"].pop("quiet_mode") is True
    assert before["miner"]["misc"].pop("quiet_mode") is False
    assert after == before


@pytest.mark.parametrize(
    "patch",
    [
        {"misc": {"restart_temp": 121}},
        {"misc": {"quiet_mode": 1}},
        {"misc": {"restart_hashrate": "80"}},
        {"cooling": {"mode": {"name": "auto"}}},
        {"cooling": {"mode": {"name": "manual", "param": 101}}},
        {"cooling": {"fan_min_duty": -1}},
        {"overclock": {"preset_switcher": {"decrease_temp": 91}}},
        {"overclock": {"preset_switcher": {"top_preset": "9999999"}}},
        {"overclock": {"preset": 1585}},
        {"pools": [{"url": "a", "user": "b", "pass": "c"}] * 4},
        {"pools": [{"url": "a"}]},
        {"misc": 3},
    ],
)
def test_impossible_settings_are_refused_as_a_whole(patch: dict) -> None:
    client = client_of()
    before = client.get("/settings")
    status, text = client.refused("/settings", {"miner": {"misc": {"quiet_mode": True}} | patch})
    assert (status, bool(text)) == (500, True)
    assert client.get("/settings") == before


@pytest.mark.parametrize("body", [b"{", b"[]", b"", b"\xff"])
def test_a_body_that_is_no_object_is_a_bad_request(body: bytes) -> None:
    from minesim.emulator.http import Request

    client = client_of()
    delivery = client.emulator.answer(0, Request("POST", "/api/v1/settings", {}, client.headers, body))
    assert delivery.reply is not None
    assert delivery.reply.status == 400


# ---------------------------------------------------------------------- credentials


@pytest.mark.parametrize("firmware", FIRMWARES)
def test_a_bare_token_opens_as_one_with_bearer(firmware: str) -> None:
    client = client_of(firmware=firmware)
    client.headers = {"authorization": client.headers["authorization"].removeprefix("Bearer ")}
    assert client.reply("GET", "/settings").status == 200


def test_a_wrong_password_is_forbidden_and_many_have_to_wait() -> None:
    client = client_of()
    answers = [client.reply("POST", "/unlock", {"pw": "root"}) for _ in range(WRONG_PASSWORDS)]
    assert [answer.status for answer in answers] == [403] * (WRONG_PASSWORDS - 1) + [429]
    assert json.loads(answers[0].body) == {"unlock_timeout": None}
    assert json.loads(answers[-1].body) == {"unlock_timeout": UNLOCK_TIMEOUT_S}
    assert client.reply("POST", "/unlock", {"pw": "admin"}).status == 429
    client.emulator.advance(UNLOCK_TIMEOUT_S)
    assert client.reply("POST", "/unlock", {"pw": "admin"}).status == 200


def test_sessions_end_by_lock_by_others_and_by_age() -> None:
    emulator = Emulator((S19J_PRO,))
    one, two, three = (Client(emulator) for _ in range(3))
    one.post("/lock")
    assert one.reply("GET", "/auth-check").status == 401
    assert two.refused("/lock/others", {"pw": "wrong"})[0] == 400
    two.post("/lock/others", {"pw": "admin"})
    assert three.reply("GET", "/auth-check").status == 401
    assert two.reply("GET", "/auth-check").status == 200
    emulator.advance(SESSION_S + 10.0)
    assert two.reply("GET", "/auth-check").status == 401


def test_an_api_key_opens_all_but_locks() -> None:
    client = client_of()
    assert client.refused("/apikeys", {"key": "short", "description": "x"})[0] == 500
    key = "0123456789abcdef" * 2
    statuses = [client.post("/apikeys", {"key": key, "description": text})["status"] for text in ("a", "a", "b")]
    assert statuses == ["inserted", "nochanges", "updated"]
    client.headers = {"x-api-key": key}
    client.post("/mining/stop")
    assert client.refused("/lock")[0] == 401
    client.post("/apikeys/delete", {"key": key})
    assert client.refused("/mining/start")[0] == 401


def test_dangerous_calls_are_counted_and_do_nothing_to_the_mining() -> None:
    client = client_of()
    before = client.get("/settings")
    for path in ("/settings/factory-reset", "/firmware/remove", "/autotune/reset-all"):
        client.post(path, {})
    client.post("/settings", {"password": {"current": "admin", "pw": "new"}})
    client.emulator.advance(60.0)
    assert dict(client.emulator.miners[0].dangerous) == {
        "settings/factory-reset": 1,
        "firmware/remove": 1,
        "autotune/reset-all": 1,
        "settings/password": 1,
    }
    assert client.get("/settings") == before
    assert client.state() == "mining"
    assert client.emulator.miners[0].writes["POST /settings"] == 1
    assert "POST /unlock" not in client.emulator.miners[0].writes


@pytest.mark.parametrize("firmware", FIRMWARES)
def test_what_is_open_is_open_and_what_is_not_is_not(firmware: str) -> None:
    emulator = Emulator((S19J_PRO,), firmware=firmware)
    for path in ("info", "model", "status", "summary", "perf-summary", "metrics", "logs/status", "chains/factory-info"):
        assert emulator.request(0, "GET", f"/api/v1/{path}").reply.status == 200
    for path in ("settings", "autotune/presets", "apikeys"):
        assert emulator.request(0, "GET", f"/api/v1/{path}").reply.status == 401
    assert emulator.request(0, "GET", "/api/v1/nothing").reply.status == 404
    assert emulator.request(0, "DELETE", "/api/v1/settings").reply.status == 405
    gone, there = ("/boards", "/chains") if firmware == "1.2.6" else ("/chains", "/boards")
    assert emulator.request(0, "GET", f"/api/v1{gone}").reply.status == 404
    assert emulator.request(0, "GET", f"/api/v1{there}").reply.status == 200
