"""What certainty costs: the calls of the reference against scipy, numpy, extended precision and the framework that it judges.

python ci/benchmark.py [--rounds N] [--write ci/benchmark.md]

Times are processor time, all threads together, so that other work on the machine does not count. Every column is timed in the
same run, in turn, and the fastest of the rounds counts. A library that is not installed is left out and named.
pip install -e '.[benchmark,torch]' brings them all.
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import scipy.special

sys.path.insert(0, str(Path(__file__).parent.parent))

from reference.batch import compare_batch
from reference.evaluation import evaluate
from reference.formats import FLOAT32, FLOAT64, Floats, Format, Integers
from reference.problem import Problem
from reference.quantity import Quantity
from reference.tiers import Tier

CLASSES = (2, 64, 4096, 131072, 262144)
LOGITS = 2**22
"""Logits of a batch; a slow contestant gets a part of its rows."""

ORDERS = (Quantity.LOSS, Quantity.GRADIENT)
YARDSTICK = "scipy.special.log_softmax, float64"
SHORTEST = 0.05
"""Processor seconds that are timed at a time, at least."""

Run = Callable[[], object]


@dataclass(frozen=True)
class Contestant:
    """A way to loss and gradient (or to part of it): `prepare` makes of a batch what is timed, with its memory at hand."""

    name: str
    prepare: Callable[[Floats, Integers], Run]
    logits: int = LOGITS
    needs: str | None = None
    largest: int = CLASSES[-1]


def _evaluated(fmt: Format, tier: Tier) -> Callable[[Floats, Integers], Run]:
    """Certified loss and gradient as enclosures, from arrays on."""
    return lambda x, t: lambda: evaluate(Problem(x, t, fmt), ORDERS, tier)


def _compared(fmt: Format) -> Callable[[Floats, Integers], Run]:
    """Certified loss and gradient, and how far those are off that SciPy's log_softmax gives in the format."""

    def prepare(x: Floats, t: Integers) -> Run:
        logits, each = x.astype(fmt.numpy_dtype), np.arange(len(x))
        log_p = scipy.special.log_softmax(logits, axis=1)
        gradient = np.exp(log_p)
        gradient[each, t] -= 1
        loss = -log_p[each, t]
        return lambda: compare_batch(fmt, logits, t, loss, gradient)

    return prepare


def _quad(x: Floats) -> object:
    from numpy_quaddtype import QuadPrecDType

    gaps = (x - x.max(axis=1, keepdims=True)).astype(QuadPrecDType())
    return gaps - np.log(np.exp(gaps).sum(axis=1))[:, None]


def _mpfr(x: Floats) -> object:
    import gmpy2

    with gmpy2.context(precision=113):
        return [[g - gmpy2.log(total) for g in row] for row, total in _rows_of(x, gmpy2.mpfr, gmpy2.exp)]


def _mpmath(x: Floats) -> object:
    import mpmath

    with mpmath.workprec(113):
        return [[g - mpmath.log(total) for g in row] for row, total in _rows_of(x, mpmath.mpf, mpmath.exp)]


def _rows_of(x: Floats, number: Callable, exp: Callable) -> list[tuple[list, object]]:
    """The gaps of each row, and the sum of their powers."""
    rows = [[number(v) - number(max(row)) for v in row] for row in x.tolist()]
    return [(row, sum(map(exp, row))) for row in rows]


def _plain(run: Callable[[Floats], object]) -> Callable[[Floats, Integers], Run]:
    return lambda x, _: lambda: run(x)


CONTESTANTS = (
    Contestant(YARDSTICK, _plain(lambda x: scipy.special.log_softmax(x, axis=1))),
    Contestant("compare_batch, float32", _compared(FLOAT32)),
    Contestant("compare_batch, float64", _compared(FLOAT64), LOGITS // 4),
    Contestant("evaluate(..., Tier.FAST), float32", _evaluated(FLOAT32, Tier.FAST), LOGITS // 4),
    Contestant("evaluate(..., Tier.FAST), float64", _evaluated(FLOAT64, Tier.FAST), LOGITS // 4),
    Contestant("numpy exp, float64", _plain(np.exp)),
    Contestant("numpy-quaddtype log_softmax", _plain(_quad), LOGITS // 128, "numpy_quaddtype"),
    Contestant("evaluate(..., Tier.EXACT), float64", _evaluated(FLOAT64, Tier.EXACT), LOGITS // 1024, largest=4096),
    Contestant("gmpy2 log_softmax, 113 bits", _plain(_mpfr), LOGITS // 512, "gmpy2", 4096),
    Contestant("mpmath log_softmax, 113 bits", _plain(_mpmath), LOGITS // 2048, "mpmath", 4096),
)


def seconds(run: Run) -> float:
    """Processor seconds a call, over as many calls as take SHORTEST."""
    calls, began = 0, time.process_time()
    while calls == 0 or time.process_time() - began < SHORTEST:
        run()
        calls += 1
    return (time.process_time() - began) / calls


def fastest(runs: dict[str, Run], rounds: int) -> dict[str, float]:
    """Seconds of each run: all of them in turn, `rounds` times, after one that compiles."""
    for run in runs.values():
        run()
    times = [{name: seconds(run) for name, run in runs.items()} for _ in range(rounds)]
    return {name: min(each[name] for each in times) for name in runs}


def reference_times(classes: int, rounds: int) -> dict[str, float]:
    """Nanoseconds a logit of every contestant that is there."""
    rng = np.random.default_rng(0)
    x = (5 * rng.standard_normal((max(LOGITS // classes, 1), classes))).astype(np.float32).astype(np.float64)
    t = rng.integers(0, classes, len(x))
    here = [c for c in CONTESTANTS if (c.needs is None or find_spec(c.needs)) and classes <= c.largest]
    rows = {c.name: max(c.logits // classes, 1) for c in here}
    runs = {c.name: c.prepare(x[: rows[c.name]], t[: rows[c.name]]) for c in here}
    return {name: value / (rows[name] * classes) * 1e9 for name, value in fastest(runs, rounds).items()}


def check_times(rounds: int, classes: int = 4096) -> dict[str, float]:
    """Nanoseconds a logit of torch's own forward and backward pass in float32, and of the same with the comparison."""
    import torch

    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    x = (5 * rng.standard_normal((2**20 // classes, classes))).astype(np.float32)
    t = rng.integers(0, classes, len(x))
    logits, target = torch.from_numpy(x), torch.from_numpy(t)

    def framework() -> tuple[np.ndarray, np.ndarray]:
        leaf = logits.detach().requires_grad_()
        loss = torch.nn.functional.cross_entropy(leaf, target, reduction="none")
        loss.sum().backward()
        return loss.detach().numpy(), leaf.grad.numpy()

    runs = {
        "torch": framework,
        "torch, reference, comparison in ulps and record": lambda: compare_batch(FLOAT32, x, t, *framework(), threads=1),
    }
    return {name: value / x.size * 1e9 for name, value in fastest(runs, rounds).items()}


def table(rounds: int) -> str:
    """The tables, as Markdown."""
    columns = {classes: reference_times(classes, rounds) for classes in CLASSES}
    lines = [f"| ratio to {YARDSTICK} | " + " | ".join(f"K = {classes}" for classes in CLASSES) + " |"]
    lines.append("|---" * (len(CLASSES) + 1) + "|")
    for contestant in CONTESTANTS:
        cells = [_cell(column, contestant.name) for column in columns.values()]
        lines.append(f"| {contestant.name} | " + " | ".join(cells) + " |")
    missing = sorted({c.needs for c in CONTESTANTS if c.needs and not find_spec(c.needs)})
    lines += ["", f"Not installed: {', '.join(missing)}."] if missing else []
    yardstick = ", ".join(f"{column[YARDSTICK]:.1f}" for column in columns.values())
    lines += ["", f"Processor time, all threads together. Nanoseconds a logit of the yardstick: {yardstick}."]
    if find_spec("torch"):
        alone, whole = check_times(rounds).items()
        lines += ["", "| float32, K = 4096, one thread | ns a logit | ratio |", "|---|---|---|"]
        lines += [f"| {name} | {value:.2f} | {value / alone[1]:.2f} |" for name, value in (alone, whole)]
    machine = f"{platform.machine()}, Python {platform.python_version()}, numpy {np.__version__}, scipy {scipy.__version__}"
    return "\n".join(["# What certainty costs", "", *lines, "", f"Written by `python ci/benchmark.py` on {machine}.", ""])


def _cell(column: dict[str, float], name: str) -> str:
    return f"{column[name] / column[YARDSTICK]:.3g}" if name in column else "-"


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="times that each is timed (default: %(default)s)")
    parser.add_argument("--write", type=Path, help="file to write the tables to, besides printing them")
    options = parser.parse_args()
    text = table(options.rounds)
    print(text)
    if options.write is not None:
        options.write.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
