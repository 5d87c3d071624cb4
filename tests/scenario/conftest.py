"""Fixtures of the scenario tests."""

from __future__ import annotations

import pytest
import xarray as xr

from tests.scenario.small import make_traces


@pytest.fixture
def traces() -> xr.Dataset:
    return make_traces()
