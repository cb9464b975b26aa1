"""The start-up probe: what it sees of kernels, that it proposes no limit of what a kernel does, and what a run says of it."""

from __future__ import annotations

import itertools
import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.adapter import Adapter, Call, Observed, Result
from adapters.limits import TARGETS, Limit, limit_of, limits, limits_of
from adapters.loading import load_adapter, operations_on_trial
from adapters.operation import EAGER, Operation, options_used
from adapters.question import Question
from reference import FORMATS, Arithmetic, Problem
from reference.quantity import Quantity
from suites.command.probe import Cell
from suites.command.proposal import Proposal, proposal_for
from suites.report.wording import run_again
from tests.command import run_here
from tests.documents import ADAPTERS
from tests.planted.trial import FOLDER

KERNELS = FOLDER / "probed.py"
NARROW_OR_WIDE = [f"{target} in {name}" for target in TARGETS for name in ("float64", "float16", "bfloat16")]
ONCE = "RuntimeError: element 0 of tensors does not require grad"

SEEN: dict[str, tuple[dict[str, Any], list[str]]] = {
    "right": ({}, []),
    "once": (
        {"fixed_target": True, "derivatives": 1},
        ["no gradient by the target: the target has no gradient (None)", f"no second derivative: {ONCE}"],
    ),
    "inference": (
        {"derivatives": 0},
        ["no first derivative: the losses have no graph (detached, or computed under torch.no_grad)"],
    ),
    "float32_only": (
        {"dtypes": ["float32"]},
        [f"not in {name}: TypeError: expected float32, got torch.{name}" for name in ("float64", "float16", "bfloat16")],
    ),
    "indices_only": ({"targets": ["indices"]}, ["no probabilities: NotImplementedError: class indices only"]),
    "tiles_of_8": ({"classes_multiple_of": 8}, ["K not a multiple of 8: ValueError: 3 classes are no tiles of 8"]),
    "tiles_of_32": ({"classes_multiple_of": 32}, ["K not a multiple of 32: ValueError: 3 classes are no tiles of 32"]),
    "tiles_of_32_for_8": ({"classes_multiple_of": 32}, ["K not a multiple of 32: ValueError: 24 classes are no tiles of 32"]),
    "powers_of_two": ({}, ["K of 3, 6, 12, 24, 48, 96, 192: ValueError: K is no power of 2"]),
    "one_block": ({"max_classes": 1000}, ["K above 1000: RuntimeError: more classes than a block holds"]),
    "finite_only": ({"finite_logits": True}, ["no logits that are not finite: ValueError: logits are not finite"]),
    "no_masks": ({}, ["no logits that are not finite: ValueError: a masked class"]),
    "float32_loss": (
        {"dtypes": ["float32", "float16", "bfloat16"], "returns": {"loss": "float32"}},
        [
            "not in float64: returned loss as float32, asked for float64",
            "returns loss in another format than the logits: float32 for float16; float32 for bfloat16",
        ],
    ),
    "float32_mean": (
        {},
        ["returns loss in another format than the logits: float16 and float32 for float16; bfloat16 and float32 for bfloat16"],
    ),
    "overwrites": ({"overwrites": ["logits"]}, ["overwrites logits: its bits differ after a call"]),
    "always_raises": ({}, ["every call failed: RuntimeError: no kernel image is available"]),
    "always_reduces": (
        {"reduces": "mean"},
        ["no losses of rows: always_reduces returned one loss where the reduction is 'none'"],
    ),
    "always_sums": (
        {"reduces": "sum"},
        ["no losses of rows: always_sums returned one loss where the reduction is 'none'"],
    ),
    "never_reduces": (
        {"options": ["class_weights", "label_smoothing", "ignore_index"]},
        ["no reduction: never_reduces returned losses of shape (2,), asked for ()"],
    ),
    "no_mean": ({}, ["no reduction: KeyError: 'block_size'"]),
    "no_options": (
        {"options": ["reduction"]},
        [
            "no class_weights: NotImplementedError: options ['weight']",
            "no label_smoothing: NotImplementedError: options ['label_smoothing']",
            "no ignore_index: NotImplementedError: options ['ignore_index']",
        ],
    ),
    "no_weights_in_half": (
        {},
        [f"no class_weights for {', '.join(NARROW_OR_WIDE)}: TypeError: weights in float32 only"],
    ),
}
"""By kernel of `tests/planted/probed.py`: the keys of the limit that is proposed, and what is told before it."""


def eager(adapter: Adapter, name: str) -> tuple[Operation, ...]:
    """The operations that are probed unless another mode is asked for."""
    return tuple(op for op in operations_on_trial(adapter, f"{KERNELS}:{name}") if op.mode == EAGER)


def probed(name: str, *declared: Limit) -> Proposal:
    """What the probe makes of a kernel that has declared limits."""
    pytest.importorskip("torch")
    adapter = load_adapter("torch", "cpu")
    operations = tuple(op.within(declared, "cpu") for op in eager(adapter, name))
    return proposal_for(adapter, operations, tuple(FORMATS.values()))


@pytest.mark.parametrize("name", SEEN)
def test_what_a_kernel_does_not_do_is_seen_and_nothing_else(name: str) -> None:
    keys, told = SEEN[name]
    found = probed(name)
    assert found.keys == keys
    lines = found.lines(accepted=False)
    expected = told or [f"{found.calls} calls of the kernel found nothing that it does not do"]
    assert [line.startswith(start) for line, start in zip(lines, expected, strict=False)] == [True] * len(expected), lines
    assert len(lines) == len(expected) + 2 * bool(keys)
    assert all(line.endswith(" (no limit can say this: repair it)") != bool(keys) for line in lines[: len(told)])


@pytest.mark.parametrize("name", [name for name, (keys, _) in SEEN.items() if keys])
def test_the_decorator_that_is_pasted_makes_the_probe_silent(name: str) -> None:
    decorator = probed(name).lines(accepted=False)[-1]
    assert decorator.startswith("@limits(")

    @eval(decorator[1:], {"limits": limits})
    def pasted() -> None: ...

    again = probed(name, *limits_of(pasted))
    assert again.lines(accepted=False) == []


def test_the_document_shows_what_is_told_of_the_usual_kernel_of_a_language_model() -> None:
    told = probed("float32_loss").lines(accepted=False)
    assert ADAPTERS.block("text", "softmax-ce: probe: ").text.splitlines() == [f"softmax-ce: probe: {line}" for line in told]


def test_formats_that_are_not_asked_are_not_declared_away() -> None:
    pytest.importorskip("torch")
    adapter = load_adapter("torch", "cpu")
    operations = eager(adapter, "float32_only")
    assert proposal_for(adapter, operations, (FORMATS["float32"],)).keys == {}
    two = proposal_for(adapter, operations, (FORMATS["float32"], FORMATS["bfloat16"]))
    assert two.keys == {"dtypes": ["float64", "float32", "float16"]}


TARGET_DTYPES = list(itertools.product(TARGETS, FORMATS))
OPTIONS_ASKED = ("class_weights", "label_smoothing", "reduction")
CLASSES = (1, 2, 3, 5, 8, 12, 64, 96, 128, 1000, 4096, 262144)
TAKES = {
    "any": lambda k: True,
    "multiples of 4": lambda k: k % 4 == 0,
    "multiples of 96": lambda k: k % 96 == 0,
    "powers of 2": lambda k: k & (k - 1) == 0,
    "at least 8": lambda k: k >= 8,
    "at most 100": lambda k: k <= 100,
    "multiples of 64, at most 4096": lambda k: k % 64 == 0 and k <= 4096,
}
REFUSED = st.frozensets(
    st.tuples(st.sampled_from(TARGET_DTYPES), st.sampled_from((0, 1, 2, *OPTIONS_ASKED, "NaN", "no number")))
)


class Capable(Adapter):
    """Zeros for what it is able to do, an exception for the rest; which dtypes do what depends on the target, and on both."""

    name = "capable"

    def __init__(self, refused: frozenset[Any], classes: str) -> None:
        super().__init__()
        self.refused, self.classes = refused, classes

    def devices(self) -> tuple[str, ...]:
        return ("cpu",)

    def versions(self) -> dict[str, str]:
        return {"capable": "1"}

    def operations(self) -> tuple[Operation, ...]:
        arithmetic = {fmt.name: Arithmetic(fmt, fmt) for fmt in FORMATS.values()}
        more: dict[str, Any] = {"options": frozenset(OPTIONS_ASKED)}
        return tuple(Operation(f"f{soft}", "f(x)", None, arithmetic, probabilities=soft, **more) for soft in (False, True))

    def is_able(self, operation: Operation, problem: Problem, quantity: Quantity) -> bool:
        """True if it answers."""
        at = (operation.target, problem.format.name)
        order = {Quantity.LOSS: 0, Quantity.GRADIENT: 1}.get(quantity, 2)
        used: set[Any] = {*range(order + 1), *options_used(problem)}
        used |= {"NaN"} if np.isnan(problem.logits).any() else set()
        used |= set() if np.isfinite(problem.logits).all() else {"no number"}
        return not any((at, what) in self.refused for what in used) and TAKES[self.classes](problem.num_classes)

    def call(self, question: Question) -> Call:
        problem = question.problem
        if not all(self.is_able(question.operation, problem, quantity) for quantity in question.quantities):
            raise ValueError("not able")
        rows, shape = problem.num_classes, problem.logits.shape
        shapes = {Quantity.LOSS: problem.upstream.shape, Quantity.HESSIAN: (*shape, rows)}
        return Call({q: Result(np.zeros(shapes.get(q, shape)), problem.format.name, "cpu") for q in question.quantities})


def universe(cell: Cell) -> list[Problem]:
    """Problems of a kind each, among which a limit may choose."""
    changes: list[dict[str, Any]] = [{}, {"class_weights": np.full(2, 0.5)}, {"label_smoothing": 0.5}, {"reduction": "mean"}]
    plain = cell.problem(2)
    special = [plain.replace(logits=[[0.0, value]] * 2) for value in (np.nan, -np.inf, np.inf)]
    return [cell.problem(2, **change) for change in changes] + special


class Silent(Capable):
    """Says of no result what it is, or returns none."""

    def __init__(self, said: dict[str, Any]) -> None:
        super().__init__(frozenset(), "any")
        self.said = said

    def observe(self, question: Question) -> Observed:
        return replace(super().observe(question), **self.said)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"dtypes": {}}, "every call failed: observe() returned no loss in dtypes"),
        ({"values": {}}, "every call failed: observe() returned no loss in values"),
        ({"values": {}, "dtypes": {}}, "every call failed: observe() returned no loss in values and dtypes"),
        ({}, ""),
    ],
)
def test_a_backend_that_returns_nothing_is_a_finding(said: dict[str, Any], told: str) -> None:
    adapter = Silent(said)
    found = proposal_for(adapter, adapter.operations(), (FORMATS["float32"],))
    assert found.limit is None
    assert told in "\n".join(found.lines(accepted=False))
    assert told or not found.findings


@given(REFUSED, st.sampled_from(sorted(TAKES)))
@settings(max_examples=50, deadline=None, database=None)
def test_no_limit_is_proposed_of_what_a_kernel_does(refused: frozenset[Any], classes: str) -> None:
    adapter = Capable(refused, classes)
    found = proposal_for(adapter, adapter.operations(), tuple(FORMATS.values()))
    limit = () if found.limit is None else (found.limit,)
    for operation in adapter.operations():
        within = operation.within(limit, "cpu")
        cells = [Cell(operation, fmt) for fmt in FORMATS.values()]
        able = [
            (p, q)
            for cell in cells
            for p in universe(cell)
            for q in operation.asked(p)
            if able_at_any(adapter, operation, p, q)
        ]
        taken = [problem_of(p, adapter) for p, _ in able]
        lost = [(p, q) for (p, q), at in zip(able, taken, strict=True) if q not in within.quantities or within.refusal(at)]
        assert not lost, found.keys


def able_at_any(adapter: Capable, operation: Operation, problem: Problem, quantity: Quantity) -> bool:
    """True if it answers in some number of classes that it takes."""
    return adapter.is_able(operation, problem_of(problem, adapter), quantity)


def problem_of(problem: Problem, adapter: Capable) -> Problem:
    """The same kind of problem with the least number of classes that the kernel takes."""
    wide = next(classes for classes in CLASSES[1:] if TAKES[adapter.classes](classes))
    logits = np.tile(problem.logits[:, -1:], (1, wide))
    logits[:, 0] = 0.0
    target = np.eye(wide)[[0, 0]] if problem.has_probabilities else [0, 0]
    weights = None if problem.class_weights is None else np.full(wide, 0.5)
    return problem.replace(logits=logits, target=target, class_weights=weights, tangent=np.ones_like(logits))


@pytest.mark.parametrize("classes", TAKES)
def test_no_number_of_classes_is_declared_away_that_is_taken(classes: str) -> None:
    adapter = Capable(frozenset(), classes)
    found = proposal_for(adapter, adapter.operations(), (FORMATS["float32"],))
    within = adapter.operations()[0].within(() if found.limit is None else (found.limit,), "cpu")
    cell = Cell(adapter.operations()[0], FORMATS["float32"])
    assert [k for k in CLASSES if TAKES[classes](k) and within.refusal(cell.problem(k, rows=1))] == []
    said = {"any", "multiples of 4", "multiples of 96", "at most 100", "multiples of 64, at most 4096"}
    assert bool(found.keys) == (classes in said - {"any"}), found.lines(accepted=False)


NUMPY = """
from tests.planted.processes import right


def kernel(logits, labels):
    if logits.dtype != "float32":
        raise TypeError(f"float32 only, given {logits.dtype}")
    return right(logits, labels)
"""
QUICK = ("--effort=quick", "--claim=stable", "-k", "test_loss", "-v")
DECORATOR = '@limits("seen by the start-up probe", dtypes=["float32"])'


def place(folder: Path, text: str = NUMPY) -> str:
    """--implementation of a kernel for numpy."""
    (folder / "kernel.py").write_text(text)
    return f"--implementation={folder / 'kernel.py'}:kernel"


def notes(output: str) -> list[str]:
    """What a run says of the probe."""
    return [line.removeprefix("softmax-ce: probe: ") for line in output.splitlines() if line.startswith("softmax-ce: probe: ")]


def test_a_run_tells_what_was_seen_and_is_asked_all_the_same(tmp_path: Path) -> None:
    status, output = run_here(place(tmp_path), *QUICK)
    assert status == 1
    assert "softmax-ce: judges kernel of kernel.py (sha256 " in output
    told = notes(output)
    assert told[0] == "not in float64: TypeError: float32 only, given float64 (kernel.py, line 7)"
    assert told[-2:] == ["declare what is meant so; --accept-limits takes all of it for this run:", DECORATOR]
    assert output.splitlines()[-4] == f"limits that the start-up probe proposes; declare what is meant so: {DECORATOR}"


@pytest.mark.parametrize("more", [(), ("--isolate",)], ids=["here", "isolated"])
def test_what_is_accepted_reduces_the_run(more: tuple[str, ...], tmp_path: Path) -> None:
    status, output = run_here(place(tmp_path), *QUICK, "--accept-limits", *more, f"--report={tmp_path}")
    assert status == 0, output
    assert notes(output)[-2:] == ["accepted for this run; declare what is meant so:", DECORATOR]
    assert "the start-up probe proposes" not in output
    assert "wrote scripts" not in output, "there are none"
    report = json.loads(next(tmp_path.glob("*.json")).read_text())
    assert report["verdict"] == "REDUCED"
    assert '--accept-limits (dtypes=["float32"])' in report["run"]["reduced_by"]
    assert {limit["text"] for limit in report["limits"]} == {"float32 only: seen by the start-up probe"}
    assert report["run"]["command"].endswith("--accept-limits")
    assert run_again(report).count("--accept-limits") == 1


def test_nothing_accepted_is_said_and_reduces_nothing(tmp_path: Path) -> None:
    decorated = NUMPY.replace("def kernel", '@limits("one format", dtypes=["float32"])\ndef kernel')
    declared = place(tmp_path, f"from adapters.limits import limits\n{decorated}")
    status, output = run_here(declared, *QUICK, "--accept-limits", f"--report={tmp_path}")
    assert status == 0, output
    assert [line.partition(" calls")[2] for line in notes(output)] == [
        " of the kernel found nothing that it does not do, so nothing is accepted"
    ]
    reasons = json.loads(next(tmp_path.glob("*.json")).read_text())["run"]["reduced_by"]
    assert not [reason for reason in reasons if "accept" in reason]
    assert notes(run_here(declared, *QUICK)[1]) == [], "what is declared covers it"


def test_accepting_without_a_kernel_is_a_usage_error() -> None:
    status, output = run_here("--accept-limits")
    assert status == 4
    assert "--accept-limits: it takes what is seen of an --implementation; give that too, or leave it out" in output


def test_one_case_is_asked_without_a_probe(tmp_path: Path) -> None:
    assert notes(run_here(place(tmp_path), "--case=absorption/gap-20", "-v")[1]) == []


def test_a_crash_is_a_finding(tmp_path: Path) -> None:
    crashing = NUMPY.replace('raise TypeError(f"float32 only, given {logits.dtype}")', "import os; os.abort()")
    status, output = run_here(place(tmp_path, crashing), *QUICK, "--dtype=float64,float32", "--isolate")
    assert status == 1
    assert notes(output)[0] == "not in float64: the process of the call was ended by SIGABRT (signal 6)"


def test_a_kernel_that_only_crashes_is_given_up(tmp_path: Path) -> None:
    crashing = "import os\n\n\ndef kernel(logits, labels):\n    os.abort()\n"
    _, output = run_here(place(tmp_path, crashing), *QUICK, "--dtype=float32", "--isolate", "-x")
    (told,) = notes(output)
    assert told.startswith("too many calls ended their process, so the probe stopped: the process of the call was ended by SIG")


FIRST = """
from tests.planted.processes import right

calls = []


def kernel(logits, labels):
    calls.append(None)
    loss, gradient = right(logits, labels)
    return loss + WRONG * (len(calls) == CALL), gradient
"""


@pytest.mark.parametrize("call", [3, 4, 7])
def test_a_kernel_that_is_wrong_at_a_call_of_the_probe_alone_fails(call: int, tmp_path: Path) -> None:
    options = ("--claim=stable", "--dtype=float32", "-k", "test_case or test_probed")
    status, output = run_here(place(tmp_path, FIRST.replace("WRONG", "1").replace("CALL", str(call))), *options)
    assert status == 1
    assert "; 1 test (test_probed 1)" in output
    assert "FAILS: 1 test failed for 1 cause" in output
    assert run_here(place(tmp_path, FIRST.replace("WRONG", "0").replace("CALL", "1")), *options)[0] == 0


def test_a_backend_of_this_project_has_no_test_of_a_probe() -> None:
    assert "test_probed" not in run_here("--dtype=float32", "-k", "test_probed or test_loss", "--collect-only")[1]


@pytest.mark.parametrize("more", [(), ("--isolate",)], ids=["here", "isolated"])
def test_a_kernel_that_is_wrong_at_its_first_call_alone_fails_the_case_of_it(more: tuple[str, ...], tmp_path: Path) -> None:
    cases = ("--claim=stable", "--dtype=float32", "-k", "test_case", *more)
    status, output = run_here(place(tmp_path, FIRST.replace("WRONG", "1").replace("CALL", "1")), *cases)
    assert status == 1
    assert "FAILS: 1 test failed for 1 cause" in output
    (repro,) = {line.partition("pytest suites/ ")[2] for line in output.splitlines() if "--case=" in line}
    assert run_here(*shlex.split(repro))[0] == 1, "its command makes the first call of another process there"
    assert run_here(place(tmp_path, FIRST.replace("WRONG", "0").replace("CALL", "1")), *cases)[0] == 0


REFUSES_FIRST = """
from tests.planted.processes import right

calls = []


def kernel(logits, labels):
    calls.append(None)
    if len(calls) == 1 and REFUSES:
        raise NotImplementedError("not warm yet")
    return right(logits, labels)
"""


@pytest.mark.parametrize("more", [(), ("--isolate",)], ids=["here", "isolated"])
def test_a_kernel_that_refuses_its_first_call_alone_fails(more: tuple[str, ...], tmp_path: Path) -> None:
    cases = ("--claim=stable", "--dtype=float32", "-k", "test_case", *more)
    status, output = run_here(place(tmp_path, REFUSES_FIRST.replace("REFUSES", "True")), *cases)
    assert status == 1
    assert "refused a problem (not warm yet) and answers another" in output
    assert run_here(place(tmp_path, REFUSES_FIRST.replace("REFUSES", "False")), *cases)[0] == 0


def test_what_is_accepted_is_one_more_limit() -> None:
    operation = Capable(frozenset(), "any").operations()[0]
    once, narrow = Limit("no graph", derivatives=0), Limit("of one format", dtypes=("float32",))
    after, together = operation.within((once,), "cpu").within((narrow,), "cpu"), operation.within((once, narrow), "cpu")
    assert (after.whole.quantities, after.quantities) == (operation.quantities, together.quantities)
    assert (after.limits, after.arithmetic.keys()) == (together.limits, together.arithmetic.keys())


def test_keys_of_findings_are_put_together() -> None:
    assert limit_of({"reason": "why", "returns": {"loss": "float32"}}).text
    found = probed("float32_loss")
    assert found.limit is not None
    assert found.limit.as_json() == {"reason": "seen by the start-up probe", **found.keys}
