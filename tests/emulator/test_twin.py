"""The emulator shows the twin and nothing else."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from minesim.control.fleet import CohortSpec
from minesim.emulator import Emulator, Fault, FaultKind, FleetDraw, Weather
from minesim.emulator.twin import draw_fleet
from minesim.errors import CatalogError, ParamsError
from minesim.physics.firmware import FirmwareParams
from minesim.site_spec import SiteSpec
from tests.emulator.firmware import S19J_PRO, Client
from tests.twin import core_of, generated_world

MIXED = (S19J_PRO, "Antminer S19 XP", "Antminer S21")


def old_firmware(models: tuple[str, ...]) -> SiteSpec:
    cohorts = tuple(CohortSpec(model, 1) for model in models)
    return SiteSpec("three", cohorts, firmware=FirmwareParams(has_throttle=False))


def test_an_environment_and_the_emulator_report_the_same_under_the_same_commands() -> None:
    world = generated_world(site=old_firmware(MIXED), difficulty="easy", limits="free", episode_days=2.0)
    core = core_of(world, 1, seed=5)
    rows = slice(int(core.start_row[0]), int(core.start_row[0]) + 300)
    weather = (world.table.column(name)[rows] for name in ("temp_amb_c", "rel_humidity_pct", "pressure_pa"))
    draw = FleetDraw(core.state.silicon_leak[:, 0], core.state.power_bias[0], int(core._noise_seed[0]))
    emulator = Emulator(
        old_firmware(MIXED),
        firmware="1.2.6",
        step_s=300.0,
        weather=Weather(*weather, dt_s=world.table.dt_s),
        draw=draw,
    )
    clients = [Client(emulator, i) for i in range(3)]
    rng = np.random.default_rng(1)
    action = np.ones((1, 3))
    stops = 0
    for step in range(200):
        if step % 7 == 0:
            action = rng.uniform(-1.3, 1.0, (1, 3)).clip(-1.0, 1.0)
        runs_before = core.history.command.run[0]
        core.step(action)
        command = core.history.command
        for i, client in enumerate(clients):
            if command.run[0, i] != runs_before[i]:
                client.post("/mining/start" if command.run[0, i] else "/mining/stop")
                stops += command.run[0, i] == 0
            client.preset(emulator.miners[i].model.presets[int(command.preset[0, i])].name)
        emulator.advance(300.0)
        told, shown = core.telemetry, emulator.twin.telemetry
        for name in ("hashrate_ths", "power_w", "temp_chip_c", "temp_board_c", "fan_duty", "hashing"):
            np.testing.assert_array_equal(getattr(told, name)[0], getattr(shown, name), err_msg=f"{name}, step {step}")
        for i, client in enumerate(clients):
            miner = client.summary()
            assert miner["hr_realtime"] == pytest.approx(1e3 * told.hashrate_ths[0, i], abs=0.006)
            assert miner["power_consumption"] == round(told.power_w[0, i])
            assert miner["chip_temp"]["max"] == told.temp_chip_c[0, i]
            assert miner["pcb_temp"]["max"] == told.temp_board_c[0, i]
            assert miner["cooling"]["fan_duty"] == round(100 * told.fan_duty[0, i])
    assert stops > 5


def test_boards_add_up_to_the_miner() -> None:
    emulator = Emulator(MIXED, seed=2)
    emulator.advance(3600.0)
    for i in range(3):
        miner = Client(emulator, i).summary()
        boards = miner["chains"]
        assert sum(board["hashrate_rt"] for board in boards) == pytest.approx(miner["hr_realtime"], abs=0.02)
        assert sum(board["power_consumption"] for board in boards) == pytest.approx(miner["power_consumption"], abs=2)
        assert max(board["chip_temp"]["max"] for board in boards) == miner["chip_temp"]["max"]
        assert max(board["pcb_temp"]["max"] for board in boards) == miner["pcb_temp"]["max"]


def test_the_power_estimate_is_up_to_five_percent_off_and_stays_so() -> None:
    emulator = Emulator((S19J_PRO,) * 200, seed=4)
    emulator.advance(600.0)
    outcome = emulator.twin.outcome
    assert outcome is not None
    told = np.array([emulator.view(i).power_w for i in range(200)])
    error = told / outcome.power_w - 1.0
    assert 0.04 < np.abs(error).max() < 0.0505
    emulator.advance(600.0)
    later = np.array([emulator.view(i).power_w for i in range(200)]) / emulator.twin.outcome.power_w - 1.0
    np.testing.assert_allclose(later, error, atol=5e-4)


def test_a_seed_gives_the_same_fleet_and_another_seed_another() -> None:
    def story(seed: int) -> list[bytes]:
        emulator = Emulator(MIXED, seed=seed)
        client = Client(emulator)
        client.preset("1585")
        emulator.advance(1800.0)
        clients = [Client(emulator, i) for i in range(3)]
        return [client.reply("GET", path).body for client in clients for path in ("/summary", "/info")]

    assert story(7) == story(7)
    assert not set(story(7)) & set(story(8))


def test_every_miner_has_a_name_of_its_own() -> None:
    emulator = Emulator((S19J_PRO,) * 500)
    for what in ("mac", "serial", "host"):
        assert len({getattr(miner.identity, what) for miner in emulator.miners}) == 500


def test_restart_temperature_and_fan_target_are_each_miners_own() -> None:
    emulator = Emulator((S19J_PRO,) * 4, weather=Weather.constant(25.0))
    Client(emulator, 1).post("/settings", {"miner": {"misc": {"restart_temp": 60}}})
    Client(emulator, 2).post("/settings", {"miner": {"cooling": {"mode": {"name": "auto", "param": 80}}}})
    Client(emulator, 3).post("/settings", {"miner": {"cooling": {"mode": {"name": "manual", "param": 100}}}})
    emulator.advance(3600.0)
    plain, low_net, warm, full = (emulator.view(i) for i in range(4))
    assert low_net.state in ("failure", "restarting", "initializing")
    assert [sum(kind == "overheat" for _, kind, _ in miner.events) > 0 for miner in emulator.miners] == [
        False,
        True,
        False,
        False,
    ]
    assert plain.state == warm.state == full.state == "mining"
    assert warm.temp_chip_c > plain.temp_chip_c > full.temp_chip_c
    assert warm.fan_duty < plain.fan_duty < full.fan_duty == 1.0


def test_fans_by_hand_keep_their_duty_and_a_miner_without_air_trips() -> None:
    emulator = Emulator((S19J_PRO,) * 2)
    for index, duty in ((0, 62), (1, 0)):
        Client(emulator, index).post("/settings", {"miner": {"cooling": {"mode": {"name": "manual", "param": duty}}}})
    emulator.advance(1800.0)
    assert Client(emulator, 0).summary()["cooling"]["fan_duty"] == 62
    assert emulator.view(1).state == "failure"


def test_a_tripped_miner_mines_again_when_it_has_cooled() -> None:
    emulator = Emulator((S19J_PRO,), weather=Weather.constant(10.0))
    emulator.inject(Fault(0, FaultKind.INTAKE_BLOCKED, at_s=600.0, duration_s=900.0, level=0.05))
    seen = []
    for _ in range(360):
        emulator.advance(30.0)
        state = Client(emulator).state()
        if not seen or seen[-1] != state:
            seen.append(state)
    assert seen == ["mining", "failure", "restarting", "initializing", "mining"]


def test_the_room_is_shared() -> None:
    cool, hot = (Emulator(MIXED, weather=Weather.constant(t)) for t in (5.0, 35.0))
    for emulator in (cool, hot):
        emulator.advance(3600.0)
    assert hot.view(0).fan_duty > cool.view(0).fan_duty + 0.1


def test_weather_moves_on_by_its_rows() -> None:
    series = Weather(np.array([0.0, 25.0]), np.full(2, 40.0), np.full(2, 101325.0), dt_s=600.0)
    emulator = Emulator((S19J_PRO,), weather=series)
    emulator.advance(600.0)
    assert float(emulator.twin.telemetry.temp_intake_c) < 5.0
    emulator.advance(10.0)
    assert float(emulator.twin.telemetry.temp_intake_c) > 24.0


def test_a_site_of_cohorts_becomes_single_miners() -> None:
    emulator = Emulator(SiteSpec("two kinds", (CohortSpec(MIXED[0], 3), CohortSpec(MIXED[1], 2))))
    assert [miner.model.full_name for miner in emulator.miners] == ["Antminer S19j Pro"] * 3 + ["Antminer S19 XP"] * 2


def test_many_miners_differ_only_in_what_they_were_told() -> None:
    emulator = Emulator((S19J_PRO,) * 300, seed=1)
    twin_draw = draw_fleet(emulator.twin.params, 1)
    np.testing.assert_array_equal(emulator.twin.state.silicon_leak, twin_draw.silicon_leak)
    Client(emulator, 123).post("/mining/stop")
    emulator.advance(60.0)
    assert [i for i in range(300) if emulator.view(i).state != "mining"] == [123]


@pytest.mark.parametrize(
    ("miners", "options", "error", "says"),
    [
        ((S19J_PRO,), {"firmware": "1.2.5"}, ParamsError, "1.2.6, 1.3.4"),
        ((), {}, ParamsError, "no miner"),
        (("Whatsminer M30S++",), {}, ParamsError, "does not run on"),
        (("S19j Porr",), {}, CatalogError, "S19j Pro"),
        ((S19J_PRO,), {"step_s": 0.0}, ParamsError, "above 0"),
    ],
)
def test_bad_fleets_are_refused(miners: tuple[str, ...], options: dict, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        Emulator(miners, **options)


def test_time_moves_in_whole_steps_only() -> None:
    emulator = Emulator((S19J_PRO,))
    for seconds in (15.0, -10.0):
        with pytest.raises(ParamsError, match="whole number of control steps"):
            emulator.advance(seconds)
    assert emulator.elapsed_s == 0.0


def test_firmware_constants_of_the_site_become_the_miners_settings() -> None:
    spec = dataclasses.replace(
        old_firmware((S19J_PRO,)), firmware=FirmwareParams(switcher_on=False, temp_trip_c=85.0, fan_target_c=66.0)
    )
    settings = Client(Emulator(spec)).get("/settings")["miner"]
    assert settings["overclock"]["preset_switcher"]["enabled"] is False
    assert settings["misc"]["restart_temp"] == 85
    assert settings["cooling"]["mode"] == {"name": "auto", "param": 66}
