"""The examples of adapters/EXAMPLES.md: each is copied out, run by its command, and rejected once it is made wrong."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.documents import EXAMPLES

CASES = "--case=absorption/*"
"""What is asked of an example here; all of it was asked when it was written."""

WRONG = {
    "my_c_kernel.py": ("double sum = 0.0", "double sum = 1e-6"),
    "my_triton_kernel.py": ("total = tl.sum(power, axis=0)", "total = tl.sum(power, axis=0) + 1e-6"),
}
"""What makes an example wrong."""


def copied(folder: Path, *change: str) -> None:
    """All files of the page, one of them changed."""
    for block in EXAMPLES.blocks:
        if name := re.match(r"(?:#|//) (\w+\.\w+)\n", block.text):
            (folder / name[1]).write_text(block.text.replace(*change) if change else block.text)


def run(folder: Path, command: str, *more: str) -> subprocess.CompletedProcess[str]:
    """A command of the page, by the programs of this environment."""
    words = shlex.split(command)
    given = dict(word.split("=", 1) for word in words if re.match(r"[A-Z_]+=", word))
    program, *arguments = words[len(given) :]
    modules = {"softmax-ce": "softmax_ce_conformance", "pytest": "pytest"}
    start = [sys.executable, "-m", modules[program]] if program in modules else [program]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")} | given
    return subprocess.run(
        [*start, *arguments, *more],
        cwd=folder,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        timeout=300,
    )


def commands(name: str) -> list[str]:
    """The commands of the block that judges an example."""
    (block,) = [block for block in EXAMPLES.blocks_in("sh") if f" {name}" in block.text]
    return block.text.splitlines()


@pytest.mark.parametrize("wrong", [False, True])
def test_the_function_in_c(tmp_path: Path, wrong: bool) -> None:
    if shutil.which("cc") is None:
        pytest.skip("there is no C compiler")
    copied(tmp_path, *(WRONG["my_c_kernel.py"] if wrong else ()))
    build, judge = commands("my_c_kernel.py")
    assert run(tmp_path, build).returncode == 0
    done = run(tmp_path, judge, *([CASES] if wrong else []))
    assert done.returncode == int(wrong), done.stdout


@pytest.mark.parametrize("wrong", [False, True])
def test_the_kernel_in_triton(tmp_path: Path, wrong: bool) -> None:
    """In its interpreter; the command for a GPU is the same but for the device."""
    pytest.importorskip("triton")
    pytest.importorskip("torch")
    copied(tmp_path, *(WRONG["my_triton_kernel.py"] if wrong else ()))
    interpreted, on_gpu = commands("my_triton_kernel.py")
    assert on_gpu == f"{interpreted.removeprefix('TRITON_INTERPRET=1 ')} --device=cuda"
    done = run(tmp_path, interpreted, CASES)
    assert done.returncode == int(wrong), done.stdout


@pytest.mark.parametrize("wrong", [False, True])
def test_the_function_of_jax(tmp_path: Path, wrong: bool) -> None:
    pytest.importorskip("jax")
    copied(tmp_path, *([".sum(axis=1))", ".sum(axis=1) + 1e-6)"] if wrong else []))
    (command,) = commands("test_my_jax_function.py")
    done = run(tmp_path, command, "-q", "-p", "no:cacheprovider")
    assert done.returncode == int(wrong), done.stdout
    assert ("E       what   : loss[0] is" in done.stdout) == wrong


def test_the_notebook(tmp_path: Path) -> None:
    """Its cell is run as a notebook does: in a `__main__` that has no file."""
    pytest.importorskip("torch")
    cell = EXAMPLES.block("python", "# a notebook").text
    *_, last = cell.splitlines()
    code = cell + f"print({last}._repr_html_())\nprint({last}.failures[0].reproducer)\n"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, text=True, capture_output=True, check=True, timeout=200)
    assert "<p><b>my_loss: FAILS</b>" in done.stdout
    assert "<td>float32</td><td>loss</td><td>stable</td><td>finite</td>" in done.stdout
    assert "import torch" in done.stdout


def test_every_block_of_the_page_is_run() -> None:
    languages = [block.language for block in EXAMPLES.blocks]
    assert sorted(languages) == sorted(["c", *["python"] * 4, *["sh"] * 3])
    assert not [block for block in EXAMPLES.blocks_in("sh") for line in block.text.splitlines() if line.startswith("pip")]
