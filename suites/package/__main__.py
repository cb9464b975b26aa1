"""The command `softmax-ce`: judges a kernel or a framework, and works with reports and sweeps."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import rich_click as click

from .call import Job, new_folder
from .carry import Load, NotCarriedError
from .forms import FORMS, defaults_of
from .options import argument_list, options
from .place import TREE, find
from .run import INTERRUPTED, USAGE, NotJudgedError, status_of
from .verdict import SCHEMA

find()  # the options of the commands below are read from there
if not {"", os.getcwd()} & set(sys.path):
    sys.path.append(os.getcwd())  # where package.module:name of a user is found, as `python -m` finds it

_AS_GIVEN: dict[str, Any] = {"ignore_unknown_options": True}
_REST: dict[str, Any] = {**_AS_GIVEN, "allow_extra_args": True}
_EPILOG = "Other options go to pytest as they are: -x stops at the first failure, -n 2 takes two processes."


class _Gate(click.RichCommand):
    """A command of which a mistake ends with the status of pytest's, and with --json prints JSON too."""

    def make_context(self, info_name: str | None, args: list[str], *more: Any, **extra: Any) -> click.Context:
        """Read the arguments."""
        with _mistakes_told(as_json="--json" in args):
            return super().make_context(info_name, args, *more, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """Run it."""
        with _mistakes_told(as_json=bool(ctx.params.get("as_json"))):
            return super().invoke(ctx)


@contextmanager
def _mistakes_told(*, as_json: bool) -> Iterator[None]:
    try:
        yield
    except click.UsageError as error:
        if as_json:
            _end_without_verdict(error.format_message(), USAGE)
        raise _Mistake(error.format_message(), error.ctx) from None


class _Mistake(click.UsageError):
    exit_code = USAGE


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="softmax-ce-conformance")
def main() -> None:
    """Judge softmax cross-entropy against a certified reference."""


def _with_options(*left_out: str) -> Callable[[click.Command], click.Command]:
    """Adds the options of `pytest suites/` to a command, but for some."""

    def add(command: click.Command) -> click.Command:
        command.params += [option for option in options() if option.name not in left_out]
        return command

    return add


@_with_options()
@main.command(cls=_Gate, context_settings=_REST, epilog=_EPILOG)
@click.pass_context
def suite(context: click.Context, /, **given: Any) -> None:
    """Judge all operations of a framework. It is `pytest suites/` of a checkout."""
    _end(_run_tests([*argument_list(context.command, given), *context.args]))


@_with_options("backend", "implementation", "effort")
@main.command(cls=_Gate, context_settings=_REST, epilog=_EPILOG)
@click.argument("kernel")
@click.option("--like", metavar="NAME", help="the framework whose tensors it takes: --backend of 'suite'")
@click.option("--effort", default="quick", help="how many problems are generated (default: quick)")
@click.option("--form", metavar="NAME", help=f"what it is in the place of a function: {', '.join(FORMS)}")
@click.option("--json", "as_json", is_flag=True, help="print the verdict as one line of JSON, and all else to stderr")
@click.option("--timeout", type=float, metavar="SECONDS", help="how long all of --json may take (default: any time)")
@click.pass_context
def judge(context: click.Context, /, kernel: str, **given: Any) -> None:
    """Judge a kernel of yours.

    KERNEL is path/to/file.py:function or package.module:function; with --form=kernelbench path/to/file.py.
    """
    form, as_json, timeout = (given.pop(name) for name in ("form", "as_json", "timeout"))
    try:
        load = Load(kernel, form=form)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    _refuse_a_second(kernel, context.args)
    given = defaults_of(form) | {name: value for name, value in given.items() if value not in (None, False)}
    if "like" not in given:
        raise click.UsageError("Missing option '--like'.")
    if timeout is not None and not as_json:
        raise click.UsageError("--timeout is given without --json; allowed: both, or --isolate with --call-timeout.")
    report = Path(given.pop("report")) if "report" in given else None
    arguments = [*argument_list(context.command, given), *context.args]
    try:
        if as_json:
            _print_verdict(Job(load, arguments, report, timeout, sys.stderr))
        else:
            _judge_here(load, arguments, report)
    except (NotCarriedError, OSError, ValueError) as error:  # OSError: of a folder that cannot be written
        raise click.UsageError(str(error)) from None


def _refuse_a_second(kernel: str, arguments: Sequence[str]) -> None:
    """Refuse what names another kernel or framework among the arguments for pytest.

    Raises:
      click.UsageError: there is one.
    """
    for name, instead in _GIVEN_OTHERWISE.items():
        if any(argument.partition("=")[0] == name for argument in arguments):
            raise click.UsageError(f"{name} is given; {instead}.")
    if arguments and not arguments[0].startswith("-"):
        raise click.UsageError(f"{arguments[0]!r} is given beside {kernel!r}; allowed: one kernel.")


_GIVEN_OTHERWISE = {
    "--implementation": "the kernel is the argument of judge",
    "--backend": "the framework of a kernel is --like",
}
"""Options of pytest that would be taken in the place of the command's own."""


def _print_verdict(job: Job) -> None:
    """Print it as JSON, or what there is in its place, and end with its status."""
    _end_at_signals()
    try:
        verdict = job.verdict()
    except NotJudgedError as error:
        _end_without_verdict(str(error), error.status)
    except KeyboardInterrupt:
        _end_without_verdict("the run was interrupted", INTERRUPTED)
    print(verdict.to_json())
    sys.exit(status_of(verdict))


def _end_at_signals() -> None:
    """Take what ends a process for Ctrl-C, so that nothing is left behind; but for what is ignored, as by nohup."""
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt  # not by SIGINT, which is ignored in what a shell runs in the background


def _end_without_verdict(reason: str, status: int) -> NoReturn:
    print(json.dumps({"schema": SCHEMA, "verdict": None, "holds": False, "reason": reason}))
    sys.exit(status)


def _judge_here(load: Load, arguments: Sequence[str], report: Path | None) -> None:
    """Judge in this process, so that what is written is seen as `pytest suites/` writes it."""
    folder = report or new_folder()
    place = load.place(folder)
    written = [] if report is None else [f"--report={report}"]
    renamed = [argument.replace("--like=", "--backend=", 1) for argument in arguments]
    ran = _Ran()
    status = _run_tests([f"--implementation={place}", *renamed, *written], ran)
    if not status and not ran.tests:  # a gate must not take a list of tests for a verdict
        print("ERROR: nothing was judged; leave out what only lists tests, such as --collect-only, of PYTEST_ADDOPTS too")
        status = USAGE
    is_named = status and load.form is not None  # by the commands that run its failures again
    if report is None and not is_named:
        shutil.rmtree(folder)
    _end(status)


class _Ran:
    """A plugin of pytest that counts what it says of tests."""

    tests = 0

    def pytest_runtest_logreport(self) -> None:
        """Count it."""
        self.tests += 1


def _end(status: int) -> NoReturn:
    """End with a status, also where a thread of a kernel goes on, for which Python would wait."""
    if any(not thread.daemon for thread in threading.enumerate() if thread is not threading.main_thread()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def _run_tests(arguments: Sequence[str], *plugins: object) -> int:
    """The exit status of the suites."""
    import pytest

    os.environ["SOFTMAX_CE_COMMAND"] = "softmax-ce suite"  # what a failure tells to run again
    places = [f"--rootdir={TREE}", f"--config-file={TREE / 'pyproject.toml'}"]
    cache = f"--override-ini=cache_dir={Path.cwd() / '.pytest_cache' / 'softmax-ce'}"  # beside that of the user's own tests
    quiet = "--pythonwarnings=ignore::pytest.PytestAssertRewriteWarning"  # hypothesis is here before pytest
    return int(pytest.main([*places, cache, quiet, *arguments, str(TREE / "suites")], plugins))


@main.command(context_settings=_AS_GIVEN, add_help_option=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def report(arguments: tuple[str, ...]) -> None:
    """Show, compare, check or cite stored reports, or make a badge: `report --help`."""
    from suites.report.__main__ import main as run

    sys.exit(run(arguments, "softmax-ce report"))


@main.command(context_settings=_AS_GIVEN, add_help_option=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def sweep(arguments: tuple[str, ...]) -> None:
    """Ask a kernel at every number of a format: `sweep --help`."""
    try:
        from suites.sweep.__main__ import main as run
    except ModuleNotFoundError as error:  # without numba there is no sweep
        raise click.UsageError(str(error)) from error
    sys.exit(run(arguments, "softmax-ce sweep"))


@main.command()
@click.argument("step", type=click.Choice(["install", "conformance"]))
def ci(step: str) -> None:
    """Do a step of the CI recipes, by variables of the environment (ci/README.md)."""
    os.execvp("bash", ["bash", str(TREE / "ci" / f"{step}.sh")])


if __name__ == "__main__":
    main(prog_name="softmax-ce")
