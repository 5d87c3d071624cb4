"""The market part of an observation: the bridge computes from feeds what the twin computes from its traces."""

from __future__ import annotations

import numpy as np
import pytest

from minesim.bridge.feeds import FeedBook
from minesim.control.market import MARKET_CHANNELS
from minesim.scenario import compile_table, scenario
from tests.bridge.replay import replay_feeds

WEEK = "2022-07-10T06:00"


@pytest.mark.parametrize("name", ["generated/demand_charge", "generated/late_price", "generated/4cp", "generated/tou"])
async def test_market_channels_are_those_of_the_twin(name: str) -> None:
    world = scenario(name, start="2022-06-20", days=40)
    table = compile_table(world)
    book = FeedBook(replay_feeds(world, table), world.tariff, world.site_timezone)
    first = table.row_of(WEEK)
    for row in range(first, first + 3 * 96, 7):
        now_s = float(table.start_utc[row].astype(np.int64))
        await book.refresh(now_s)
        seen = book.market(now_s)
        differs = {
            channel.name: (float(a), float(b))
            for channel, a, b in zip(MARKET_CHANNELS, seen, table.market[row], strict=True)
            if abs(a - b) > 1e-6
        }
        assert not differs, f"row {row - first}: {differs}"
        assert book.lost(now_s) == ()
