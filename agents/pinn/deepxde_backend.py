"""The only door to DeepXDE: import without side effects, and training of a network by ``deepxde.Model.train``.

DeepXDE picks its backend at the first import, writes into the home directory when none is named, refuses to be imported
under MPI, and sets torch's default device where it finds a GPU. Here the backend is named for the import only, and the
defaults of torch and the environment are given back as they were.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from minesim.errors import MissingExtraError, explain

Losses = Callable[[torch.Tensor, torch.Tensor], list[torch.Tensor]]


def load_deepxde() -> Any:
    """Import DeepXDE on torch; seconds the first time.

    Raises:
        MissingExtraError: it is not installed.
    """
    with _defaults_kept(), _environment(DDE_BACKEND="pytorch", OMPI_COMM_WORLD_SIZE=None):
        try:
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                import deepxde
        except ImportError as error:
            raise MissingExtraError(
                explain(f"physics-informed fields need deepxde ({error})", fix="Run: pip install 'minesim[pinn]'")
            ) from error
    return deepxde


def train(
    module: torch.nn.Module,
    losses: Losses,
    draw: Callable[[], np.ndarray],
    steps: int,
    optimiser: torch.optim.Optimizer,
    rate_end: float,
    stop: Callable[[], bool],
    show: Callable[[int, float], None],
    show_every: int = 50,
) -> int:
    """Train a network with DeepXDE, the learning rate falling as a cosine.

    Args:
        module: takes what ``draw`` gives.
        losses: terms of the loss, weighted, from inputs and outputs of the network.
        draw: inputs of the next step, (B, n).
        steps: how many.
        optimiser: of the module's parameters, at its first rate.
        rate_end: rate at the end.
        stop: whether to stop after this step.
        show: is told steps done and the sum of the losses.
        show_every: how often.

    Returns:
        Steps done.
    """
    dde = load_deepxde()

    class Network(dde.nn.NN):  # type: ignore[name-defined,misc]
        def __init__(self) -> None:
            super().__init__()
            self.module = module

        def forward(self, inputs: torch.Tensor) -> Any:
            return self.module(inputs)

    class Drawn(dde.data.data.Data):  # type: ignore[name-defined,misc]
        def losses(
            self, targets: Any, outputs: Any, loss_fn: Any, inputs: Any, model: Any, aux: Any = None
        ) -> list[torch.Tensor]:
            del targets, loss_fn, model, aux
            return losses(inputs, outputs)

        def train_next_batch(self, batch_size: int | None = None) -> tuple[np.ndarray, None]:
            del batch_size
            return draw().astype(np.float32), None

        def test(self) -> tuple[np.ndarray, None]:
            return first, None

    class Watch(dde.callbacks.Callback):  # type: ignore[name-defined,misc]
        def on_batch_end(self) -> None:
            if stop():
                self.model.stop_training = True
            if self.model.train_state.step % show_every == 0:
                show(self.model.train_state.step, float(np.sum(self.model.train_state.loss_train)))

    first = draw().astype(np.float32)
    with _defaults_kept(), contextlib.redirect_stdout(io.StringIO()):
        model = dde.Model(Drawn(), Network())
        rate = optimiser.param_groups[0]["lr"]
        model.compile(optimiser, lr=rate, decay=("cosine", steps, rate_end), verbose=0)
        model.train(iterations=steps, display_every=show_every, callbacks=[Watch()], verbose=0)
    return int(model.train_state.step)


@contextlib.contextmanager
def _defaults_kept() -> Iterator[None]:
    """Give torch's default precision and device back as they were."""
    precision, device = torch.get_default_dtype(), torch.get_default_device()
    try:
        yield
    finally:
        torch.set_default_dtype(precision)
        if torch.get_default_device() != device:
            torch.set_default_device(device)


@contextlib.contextmanager
def _environment(**changes: str | None) -> Iterator[None]:
    """Environment variables for a while; None removes one."""
    before = {name: os.environ.get(name) for name in changes}
    try:
        _set(changes)
        yield
    finally:
        _set(before)


def _set(values: dict[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
