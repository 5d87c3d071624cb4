"""Checkpoints: everything that a stopped run needs to go on as if it had never stopped."""

from __future__ import annotations

import contextlib
import pickle
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from minesim.bench.files import write_whole
from minesim.errors import DataFileError, explain

CHECKPOINT = "checkpoint.pt"
FORMAT = 3


def random_state() -> dict[str, Any]:
    """State of the process-wide generators, which learners draw from."""
    return {
        "python": random.getstate(),
        "numpy": np.random.get_state(),  # noqa: NPY002
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Restore :func:`random_state`."""
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])  # noqa: NPY002
    torch.set_rng_state(state["torch"].cpu())
    if state["cuda"]:
        torch.cuda.set_rng_state_all([part.cpu() for part in state["cuda"]])


@contextlib.contextmanager
def borrowed_random_state() -> Iterator[None]:
    """Give the process-wide generators back as they were."""
    before = random_state()
    try:
        yield
    finally:
        set_random_state(before)


def save_checkpoint(folder: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint whole."""
    write_whole(folder / CHECKPOINT, lambda path: torch.save({"format": FORMAT, **content}, path))


def load_checkpoint(folder: Path, device: str = "cpu") -> dict[str, Any] | None:
    """The checkpoint of a run with its tensors on ``device``, or None when there is none.

    It is unpickled, so load only what you wrote yourself; to use somebody else's policy take
    :func:`agents.rl.policy.load_policy`, which reads weights only.

    Raises:
        DataFileError: damaged, or of another version.
    """
    path = folder / CHECKPOINT
    if not path.exists():
        return None
    fix = "Delete it to train from the start."
    try:
        content = torch.load(path, map_location=device, weights_only=False)
    except (RuntimeError, EOFError, OSError, pickle.UnpicklingError, AttributeError, ValueError) as error:
        raise DataFileError(explain(f"{str(path)!r} is not readable ({type(error).__name__})", fix=fix)) from error
    if content.get("format") != FORMAT:
        raise DataFileError(
            explain(f"{str(path)!r} has format {content.get('format')!r}", allowed=str(FORMAT), fix=fix)
        )
    return dict(content)


def save_weights(path: Path, weights: dict[str, Any]) -> None:
    """Write weights whole."""
    write_whole(path, lambda beside: torch.save(weights, beside))
