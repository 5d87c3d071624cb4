"""Bitcoin 2020-2023: heights, subsidies and every retarget, rebuilt from daily counts and block arrivals.

Coin Metrics files a block under the day of its median time past, the middle of the last 11 block times, which is the
time of the block 5 earlier. So the *counts* of a day are those of true block times, while the day means of difficulty
and the issuance belong to the blocks 5 heights further on. Both facts are tested here, to the block.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import minesim.data
from minesim.economics import chain

TRACES = Path(minesim.data.__file__).parent / "traces"
MEDIAN_TIME_LAG_BLOCKS = 5
ARRIVAL_STD_S = 60.0
"""Header time against first sight by public nodes; a generous guess, it only keeps the z score finite."""


@dataclass(frozen=True)
class History:
    """Days of 2019-12 to 2023-12 with the height of their first block, and the arrival times that are known."""

    day_s: np.ndarray
    first_height: np.ndarray
    count: np.ndarray
    difficulty: np.ndarray
    issuance_btc: np.ndarray
    arrival_s: dict[int, int]
    anchors: np.ndarray

    def day_of(self, height: int) -> int:
        return int(np.searchsorted(self.first_height, height, side="right")) - 1

    def time_of(self, height: int) -> tuple[float, float]:
        """Time of a block and its standard deviation, s: an arrival, or uniform order statistics within its day."""
        if height in self.arrival_s:
            return float(self.arrival_s[height]), ARRIVAL_STD_S
        day = self.day_of(height)
        share = (height - self.first_height[day] + 1) / (self.count[day] + 1)
        return self.day_s[day] + 86400.0 * share, 86400.0 * float(np.sqrt(share * (1 - share) / (self.count[day] + 2)))


@pytest.fixture(scope="module")
def history() -> History:
    daily = pd.read_parquet(TRACES / "nc" / "btc_daily.parquet").set_index("date")["2019-12-01":"2023-12-31"]
    arrivals = pd.concat(
        [pd.read_parquet(TRACES / f"btc_block_arrivals_{part}.parquet") for part in ("2021q4", "2023")]
    )
    arrivals = arrivals[~arrivals["suspect_catch_up"]]
    day_s = daily.index.to_numpy().astype("datetime64[s]").astype(np.int64)
    count = daily["block_count"].to_numpy(dtype=np.int64)
    before = np.cumsum(count) - count
    first_seen = arrivals.groupby(arrivals["first_seen_utc"].dt.floor("D"))["height"].min()
    anchors = (first_seen - pd.Series(before, index=daily.index).reindex(first_seen.index)).to_numpy(dtype=np.int64)
    seen_s = arrivals["first_seen_utc"].to_numpy().astype("datetime64[s]").astype(np.int64)
    return History(
        day_s=day_s,
        first_height=before + int(np.median(anchors)),
        count=count,
        difficulty=daily["difficulty_mean"].to_numpy(),
        issuance_btc=daily["issuance_native"].to_numpy(),
        arrival_s=dict(zip(arrivals["height"].tolist(), seen_s.tolist(), strict=True)),
        anchors=anchors,
    )


def test_cumulative_counts_meet_the_arrivals_two_years_apart(history: History) -> None:
    agree = history.anchors == np.median(history.anchors)
    assert agree.mean() > 0.95
    assert history.first_height[history.day_of(610_691)] == 610_691
    assert history.day_s[history.day_of(610_691)] == np.datetime64("2020-01-01", "s").astype(np.int64)


def test_issuance_of_every_day_is_the_subsidy_of_its_heights(history: History) -> None:
    first = history.first_height + MEDIAN_TIME_LAG_BLOCKS
    expected = [chain.subsidy_btc_array(np.arange(f, f + n)).sum() for f, n in zip(first, history.count, strict=True)]
    np.testing.assert_allclose(history.issuance_btc, expected, rtol=1e-6)


def _epochs(history: History) -> list[tuple[int, float, float]]:
    """(first height, its published difficulty, the next one's) of all epochs that lie inside the days."""
    last = history.first_height[-2] + history.count[-2]
    starts = range(-(-int(history.first_height[0]) // 2016) * 2016, int(last) - 2016, 2016)
    full_day = [history.day_of(start) + 1 for start in starts]
    levels = history.difficulty[full_day]
    return [(s, levels[k], levels[k + 1]) for k, s in enumerate(list(starts)[:-1])]


def test_day_means_of_difficulty_weigh_old_and_new_by_whole_blocks(history: History) -> None:
    for start, old, new in _epochs(history):
        boundary = start + 2016 - MEDIAN_TIME_LAG_BLOCKS
        day = history.day_of(boundary)
        before = boundary - history.first_height[day]
        mean = (before * old + (history.count[day] - before) * new) / history.count[day]
        assert history.difficulty[day] == pytest.approx(mean, rel=1e-8)


def test_published_difficulties_are_compact_targets(history: History) -> None:
    for _, published, _ in _epochs(history):
        exact = chain.difficulty_of_bits(chain.bits_of_difficulty(published))
        assert published == pytest.approx(exact, rel=6e-9)


def test_epochs_2020_to_2023_replay_to_the_published_difficulty(history: History) -> None:
    """Exact arrival times: within 1e-4 (worst seen 3.6e-5). Boundary times interpolated within a day of Poisson
    blocks: standard deviation up to 0.43 % of the span (two boundaries of up to 1 h), each epoch within 4 of them,
    and their mean square as expected; worst seen 0.77 %."""
    exact, interpolated, z = [], [], []
    for start, old, new in _epochs(history):
        (begin, begin_std), (end, end_std) = history.time_of(start), history.time_of(start + 2015)
        error = chain.next_difficulty(old, round(begin), round(end)) / new - 1.0
        if start in history.arrival_s and start + 2015 in history.arrival_s:
            exact.append(error)
        else:
            interpolated.append(error)
            z.append(error * (end - begin) / np.hypot(begin_std, end_std))
    assert len(exact) == 21
    assert len(interpolated) == 85
    assert np.abs(exact).max() < 1e-4
    assert np.abs(interpolated).max() < 0.013
    assert np.abs(z).max() < 4.0
    assert 0.75 < np.sqrt(np.mean(np.square(z))) < 1.25
