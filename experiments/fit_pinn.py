"""Fit networks to rooms and miners.

    python -m experiments.fit_pinn layout=container_40ft sensors=16      # field of a hidden room from its sensors
    python -m experiments.fit_pinn layout=container_40ft task=surrogate  # settings to field
    python -m experiments.fit_pinn task=miner_response                   # miners after a step of workload

The same command again goes on where a stopped run stopped; a finished run only tells its result.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import hydra
from omegaconf import DictConfig
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from agents.pinn.settings import FitSettings
from experiments.entry import STOPPED, StopSign, read_settings, telling_errors
from minesim.bench.files import write_text
from minesim.bench.pages import markdown
from minesim.errors import MissingExtraError, explain

if TYPE_CHECKING:
    from agents.fields.hidden import HiddenRoom
    from agents.pinn.field_run import FieldResult
    from agents.pinn.surrogate_run import SurrogateResult, SurrogateRun

COARSE_NOTE = (
    "RMS against 96 x 48: cell means of the limited second-order reference; the solver's own error is its floor."
)


@contextmanager
def progress(console: Console) -> Iterator[Progress]:
    """The bar of a fit."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console) as bar:
        yield bar


@contextmanager
def telling_missing() -> Iterator[None]:
    """Tell how to install what an import inside lacks.

    Raises:
        MissingExtraError: a package is missing.
    """
    try:
        yield
    except ImportError as error:
        raise MissingExtraError(
            explain(f"networks need torch ({error})", fix="Run: pip install 'minesim[pinn]'")
        ) from error


def fit_surrogate(settings: FitSettings, console: Console) -> tuple[Path, bool]:
    """Train and judge a surrogate for each lesson. Returns the folder and whether all steps are done."""
    with telling_missing():
        import torch

        from agents.pinn.surrogate_figure import plot_surrogates
        from agents.pinn.surrogate_run import surrogate_run
    torch.set_num_threads(settings.threads)
    folder = settings.folder
    run = surrogate_run(settings.layout, settings.surrogate, settings.seed, folder)
    sign, results = StopSign(), []
    with progress(console) as bar, sign.listening():
        for lesson in settings.surrogate.lessons:
            task = bar.add_task(lesson, total=settings.surrogate.steps_of(lesson))

            def show(name: str, done: int, total: int, missed: float, task: int = task) -> None:
                bar.update(task, completed=done, total=total, description=f"{name}: {missed:.3f} K")

            results.append(run.fit(lesson, sign, show))
            if sign():
                break
    tell_surrogates(run, results, console)
    plot_surrogates(folder / "surrogate.png", run, results)
    return folder, len(results) == len(settings.surrogate.lessons) and all(r.finished for r in results)


def tell_surrogates(run: SurrogateRun, results: Sequence[SurrogateResult], console: Console) -> None:
    """Two tables: how exact, how fast."""
    from agents.pinn.surrogate_judge import exactness

    s, truths = run.settings, run.truths
    unseen = f"{truths.settings.count} unseen settings, {s.nx} x {s.ny}, field sd {results[0].exactness.spread_k:.1f} K"
    table = Table(title=f"{run.plan.name}: surrogate against its solver, {unseen}", title_justify="left")
    for name in (
        "learned from",
        "RMS, K",
        "worst setting, K",
        "worst cell, K",
        "RMS to 96 x 48, K",
        "steps",
        "time, s",
    ):
        table.add_column(name, justify="left" if name == "learned from" else "right")
    own = exactness(truths.own_k, truths)
    table.add_row("(the solver itself)", "0", "0", "0", f"{own.fine_rms_k:.2f}", "", "")
    for result in results:
        e = result.exactness
        table.add_row(
            result.lesson,
            f"{e.rms_k:.3f}",
            f"{e.worst_setting_k:.2f}",
            f"{e.worst_cell_k:.2f}",
            f"{e.fine_rms_k:.2f}",
            f"{result.steps:,}",
            f"{result.prepared_s:.0f} + {result.trained_s:.0f}",
        )
    console.print(table)
    console.print(COARSE_NOTE)
    times = Table(title="One field, microseconds of processor time, best of 5, one thread", title_justify="left")
    for name in ("", "us", "network is faster by"):
        times.add_column(name, justify="left" if not name else "right")
    t = run.speed(results[0])
    rows = {
        "network, batch of 1,024, torch": t.network_s,
        "network, batch of 1,024, onnxruntime": t.onnx_s,
        "network, one at a time, torch": t.single_s,
        f"its solver {s.nx} x {s.ny}, batch of 1,024, numpy": t.coarse_s,
        "96 x 48, upwind": t.fine_s,
        "96 x 48, limited second order": t.reference_s,
    }
    for name, seconds in rows.items():
        times.add_row(name, f"{1e6 * seconds:,.1f}", f"{seconds / t.network_s:,.1f}x")
    console.print(times)
    gap = max(result.onnx_gap_k for result in results)
    console.print(f"ONNX against torch: {gap:.1e} K at most.")


def fit_hidden_room(settings: FitSettings, console: Console) -> tuple[Path, bool]:
    """Fit a network to a hidden room's sensors. Returns the folder and whether all members are done."""
    with telling_missing():
        import torch

        from agents.pinn.field_figure import plot_field
        from agents.pinn.field_run import fit_field, make_room
    torch.set_num_threads(settings.threads)
    folder, agent = settings.folder, settings.agent
    room = make_room(settings.layout, settings.case, settings.seed, settings.sensors)
    sign = StopSign()
    with progress(console) as bar, sign.listening():
        task = bar.add_task(agent.name, total=agent.members * agent.steps)

        def show(member: int, step: int, loss: float) -> None:
            told = f"{agent.name}, member {member + 1} of {agent.members}: loss {loss:.2f}"
            bar.update(task, completed=member * agent.steps + step, description=told)

        result = fit_field(room, agent, settings.seed, folder, sign, show)
    tell_field(room, result, folder, console)
    plot_field(folder / f"{agent.name}.png", room, result)
    return folder, result.finished


def tell_field(room: HiddenRoom, result: FieldResult, folder: Path, console: Console) -> None:
    """Every network that was fitted to this room so far, and the unknowns that this one found."""
    from agents.pinn.field_run import earlier, next_sensor_m, true_values

    table = Table(title=f"{room.key.title}: {len(room.record.telemetry.sensors)} sensors", title_justify="left")
    table.add_column("network")
    for name in ("RMSE, K", "next 6 h, K", "in 90 %", "next 6 h", "members", "processor s", "wall s"):
        table.add_column(name, justify="right")
    n = result.nominal
    table.add_row("(layout as it is, no readings)", f"{n.rmse_k:.2f}", f"{n.forecast_rmse_k:.2f}", *[""] * 5)
    for found in earlier(folder):
        s = found["score"]
        table.add_row(
            found["name"] + ("" if found["finished"] else " (stopped)"),
            f"{s['rmse_k']:.2f}",
            f"{s['forecast_rmse_k']:.2f}",
            f"{100 * s['coverage']:.0f} %",
            f"{100 * s['forecast_coverage']:.0f} %",
            str(found["members"]),
            f"{found['processor_s']:.0f}",
            f"{found['wall_s']:.0f}",
        )
    console.print(table)
    x_m, y_m, sd_k = next_sensor_m(result.estimate, room)
    console.print(f"Least known: x = {x_m:.1f} m, y = {y_m:.1f} m (sd {sd_k:.1f} K); the next sensor belongs there.")
    if result.unknowns:
        truth = true_values(room)
        listed = Table(title=f"Unknowns of {result.name}: factors on the layout, biases in K", title_justify="left")
        for name in ("", "found", "true"):
            listed.add_column(name, justify="left" if not name else "right")
        for name, value in result.unknowns.items():
            listed.add_row(name, f"{value:.2f}", f"{truth[name]:.2f}" if name in truth else "")
        console.print(listed)


def fit_miners(settings: FitSettings, console: Console) -> tuple[Path, bool]:
    """Fit circuits to hidden miners of some models. Returns the folder and whether all miners are done."""
    with telling_missing():
        import torch

        from agents.pinn.miner_response_run import run_miners
        from agents.pinn.miner_response_tell import plot_miner, tables, tell_miners
    torch.set_num_threads(settings.threads)
    folder, sign = settings.folder, StopSign()
    with progress(console) as bar, sign.listening():
        total = settings.miner.seeds * len(settings.models)
        task = bar.add_task("hidden miners", total=total)

        def show(model: str) -> None:
            bar.update(task, advance=1, description=model)

        miners = run_miners(settings.models, settings.miner, settings.seed, folder, sign, show)
    done = {model: cells for model, cells in miners.items() if cells}
    tell_miners(done, console)
    write_text(folder / "page.md", markdown(tables(done)))
    model, cells = next(iter(done.items()))
    plot_miner(folder / "responses.png", model, cells[0])
    return folder, sum(map(len, miners.values())) == total


@hydra.main(version_base="1.3", config_path="../conf/fit_pinn", config_name="fit_pinn")
def main(raw: DictConfig) -> None:
    """Entry point."""
    console = Console()
    with telling_errors("What was trained is kept: run the same command again to go on."):
        settings = read_settings(FitSettings, raw)
        fit = {"surrogate": fit_surrogate, "field": fit_hidden_room, "miner_response": fit_miners}[settings.task]
        folder, finished = fit(settings, console)
    if not finished:
        console.print(f"Stopped; what was trained is kept in {folder}. Run the same command again to go on.")
        sys.exit(STOPPED)
    console.print(f"Files: {folder}")


if __name__ == "__main__":
    main()
