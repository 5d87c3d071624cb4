"""The trial of advice on sensors: every rule gets the same readings at the same place, and finished parts are kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from agents.fields import next_sensor
from agents.fields.hidden import HiddenRoom, RoomKey, hidden_room
from agents.fields.next_sensor import RULES, Trial, differences, run_room, with_sensors
from minesim.bench.cells import PlainStore
from minesim.calibrate.fit import FitSettings, nominal_room
from minesim.calibrate.next_sensor import doubt_of

COARSE = FitSettings(nx=8, ny=4, fine=None)
TRIAL = Trial("hydro_row", "hard", (7,), sensors=6, more=(2,), train=12, forecast=4, fit=COARSE)


@pytest.fixture(scope="module")
def room() -> HiddenRoom:
    return hidden_room(RoomKey("hydro_row", "hard", 7), 12, 4, 6)


def test_a_place_reads_the_same_whoever_chose_it(room: HiddenRoom) -> None:
    places = np.array([[2.0, 0.5], [8.0, 2.0]])
    one, other = (with_sensors(room, order).telemetry for order in (places, places[::-1]))
    known = room.record.telemetry
    assert np.array_equal(one.readings_c[:, :6], known.readings_c, equal_nan=True)
    assert np.array_equal(one.readings_c[:, 6:], other.readings_c[:, :5:-1], equal_nan=True)
    assert np.isfinite(one.readings_c[:12]).all()
    assert np.isnan(one.readings_c[12:]).all()
    assert one.sensors == (*known.sensors, "more_1", "more_2")


def test_rules_place_as_many_as_asked_and_the_farthest_is_far(room: HiddenRoom) -> None:
    known = room.record.telemetry.rows(0, 12)
    doubt = doubt_of(nominal_room(known, COARSE), known)
    apart = {}
    for name, rule in RULES.items():
        places = rule(doubt, 2, np.random.default_rng(0))
        assert len(np.unique(places, axis=0)) == 2
        apart[name] = np.linalg.norm(places[0] - doubt.places_m, axis=-1).min()
    assert max(apart, key=lambda name: apart[name]) == "farthest"


def test_finished_parts_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fits = []

    def count(telemetry, settings):  # a fit of no steps
        fits.append(len(telemetry.sensors))
        return nominal_room(telemetry.rows(0, 12), settings)

    monkeypatch.setattr(next_sensor, "calibrate_room", count)
    store, done = PlainStore(tmp_path), []
    first = run_room(TRIAL, TRIAL.rooms()[0], store, lambda: done.append(1))
    assert fits == [6, 8, 8, 8]
    assert len(done) == len(first) == 4
    assert run_room(TRIAL, TRIAL.rooms()[0], store, lambda: None) == first
    assert len(fits) == 4
    found = differences([first, first, first], "spread+2", "none+0", "rmse_k")
    assert found.estimate == pytest.approx(first["spread+2"]["rmse_k"] - first["none+0"]["rmse_k"])
