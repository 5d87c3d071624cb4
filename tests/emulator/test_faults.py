"""Faults do what they say, to whom they say, when they say, and nothing else."""

from __future__ import annotations

import json

import httpx
import pytest

from minesim.emulator import Emulator, Fault, FaultKind
from minesim.emulator.http import EMPTY
from minesim.errors import ParamsError
from tests.emulator.firmware import S19J_PRO, Client


def two(kind: FaultKind | None = None, **fault: object) -> tuple[Emulator, Client, Client]:
    """Two miners that have warmed up, logged in, of which the first has a fault."""
    emulator = Emulator((S19J_PRO,) * 2)
    emulator.advance(600.0)
    clients = Client(emulator, 0), Client(emulator, 1)
    if kind is not None:
        emulator.inject(Fault(0, kind, at_s=600.0, **fault))
    return emulator, *clients


def test_a_fault_begins_and_ends_by_the_emulators_time() -> None:
    emulator = Emulator((S19J_PRO,))
    emulator.inject(Fault(0, FaultKind.TIMEOUT, at_s=60.0, duration_s=60.0))
    silent = []
    for _ in range(18):
        silent.append(emulator.request(0, "GET", "/api/v1/summary").reply is None)
        emulator.advance(10.0)
    assert silent == [False] * 6 + [True] * 6 + [False] * 6


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (FaultKind.UNAUTHORIZED, 401),
        (FaultKind.FORBIDDEN, 403),
        (FaultKind.TOO_MANY_REQUESTS, 429),
        (FaultKind.SERVER_ERROR, 500),
    ],
)
def test_status_faults_answer_reads_and_writes_and_apply_nothing(kind: FaultKind, status: int) -> None:
    emulator, sick, well = two(kind)
    assert sick.reply("GET", "/summary").status == status
    assert sick.reply("POST", "/mining/stop").status == status
    assert well.reply("GET", "/summary").status == 200
    emulator.clear_faults()
    assert sick.reply("GET", "/status").status == 200
    assert sick.state() == "mining"


def test_a_fault_may_concern_one_path_only() -> None:
    _, sick, _ = two(FaultKind.SERVER_ERROR, path="/settings")
    assert sick.reply("GET", "/summary").status == 200
    assert sick.reply("GET", "/settings").status == 500


def test_broken_json_is_no_json() -> None:
    _, sick, _ = two(FaultKind.MALFORMED_JSON)
    with pytest.raises(ValueError, match=r"codec|JSON|Expecting"):
        json.loads(sick.reply("GET", "/summary").body)


def test_stale_readings_stand_still_while_the_machine_goes_on() -> None:
    emulator, sick, well = two(FaultKind.STALE, duration_s=1200.0)
    before = sick.reply("GET", "/summary").body
    sick.post("/mining/stop")
    emulator.advance(600.0)
    frozen = sick.summary()
    assert frozen == json.loads(before)["miner"]
    assert frozen["power_consumption"] > 2500
    assert float(emulator.twin.telemetry.power_w[0]) < 20.0
    assert well.summary()["hr_realtime"] > 90_000.0
    emulator.advance(600.0)
    assert sick.summary()["power_consumption"] < 20


@pytest.mark.parametrize(("kind", "value"), [(FaultKind.SENSOR_NULL, None), (FaultKind.SENSOR_ZERO, 0)])
def test_failed_sensors_tell_null_or_zero_and_the_rest_stays_true(kind: FaultKind, value: int | None) -> None:
    _, sick, well = two(kind)
    told, true = sick.summary(), well.summary()
    sides = [told, *told["chains"]]
    assert all(side[name] == {"min": value, "max": value} for side in sides for name in ("chip_temp", "pcb_temp"))
    assert told["power_consumption"] == pytest.approx(true["power_consumption"], rel=0.15)


def test_refused_ignored_and_lost_writes() -> None:
    write = {"miner": {"overclock": {"preset": "1585"}}}
    _, sick, _ = two(FaultKind.WRITE_REFUSED)
    assert sick.refused("/settings", write)[0] == 500
    assert sick.configured() == "3062"

    _, sick, _ = two(FaultKind.WRITE_IGNORED)
    assert sick.post("/settings", write) == {"restart_required": False, "reboot_required": False}
    assert sick.reply("POST", "/mining/stop") == EMPTY
    assert (sick.configured(), sick.state()) == ("3062", "mining")

    emulator, sick, _ = two(FaultKind.ANSWER_LOST)
    assert emulator.request(0, "POST", "/api/v1/settings", write, sick.headers).reply is None
    assert sick.configured() == "1585"


def test_a_half_applied_write_applies_its_first_field() -> None:
    _, sick, _ = two(FaultKind.HALF_APPLIED)
    both = {"preset": "1585", "preset_switcher": {"top_preset": "1585"}}
    assert sick.post("/settings", {"miner": {"overclock": both}})["restart_required"] is False
    assert sick.configured() == "1585"
    assert sick.get("/settings")["miner"]["overclock"]["preset_switcher"]["top_preset"] is None


def test_a_preset_may_wait_for_a_restart() -> None:
    emulator, sick, _ = two(FaultKind.RESTART_REQUIRED)
    assert sick.preset("1585")["restart_required"] is True
    emulator.clear_faults()
    sick.post("/settings", {"miner": {"misc": {"quiet_mode": True}}})
    emulator.advance(600.0)
    assert (sick.configured(), sick.running()) == ("1585", "3062")
    sick.post("/mining/restart")
    emulator.advance(900.0)
    assert sick.running() == "1585"
    assert sick.get("/status")["restart_required"] is False


def test_a_clock_may_jump() -> None:
    emulator, sick, well = two()
    emulator.inject(Fault(0, FaultKind.CLOCK_JUMP, level=-86_400.0))
    newest = [client.get("/metrics")["metrics"][0]["time"] for client in (sick, well)]
    assert newest[1] - newest[0] == 86_400


def test_a_lost_fan_stands_and_the_others_run_faster() -> None:
    emulator, sick, well = two(FaultKind.FAN_LOST)
    emulator.advance(1800.0)
    fans = sick.summary()["cooling"]["fans"]
    assert [fan["status"] for fan in fans] == ["lost", "ok", "ok", "ok"]
    assert fans[0]["rpm"] == 0
    assert fans[1]["rpm"] > well.summary()["cooling"]["fans"][1]["rpm"]


def test_a_blocked_intake_overheats_its_miner_alone() -> None:
    emulator, sick, well = two(FaultKind.INTAKE_BLOCKED, level=0.1)
    emulator.advance(1200.0)
    assert sick.state() in ("failure", "restarting", "initializing")
    assert well.state() == "mining"
    assert "overheat" in [event["data"]["type"] for event in sick.get("/metrics")["annotations"]]


def test_a_board_drops_out_and_comes_back() -> None:
    emulator, sick, well = two(FaultKind.BOARD_LOST, level=2.0, duration_s=1800.0)
    emulator.advance(900.0)
    boards = sick.summary()["chains"]
    assert [board["status"]["state"] for board in boards] == ["mining", "mining", "disconnected"]
    assert boards[2]["hashrate_rt"] == 0.0
    share = sick.summary()["hr_realtime"] / well.summary()["hr_realtime"]
    assert share == pytest.approx(2 / 3, rel=0.05)
    assert sick.summary()["power_consumption"] < 0.8 * well.summary()["power_consumption"]
    emulator.advance(1800.0)
    events = [(e["data"]["type"], e["data"]["board_id"]) for e in sick.get("/metrics")["annotations"]]
    assert events == [("enable_board", 3), ("disable_board", 3)]
    assert sick.summary()["hr_realtime"] / well.summary()["hr_realtime"] == pytest.approx(1.0, rel=0.05)


def test_without_any_board_a_miner_fails() -> None:
    emulator, sick, _ = two()
    emulator.inject(*(Fault(0, FaultKind.BOARD_LOST, level=float(board)) for board in range(3)))
    emulator.advance(60.0)
    status = sick.get("/status")
    assert (status["miner_state"], status["description"]) == ("failure", "No boards detected")
    assert sick.summary()["hr_realtime"] == 0


@pytest.mark.parametrize(
    "fault",
    [
        lambda: Fault(0, FaultKind.STALE, duration_s=0.0),
        lambda: Fault(0, FaultKind.INTAKE_BLOCKED, level=0.0),
        lambda: Emulator((S19J_PRO,)).inject(Fault(1, FaultKind.STALE)),
    ],
)
def test_impossible_faults_are_refused(fault: object) -> None:
    with pytest.raises(ParamsError):
        fault()


# ---------------------------------------------------------------------- as a client of the transport sees them


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        (FaultKind.UNREACHABLE, httpx.ConnectError),
        (FaultKind.TIMEOUT, httpx.ReadTimeout),
        (FaultKind.SLOW_DRIP, httpx.ReadTimeout),
        (FaultKind.TRUNCATED, httpx.RemoteProtocolError),
    ],
)
async def test_broken_connections_reach_the_client_as_such(kind: FaultKind, error: type[Exception]) -> None:
    emulator = Emulator((S19J_PRO,) * 2)
    emulator.inject(Fault(0, kind))
    async with httpx.AsyncClient(transport=emulator.transport(), timeout=5.0) as client:
        with pytest.raises(error):
            await client.get(f"http://{emulator.hosts[0]}/api/v1/summary")
        assert (await client.get(f"http://{emulator.hosts[1]}/api/v1/summary")).status_code == 200


async def test_a_slow_answer_is_fine_for_a_patient_client() -> None:
    emulator = Emulator((S19J_PRO,))
    emulator.inject(Fault(0, FaultKind.SLOW_DRIP, level=20.0))
    async with httpx.AsyncClient(transport=emulator.transport(), timeout=30.0) as client:
        assert (await client.get(f"http://{emulator.hosts[0]}/api/v1/summary")).json()["miner"]


async def test_unknown_hosts_and_other_ports_are_not_there() -> None:
    emulator = Emulator((S19J_PRO,))
    async with httpx.AsyncClient(transport=emulator.transport()) as client:
        for url in ("http://10.99.0.1/api/v1/summary", f"http://{emulator.hosts[0]}:8080/api/v1/summary"):
            with pytest.raises(httpx.ConnectError):
                await client.get(url)
