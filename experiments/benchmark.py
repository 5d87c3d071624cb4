"""Every agent on every scenario of a suite, in one table: ``python -m experiments.benchmark bench=hashrate_v1``.

The same command goes on where a stopped run stopped. ``--against baseline.json`` exits with 2 when an agent earns
significantly less than in that earlier scorecard.
"""

from __future__ import annotations

import sys
from pathlib import Path

import hydra
from omegaconf import DictConfig
from rich.console import Console

from agents.benchmark.settings import BenchmarkSettings
from agents.benchmark.suite import BASELINE, Result, benchmark, describe, shown_runs
from agents.benchmark.tell import summarise, tell_changes
from experiments.entry import read_settings, telling_errors
from minesim.bench.gate import changes, read_baseline
from minesim.bench.report import write_report

REGRESSED = 2


def run(settings: BenchmarkSettings, console: Console) -> Result:
    """Play, write the scorecard and the report, print the headline."""
    baseline = read_baseline(Path(settings.against)) if settings.against else None
    result = benchmark(settings, console)
    traces = {scenario: shown_runs(result.done, scenario) for scenario in result.where}
    command = f"python -m experiments.benchmark bench={settings.bench.name}"
    told = describe(settings, result, command)
    path = write_report(result.folder / "report.html", result.card, traces, told)
    summarise(result.card, BASELINE, console)
    computed, resumed = (sum(getattr(item, key) for item in result.done.values()) for key in ("computed", "resumed"))
    console.print(f"{computed} pieces computed, {resumed} taken from {Path(settings.out) / 'cells'}")
    console.print(f"Report: [bold]{path.resolve()}[/bold]")
    if baseline is not None and tell_changes(changes(result.card, baseline), console):
        sys.exit(REGRESSED)
    return result


@hydra.main(version_base="1.3", config_path="../conf", config_name="benchmark")
def main(raw: DictConfig) -> None:
    """Entry point."""
    console = Console()
    with telling_errors("What is finished is kept: run the same command again to go on from there."):
        run(read_settings(BenchmarkSettings, raw), console)


def hydra_arguments(arguments: list[str]) -> list[str]:
    """``--against FILE`` as the override that it is."""
    found = list(arguments)
    for index, argument in enumerate(found):
        if argument == "--against" and index + 1 < len(found):
            return [*found[:index], f"against={found[index + 1]}", *found[index + 2 :]]
        if argument.startswith("--against="):
            return [*found[:index], argument[2:], *found[index + 1 :]]
    return found


if __name__ == "__main__":
    sys.argv[1:] = hydra_arguments(sys.argv[1:])
    main()
