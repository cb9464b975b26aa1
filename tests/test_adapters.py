"""Tests of the adapter protocol: loading, and the proof of dtype, device, shape and untouched inputs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adapters.adapter import Adapter, AdapterError, Call, Result
from adapters.loading import backend_names, load_adapter, load_attribute
from adapters.numpy.backend import NumpyAdapter
from adapters.operation import Operation, options_used
from adapters.question import Question
from reference import FLOAT32, FORMATS, Problem, Quantity

PROBLEM = Problem([[1.0, 2.0, 3.0], [0.0, -1.0, 4.0]], [0, 2], FLOAT32, tangent=np.ones((2, 3)))


class Lying(NumpyAdapter):
    """Returns float64 from a device that was not asked for, and says that it changed the logits."""

    name = "lying"

    def call(self, question: Question) -> Call:
        return Call({q: Result(np.zeros(2), "float64", "moon") for q in question.quantities}, ("logits",))


class Raising(NumpyAdapter):
    """Fails in whatever way it is told."""

    name = "raising"
    error: Exception = ValueError("a\nlong story")

    def call(self, *_: Any) -> Call:
        raise self.error


def test_the_backends_are_the_files() -> None:
    assert {"numpy", "tensorflow", "torch"} <= set(backend_names())


def test_wrong_dtype_device_and_changed_inputs_are_violations() -> None:
    adapter = Lying()
    observed = adapter.observe(Question(adapter.operations()[0], PROBLEM, (Quantity.LOSS,)))
    assert observed.violations == (
        "changed its input logits",
        'returned loss as float64, asked for float32; if that is meant so, declare returns={"loss": "float64"}',
        "returned loss on moon, asked for cpu",
    )


def test_an_exception_is_a_finding_in_one_line() -> None:
    adapter = Raising()
    observed = adapter.observe(Question(adapter.operations()[0], PROBLEM, (Quantity.LOSS,)))
    assert observed.error is not None
    assert re.fullmatch(r"ValueError: a long story \(test_adapters.py, line \d+\)", observed.error)
    assert not observed.values


def test_an_exception_is_told_without_the_files_of_a_traceback() -> None:
    adapter = Raising()
    adapter.error = ValueError('at node x defined at (most recent call last):\nFile "/home/me/run.py", line 8, in <module>')
    observed = adapter.observe(Question(adapter.operations()[0], PROBLEM, (Quantity.LOSS,)))
    assert observed.error is not None
    assert re.fullmatch(r"ValueError: at node x defined at \(test_adapters.py, line \d+\)", observed.error)


def test_not_implemented_passes_through() -> None:
    adapter = Raising()
    adapter.error = NotImplementedError("no such thing")
    with pytest.raises(NotImplementedError):
        adapter.observe(Question(adapter.operations()[0], PROBLEM, (Quantity.LOSS,)))


def test_torch_notices_a_changed_input() -> None:
    pytest.importorskip("torch")
    from adapters.torch.backend import ADAPTER

    def overwrite(logits: Any, target: Any, **_: Any) -> Any:
        loss = (logits * 1.0).sum(dim=1)
        logits.detach().zero_()
        return loss

    adapter = ADAPTER()
    operation, *_ = adapter.implementation(overwrite)
    observed = adapter.observe(Question(operation, PROBLEM, (Quantity.LOSS,)))
    assert observed.violations == ("changed its input logits",)


def test_numpy_notices_a_changed_input() -> None:
    def overwrite(logits: Any, labels: Any) -> Any:
        logits[:] = 0
        return logits.sum(axis=1), logits

    adapter = NumpyAdapter()
    (operation,) = adapter.implementation(overwrite)
    assert "changed its input logits" in adapter.observe(Question(operation, PROBLEM, (Quantity.LOSS,))).violations


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        ("tensorflaw", "backend 'tensorflaw' is not known; there is: cce, fla, jax"),
        ("nowhere.py:Thing", "there is no file 'nowhere.py'"),
        ("no.such.module:Thing", "importing 'no.such.module' failed: ModuleNotFoundError"),
        ("adapters.layout:Nothing", "adapters.layout has no 'Nothing'; it has: "),
        ("adapters.layout:Layout", "is not a subclass of adapters.adapter.Adapter"),
        (":x", "allowed: path/to/file.py:name"),
    ],
)
def test_a_backend_that_is_not_there_says_what_is(reference: str, says: str) -> None:
    with pytest.raises(AdapterError, match=says):
        load_adapter(reference, "cpu")


def test_a_device_that_is_not_there_says_what_is() -> None:
    with pytest.raises(AdapterError, match="device 'cuda' is not there for backend 'numpy'; there is: cpu"):
        load_adapter("numpy", "cuda")


def test_a_file_that_fails_to_import_says_how(tmp_path: Path) -> None:
    path = tmp_path / "broken.py"
    path.write_text("import nothing_of_that_name\n")
    with pytest.raises(AdapterError, match="importing .*broken.py failed: ModuleNotFoundError: No module named"):
        load_attribute(f"{path}:kernel", "--implementation")


def test_an_adapter_is_loaded_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("from adapters.numpy.backend import NumpyAdapter\nclass Mine(NumpyAdapter):\n    name = 'mine'\n")
    adapter = load_adapter(f"{path}:Mine", "cpu")
    assert isinstance(adapter, Adapter)
    assert adapter.name == "mine"


def test_refusals_say_why() -> None:
    operation = Operation("half", "x", None, {"float16": None})  # type: ignore[dict-item]
    assert operation.refusal(PROBLEM) == "half takes float16, not float32"
    operation = Operation("plain", "x", None, dict.fromkeys(FORMATS))  # type: ignore[arg-type]
    assert operation.refusal(PROBLEM.replace(reduction="mean")) == "plain has no reduction"
    soft = PROBLEM.replace(target=np.full((2, 3), 0.25))
    assert operation.refusal(soft) == "plain takes class indices"
    assert options_used(PROBLEM.replace(temperature=2.0, label_smoothing=0.5)) == {"temperature", "label_smoothing"}


@pytest.mark.parametrize("label", [-1, 3])
def test_numpy_raises_for_labels_out_of_range(label: int) -> None:
    adapter = NumpyAdapter()
    bad = PROBLEM.with_unchecked_target([0, label])
    for operation in adapter.operations():
        if operation.has_loss and not operation.probabilities:
            assert "IndexError" in str(adapter.observe(Question(operation, bad, (Quantity.LOSS,))).error)


@pytest.mark.parametrize("label", [-0.5, 1.5])
def test_the_positive_control_raises_for_a_binary_label_out_of_range(label: float) -> None:
    adapter = NumpyAdapter()
    (operation,) = (op for op in adapter.operations() if op.name == "absorption_free_sigmoid")
    problem = Problem([[0.5]], [[1.0]], FLOAT32, loss=operation.loss)
    assert adapter.observe(Question(operation, problem, (Quantity.LOSS,))).error is None
    observed = adapter.observe(Question(operation, problem.with_unchecked_target([[label]]), (Quantity.LOSS,)))
    assert observed.error == f"ValueError: labels [{label}]; allowed: numbers in [0, 1]"


def test_the_name_of_a_kernel_does_not_choose_how_it_is_differentiated() -> None:
    """A kernel called something_func was once taken through torch.func."""
    torch = pytest.importorskip("torch")
    from adapters.torch.backend import ADAPTER
    from adapters.torch.derivatives import as_used

    def my_func(logits: Any, target: Any, **options: Any) -> Any:
        return torch.nn.functional.cross_entropy(logits, target, **options)

    for operation in ADAPTER().implementation(my_func):
        assert operation.function.derivatives is as_used
