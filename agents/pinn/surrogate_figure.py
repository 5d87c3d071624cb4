"""A field of the solver, the surrogate's and their difference, for the setting of median error."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from agents.pinn.surrogate_run import SurrogateResult, SurrogateRun
from minesim.bench.files import write_whole


def plot_surrogates(path: Path, run: SurrogateRun, results: Sequence[SurrogateResult]) -> None:
    """Draw a PNG: on top the solver, below a row for each surrogate with its field and its difference.

    Args:
        path: of the file.
        run: with the solved fields.
        results: of the lessons.
    """
    from matplotlib.figure import Figure

    own = run.truths.own_k
    errors = [result.surrogate.rise_k(run.truths.settings) - own for result in results]
    rms = np.sqrt((errors[0] ** 2).mean(axis=(0, 1)))
    picked = int(np.argsort(rms)[len(rms) // 2])
    truth = own[..., picked]
    top, wide = float(truth.max()), max(float(np.abs(error[..., picked]).max()) for error in errors)
    figure = Figure(figsize=(11.0, 1.6 * (1 + len(results))), layout="constrained")
    axes = figure.subplots(1 + len(results), 2, squeeze=False)
    _draw(axes[0][0], run, truth, "inferno", 0.0, top, f"solver {run.settings.nx} x {run.settings.ny}")
    _draw_errors(axes[0][1], errors, results)
    for (left, right), result, error in zip(axes[1:], results, errors, strict=True):
        field = error[..., picked]
        image = _draw(left, run, truth + field, "inferno", 0.0, top, f"learned from {result.lesson}")
        difference = _draw(
            right, run, field, "RdBu_r", -wide, wide, f"difference, {np.sqrt((field**2).mean()):.2f} K RMS"
        )
        figure.colorbar(image, ax=left, label="rise, K")
        figure.colorbar(difference, ax=right, label="K")
    figure.suptitle(f"{run.plan.name}: a setting of median error")
    write_whole(path, lambda beside: figure.savefig(beside, dpi=120))


def _draw(axes: Any, run: SurrogateRun, field: Any, colours: str, low: float, high: float, title: str) -> Any:
    extent = (0.0, run.plan.length_m, 0.0, run.plan.width_m)
    image = axes.imshow(field.T, origin="lower", extent=extent, aspect="auto", cmap=colours, vmin=low, vmax=high)
    axes.set_title(title, fontsize=9)
    axes.tick_params(labelsize=7)
    return image


def _draw_errors(axes: Any, errors: Sequence[Any], results: Sequence[SurrogateResult]) -> None:
    for error, result in zip(errors, results, strict=True):
        rms = np.sort(np.sqrt((error**2).mean(axis=(0, 1))))
        axes.plot(rms, np.linspace(0.0, 1.0, len(rms)), label=result.lesson)
    axes.set_xscale("log")
    axes.set_title("share of unseen settings with at most this RMS, K", fontsize=9)
    axes.tick_params(labelsize=7)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7)
