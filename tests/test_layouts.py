"""Tests of the ways in which a problem is given: memory layouts and dtypes of class indices change no value."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adapters.adapter import Adapter
from adapters.arrays import Inputs
from adapters.layout import LABEL_DTYPE, LABEL_DTYPES, OF_TENSORS, Layout, beside, laid_out, of_logits
from adapters.limits import limit_of
from adapters.numpy.backend import NumpyAdapter
from adapters.operation import Operation
from adapters.question import Question
from adapters.script import layout_lines
from reference import FLOAT32, Problem, Quantity
from suites.inputs.given import Given, given_from
from suites.judging.reproducer import REPRODUCERS, STANDS
from tests.backends import adapter_or_skip
from tests.command import ROOT, run_here
from tests.documents import ADAPTERS

TABLE = np.arange(12.0).reshape(3, 4)
VECTOR = np.array([3.0, 1.0, 2.0])
ALIKE = Problem(
    [[1.0, 2.0, 3.0]] * 3,
    [2, 2, 2],
    FLOAT32,
    cotangent=[0.5] * 3,
    tangent=[[1.0, -1.0, 0.5]] * 3,
    class_weights=[0.5] * 3,
)
VARIED = Problem(
    [[1.0, 2.0, 3.0], [0.0, -1.0, 4.0]],
    [0, 2],
    FLOAT32,
    cotangent=[0.5, 2.0],
    tangent=[[1.0, -1.0, 0.5], [0.0, 2.0, 1.0]],
    class_weights=[1.0, 2.0, 0.5],
)
STRIDES: dict[Layout, tuple[tuple[int, int], int]] = {
    Layout.CONTIGUOUS: ((4, 1), 1),
    Layout.TRANSPOSED: ((1, 3), 1),
    Layout.STRIDED: ((8, 2), 2),
    Layout.OFFSET: ((7, 1), 4),
    Layout.ROW_STRIDED: ((4, 1), 2),
    Layout.EXPANDED: ((0, 1), 0),
    Layout.OTHERS_STRIDED: ((4, 1), 2),
    Layout.REVERSED: ((-4, -1), -1),
    Layout.BYTE_SWAPPED: ((4, 1), 1),
}
"""Elements between neighbours of a (3, 4) table of logits, and of a vector beside it."""


def elements(array: np.ndarray[Any, Any]) -> tuple[int, ...]:
    """Its strides in elements."""
    return tuple(step // array.itemsize for step in array.strides)


@pytest.mark.parametrize("layout", Layout)
def test_a_layout_holds_the_same_values(layout: Layout) -> None:
    alike = np.broadcast_to(TABLE[:1], TABLE.shape).copy() if layout is Layout.EXPANDED else TABLE
    for values in (alike, np.full(3, 2.0), np.full(3, 2), np.zeros((0, 4))):
        for chosen in (of_logits(values, layout), beside(values, layout)):
            made = laid_out(values, chosen)
            np.testing.assert_array_equal(made, values)
            assert made.dtype.name == values.dtype.name


@pytest.mark.parametrize("layout", Layout)
def test_a_layout_is_what_it_says(layout: Layout) -> None:
    table = np.ones((3, 4))
    logits, vector = laid_out(table, of_logits(table, layout)), laid_out(VECTOR * 0, beside(VECTOR * 0, layout))
    step = 8 if layout is Layout.ROW_STRIDED else STRIDES[layout][0][0]
    assert (elements(logits), elements(vector)) == ((step, STRIDES[layout][0][1]), (STRIDES[layout][1],))
    assert (logits.dtype.isnative, vector.dtype.isnative) == (layout is not Layout.BYTE_SWAPPED,) * 2


def test_rows_that_differ_are_not_expanded_and_no_integers_swapped() -> None:
    assert of_logits(TABLE, Layout.EXPANDED) is beside(VECTOR, Layout.EXPANDED) is Layout.CONTIGUOUS
    assert beside(np.arange(3), Layout.BYTE_SWAPPED) is Layout.CONTIGUOUS
    assert beside(np.array(1.0), Layout.OTHERS_STRIDED) is Layout.CONTIGUOUS


def differing(adapter: Adapter, operation: Operation, problem: Problem, **manner: Any) -> list[Quantity]:
    """Quantities that are not those of the plain question."""
    quantities = operation.asked(problem)
    plain, other = (adapter.observe(Question(operation, problem, quantities, **more)) for more in ({}, manner))
    assert (plain.error, other.error, other.violations) == (None, None, ())
    return [q for q in quantities if not np.allclose(plain.values[q], other.values[q], rtol=1e-5, atol=1e-6, equal_nan=False)]


@pytest.mark.parametrize("backend", ["numpy", "torch", "jax", "tensorflow"])
def test_operations_take_what_they_say_they_take(backend: str) -> None:
    """Every layout and every dtype of class indices; rows that differ of the main operations alone, to save time."""
    adapter = adapter_or_skip(backend)
    for operation in adapter.operations():
        is_main = operation.name in adapter.main
        if backend in ("jax", "tensorflow") and not is_main:
            continue
        for problem in (ALIKE, VARIED)[: 1 + is_main]:
            asked = problem if "class_weights" in operation.options else problem.replace(class_weights=None)
            if operation.refusal(asked) or operation.mode not in ("eager", "autocast"):
                continue
            for layout in operation.layouts:
                assert not differing(adapter, operation, asked, layout=layout), (operation.label, layout)
            for dtype in operation.label_dtypes:
                assert not differing(adapter, operation, asked, label_dtype=dtype), (operation.label, dtype)


def test_numpy_is_given_all_of_it() -> None:
    (operation,) = (op for op in NumpyAdapter().operations() if op.name == "scipy_logsumexp")
    for layout in Layout:
        given = Inputs(Question(operation, ALIKE, (), layout, label_dtype="int16"))
        assert given.class_weights is not None
        for vector in (given.cotangent, given.class_weights, given.labels):
            assert elements(vector) == (STRIDES[layout][1],), layout
        native = layout is not Layout.BYTE_SWAPPED
        assert (given.logits.dtype.isnative, given.cotangent.dtype.isnative, given.labels.dtype.name) == (
            native,
            native,
            "int16",
        )
    assert set(operation.layouts) == set(Layout)
    assert set(operation.label_dtypes) == set(LABEL_DTYPES)


def test_torch_is_given_all_of_it() -> None:
    """Class weights and cotangent too; what lies between is NaN, or -1."""
    torch = pytest.importorskip("torch")
    from adapters.torch.backend import ADAPTER
    from adapters.torch.derivatives import Run

    operation = ADAPTER().operations()[0]
    for layout in operation.layouts:
        run = Run(Question(operation, ALIKE, (), layout, label_dtype="uint8"), "cpu")
        for vector in (run.target, run.options.weight, run.cotangent(torch.Size([3]))):
            assert vector is not None
            assert vector.stride() == (STRIDES[layout][1],), layout
        assert run.target.dtype == torch.uint8
        if layout not in (Layout.CONTIGUOUS, Layout.TRANSPOSED, Layout.OTHERS_STRIDED):
            around = torch.as_strided(run.logits.detach(), (run.logits.untyped_storage().nbytes() // 4,), (1,), 0)
            assert around.isnan().any(), layout
    assert {Layout.REVERSED, Layout.BYTE_SWAPPED} == set(Layout) - set(operation.layouts)


@pytest.mark.parametrize("layout", Layout)
@pytest.mark.parametrize("module", ["np", "torch"])
@pytest.mark.parametrize("values", [np.ones((3, 4)), np.full(3, 2.0), np.full(3, 2)], ids=["logits", "floats", "indices"])
def test_the_words_of_a_script_are_those_of_the_adapters(layout: Layout, module: str, values: Any) -> None:
    if module == "torch" and layout in (Layout.REVERSED, Layout.BYTE_SWAPPED):
        pytest.skip("PyTorch has none")
    chosen, library = beside(values, layout), np if module == "np" else pytest.importorskip("torch")
    scope = {module: library, "x": values.copy() if module == "np" else library.tensor(values)}
    between = 'float("nan")' if values.dtype.kind == "f" else "-1"
    exec("\n".join(layout_lines(chosen, module, "x", values.ndim, between)), scope)
    made, there = scope["x"], laid_out(values, chosen)
    assert made.tolist() == there.tolist()
    assert (elements(made) if module == "np" else tuple(made.stride())) == elements(there)


def test_the_page_has_a_line_for_each_layout_and_dtype() -> None:
    """And says which numpy and torch take."""
    layouts, labels = ADAPTERS.tables("Layouts and dtypes of class indices")
    told = {row[0]: row[2:4] for row in layouts}
    assert {name for row in labels for name in row[0].split(", ")} == set(LABEL_DTYPES)
    assert set(told) == set(Layout) - {Layout.CONTIGUOUS}
    assert {name for name, (in_numpy, _) in told.items() if in_numpy == "yes"} == set(told)
    assert {name for name, (_, in_torch) in told.items() if in_torch == "yes"} == set(OF_TENSORS) - {Layout.CONTIGUOUS}


def test_a_given_problem_keeps_its_layout_and_dtype() -> None:
    for parameters in ({"layout": "row_strided"}, {"label_dtype": "uint8"}):
        again = given_from(Given(VARIED, "test_layout", parameters).text())
        assert again.parameters == parameters


def test_a_limit_of_layouts_or_dtypes_leaves_the_plain_ones() -> None:
    strict = limit_of({"reason": "rows one after another", "layouts": ["strided"], "label_dtypes": ["int32"]})
    assert strict.text == "layouts strided only; class indices of int32 only: rows one after another"
    assert strict.takes_given(Layout.CONTIGUOUS, LABEL_DTYPE)
    assert strict.takes_given(Layout.STRIDED, "int32")
    assert not strict.takes_given(Layout.OFFSET, LABEL_DTYPE)
    assert not strict.takes_given(Layout.CONTIGUOUS, "int8")
    overwriting = limit_of({"reason": "the logits become the gradient", "overwrites": ["logits"]})
    assert not overwriting.takes_given(Layout.EXPANDED, LABEL_DTYPE)
    assert overwriting.takes_given(Layout.STRIDED, "int32")


STRICT = """
import numpy as np
from adapters.limits import limits

{decorators}
def strict(logits, labels):
    if not logits.flags.c_contiguous or not logits.dtype.isnative:
        raise BufferError("not contiguous")
    if labels.dtype != np.int64:
        raise TypeError("a long is expected")
    shifted = logits - logits.max(axis=1, keepdims=True, initial=-np.inf)
    powers = np.exp(shifted)
    gradient = powers / powers.sum(axis=1, keepdims=True)
    rows = np.arange(len(labels))
    gradient[rows, labels] -= 1
    return np.log(powers.sum(axis=1)) - shifted[rows, labels], gradient
"""
ASKED = ("--effort=quick", "--claim=stable", "--dtype=float32", "-k", "test_layout or test_label_dtype", "-rs")


def strict(folder: Path, decorators: str = "") -> str:
    (folder / "strict.py").write_text(STRICT.format(decorators=decorators))
    return f"--implementation={folder / 'strict.py'}:strict"


def test_what_is_refused_is_told_how_to_declare_and_how_to_ask_again(tmp_path: Path) -> None:
    status, output = run_here(strict(tmp_path), *ASKED)
    assert status == 1
    assert 'a kernel that has no class indices of int8 declares @limits("why", label_dtypes=["int64"])' in output
    assert 'layout declares @limits("why", layouts=["contiguous"])' in output
    assert ", class indices of int8; float32 arithmetic" in output
    assert '"test":"test_label_dtype","label_dtype":"int8"' in output
    case = re.findall(r"--case='(\{\"test\":\"test_label_dtype\".*\})'", output)[0]
    again, told = run_here(strict(tmp_path), *ASKED[:3], f"--case={case}")
    assert again == 1
    assert "1 test failed" in told


def test_what_is_declared_is_not_asked(tmp_path: Path) -> None:
    decorators = '@limits("as C has them", layouts=["contiguous"], label_dtypes=["int64"])'
    status, output = run_here(strict(tmp_path, decorators), *ASKED[:-2], "test_layout or test_label_dtype or test_loss", "-rs")
    assert "declared limit: layouts contiguous only; class indices of int64 only: as C has them" in output
    assert status == 0, output


PLANTED = [
    ("WeightsByPointer", "torch", "others_strided", "w = wide[::2]"),
    ("RowStrideOfZero", "torch", "expanded", "x = wide[:1].expand(x.shape)"),
    ("StepsOfLongIndices", "torch", "int32", "dtype=torch.int32)"),
    ("StridesWithoutSign", "numpy", "reversed", "x = np.flip(np.flip(x).copy())"),
    ("SignedBytes", "numpy", "uint8", "dtype=np.uint8)"),
]


@pytest.mark.parametrize(("name", "backend", "manner", "says"), PLANTED, ids=[name for name, *_ in PLANTED])
def test_a_script_shows_what_its_test_found(name: str, backend: str, manner: str, says: str, tmp_path: Path) -> None:
    pytest.importorskip(backend)
    place = f"--implementation={ROOT / 'tests' / 'planted' / 'layouts.py'}:{name}"
    options = (f"--backend={backend}", f"--operation={name}", "-k", f"(layout or label_dtype) and {manner}")
    status, printed = run_here(place, *options, *ASKED[:3], f"--report={tmp_path / 'report'}")
    assert status == 1, printed
    (script,) = (tmp_path / "report" / REPRODUCERS).glob("*.py")
    assert says in script.read_text()
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(script), run_name="__main__")
    assert ended.value.code == STANDS


@pytest.mark.parametrize("layout", Layout)
def test_a_scalar_has_no_layout(layout: Layout) -> None:
    """The cotangent of a mean, which an operation is handed that has no reduction."""
    scalar = np.array(3.0)
    assert laid_out(scalar, beside(scalar, layout)) == 3.0
