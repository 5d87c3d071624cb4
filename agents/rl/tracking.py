"""Curves of a training run: always a file of lines, on request TensorBoard or W&B as well.

Whatever a service does, training goes on: its first failure ends the tracking, is told once, and the file has it all.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from agents.rl.settings import TrackingSettings
from minesim.bench.files import plain, write_text
from minesim.errors import MissingExtraError, explain

PROGRESS = "progress.jsonl"
Tell = Callable[[str], None]


class Tracker(Protocol):
    """Takes named values of a moment of training."""

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Keep values of ``step`` control steps."""
        ...

    def close(self) -> None:
        """Finish."""
        ...


class Lines:
    """``progress.jsonl``: a line for each training iteration and evaluation."""

    def __init__(self, folder: Path, resumed_at: int) -> None:
        self.path = folder / PROGRESS
        kept = [line for line in self._lines() if line.get("step", 0) <= resumed_at]
        write_text(self.path, "".join(json.dumps(line) + "\n" for line in kept))

    def _lines(self) -> list[dict[str, Any]]:
        if not self.path.exists():
            return []
        found = []
        for line in self.path.read_text(encoding="utf-8").splitlines():
            try:
                found.append(json.loads(line))
            except ValueError:
                continue  # the last line of a killed run may be cut
        return found

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Append a line."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(plain({"step": step, **values})) + "\n")

    def close(self) -> None:
        """Nothing is open."""


class TensorBoard:
    """Event files below the run's folder."""

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise MissingExtraError(
                explain("tracking=tensorboard needs tensorboard", fix="Run: pip install 'minesim[tracking]'")
            ) from error
        self.writer = SummaryWriter(str(folder / "tensorboard"))

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Write scalars."""
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Flush."""
        self.writer.close()


class Wandb:
    """Weights & Biases; offline needs no account, and an online run that cannot start becomes an offline one."""

    def __init__(self, folder: Path, settings: TrackingSettings, config: Mapping[str, Any], tell: Tell) -> None:
        try:
            import wandb
        except ImportError as error:
            raise MissingExtraError(
                explain("tracking=wandb needs wandb", fix="Run: pip install 'minesim[tracking]'")
            ) from error
        self.tell = tell
        self.failures = (OSError, RuntimeError, TimeoutError, wandb.errors.Error)
        options = {
            "project": settings.project,
            "dir": str(folder),
            "name": folder.name,
            "id": folder.name[-64:],
            "resume": "allow",
            "config": dict(config),
        }
        self.run: Any = None
        for mode in dict.fromkeys((settings.mode, "offline")):
            try:
                self.run = wandb.init(mode=mode, **options)
                break
            except self.failures as error:
                tell(f"W&B does not start in mode {mode!r} ({error}); training goes on.")

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Send values; the first failure ends the tracking."""
        if self.run is None:
            return
        try:
            self.run.log(dict(values), step=step)
        except self.failures as error:
            self.tell(f"W&B failed at step {step} ({error}); training goes on, curves are in {PROGRESS}.")
            self.run = None

    def close(self) -> None:
        """Finish the run."""
        if self.run is not None:
            try:
                self.run.finish()
            except self.failures as error:
                self.tell(f"W&B did not finish ({error}); curves are in {PROGRESS}.")


class Trackers:
    """Several trackers as one."""

    def __init__(self, *parts: Tracker) -> None:
        self.parts = parts

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Hand on to all."""
        for part in self.parts:
            part.log(values, step)

    def close(self) -> None:
        """Close all."""
        for part in self.parts:
            part.close()


def open_tracking(
    folder: Path, settings: TrackingSettings, config: Mapping[str, Any], resumed_at: int, tell: Tell
) -> Trackers:
    """The file of lines, and what the settings ask for beside it.

    Raises:
        MissingExtraError: the package of the service is not installed.
    """
    extra: list[Tracker] = []
    if settings.kind == "tensorboard":
        extra.append(TensorBoard(folder))
    elif settings.kind == "wandb":
        extra.append(Wandb(folder, settings, config, tell))
    return Trackers(Lines(folder, resumed_at), *extra)
