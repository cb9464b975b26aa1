"""The calls for arrays that are at hand: graded as an operation's results are, whatever framework they come from."""

from __future__ import annotations

import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from softmax_ce_conformance import assert_reaches, compare, grades
from softmax_ce_conformance.compare import _QUANTITIES

from reference import FORMATS, Problem, Quantity, evaluate
from reference.quantity import BUILDING_BLOCKS, PRODUCT_OF
from suites.inputs.problems import Ask, problems

FLOAT32 = np.float32
LOGITS = np.array([[20.0, 0.0], [0.5, -1.5]], dtype=FLOAT32)
LABELS = [0, 1]
LOSSES = np.array([2.0611537e-09, 2.126928], dtype=FLOAT32)
"""log(1 + exp(-20)), and 2 + log(1 + exp(-2)), by hand, to the nearest float32."""

CLOSE = ("accurate", "faithful", "correct")
"""What a few operations in float64 reach."""

DTYPES = "allowed: float64, float32, float16, bfloat16; cast it to one of them"
NOT_IN = "are not in float32, the dtype of the logits; allowed: numbers of float32"
NUMBERS = "allowed: an array or tensor of numbers in memory"


def test_right_losses_are_correct_and_others_are_what_they_are() -> None:
    assert grades(LOGITS, LABELS, loss=LOSSES)["loss"].grade == "correct"
    absorbed = grades(LOGITS, LABELS, loss=np.array([0.0, LOSSES[1]], dtype=FLOAT32))["loss"]
    assert (absorbed.grade, absorbed.entries, absorbed.lines) == ("stable", 2, {})
    next_one = grades(LOGITS, LABELS, loss=np.nextafter(LOSSES, FLOAT32(9)))["loss"]
    assert next_one.grade == "accurate"
    assert 1 <= next_one.worst_ulps < 2
    assert grades(LOGITS, LABELS, loss=np.array([np.nan, 1], dtype=FLOAT32))["loss"].grade == "none"


def test_a_miss_is_told_at_its_worst_entry() -> None:
    with pytest.raises(AssertionError) as raised:
        assert_reaches("accurate", LOGITS, LABELS, loss=np.array([0.0, LOSSES[1]], dtype=FLOAT32))
    assert str(raised.value).startswith("what   : loss[0] was returned as 0; claim 'accurate' allows")
    assert "observed 0x0.0p+0 (0)" in str(raised.value)
    assert "float32, N=2, K=2, indices, reduction=none" in str(raised.value)


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_correctly_rounded_values_are_correct(name: str, data: st.DataObject) -> None:
    """By the reference that a process of its own holds, of what the one here rounds."""
    fmt = FORMATS[name]
    problem = data.draw(problems(Ask(fmt, ("moderate", "absorption", "overflow"), options=frozenset({"label_smoothing"}))))
    expected = evaluate(problem, ("loss", "gradient"))
    values = {str(q): e.values.in_ulps(fmt).rounded()[0] for q, e in expected.items()}
    dtype = ml_dtypes.bfloat16 if name == "bfloat16" else np.dtype(name)
    options = {"cotangent": problem.cotangent, "label_smoothing": problem.label_smoothing}
    found = grades(problem.logits.astype(dtype), problem.target, **{k: v.astype(dtype) for k, v in values.items()}, **options)
    assert {each.grade for each in found.values()} == {"correct"}


def test_every_quantity_of_logits_can_be_given() -> None:
    """By name, and none beside them."""
    of_layers_and_blocks = {*PRODUCT_OF.values(), Quantity.FEATURE_GRADIENT, Quantity.WEIGHT_GRADIENT, Quantity.BIAS_GRADIENT}
    assert list(_QUANTITIES) == [str(quantity) for quantity in Quantity if quantity not in of_layers_and_blocks]
    problem = Problem(LOGITS, np.eye(2), "float32", tangent=np.ones((2, 2)))
    values = {str(q): e.values.in_ulps(problem.format).rounded()[0] for q, e in evaluate(problem, _QUANTITIES).items()}
    found = grades(LOGITS, np.eye(2), tangent=np.ones((2, 2)), **{name: np.float32(array) for name, array in values.items()})
    assert {name: each.grade for name, each in found.items()} == dict.fromkeys(_QUANTITIES, "correct")
    assert set(map(str, BUILDING_BLOCKS)) < set(found)


def test_options_are_those_of_a_problem() -> None:
    mean = np.float32(LOSSES.astype(float).mean())
    assert grades(LOGITS, LABELS, loss=mean, reduction="mean")["loss"].grade in ("correct", "faithful")
    weighted = np.array([0.0, 2 * LOSSES[1]], dtype=FLOAT32)
    assert grades(LOGITS, LABELS, loss=weighted, class_weights=[0.0, 2.0])["loss"].grade == "correct"
    ignored = np.array([LOSSES[0], 0], dtype=FLOAT32)
    assert grades(LOGITS, [0, -100], loss=ignored)["loss"].grade == "correct"
    assert grades(LOGITS, LABELS, loss=weighted)["loss"].grade == "finite"


def test_the_arithmetic_is_what_is_declared() -> None:
    """A sum of ten thousand powers one after another may be off by more than one in blocks."""
    logits = np.zeros((1, 10_000), dtype=FLOAT32)
    loss = np.float32(np.log(np.float64(10_000))) * (1 + np.float32(3e-6))
    assert grades(logits, [0], loss=np.array([loss]))["loss"].grade == "finite"
    recursive = {"summation": "recursive"}
    assert grades(logits, [0], loss=np.array([loss]), arithmetic=recursive)["loss"].grade == "componentwise"


def test_each_array_is_judged_in_its_own_dtype() -> None:
    logits = LOGITS.astype(ml_dtypes.bfloat16)
    wide, narrow = grades(logits, LABELS, loss=LOSSES), grades(logits, LABELS, loss=LOSSES.astype(ml_dtypes.bfloat16))
    assert (wide["loss"].grade, narrow["loss"].grade) == ("correct", "correct")
    assert grades(logits, LABELS, loss=LOSSES.astype(ml_dtypes.bfloat16).astype(FLOAT32))["loss"].grade == "finite"


@pytest.mark.parametrize("smoothing", [np.float32(0.5), np.float64(0.5), np.array(0.5), ml_dtypes.bfloat16(0.5), 0.5])
def test_a_number_may_be_of_any_type(smoothing: Any) -> None:
    """A quarter of the label is on the other class, whose logit is less by 20."""
    loss = np.array([5 + np.log1p(np.exp(-20.0))], dtype=FLOAT32)
    asked = {"label_smoothing": smoothing, "ignore_index": np.int64(7), "reduction": np.str_("none")}
    assert grades(LOGITS[:1], [0], loss=loss, **asked)["loss"].grade == "correct"
    ignored = np.array([loss[0], 0], dtype=FLOAT32)
    assert grades(np.vstack([LOGITS[:1], LOGITS[:1]]), [0, 7], loss=ignored, **asked)["loss"].grade == "correct"


def test_numbers_of_python_are_rounded_to_the_dtype_of_the_logits() -> None:
    """In bfloat16 0.1 is 205/2048, and 0.9 is 115/128; a loss in float64 tells them apart."""
    logits = LOGITS.astype(ml_dtypes.bfloat16)
    first, second = np.log1p(np.exp(-20.0)), 2 + np.log1p(np.exp(-2.0))
    weighted = np.array([205 / 2048 * first, 115 / 128 * second])
    assert grades(logits, LABELS, loss=weighted, class_weights=[0.1, 0.9])["loss"].grade in CLOSE
    labelled = np.array([205 / 2048 * first + 115 / 128 * (20 + first), second])
    assert grades(logits, [[0.1, 0.9], [0, 1]], loss=labelled)["loss"].grade in CLOSE
    upstream = np.array([[-1.0, 1.0]]) * 205 / 2048 / (1 + np.exp(20.0))
    assert grades(logits[:1], [0], gradient=upstream, reduction="sum", cotangent=0.1)["gradient"].grade in CLOSE


def test_results_of_python_are_of_the_dtype_of_the_logits_and_logits_of_python_are_of_float64() -> None:
    assert grades(LOGITS, LABELS, loss=LOSSES.tolist())["loss"].grade == "correct"
    exact = [np.log1p(np.exp(-20.0)), 2 + np.log1p(np.exp(-2.0))]
    assert grades(LOGITS.tolist(), LABELS, loss=exact)["loss"].grade in CLOSE
    assert grades(LOGITS.tolist(), LABELS, loss=LOSSES.tolist())["loss"].grade == "finite"


@pytest.mark.parametrize(
    "logits",
    [
        np.asfortranarray(LOGITS),
        np.repeat(LOGITS, 2, axis=1)[:, ::2],
        LOGITS.astype(">f4"),
        np.ma.masked_array(LOGITS, mask=False),
        np.frombuffer(LOGITS.tobytes(), dtype=FLOAT32).reshape(2, 2),
    ],
)
def test_an_array_is_taken_however_it_is_stored(logits: np.ndarray) -> None:
    assert grades(logits, np.array(LABELS, dtype=">i2"), loss=LOSSES.astype(">f4"))["loss"].grade == "correct"


@pytest.mark.parametrize(
    ("logits", "observed"),
    [
        ([[20.0, 0.0]], np.nan),
        ([[20.0, 0.0]], np.inf),
        ([[-np.inf, 0.0]], 1.0),
        ([[np.nan, 0.0]], 1.0),
        ([[1.0]], 1e-9),
    ],
)
def test_an_entry_without_an_error_in_ulps_has_an_infinite_one(logits: list[list[float]], observed: float) -> None:
    """A finite one was told beside a number, an infinity and a NaN that are wrong, and beside one for exactly 0."""
    found = grades(np.array(logits, dtype=FLOAT32), [0], loss=np.array([observed], dtype=FLOAT32))["loss"]
    assert found.grade in ("none", "finite")
    assert found.worst_ulps == np.inf


def test_the_worst_error_is_in_ulps_of_the_terms_of_an_entry() -> None:
    """The gradient is 0.5 - 2^-24 less the labels: -2^-24 and 2^-24. An ulp of 0.5 is 2^-24, of which a quarter is added."""
    labels = np.array([[0.5, 0.5 - 2.0**-23]], dtype=FLOAT32)
    gradient = np.array([[-(2.0**-24), 2.0**-24 + 2.0**-26]], dtype=FLOAT32)
    found = grades(np.zeros((1, 2), dtype=FLOAT32), labels, gradient=gradient)["gradient"]
    assert (found.grade, found.worst_ulps) == ("accurate", 0.25)


def test_what_is_right_has_no_infinite_error() -> None:
    """An infinity for one, and a NaN where the limit or NaN may be."""
    logits = np.array([[-np.inf, 0.0], [np.inf, 0.0]], dtype=FLOAT32)
    found = grades(logits, [0, 0], loss=np.array([np.inf, np.nan], dtype=FLOAT32))["loss"]
    assert (found.grade, found.worst_ulps) == ("correct", 0.0)


def test_tensors_of_torch_are_taken_as_they_are() -> None:
    torch = pytest.importorskip("torch")
    logits = torch.tensor([[20.0, 0.0], [0.5, -1.5]], dtype=torch.bfloat16, requires_grad=True)
    loss = torch.nn.functional.cross_entropy(logits.float(), torch.tensor(LABELS), reduction="none")
    zero = torch.tensor(0.0, dtype=torch.float16)
    found = grades(logits, torch.tensor(LABELS), loss=loss, label_smoothing=zero, ignore_index=torch.tensor(7))["loss"]
    assert (found.grade, found.entries) == ("stable", 2)


def test_tensors_of_torch_that_have_no_numbers_of_a_format_are_refused() -> None:
    torch = pytest.importorskip("torch")
    logits = torch.tensor([[20.0, 0.0]])
    refused = {
        f"logits has dtype float8_e5m2; {DTYPES}": logits.to(torch.float8_e5m2),
        f"logits has dtype complex64; {DTYPES}": logits + 0j,
        f"logits has dtype bool; {DTYPES}": logits.bool(),
        "logits is not an array of numbers (Cannot copy out of meta tensor": logits.to("meta"),
        "logits is not an array of numbers (can't convert Sparse layout tensor": logits.to_sparse(),
    }
    for told, tensor in refused.items():
        with pytest.raises(ValueError, match=re.escape(told)):
            grades(tensor, [0], loss=LOSSES[:1])


@pytest.mark.parametrize("option", ["features", "weight", "bias", "focusing", "positive_weight", "format", "logits_scale"])
def test_what_is_told_to_be_allowed_is_all_that_is(option: str) -> None:
    with pytest.raises(ValueError, match="is not known") as raised:
        grades(LOGITS, LABELS, loss=LOSSES, **{option: None})
    allowed = re.sub("; the nearest.*", "", str(raised.value)).partition("; allowed: ")[2].split(", ")
    options = ["class_weights", "row_weights", "normaliser", "label_smoothing", "ignore_index", "reduction", "temperature"]
    assert allowed == [*_QUANTITIES, *options, "logit_scale", "logit_softcap", "z_loss", "cotangent", "tangent"]
    assert grades(LOGITS, LABELS, loss=LOSSES, **dict.fromkeys(allowed[len(_QUANTITIES) :]))["loss"].grade == "correct"


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        ([False, True], "target has dtype bool and shape (2,)"),
        (np.array([0, 1], dtype=FLOAT32), "target has dtype float32 and shape (2,)"),
        (np.array([[0], [1]]), "target has shape (2, 1) and dtype int64"),
        ([0, 1, 1], "target has shape (3,) and dtype int64"),
        ([0, 5], "target[1] is 5; allowed: a class index in [0, 2) or ignore_index = -100"),
        (["a", "b"], f"target is list of str32; {NUMBERS}"),
        (None, f"target is None; {NUMBERS}"),
        (np.array([[True, False], [False, True]]), f"target has dtype bool; {DTYPES}"),
        (np.array([[0.1, 0.9], [0.5, 0.5]]), "target is float64 and has numbers that are not in float32"),
    ],
)
def test_labels_that_are_none_are_told_as_they_are(labels: Any, told: str) -> None:
    with pytest.raises(ValueError, match=re.escape(told)) as raised:
        grades(LOGITS, labels, loss=LOSSES)
    assert "allowed: " in str(raised.value)


@pytest.mark.parametrize(
    ("logits", "asked", "says"),
    [
        (LOGITS, {}, "no array is given; allowed: loss, gradient, hessian,"),
        (LOGITS, {"los": LOSSES}, "no array is given; allowed: loss,"),
        (LOGITS, {"loss": LOSSES, "gradeint": LOGITS}, "'gradeint' is not known; allowed: loss, gradient, hessian, hvp,"),
        (LOGITS, {"loss": LOSSES, "target": LABELS}, "'target' is not known; allowed: loss,"),
        (LOGITS, {"loss": LOSSES, "focusing": 2.0}, "'focusing' is not known; allowed: loss,"),
        (LOGITS, {"loss": LOSSES[:1]}, "loss has shape (1,); allowed: (2,)"),
        (LOGITS, {"loss": np.float32(1)}, "loss has shape (); allowed: (2,), or one number with the reduction that made it"),
        (LOGITS, {"loss": LOSSES, "claim": "exact"}, "grade 'exact' is not known; allowed: none, finite, stable"),
        (LOGITS, {"loss": LOSSES, "reduction": "avg"}, "reduction is 'avg'; allowed: 'none', 'sum', 'mean'"),
        (LOGITS, {"loss": LOSSES, "reduction": [1]}, "reduction has shape (1,); allowed: 'none', 'sum', 'mean'"),
        (LOGITS, {"loss": LOSSES, "label_smoothing": [0.1]}, "label_smoothing has shape (1,); allowed: a number in [0, 1]"),
        (LOGITS, {"loss": LOSSES, "arithmetic": {"ulps": 2}}, "unknown keys ['ulps']; allowed: dtypes, composed"),
        (LOGITS.astype(int), {"loss": LOSSES}, f"logits has dtype int64; {DTYPES}"),
        (LOGITS, {"loss": np.array([0, 2])}, f"loss has dtype int64; {DTYPES}"),
        pytest.param(
            *(LOGITS.astype(np.longdouble), {"loss": LOSSES}, f"logits has dtype {np.dtype(np.longdouble).name}; {DTYPES}"),
            marks=pytest.mark.skipif(np.dtype(np.longdouble).itemsize == 8, reason="it is float64 here"),
        ),
        (LOGITS + 0j, {"loss": LOSSES}, f"logits has dtype complex64; {DTYPES}"),
        (LOGITS, {"loss": LOSSES, "class_weights": np.array([1, 1j])}, f"class_weights has dtype complex128; {DTYPES}"),
        (LOGITS.astype(ml_dtypes.float8_e5m2), {"loss": LOSSES}, f"logits has dtype float8_e5m2; {DTYPES}"),
        (LOGITS, {"loss": None}, f"loss is None; {NUMBERS}"),
        (LOGITS, {"loss": "focal"}, f"loss is str of str160; {NUMBERS}"),
        (
            [[20.0], [0.5, -1.5]],
            {"loss": LOSSES},
            "logits is not an array of numbers (setting an array element with a sequence",
        ),
        (np.ma.masked_array(LOGITS, [[0, 0], [0, 1]]), {"loss": LOSSES}, "logits is masked in part; allowed: an array without"),
        (LOGITS[0], {"loss": LOSSES}, "logits has shape (2,); allowed: (N, K)"),
        (LOGITS, {"loss": LOSSES.astype(np.float16)}, "loss is float16 of logits in float32: it has lost what they had"),
        (
            LOGITS.astype(ml_dtypes.bfloat16),
            {"loss": LOSSES.astype(np.float16)},
            "loss is float16 of logits in bfloat16: it has lost what they had",
        ),
        (
            LOGITS,
            {"loss": LOSSES, "class_weights": np.array([0.1, 0.9])},
            f"class_weights is float64 and has numbers that {NOT_IN}; cast it to float32 before you use it",
        ),
        (
            LOGITS,
            {"loss": [0.1, 0.9]},
            f"loss has numbers of Python that {NOT_IN}, or an array with a dtype",
        ),
        (LOGITS, {"hvp": LOGITS}, "hvp without a direction; give the problem a tangent of shape (N, K)"),
    ],
)
def test_what_cannot_be_graded_is_said_and_the_next_call_works(logits: Any, asked: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        grades(logits, LABELS, **asked)
    assert grades(LOGITS, LABELS, loss=LOSSES)["loss"].grade == "correct"


TESTS = """
import numpy as np
import pytest

pytestmark = pytest.mark.softmax_ce(like="numpy", claim="stable", dtypes="float64")


def kernel(logits, labels):
    shifted = logits - logits.max(axis=1, keepdims=True)
    powers = np.exp(shifted)
    rows = np.arange(len(labels))
    gradient = powers / powers.sum(axis=1, keepdims=True)
    gradient[rows, labels] -= 1
    return np.log(powers.sum(axis=1)) - shifted[rows, labels], gradient


@pytest.mark.softmax_ce(dtypes="float32", case="absorption/gap-20")
def test_right(assert_conforms):
    assert assert_conforms(kernel).grade("float32") == "stable"


@pytest.mark.softmax_ce(dtypes="float32", case="absorption/gap-20")
def test_wrong(assert_conforms):
    assert_conforms(lambda logits, labels: (kernel(logits, labels)[0] + 1, kernel(logits, labels)[1]))


def test_arrays(assert_reaches):
    logits = np.zeros((1, 2), dtype=np.float32)
    assert_reaches("accurate", logits, [0], loss=kernel(logits, [0])[0])
"""


def test_the_plugin_has_fixtures_and_a_marker(tmp_path: Path) -> None:
    (tmp_path / "test_theirs.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-q", "--strict-markers", str(tmp_path), "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=tmp_path, text=True, capture_output=True, check=False)
    assert "1 failed, 2 passed" in done.stdout, done.stdout
    assert "E       what   : loss[0] is" in done.stdout
    assert "call.py" not in done.stdout


def test_the_plugin_loads_nothing_until_it_is_used() -> None:
    """Of this package its own file, and of others pytest alone."""
    code = (
        "import sys, pytest; before = set(sys.modules); import softmax_ce_conformance.plugin;"
        "print(sorted(name for name in set(sys.modules) - before if not name.startswith('__editable__')))"
    )
    printed = subprocess.run([sys.executable, "-c", code], cwd="/", text=True, capture_output=True, check=True).stdout
    assert printed == "['softmax_ce_conformance', 'softmax_ce_conformance.plugin']\n"


def printed(code: str) -> str:
    """What a process prints that grades [0, 0], whose loss is log 2, and says nothing else."""
    code = f"import numpy as np, os, sys, time\nfrom softmax_ce_conformance import grades\n{GRADED}{code}"
    done = subprocess.run([sys.executable, "-c", code], cwd="/", text=True, capture_output=True, check=False, timeout=60)
    assert (done.stderr, done.returncode) == ("", 0)
    return done.stdout


GRADED = """
def graded(*losses):
    losses = np.array(losses)
    return grades(np.zeros((len(losses), 2)), [0] * len(losses), loss=losses)["loss"]

def nothing_is_left():
    # no process that ended is waited for, and none runs
    try:
        return os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return True

LOG_2 = np.log(2.0)
"""


def test_a_first_call_starts_a_process_that_ends_with_this_one() -> None:
    assert printed("print(graded(LOG_2).grade)") == "correct\n"


FORKS = """
import multiprocessing as mp

def ask(which):
    # each asks for losses of its own number: a swapped answer has another one
    seen = {graded(*[LOG_2] * which).entries for _ in range(20)}
    return which, seen == {which}, os.getpid()

print(graded(LOG_2).grade)
with mp.get_context("fork").Pool(2) as pool:
    asked = pool.map_async(ask, [2, 3], chunksize=1)
    print(ask(1)[1], [right for _, right, _ in asked.get(timeout=50)])
print(graded(LOG_2).grade)
"""


def test_a_process_that_is_forked_has_a_reference_of_its_own() -> None:
    """It shared the connection of the other: answers were swapped, or both waited for ever."""
    assert printed(FORKS) == "correct\nTrue [True, True]\ncorrect\n"


ENDS = """
import multiprocessing as mp

def ask():
    print(graded(np.nan).grade, flush=True)

print(graded(LOG_2).grade, flush=True)
child = mp.get_context("fork").Process(target=ask)
child.start()
child.join()
if (pid := os.fork()) == 0:
    sys.exit()  # as a child that grades nothing, but runs what is registered for its end
print(os.waitpid(pid, 0)[1], graded(LOG_2).grade, flush=True)
if os.fork() == 0:
    ask()
    sys.exit()
os.wait()
print(graded(LOG_2).grade)
"""


def test_the_end_of_a_forked_process_is_not_that_of_the_reference() -> None:
    assert printed(ENDS) == "correct\nnone\n0 correct\nnone\ncorrect\n"


AMID = """
import threading
asked = threading.Thread(target=lambda: print(graded(LOG_2).grade))
asked.start()
time.sleep(0.2)  # the thread waits for the reference to start, and holds the lock
if (pid := os.fork()) == 0:
    print(graded(np.nan).grade, flush=True)
    os._exit(0)
print(os.waitpid(pid, 0)[1], flush=True)
asked.join()
"""


def test_a_process_that_is_forked_while_a_thread_asks_does_not_wait_for_it() -> None:
    assert sorted(printed(AMID).split()) == ["0", "correct", "none"]


CHILD = """
import multiprocessing as mp
import ctypes
ctypes.CDLL(None).prctl(36, 1)  # who is left by a child is a child of this process

def ask():
    print(graded(LOG_2).grade, flush=True)

child = mp.get_context("fork").Process(target=ask)
child.start()
child.join()
print(nothing_is_left())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says who takes what a process leaves")
def test_a_child_leaves_no_process_behind() -> None:
    assert printed(CHILD) == "correct\nTrue\n"


INTERRUPTED = """
import signal
signal.signal(signal.SIGALRM, signal.default_int_handler)
signal.setitimer(signal.ITIMER_REAL, 0.1)
try:
    graded(LOG_2)
except KeyboardInterrupt:
    print(nothing_is_left(), graded(np.nan).grade)
"""


def test_an_interrupt_leaves_no_process_behind() -> None:
    """It comes while the first call waits for the reference to start."""
    assert printed(INTERRUPTED) == "True none\n"


@pytest.mark.parametrize("rows", [1, 2**16])
def test_a_reference_that_ended_is_said_to_have_and_the_next_call_starts_another(rows: int) -> None:
    """A request that no pipe holds finds nobody who reads it, and a short one nobody who answers."""
    grades(LOGITS, LABELS, loss=LOSSES)
    worker = compare._reference.worker
    assert worker is not None
    worker.process.kill()
    with pytest.raises(RuntimeError, match="the process that holds the reference ended"):
        grades(np.zeros((rows, 2)), [0] * rows, loss=np.zeros(rows))
    assert worker.process.returncode is not None
    assert grades(LOGITS, LABELS, loss=LOSSES)["loss"].grade == "correct"


def test_threads_take_turns() -> None:
    with ThreadPoolExecutor(8) as threads:
        found = threads.map(lambda rows: grades(np.zeros((rows, 2)), [0] * rows, loss=np.full(rows, np.log(2))), range(1, 65))
    assert [(each["loss"].entries, each["loss"].grade) for each in found] == [(rows, "correct") for rows in range(1, 65)]


def test_no_file_of_a_user_hides_a_module_of_python(tmp_path: Path) -> None:
    """In the folder where a process is started that asks."""
    (tmp_path / "pickle.py").write_text("raise RuntimeError")
    code = (
        "import numpy as np\nfrom softmax_ce_conformance import grades\n"
        "print(grades(np.zeros((1, 1)), [0], loss=np.zeros(1))['loss'].grade)"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout == "correct\n", done.stderr
