"""Advice on the next sensor: the doubt is that of the prediction, and readings are worth what a fit makes of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from minesim.calibrate.fit import FitSettings, nominal_room, predict
from minesim.calibrate.next_sensor import APART_M, Doubt, doubt_of
from minesim.calibrate.room_twin import room_twin
from minesim.calibrate.telemetry import RoomTelemetry
from minesim.calibrate.unknowns import FAULTS
from minesim.errors import ParamsError

SMALL = FitSettings(nx=8, ny=4, fine=None, opening_parts=2)
ROWS = 24


@pytest.fixture(scope="module")
def short(record: RoomTelemetry) -> RoomTelemetry:
    begun = record.rows(0, ROWS)
    return replace(begun, readings_c=np.full_like(begun.readings_c, 25.0))


@pytest.fixture(scope="module")
def doubt(short: RoomTelemetry) -> Doubt:
    """Of the room as its layout says: nothing has been read."""
    return doubt_of(nominal_room(short, SMALL), short)


def test_the_doubt_is_the_spread_of_the_prediction(doubt: Doubt, short: RoomTelemetry) -> None:
    spread = predict(doubt.calibration, short).spread_k
    assert doubt.sd_k == pytest.approx(np.sqrt((spread**2).mean(axis=0)), rel=1e-4)


def test_a_reading_is_worth_what_least_squares_with_its_bias_make_of_it(doubt: Doubt, short: RoomTelemetry) -> None:
    found = doubt.calibration
    in_air = [p for p, unknown in enumerate(found.unknowns) if not unknown.is_offset]
    unknowns, theta = [found.unknowns[p] for p in in_air], np.zeros(len(in_air))
    twin = room_twin(short, found.plan, unknowns, SMALL.nx, SMALL.ny)
    slope = twin.derivative(theta, twin.solve(theta)).numpy().reshape(32, ROWS, -1)
    for cell in (3, 17):
        reads = np.concatenate([slope[cell], np.ones((ROWS, 1))], axis=1)
        prior = np.diag([1.0 / u.prior.sd**2 for u in unknowns] + [1.0 / FAULTS["bias"].sd ** 2])
        wanted = np.linalg.inv(prior + reads.T @ reads / found.variance_k2)[:-1, :-1]
        assert doubt.after_reading(doubt.covariance, cell) == pytest.approx(wanted, rel=1e-3, abs=1e-6)


def test_the_next_place_is_the_least_known_and_all_are_apart(doubt: Doubt) -> None:
    chosen = doubt.next(3)
    at = np.stack(np.meshgrid(*doubt.grid.centres_m, indexing="ij"), axis=-1)
    far = (np.linalg.norm(at[:, :, None] - doubt.places_m, axis=-1) >= APART_M).all(axis=-1)
    assert chosen[0].sd_k == pytest.approx(doubt.sd_k[far].max())
    places = np.concatenate([doubt.places_m, [place[:2] for place in chosen]])
    apart = np.linalg.norm(places[:, None] - places, axis=-1)[len(doubt.places_m) :]
    assert np.sort(apart, axis=1)[:, 1].min() >= APART_M


def test_a_full_room_takes_no_more(doubt: Doubt) -> None:
    with pytest.raises(ParamsError, match=r"99 more sensors do not fit; allowed: \d+, 0\.5 m apart"):
        doubt.next(99)
