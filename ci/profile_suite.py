"""Where the time of a run goes, stage by stage: python ci/profile_suite.py --backend=torch [any option of the suite]

    python ci/profile_suite.py --backend=torch --dtype=float32 --effort=quick --write ci/profile.md

Runs `pytest suites/` with the options in this process, and looks a hundred times a second at what its main thread is doing. A
moment belongs to the first stage of STAGES of which a function is on the stack. With `--write` the table joins those of other
commands in a Markdown file, in the place of an earlier one of the same command. Exits as the run does.
"""

from __future__ import annotations

import argparse
import re
import shlex
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import pytest

ROOT = Path(__file__).parent.parent
INTERVAL = 0.01
"""Seconds between two looks."""

Call = tuple[str, str]
"""The file of a function, and its name."""


@dataclass(frozen=True)
class Stage:
    """A stage of a run.

    Arguments:
      name: of the stage.
      what: it does, in a few words.
      calls: parts of a file's path, each with the name of a function in it; an empty name stands for all of them.
    """

    name: str
    what: str
    calls: tuple[Call, ...]

    def has(self, call: Call) -> bool:
        """True if a function is of this stage."""
        return any(part in call[0] and name in ("", call[1]) for part, name in self.calls)


STAGES = (
    Stage(
        "shrinking",
        "what failed is asked again, ever smaller",
        (("suites/judging/search.py", "_fail"), ("suites/judging/search.py", "_fail_narrowed")),
    ),
    Stage("import", "modules, of the framework too", (("<frozen importlib._bootstrap>", "_find_and_load"),)),
    Stage(
        "compilation",
        "by XLA, TorchInductor, TensorFlow's tracing or Numba",
        (
            ("jax/_src/interpreters/pxla.py", ""),
            ("torch/_dynamo/", ""),
            ("torch/_inductor/", ""),
            ("tensorflow/python/eager/polymorphic_function/tracing_compilation.py", ""),
            ("numba/core/", ""),
        ),
    ),
    Stage("framework", "the calls that are judged", (("adapters/adapter.py", "observe"),)),
    Stage("bounds", "what each grade allows", (("reference/bounds/", ""),)),
    Stage("oracle", "what is expected", (("reference/evaluation.py", ""), ("suites/judging/store.py", ""))),
    Stage("grades", "what was observed against it", (("suites/judging/measurement.py", ""),)),
    Stage("recording", "for the report", (("suites/judging/recorder.py", "_take"),)),
    Stage(
        "drawing", "problems, by Hypothesis and from grids", (("suites/judging/search.py", "_generate"), ("suites/inputs/", ""))
    ),
    Stage("start", "options, claims, the probe", (("suites/conftest.py", "pytest_configure"),)),
    Stage("collection", "of tests", (("_pytest/main.py", "perform_collect"),)),
    Stage("report", "its tables and files", (("suites/report/", ""), ("suites/command/ending.py", ""))),
)
REST = "the rest"
"""Of pytest and of the judge."""


def stage_of(stack: Iterable[Call]) -> str:
    """The name of the first stage of which a function is on the stack.

    >>> stage_of([("adapters/adapter.py", "observe"), ("torch/nn/functional.py", "softmax")])
    'framework'
    """
    calls = list(stack)
    return next((stage.name for stage in STAGES if any(map(stage.has, calls))), REST)


def stack_of(frame: FrameType | None) -> Iterator[Call]:
    """The functions on the stack of a frame."""
    while frame is not None:
        yield frame.f_code.co_filename, frame.f_code.co_name
        frame = frame.f_back


@dataclass
class Sampler:
    """Looks at the thread that makes it, until it is stopped; a look counts for the time since the last one."""

    seconds: Counter[str] = field(default_factory=Counter)
    _watched: int = field(default_factory=threading.get_ident)
    _stopped: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Look, until it is stopped."""
        last = time.perf_counter()
        while not self._stopped.wait(INTERVAL):
            frame, now = sys._current_frames().get(self._watched), time.perf_counter()
            self.seconds[stage_of(stack_of(frame))] += now - last
            last = now

    def stop(self) -> None:
        """Look no more."""
        self._stopped.set()


def table(command: str, seconds: Counter[str], versions: str) -> str:
    """The stages with their seconds and shares, under the command."""
    total = sum(seconds.values())
    rows = [(stage.name, stage.what) for stage in STAGES] + [(REST, "of pytest and of the judge")]
    lines = [f"| {name} | {what} | {seconds[name]:.1f} | {seconds[name] / total:.0%} |" for name, what in rows]
    head = ["| stage | what | seconds | share |", "|---|---|---|---|"]
    return "\n".join([f"## `{command}`", "", f"{total:.0f} seconds; {versions}.", "", *head, *lines, ""])


HEAD = """# Where the time of a run goes

One run each, on the machine that its line names. `STAGES` of `ci/profile_suite.py` says what a stage is. The shares are of
the run; seconds are of that machine, and of what else it did.

"""


def joined(page: str, new: str) -> str:
    """The page with a table, in the place of that of the same command."""
    tables = re.findall(r"^## .*?(?=^## |\Z)", page, flags=re.MULTILINE | re.DOTALL)
    title = new.partition("\n")[0]
    kept = [each.rstrip("\n") + "\n" for each in tables if each.partition("\n")[0] != title]
    return HEAD + "\n".join(sorted([*kept, new]))


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path, help="a Markdown file that the table joins")
    given, options = parser.parse_known_args()
    sampler = Sampler()
    thread = threading.Thread(target=sampler.run, daemon=True)
    thread.start()
    status = pytest.main([str(ROOT / "suites"), "-q", *options])
    sampler.stop()
    thread.join()
    found = table(f"pytest suites/ {shlex.join(options)}", sampler.seconds, _machine())
    print(f"\n{found}")
    if given.write is not None:
        before = given.write.read_text(encoding="utf-8") if given.write.is_file() else ""
        given.write.write_text(joined(before, found), encoding="utf-8")
    return int(status)


def _machine() -> str:
    """The processor and the versions that matter most."""
    names = ("torch", "jax", "tensorflow", "numpy")
    versions = [f"{name} {module.__version__}" for name in names if (module := sys.modules.get(name)) is not None]
    cpu = Path("/proc/cpuinfo")
    model = re.search(r"model name\s*: (.*)", cpu.read_text()) if cpu.is_file() else None
    return ", ".join([model[1] if model else "processor unknown", *versions])


if __name__ == "__main__":
    sys.exit(main())
