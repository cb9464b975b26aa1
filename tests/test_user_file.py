"""Tests of how a file of the user's is read: what is no text of a bounded size is refused, and no pipe is waited for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from suites.inputs.user_file import text_of


def test_a_file_within_its_bound_is_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes("∑\r\n".encode())
    assert text_of(tmp_path / "file", 5) == "∑\r\n"


def test_what_is_no_file_or_too_long_or_no_text_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "long").write_text("123456")
    (tmp_path / "binary").write_bytes(b"id = '\xff'")
    refused = {
        "": "it is a directory; allowed: a regular file",
        "pipe": "it is a pipe or a device; allowed: a regular file",
        "long": "it has more than 5 bytes; allowed: at most as many",
    }
    for name, says in refused.items():
        with pytest.raises(ValueError, match=f"^{says}$"):
            text_of(tmp_path / name, 5)
    with pytest.raises(ValueError, match="^byte 6 is 0xff; allowed: text in UTF-8$"):
        text_of(tmp_path / "binary", 100)


def test_a_file_that_is_not_there_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        text_of(tmp_path / "nowhere", 5)
