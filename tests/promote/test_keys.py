"""Keys: made once, kept secret, and checked by other tools than ours."""

from __future__ import annotations

import base64
import json
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from minesim.control.bundle import MANIFEST, SIGNATURE, read_bundle
from minesim.control.trust import BundleError, read_trusted_keys
from minesim.errors import DataFileError
from minesim.promote.keys import PASSPHRASE, keygen, read_private_key
from minesim.promote.writer import write_bundle
from tests.promote.small import NOW_S, manifest


@pytest.fixture(autouse=True)
def no_passphrase(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PASSPHRASE, raising=False)


def test_a_new_key_signs_what_its_list_trusts(tmp_path: Path) -> None:
    number = keygen(tmp_path / "secret" / "key.pem", tmp_path / "trusted_keys.json", "operator")
    assert stat.S_IMODE((tmp_path / "secret" / "key.pem").stat().st_mode) == 0o600
    folder = write_bundle(tmp_path, manifest(), {}, read_private_key(tmp_path / "secret" / "key.pem"))
    assert read_bundle(folder, read_trusted_keys(tmp_path / "trusted_keys.json"), NOW_S).key_id == number
    private = (tmp_path / "secret" / "key.pem").read_text().splitlines()[1]
    assert private not in (tmp_path / "trusted_keys.json").read_text()


def test_a_second_key_joins_the_first_and_overwrites_nothing(tmp_path: Path) -> None:
    keys = tmp_path / "trusted_keys.json"
    first, second = (keygen(tmp_path / f"{name}.pem", keys) for name in "ab")
    assert set(read_trusted_keys(keys)) == {first, second}
    before = (tmp_path / "a.pem").read_bytes(), keys.read_bytes()
    with pytest.raises(DataFileError, match="already"):
        keygen(tmp_path / "a.pem", keys)
    assert before == ((tmp_path / "a.pem").read_bytes(), keys.read_bytes())


def test_a_damaged_list_is_told_before_a_key_is_made(tmp_path: Path) -> None:
    (tmp_path / "trusted_keys.json").write_text("{")
    with pytest.raises(BundleError):
        keygen(tmp_path / "key.pem", tmp_path / "trusted_keys.json")
    assert not (tmp_path / "key.pem").exists()


def test_no_key_is_left_where_its_public_part_cannot_be_kept(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataFileError, match="cannot be written"):
        keygen(tmp_path / "key.pem", tmp_path / "file" / "trusted_keys.json")
    assert not (tmp_path / "key.pem").exists()


def test_a_private_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    keygen(tmp_path / "key.pem", tmp_path / "trusted_keys.json")
    (tmp_path / "key.pem").chmod(0o640)
    with pytest.raises(BundleError, match="0640"):
        read_private_key(tmp_path / "key.pem")


def test_passphrase(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSPHRASE, "correct horse")
    keygen(tmp_path / "key.pem", tmp_path / "trusted_keys.json")
    assert "ENCRYPTED" in (tmp_path / "key.pem").read_text()
    read_private_key(tmp_path / "key.pem")
    for wrong in ("battery staple", ""):
        monkeypatch.setenv(PASSPHRASE, wrong)
        with pytest.raises(BundleError, match=PASSPHRASE) as told:
            read_private_key(tmp_path / "key.pem")
        assert "horse" not in str(told.value)


@pytest.mark.parametrize("content", [b"", b"nothing", b"\xff\xfe"])
def test_files_that_are_no_key(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(BundleError, match="cannot be used"):
        read_private_key(path)
    with pytest.raises(BundleError, match="no private key"):
        read_private_key(tmp_path / "none.pem")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_openssl_says_the_same(tmp_path: Path) -> None:
    """The way that docs/promotion.md shows."""
    keygen(tmp_path / "key.pem", tmp_path / "trusted_keys.json")
    folder = write_bundle(tmp_path, manifest(), {}, read_private_key(tmp_path / "key.pem"))
    entry = json.loads((tmp_path / "trusted_keys.json").read_text())["keys"][0]
    (tmp_path / "public.der").write_bytes(base64.b64decode(entry["public_key"]))
    (tmp_path / "sig.bin").write_bytes(base64.b64decode(json.loads((folder / SIGNATURE).read_text())["signature"]))
    command = ["openssl", "pkeyutl", "-verify", "-pubin", "-keyform", "DER", "-inkey", str(tmp_path / "public.der")]
    command += ["-rawin", "-sigfile", str(tmp_path / "sig.bin"), "-in"]
    assert subprocess.run([*command, str(folder / MANIFEST)], check=False).returncode == 0
    (tmp_path / "changed").write_bytes((folder / MANIFEST).read_bytes().replace(b"1.2", b"1.3"))
    assert subprocess.run([*command, str(tmp_path / "changed")], check=False).returncode != 0
