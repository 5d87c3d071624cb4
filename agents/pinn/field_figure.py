"""The hidden room's field, the network's, their difference and the network's spread, at the first forecast row."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from agents.fields.hidden import HiddenRoom
from agents.pinn.field_run import FieldResult
from minesim.bench.files import write_whole


def plot_field(path: Path, room: HiddenRoom, result: FieldResult) -> None:
    """Draw a PNG: four maps with the sensors, and the error over time.

    Args:
        path: of the file.
        room: hidden.
        result: of a network.
    """
    from matplotlib.figure import Figure

    known, train = room.record.telemetry, room.record.train
    plan, (rows, *shape) = known.plan, room.truth_c.shape
    every, cells = np.arange(rows), np.arange(int(np.prod(shape)))
    mean = result.estimate.mean_c(every, cells).reshape(room.truth_c.shape)
    row = min(train, rows - 1)
    sd = result.estimate.sd_c(np.array([row]), cells).reshape(shape)
    truth, found = room.truth_c[row], mean[row]
    low, high = float(min(truth.min(), found.min())), float(max(truth.max(), found.max()))
    wide = float(np.abs(found - truth).max())
    figure = Figure(figsize=(11.0, 7.0), layout="constrained")
    axes = figure.subplot_mosaic([["truth", "found"], ["missed", "spread"], ["time", "time"]])
    maps = (
        ("truth", truth, "inferno", low, high, "hidden room, degC"),
        ("found", found, "inferno", low, high, f"{result.name}, degC"),
        ("missed", found - truth, "RdBu_r", -wide, wide, "difference, K"),
        ("spread", sd, "viridis", 0.0, float(sd.max()), "stated standard deviation, K"),
    )
    for name, field, colours, bottom, top, title in maps:
        extent = (0.0, plan.length_m, 0.0, plan.width_m)
        image = axes[name].imshow(
            field.T, origin="lower", extent=extent, aspect="auto", cmap=colours, vmin=bottom, vmax=top
        )
        axes[name].plot(*known.places_m.T, "o", markersize=3, color="white", markeredgecolor="black")
        axes[name].set_title(title, fontsize=9)
        axes[name].tick_params(labelsize=7)
        figure.colorbar(image, ax=axes[name])
    hours = (every - train) * known.step_s / 3600.0
    axes["time"].plot(hours, np.sqrt(((mean - room.truth_c) ** 2).mean(axis=(1, 2))), linewidth=1.0)
    axes["time"].axvline(0.0, color="black", linewidth=0.8, linestyle=":")
    axes["time"].set_xlabel("hours from the last reading", fontsize=8)
    axes["time"].set_ylabel("RMS over cells, K", fontsize=8)
    axes["time"].set_ylim(bottom=0.0)
    axes["time"].grid(alpha=0.3)
    figure.suptitle(f"{room.key.title}: the first row without readings")
    write_whole(path, lambda beside: figure.savefig(beside, dpi=120))
