"""Named arrays with a note in one ``.npz`` file, written whole and read without pickle."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from minesim.bench.files import plain, write_whole
from minesim.errors import DataFileError, explain

NOTE = "note_json"


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray], note: Mapping[str, Any]) -> None:
    """Write arrays and a JSON-like note.

    Args:
        path: ``.npz`` file; its folder is made.
        arrays: by name; names may contain dots.
        note: what else to remember.
    """
    text = np.array(json.dumps(plain(note), sort_keys=True))

    def write(beside: Path) -> None:
        with beside.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **{NOTE: text}, **arrays)

    write_whole(path, write)


def read_arrays(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read arrays and their note.

    Raises:
        DataFileError: no such file, or one that is damaged or not ours.
    """
    if not path.exists():
        raise DataFileError(explain(f"there is no file {str(path)!r}"))
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        note = json.loads(str(arrays.pop(NOTE)))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataFileError(
            explain(f"{path.name} is not readable ({type(error).__name__})", origin=str(path), fix="Delete it.")
        ) from error
    return arrays, dict(note)
