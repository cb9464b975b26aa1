"""Sweeps and searches keep to what a kernel declares that it does not do, in a decorator or in its claims file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("numba")

from suites.sweep.__main__ import main
from suites.sweep.chunk import run_chunk
from suites.sweep.journal import open_journal
from suites.sweep.report import report_of
from suites.sweep.request import Request, job_of
from suites.sweep.run import header_of

NUMPY = '''
import numpy as np
from adapters.limits import limits

{decorator}
def kernel(logits, labels):
    """Right, in float64; its logits become the gradient."""
    shifted = logits.astype(np.float64)
    shifted -= shifted.max(axis=1, keepdims=True)
    powers = np.exp(shifted)
    sums = powers.sum(axis=1)
    at = (np.arange(len(logits)), labels)
    loss, gradient = np.log(sums) - shifted[at], powers / sums[:, None]
    gradient[at] -= 1
    logits[:] = gradient
    return loss.astype(logits.dtype), logits
'''
TORCH = '''
import torch
from adapters.limits import limits

{decorator}
def kernel(input, target, **options):
    """PyTorch's own; its logits are 0 from then on."""
    loss = torch.nn.functional.cross_entropy(input.clone(), target, **options)
    input.data.zero_()
    return loss
'''
SOURCES = {"numpy": NUMPY, "torch": TORCH}
OVERWRITES = 'reason = "in place"\noverwrites = ["logits"]'
REFUSED = {
    "float16": (
        'reason = "for training in float32"\ndtypes = ["float32"]',
        ["--dtype=float16"],
        "kernel is not asked for loss, gradient of 2 classes in float16: declared limit: float32 only: for training in float32",
    ),
    "Hessian": (
        'reason = "no double backward"\nderivatives = 1',
        ["--dtype=float32", "--quantities=loss,hessian"],
        "loss, hessian of 2 classes in float32: declared limit: derivatives up to order 1: no double backward",
    ),
    "classes": (
        'reason = "tiles"\nclasses_multiple_of = 8',
        ["--dtype=float32"],
        "of 2 classes in float32: declared limit: K a multiple of 8: tiles",
    ),
    "mean": (
        'reason = "a module of a loss"\nreduces = "mean"',
        ["--dtype=float32"],
        "of 2 classes in float32: it returns the mean of the losses, and a sweep asks for those of rows",
    ),
    "too few": (
        'reason = "one block of tiles"\nclasses_multiple_of = 48\nmax_classes = 95',
        ["--dtype=float32"],
        "limits of kernel: K at most 95, and a multiple of 48; allowed: a largest K of 96 or more",
    ),
}


def limited(folder: Path, backend: str, limit: str, declared_in: str) -> list[str]:
    """The options of a sweep of a kernel that declares a limit, given as the lines of a [[limit]]."""
    pytest.importorskip(backend)
    decorator = f"@limits({', '.join(limit.splitlines())})".replace("reason = ", "", 1)
    (folder / "kernel.py").write_text(SOURCES[backend].format(decorator=decorator if declared_in == "decorator" else ""))
    (folder / "claims.toml").write_text(f'[[limit]]\noperations = ["kernel*"]\n{limit}\n')
    given = [f"--backend={backend}", f"--implementation={folder / 'kernel.py'}:kernel", f"--report={folder}"]
    return given if declared_in == "decorator" else [*given, f"--claims={folder / 'claims.toml'}"]


@pytest.mark.parametrize("what", [[], ["--search", "--seconds=0.1"], ["--plan"]], ids=["sweep", "search", "plan"])
@pytest.mark.parametrize("declared_in", ["decorator", "claims file"])
@pytest.mark.parametrize("name", REFUSED)
def test_what_is_declared_away_is_a_usage_error(
    name: str, declared_in: str, what: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The kernel was swept in float16, with the Hessian that it has not."""
    limit, options, says = REFUSED[name]
    backend = "torch" if name in {"Hessian", "mean"} else "numpy"
    assert main([*limited(tmp_path, backend, limit, declared_in), *options, *what]) == 2
    told = capsys.readouterr().err
    assert says in told
    assert told.count("\n") == 1
    assert not list(tmp_path.glob("*.j*"))


def swept(folder: Path, **options: Any) -> dict[str, dict[str, Any]]:
    """What a sweep of a few gaps reports of each quantity, in this process."""
    job, adapter, operation = job_of(Request(dtype="float32", stride=2**20, **options))
    with open_journal(folder / "a.journal", header_of(job)) as journal:
        journal.add(0, run_chunk(job, 0))
        return {result["quantity"]: result for result in report_of(job, adapter, operation, journal)["results"]}


@pytest.mark.parametrize("declared_in", ["decorator", "claims file"])
@pytest.mark.parametrize("backend", SOURCES)
def test_what_is_left_is_swept_and_searched(backend: str, declared_in: str, tmp_path: Path) -> None:
    """Logits that are overwritten by design are no finding, and are there again for the next target."""
    options = limited(tmp_path, backend, OVERWRITES, declared_in)
    request = {name: value for name, _, value in (option[2:].partition("=") for option in options)}
    results = swept(tmp_path, **{name: request[name] for name in ("backend", "implementation", "claims") if name in request})
    assert {name: result["reached"] for name, result in results.items()} == {"loss": "stable", "gradient": "stable"}
    assert main([*options, "--dtype=float32", "--search", "--seconds=0.1"]) == 0


def test_a_claims_file_says_what_a_swept_kernel_claims(tmp_path: Path) -> None:
    limited(tmp_path, "numpy", OVERWRITES, "claims file")
    claims = tmp_path / "claims.toml"
    with claims.open("a") as file:
        file.write('[[claim]]\noperations = ["kernel"]\ndtypes = ["float32"]\ngrades = { loss = "stable" }\n')
    results = swept(tmp_path, backend="numpy", implementation=f"{tmp_path / 'kernel.py'}:kernel", claims=str(claims))
    assert {name: result["claimed"] for name, result in results.items()} == {"loss": "stable", "gradient": "accurate"}
    assert results["loss"]["claim_holds"]
    assert not results["gradient"]["claim_holds"]


@pytest.mark.parametrize(("own", "claimed"), [(False, "faithful"), (True, "accurate")])
def test_a_backend_of_ones_own_that_takes_a_shipped_name_claims_nothing(own: bool, claimed: str, tmp_path: Path) -> None:
    """It was held to the claims of numpy's first operation."""
    (tmp_path / "mine.py").write_text("from adapters.numpy.backend import NumpyAdapter\n\n\nclass Mine(NumpyAdapter): ...\n")
    results = swept(tmp_path, backend=f"{tmp_path / 'mine.py'}:Mine" if own else "numpy")
    assert results["loss"]["claimed"] == claimed
