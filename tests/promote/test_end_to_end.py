"""A real benchmark of one miner, and what promotion makes of it."""

from __future__ import annotations

import io
import time
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from agents.baselines.named import named_rule
from agents.benchmark.settings import BenchmarkSettings, Site, Suite, Weeks
from agents.benchmark.suite import benchmark
from agents.promotable import Promotable
from minesim.control.bundle import read_bundle, require_fleet
from minesim.control.fleet import fleet_curves
from minesim.control.observe import schema
from minesim.promote.history import current
from minesim.promote.promotion import Request, judge, promote
from minesim.site_spec import site_spec
from tests.promote.small import KEY, TRUSTED


@pytest.mark.long
def test_a_threshold_rule_from_a_benchmark_to_a_site(tmp_path: Path) -> None:
    settings = BenchmarkSettings(
        bench=Suite(
            name="small",
            scenarios=["ercot/4cp"],
            validation=Weeks("2023-01-07", 25, 12),
            test=Weeks("2023-07-01", 26, 6),
        ),
        site=Site(name="one_s19j_pro"),
        rules=["always_stock", "threshold"],
        mpc=False,
        jobs=1,
        out=str(tmp_path / "out"),
    )
    result = benchmark(settings, Console(file=io.StringIO()))
    verdict = judge(Request(result.folder, "small", "threshold", "always_stock"), Promotable())
    assert [gate.name for gate in verdict.gates if not gate.passed] == []
    now_s = int(time.time())
    folder = promote(verdict, tmp_path / "bundles", KEY, now_s, 30)
    assert current(tmp_path / "bundles") == folder.name

    bundle = read_bundle(tmp_path / "bundles" / "current", TRUSTED, now_s)
    cohorts = site_spec("one_s19j_pro").cohorts
    require_fleet(bundle, cohorts)
    policy = bundle.policy(fleet_curves(cohorts), named_rule)
    channels = schema(1)
    cheap, dear = np.zeros((2, channels.size), np.float32)
    for seen, price in ((cheap, 10.0), (dear, 4000.0)):
        for name, value in (("price_last_usd_per_mwh", price), ("hash_revenue_usd_per_ths_day", 0.07), ("level", 1.0)):
            number = channels.by_name[name].encode(np.float64(value), xp=np)
            seen[channels.slices[name]] = number
    assert policy.act(np.stack([cheap, dear]))[:, 0] == pytest.approx([1.0, -1.0])
