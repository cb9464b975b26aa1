"""Reports of planted kernels and of their honest counterparts, all under one name, as the gate of a user's CI compares them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from unittest.mock import patch

from suites.command import ending
from suites.report.schema import Report
from tests.command import QUICKLY, run_here
from tests.planted.kernel import Defect, Kernel
from tests.planted.layer_kernel import LayerKernel
from tests.planted.other_losses import WrongBackend
from tests.planted.row_weights import Weighted
from tests.planted.shared import shared
from tests.planted.trial import Planted

NAME = "on_trial"
"""The name of every kernel here."""


OF_OWN_SIGNATURE = (Weighted, LayerKernel)
"""The kernels that are called otherwise than torch.nn.functional.cross_entropy."""


def mixed(*kernels: Kernel) -> Kernel:
    """A kernel with the defects of all; where two replace the same step, that of the first."""
    return type(NAME, tuple(dict.fromkeys(type(kernel) for kernel in kernels)), {})()


def honest(planted: Planted) -> Planted:
    """What a planted kernel or backend is but for its defect."""
    if isinstance(planted, Kernel):
        return mixed(next((kind() for kind in OF_OWN_SIGNATURE if isinstance(planted, kind)), Kernel()))
    kept = {name: getattr(planted, name) for name in ("operations", "operation", "options")}
    return type(NAME, (WrongBackend,), kept)


def report_of(planted: Planted, defect: Defect, *options: str) -> Report:
    """The report of a quick run on it: the tests that are about a defect, in its dtype and held to its claim."""
    module, place = sys.modules[__name__], f"{__name__}:{NAME}"
    trial = ("--backend=torch", f"--implementation={place}") if isinstance(planted, Kernel) else (f"--backend={place}",)
    held = () if defect.claim == "accurate" else (f"--claim={defect.claim}",)
    asked = ("--effort=quick", f"--dtype={defect.dtype}", *held, "-k", defect.test)
    reports: list[Report] = []
    with (
        shared(whole=True),
        patch.object(module, NAME, mixed(planted) if isinstance(planted, Kernel) else planted, create=True),
        patch.object(ending, "build_report", _kept(ending.build_report, reports)),
    ):
        run_here(*QUICKLY, *trial, *asked, *options)
    (report,) = reports
    return report


def _kept(build: Callable[..., Report], reports: list[Report]) -> Callable[..., Report]:
    def keep(*arguments: object) -> Report:
        reports.append(build(*arguments))
        return reports[-1]

    return keep
