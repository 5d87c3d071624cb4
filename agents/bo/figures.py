"""Plots of tuning runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from agents.bo.pareto import pareto_front
from agents.bo.run import Result
from agents.bo.study import Study
from minesim.bench.files import write_whole


def draw_run(path: Path, study: Study, results: Mapping[str, Result]) -> None:
    """Draw regret by trial for each method, and the trials of the study in power and hashrate.

    Args:
        path: PNG to write.
        study: the run.
        results: by method, the study's own first.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    problem = study.problem
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.6), layout="constrained")
    for name, result in results.items():
        course = 100.0 * np.where(np.isfinite(result.regret), result.regret, np.nan)
        left.plot(
            np.arange(1, len(course) + 1),
            course,
            label=name,
            drawstyle="steps-post",
            lw=2.5 if name == study.method.name else 1.2,
        )
    left.axhline(1.0, color="0.6", ls=":", lw=1)
    left.set(
        xlabel="trials",
        ylabel="regret, % of stock revenue",
        ylim=(0, None),
        title="Recommended setting against the safe optimum",
    )
    left.legend(frameon=False)

    told = study.told
    settings = np.array([t.setting for t in told])
    true = problem.truth(settings)
    safe = problem.safe(settings)
    shown = right.scatter(
        true.power_w[safe], true.hashrate_ths[safe], c=np.flatnonzero(safe), cmap="viridis", label="trials"
    )
    right.scatter(true.power_w[~safe], true.hashrate_ths[~safe], marker="x", color="C3", label="beyond a limit")
    for label, setting, marker in (
        ("stock", problem.stock(), "s"),
        ("recommended", study.recommend(), "*"),
        ("safe optimum", next(iter(results.values())).optimum.setting, "D"),
    ):
        at = problem.truth(setting)
        right.scatter(at.power_w, at.hashrate_ths, marker=marker, s=110, facecolors="none", edgecolors="k", label=label)
    right.set(
        xlabel="wall power, W", ylabel="good hashrate, TH/s", title=f"{problem.serial} at {problem.temp_amb_c:g} C"
    )
    right.legend(frameon=False)
    figure.colorbar(shown, ax=right, label="trial")
    write_whole(path, lambda beside: figure.savefig(beside, dpi=110))
    plt.close(figure)


def draw_front(path: Path, study: Study) -> None:
    """Draw the measured settings within the limits by profit, energy per hash and wear, the front marked."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    problem = study.problem
    told = [t for t in study.told if t.measured is not None and not t.measured.tripped]
    measured = [t.measured for t in told if t.measured is not None]
    profit = np.array(
        [problem.objective.profit_usd_per_day(m.hashrate_ths, m.power_w, m.wear_usd_per_day) for m in measured]
    )
    efficiency = np.array([m.power_w / m.hashrate_ths for m in measured])
    wear = np.array([m.wear_usd_per_day for m in measured])
    front = pareto_front(np.column_stack([profit, -efficiency, -wear]))
    figure, axes = plt.subplots(figsize=(6.5, 4.6), layout="constrained")
    shown = axes.scatter(efficiency, profit, c=1000.0 * wear, cmap="plasma")
    axes.scatter(efficiency[front], profit[front], s=120, facecolors="none", edgecolors="k", label="front")
    axes.set(xlabel="J/TH", ylabel="profit, USD/day", title=f"{problem.serial} at {problem.temp_amb_c:g} C")
    axes.legend(frameon=False)
    figure.colorbar(shown, label="wear, mUSD/day")
    write_whole(path, lambda beside: figure.savefig(beside, dpi=110))
    plt.close(figure)
