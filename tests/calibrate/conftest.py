"""A short record of a small room that the tests of the calibration share."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from agents.fields.course import draw_course
from agents.fields.hidden import sensor_places_m
from minesim.calibrate.telemetry import RoomTelemetry
from minesim.catalog.layouts import layout


@pytest.fixture(scope="session")
def record() -> RoomTelemetry:
    """Eight hours of the hydro row with 12 sensors that have read nothing yet."""
    plan = layout("hydro_row")
    places = sensor_places_m(plan, 12)
    course = draw_course(plan, 96, (0.65, 1.4), np.random.default_rng(7))
    return replace(
        course,
        sensors=tuple(places),
        places_m=np.array(list(places.values())),
        readings_c=np.full((96, len(places)), np.nan),
    )
