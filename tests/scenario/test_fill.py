"""Missing values are filled from the past only."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from minesim.scenario.fill import FILL_NOTE, fill_from_past, fill_missing

NAN = float("nan")


def test_same_time_of_the_latest_day_with_a_value():
    filled = fill_from_past(np.array([1.0, 2.0, 3.0, 4.0, NAN, NAN, 7.0, NAN, NAN]), day_rows=3)
    assert filled.tolist() == [1.0, 2.0, 3.0, 4.0, 2.0, 3.0, 7.0, 2.0, 3.0]


def test_without_such_a_day_the_last_value_holds_and_leading_holes_stay():
    filled = fill_from_past(np.array([NAN, 2.0, NAN, NAN]), day_rows=10)
    assert np.isnan(filled[0])
    assert filled[1:].tolist() == [2.0, 2.0, 2.0]


@given(
    values=st.lists(st.one_of(st.just(NAN), st.floats(-10, 10)), min_size=2, max_size=60),
    day_rows=st.integers(1, 12),
    data=st.data(),
)
def test_a_row_depends_on_rows_up_to_it(values, day_rows, data):
    series = np.array(values)
    cut = data.draw(st.integers(1, len(series)))
    other = series.copy()
    other[cut:] = data.draw(st.sampled_from([NAN, 99.0]))
    np.testing.assert_array_equal(fill_from_past(series, day_rows)[:cut], fill_from_past(other, day_rows)[:cut])


def test_fill_is_recorded_and_originals_stay(traces):
    values = traces["temp_amb_c"].to_numpy().copy()
    values[30] = NAN
    holed = traces.assign(temp_amb_c=("time", values), is_missing=("time", np.arange(144) == 30))
    filled = fill_missing(holed)
    assert float(filled["temp_amb_c"][30]) == values[6]
    assert filled["temp_amb_c"].attrs["fill"] == FILL_NOTE
    assert "fill" not in filled["rel_humidity_pct"].attrs
    assert filled["is_missing"].to_numpy().sum() == 1
    assert np.isnan(holed["temp_amb_c"][30])
