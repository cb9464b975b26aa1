"""The page that tells what is proved, beside what the code claims."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path

from tests.command import ROOT
from tests.proofs.proof import Claim, Proof

_DATA = Path(__file__).parent / "paper.toml"
PAGE = ROOT / "ci" / "proofs.md"

_HEAD = """# Proofs of the compiled tier's error bounds

<!-- written by: python -m tests.proofs --write -->

Each function of `reference/fast/` claims an error bound. Here it stands beside the bound that two programs prove:
[Sollya](https://www.sollya.org/) that of a polynomial, and [Gappa](https://gappa.gitlabpages.inria.fr/) that of the
roundings. What they prove is read from the Python code, operation by operation, and so are all constants. u = 2^-53.
Bounds are relative. Figures are rounded up.

A claim may be looser than what is proved. It was derived by hand, at the head of its file, and is not tightened: the
radius of every enclosure follows from it.

| function | claimed | proved | the claim is |
|---|---|---|---|
"""

_MIDDLE = """
For `add`, `add_float`, `multiply` and `times`, Gappa proves the claim but for terms of order u^3. Without them it is a
theorem of others, named below. The functions after them rest on the bound with these terms.

## Steps

| function | step | bound | by |
|---|---|---|---|
"""

_PAPER = """
A bound of all cases is the number up to which each was computed in Python.

## What is on paper only

"""

_TAIL = """
## What is not proved here

- That compiled code does what the Python code says. `tests/test_proofs.py` compares the two bit by bit, at some thousand
  arguments.
- That Gappa and Sollya are right. Gappa can write a proof for Coq to check, which is not done. Sollya's `supnorm` is the
  algorithm of Chevillard, Harrison, Joldes and Lauter, Theoretical Computer Science 412(16), 2011.
- The radii of single entries in `reference/fast/wide_rows.py` and `reference/fast/comparison.py`, which are built of
  these bounds by hand. The compiled tier is compared with the exact one for that.
"""


def line(claim: Claim, proved: str) -> str:
    """The line of a function in the first table."""
    return f"| `{claim.function}` | {claim.told(claim.value)} | {proved} | {claim.where} |"


def page(proofs: Sequence[Proof]) -> str:
    """The whole page."""
    lines = [line(proof.claim, proof.claim.told(proof.proved)) for proof in proofs]
    steps = [
        f"| `{proof.claim.function}` | {step.what} | {step.told} | {step.by} |" for proof in proofs for step in proof.steps
    ]
    parts = (_HEAD, "\n".join(lines), "\n", _MIDDLE, "\n".join(steps), "\n", _PAPER, "\n".join(on_paper()), "\n", _TAIL)
    return "".join(parts)


def on_paper() -> list[str]:
    """What paper.toml has, as a list."""
    entries = tomllib.loads(_DATA.read_text())["paper"]
    named = ((", ".join(f"`{name}`" for name in entry["functions"]), " ".join(entry["says"].split())) for entry in entries)
    return [f"- {names}: {says}" for names, says in named]
