"""Minari's files under a folder of one's own: create, find, open, and say clearly what is wrong with them."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from minesim.errors import DataFileError, MissingExtraError, explain, nearest

ABOUT = "minesim"
"""Key of our own record in the metadata of a data set."""
ROOT_VARIABLE = "MINARI_DATASETS_PATH"


def require_minari() -> None:
    """Check that Minari and its file format are there.

    Raises:
        MissingExtraError: they are not.
    """
    try:
        import h5py  # noqa: F401
        import minari  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            explain(f"offline data need Minari ({error.name} is missing)", fix="Run: pip install 'minesim[offline]'")
        ) from error


@contextlib.contextmanager
def datasets_root(root: Path) -> Iterator[None]:
    """Let Minari work under ``root``; the environment variable that it reads is put back afterwards."""
    before = os.environ.get(ROOT_VARIABLE)
    os.environ[ROOT_VARIABLE] = str(root)
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(ROOT_VARIABLE, None)
        else:
            os.environ[ROOT_VARIABLE] = before


def created(root: Path, dataset_id: str, buffers: Sequence[Any], **record: Any) -> Any:
    """A new ``minari.MinariDataset`` under ``root`` with these episodes."""
    import minari

    with datasets_root(root), warnings.catch_warnings():
        # An e-mail address is not asked for, and a link to the code only where there is one.
        warnings.filterwarnings("ignore", message="`(author_email|code_permalink)` is set to None")
        return minari.create_dataset_from_buffers(dataset_id, list(buffers), **record)


def dataset_ids(root: str | Path) -> list[str]:
    """Ids of all data sets under a folder.

    Raises:
        DataFileError: no such folder, or none in it.
    """
    root = Path(root)
    fix = "Write some: minesim data rollouts"
    if not root.is_dir():
        raise DataFileError(explain(f"there is no folder {str(root)!r}", fix=fix))
    found = sorted(path.parent.relative_to(root).as_posix() for path in root.glob("**/data") if path.is_dir())
    if not found:
        raise DataFileError(explain(f"{str(root)!r} holds no Minari data sets", fix=fix))
    return found


def open_dataset(root: str | Path, dataset_id: str) -> Any:
    """A ``minari.MinariDataset`` under a folder, checked to be whole.

    Raises:
        DataFileError: unknown id (nearest suggested), unreadable, or shorter than its own record says.
        MissingExtraError: Minari is not installed.
    """
    require_minari()
    import minari

    known = dataset_ids(root)
    if dataset_id not in known:
        raise DataFileError(explain(f"no data set {dataset_id!r}", fix=nearest(dataset_id, known), origin=str(root)))
    try:
        dataset = minari.MinariDataset(Path(root) / dataset_id / "data")
        lengths = [int(item["total_steps"]) for item in dataset.storage.get_episode_metadata(dataset.episode_indices)]
    except (OSError, ValueError, KeyError, AssertionError) as error:
        raise _damaged(dataset_id, root, f"{type(error).__name__}: {error}") from error
    if sum(lengths) != dataset.total_steps or not lengths:
        raise _damaged(dataset_id, root, f"{sum(lengths)} steps, {dataset.total_steps} in its record")
    return dataset


def episodes_of(dataset: Any, root: str | Path) -> Iterator[Any]:
    """The ``minari.EpisodeData`` of a data set, checked one by one.

    Raises:
        DataFileError: an episode is unreadable, has parts of different lengths, or values that are not numbers.
    """
    expected = list(dataset.storage.get_episode_metadata(dataset.episode_indices))
    try:
        for about, episode in zip(expected, dataset.iterate_episodes(), strict=True):
            steps = int(about["total_steps"])
            parts = {"actions": episode.actions, "rewards": episode.rewards, "truncations": episode.truncations}
            short = [name for name, values in parts.items() if len(values) != steps]
            if short or len(episode.observations) != steps + 1:
                raise _damaged(
                    dataset.id, root, f"episode {episode.id}: {', '.join(short) or 'observations'} too short"
                )
            if not all(np.isfinite(x).all() for x in (episode.observations, episode.actions, episode.rewards)):
                raise _damaged(dataset.id, root, f"episode {episode.id}: values that are not numbers")
            yield episode
    except (OSError, KeyError, ValueError) as error:
        raise _damaged(dataset.id, root, f"{type(error).__name__}: {error}") from error


def _damaged(dataset_id: str, root: str | Path, why: str) -> DataFileError:
    text = " ".join(why.split())
    return DataFileError(
        explain(
            f"data set {dataset_id!r} is damaged or cut off ({text})", origin=str(root), fix="Write or fetch it again."
        )
    )
