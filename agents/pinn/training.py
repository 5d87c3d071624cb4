"""Adam with a falling rate whose every stop is a rest: what a run needs to go on is a few arrays, no pickle.

Batches are drawn from the seed and the number of the step, so that a run that was stopped and goes on gives the same
network, bit by bit, as one that never stopped.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from agents.pinn.array_file import read_arrays, write_arrays
from agents.pinn.surrogate import arrays_of, put_arrays
from minesim.errors import DataFileError, explain

SAVE_EVERY = 500
SHOW_EVERY = 20
MOMENTS = ("exp_avg", "exp_avg_sq", "step")


@dataclass
class Fitting:
    """One network being trained.

    Attributes:
        module: the network.
        loss: of a batch, from the indices of its samples.
        samples, batch, steps: what there is, what a step takes, how many steps in all.
        rate, rate_end: learning rate at begin and end, a cosine between them.
        seed: of the batches.
        path: where state is kept.
        key: settings that a state must agree with to go on.
        done: steps done.
        trained_s: seconds of processor time so far, all runs together.
    """

    module: torch.nn.Module
    loss: Callable[[torch.Tensor], torch.Tensor]
    samples: int
    batch: int
    steps: int
    rate: float
    rate_end: float
    seed: int
    path: Path
    key: str
    done: int = 0
    trained_s: float = 0.0
    optimiser: torch.optim.Adam = field(init=False)

    def __post_init__(self) -> None:
        self.optimiser = torch.optim.Adam(self.module.parameters(), self.rate)

    def run(self, stop: Callable[[], bool], show: Callable[[int, float], None], clock: Callable[[], float]) -> bool:
        """Train to the end, or to a wish to stop.

        Args:
            stop: whether to stop after this step.
            show: is told steps done and the root of the loss, now and then.
            clock: seconds of processor time.

        Returns:
            Whether all steps are done; the state is on disk either way.
        """
        begin, before = clock(), self.trained_s
        while self.done < self.steps and not stop():
            missed = self.step()
            if self.done % SHOW_EVERY == 0:
                show(self.done, math.sqrt(missed))
            if self.done % SAVE_EVERY == 0:
                self.trained_s = before + clock() - begin
                self.save()
        self.trained_s = before + clock() - begin
        self.save()
        return self.done >= self.steps

    def step(self) -> float:
        """One step of Adam; the loss before it."""
        rng = np.random.default_rng([self.seed, self.done])
        index = torch.as_tensor(rng.integers(0, self.samples, self.batch))
        falling = 0.5 * (1.0 + math.cos(math.pi * self.done / self.steps))
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate_end + (self.rate - self.rate_end) * falling
        self.optimiser.zero_grad()
        missed = self.loss(index)
        torch.autograd.backward(missed)
        self.optimiser.step()
        self.done += 1
        return float(missed.detach())

    def save(self) -> None:
        """Write the state."""
        arrays = {f"net.{name}": array for name, array in arrays_of(self.module).items()}
        for number, state in self.optimiser.state_dict()["state"].items():
            arrays |= {f"adam.{number}.{name}": state[name].numpy() for name in MOMENTS}
        write_arrays(self.path, arrays, {"key": self.key, "done": self.done, "trained_s": self.trained_s})

    def resume(self) -> bool:
        """Take a saved state up if there is one of the same settings; whether there was.

        Raises:
            DataFileError: there is a state, but damaged or of other settings.
        """
        if not self.path.exists():
            return False
        arrays, note = read_arrays(self.path)
        if note.get("key") != self.key:
            raise DataFileError(
                explain(
                    f"{str(self.path)!r} was trained with other settings",
                    fix="Delete the folder to train anew, or take another one (out=...).",
                )
            )
        put_arrays(self.module, {name[4:]: a for name, a in arrays.items() if name.startswith("net.")}, self.path)
        groups = self.optimiser.state_dict()["param_groups"]
        state: dict[int, dict[str, torch.Tensor]] = {}
        for name, array in arrays.items():
            if name.startswith("adam."):
                _, number, moment = name.split(".")
                state.setdefault(int(number), {})[moment] = torch.as_tensor(array)
        self.optimiser.load_state_dict({"state": state, "param_groups": groups})
        self.done, self.trained_s = int(note["done"]), float(note["trained_s"])
        return True
