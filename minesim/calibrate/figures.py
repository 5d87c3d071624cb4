"""Pictures of a calibration (need the extra ``report``)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from minesim.calibrate.fit import NOISE_K, Calibration
from minesim.calibrate.next_sensor import Doubt, NextSensor
from minesim.calibrate.telemetry import RoomTelemetry
from minesim.calibrate.tell import is_fault
from minesim.errors import MissingExtraError, explain
from minesim.files import write_whole

KINDS: Final = (
    "gap", "leak", "eddy", "structure_j", "structure_w", "envelope_w", "fan", "damper", "group", "free", "heat"
)  # fmt: skip
TICKS: Final = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


def draw_calibration(
    path: Path, found: Calibration, telemetry: RoomTelemetry, doubt: Doubt, more: Sequence[NextSensor]
) -> None:
    """Draw readings before and after, errors of each sensor, factors that were found, and where the air is in doubt.

    Args:
        path: picture to write.
        found: from :func:`minesim.calibrate.fit.calibrate_room`.
        telemetry: the record that it was fitted to.
        doubt: what the calibration leaves open.
        more: places for more sensors.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise MissingExtraError(
            explain("a plot needs matplotlib", fix="Install it with: pip install 'minesim[report]'")
        ) from error
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure = plt.figure(figsize=(14, 12), layout="constrained")
    axes = figure.subplot_mosaic("AAB;CCC;DDD", height_ratios=[4, 5, 3])
    _draw_course(axes["A"], found, telemetry)
    _draw_errors(axes["B"], found, telemetry)
    _draw_factors(axes["C"], found)
    _draw_doubt(axes["D"], doubt, more)
    figure.suptitle(
        f"{found.plan.name}: readings miss the nominal room by {found.rms_before_k:.2f} K RMS, "
        f"the calibrated one by {found.rms_after_k:.2f} K"
    )
    write_whole(path, lambda beside: figure.savefig(beside, dpi=110))
    plt.close(figure)


def _draw_course(axes: Any, found: Calibration, telemetry: RoomTelemetry) -> None:
    rows = len(found.before_c)
    missed = np.nanmean((found.before_c - telemetry.readings_c[:rows]) ** 2, axis=0)
    worst = int(missed.argmax())
    hours = (telemetry.time[:rows] - telemetry.time[0]) / np.timedelta64(1, "h")
    axes.plot(hours, telemetry.readings_c[:rows, worst], ".", color="0.5", ms=3, label="read")
    axes.plot(hours, found.before_c[:, worst], color="C1", lw=1, label="nominal room")
    axes.plot(hours, found.after_c[:, worst], color="C0", lw=1.2, label="calibrated room")
    axes.set(xlabel="hours", ylabel="degC", title=f"Worst sensor before: {telemetry.sensors[worst]}")
    axes.legend(frameon=False, ncols=3)


def _draw_errors(axes: Any, found: Calibration, telemetry: RoomTelemetry) -> None:
    readings = telemetry.readings_c[: len(found.before_c)]
    at = np.arange(len(telemetry.sensors))
    for read, label, color, shift in ((found.before_c, "before", "C1", -0.2), (found.after_c, "after", "C0", 0.2)):
        axes.barh(at + shift, np.sqrt(np.nanmean((read - readings) ** 2, axis=0)), 0.4, color=color, label=label)
    axes.axvline(NOISE_K, color="0.4", ls=":", lw=1)
    axes.set_yticks(at, telemetry.sensors, fontsize=8)
    axes.invert_yaxis()
    axes.set(xlabel="RMS, K (dotted: assumed noise)", title="By sensor")
    axes.legend(frameon=False)


def _draw_factors(axes: Any, found: Calibration) -> None:
    chosen = [finding for finding in found.values() if finding.unknown.kind in KINDS]
    chosen.sort(key=lambda finding: KINDS.index(finding.unknown.kind))
    for at, finding in enumerate(chosen):
        nominal = finding.unknown.nominal
        color = "C3" if is_fault(finding) else ("C0" if finding.determined else "0.7")
        axes.vlines(at, finding.low / nominal, finding.high / nominal, color=color, lw=2.5)
        axes.plot(at, finding.value / nominal, "o", color=color, ms=4)
    axes.axhline(1.0, color="0.6", ls=":", lw=1)
    axes.set_xticks(range(len(chosen)), [finding.unknown.title for finding in chosen], rotation=90, fontsize=7)
    axes.set_xlim(-0.8, len(chosen) - 0.2)
    axes.set(
        ylabel="found / nominal, 90 % interval",
        yscale="log",
        title="Factors: blue determined, grey not determined by the data, red suspected fault",
    )
    axes.set_yticks(TICKS, [f"{tick:g}" for tick in TICKS])
    axes.minorticks_off()


def _draw_doubt(axes: Any, doubt: Doubt, more: Sequence[NextSensor]) -> None:
    grid = doubt.grid
    image = axes.imshow(
        doubt.sd_k.T, origin="lower", extent=(0.0, grid.length_m, 0.0, grid.width_m), aspect="auto", cmap="viridis"
    )
    axes.figure.colorbar(image, ax=axes, label="standard deviation, K", pad=0.01)
    for row in doubt.calibration.plan.rows:
        axes.axhline(row.y_m, color="white", lw=0.8, ls=":")
    marks = {"markeredgecolor": "black", "clip_on": False, "ls": "none"}
    axes.plot(*doubt.places_m.T, "o", ms=5, color="white", label="sensors", **marks)
    axes.plot([p.x_m for p in more], [p.y_m for p in more], "*", ms=16, color="red", label="next sensor", **marks)
    axes.set(xlabel="x, m", ylabel="y, m", title="How well the air is known (dotted: rows of miners)")
    axes.legend(loc="lower right", ncols=2, fontsize=8)
