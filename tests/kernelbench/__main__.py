"""Writes ci/reports/kernelbench.md: what KernelBench's check and the suites say of each candidate, by a run of both.

python -m tests.kernelbench    (ten minutes on two cores)
"""

from __future__ import annotations

import sys

from softmax_ce_conformance import Verdict, judge

from tests.command import ROOT
from tests.kernelbench import CANDIDATES, CLASSES, RIGHT, ROWS, TOLERANCES, allowed, inputs, names, story
from tests.planted.corpus import table

PAGE = ROOT / "ci" / "reports" / "kernelbench.md"

_HEAD = """# What a benchmark's check lets pass

[KernelBench](https://github.com/ScalingIntelligence/KernelBench) asks a language model for a kernel, and takes it for right if
`torch.allclose` says so at one random input. Of cross-entropy (level 1, problem 95) that is `torch.rand({rows}, {classes})`:
logits in [0, 1), in rows that are all alike. The tolerance was 1e-2 in its first versions, and is 1e-4 in float32 since.
Backward is not asked.

Each candidate below was judged by that check, restated from `src/kernelbench/eval.py` (revision 423217d) and run on the CPU,
and by `softmax-ce judge CANDIDATE --form=kernelbench`. Of {wrong} wrong ones its check lets {loose} pass at 1e-2 and {tight} at
1e-4; the suites reject all {wrong}. They pass the {right} right ones.

The candidates are in `tests/kernelbench/candidates/`. What a stream on a GPU that is not waited for does is not shown here: it
needs a GPU.

Made by `python -m tests.kernelbench` with {versions}; do not edit.

"""


def page(passed: dict[str, tuple[float, ...]], verdicts: dict[str, Verdict], versions: str) -> str:
    """The page, of what both checks said."""
    wrong = [name for name in passed if name not in RIGHT]
    loose, tight = (sum(tolerance in passed[name] for name in wrong) for tolerance in TOLERANCES)
    head = _HEAD.format(
        rows=ROWS, classes=CLASSES, wrong=len(wrong), right=len(RIGHT), loose=loose, tight=tight, versions=versions
    )
    rows = [
        (f"`{name}`", story(name), *("passes" if t in passed[name] else "fails" for t in TOLERANCES), _said(verdicts[name]))
        for name in (*wrong, *RIGHT)
    ]
    return head + table(("candidate", "what it does", "1e-2", "1e-4", "the suites"), rows)


def _said(verdict: Verdict) -> str:
    """The verdict, and of one that fails its first failure."""
    if verdict.holds:
        return "pass: every claim held that was tried"
    return f"reject, {sum(failure.tests for failure in verdict.failures)} tests: {verdict.failures[0].cause}".replace("|", "/")


def main() -> int:
    """Run both checks on all candidates."""
    given = inputs()
    passed = {name: allowed(name, (given[0].clone(), given[1])).at for name in names()}
    verdicts = {}
    for name in names():
        verdicts[name] = judge(str(CANDIDATES / f"{name}.py"), form="kernelbench")
        print(name, verdicts[name].name, file=sys.stderr)
    import torch

    PAGE.write_text(page(passed, verdicts, f"torch {torch.__version__} on the CPU"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
