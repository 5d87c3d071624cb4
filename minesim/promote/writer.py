"""Write a signed bundle, whole or not at all."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from minesim.control.bundle import MANIFEST, SIGNATURE, read_bundle
from minesim.control.manifest import Manifest, encode
from minesim.control.trust import key_id_of, signature_file
from minesim.errors import DataFileError, explain

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


def write_bundle(store: Path, manifest: Manifest, files: Mapping[str, bytes], key: Ed25519PrivateKey) -> Path:
    """Sign a bundle and put it into its folder; what is written is read back first.

    Args:
        store: folder of bundles.
        manifest: its hashes of files are filled in here.
        files: name -> content of the other files.
        key: signs.

    Returns:
        The new folder, ``<store>/<version>``.

    Raises:
        DataFileError: there is a bundle of that version, or it cannot be written.
        BundleError: the manifest is not one that a reader would take.
    """
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    message = encode(replace(manifest, files=digests))
    parts = {**files, MANIFEST: message, SIGNATURE: signature_file(key_id_of(key.public_key()), key.sign(message))}
    folder = store / manifest.version
    try:
        store.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=store))
    except OSError as error:
        raise DataFileError(explain(f"{str(store)!r} cannot be written to ({error.strerror})")) from error
    try:
        for name, content in parts.items():
            with (beside / name).open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        read_bundle(beside, {key_id_of(key.public_key()): key.public_key()}, manifest.created_at_s)
        beside.chmod(0o755)
        os.rename(beside, folder)
    except OSError as error:
        raise DataFileError(
            explain(f"the bundle {str(folder)!r} cannot be written ({error.strerror})", fix="Is that version there?")
        ) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return folder
