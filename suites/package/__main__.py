"""The command `softmax-ce`: judges a kernel or a framework, and works with reports and sweeps."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import rich_click as click

from .options import argument_list, options
from .place import TREE, find

find()  # the options of the commands below are read from there

_AS_GIVEN: dict[str, Any] = {"ignore_unknown_options": True}
_REST: dict[str, Any] = {**_AS_GIVEN, "allow_extra_args": True}
_EPILOG = "Other options go to pytest as they are: -x stops at the first failure, -n 2 takes two processes."


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
@main.command(context_settings=_REST, epilog=_EPILOG)
@click.pass_context
def suite(context: click.Context, /, **given: Any) -> None:
    """Judge all operations of a framework. It is `pytest suites/` of a checkout."""
    _run_tests([*argument_list(context.command, given), *context.args])


@_with_options("backend", "implementation", "effort")
@main.command(context_settings=_REST, epilog=_EPILOG)
@click.argument("kernel")
@click.option("--like", metavar="NAME", required=True, help="the framework whose tensors it takes: --backend of 'suite'")
@click.option("--effort", default="quick", help="how many problems are generated (default: quick)")
@click.pass_context
def judge(context: click.Context, /, kernel: str, like: str, effort: str, **given: Any) -> None:
    """Judge a kernel of yours.

    KERNEL is path/to/file.py:function or package.module:function.
    """
    of_kernel = [f"--backend={like}", f"--implementation={kernel}", f"--effort={effort}"]
    _run_tests([*of_kernel, *argument_list(context.command, given), *context.args])


def _run_tests(arguments: Sequence[str]) -> None:
    import pytest

    os.environ["SOFTMAX_CE_COMMAND"] = "softmax-ce suite"  # what a failure tells to run again
    places = [f"--rootdir={TREE}", f"--config-file={TREE / 'pyproject.toml'}"]
    cache = f"--override-ini=cache_dir={Path.cwd() / '.pytest_cache'}"
    quiet = "--pythonwarnings=ignore::pytest.PytestAssertRewriteWarning"  # hypothesis is here before pytest
    sys.exit(pytest.main([*places, cache, quiet, *arguments, str(TREE / "suites")]))


@main.command(context_settings=_AS_GIVEN, add_help_option=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def report(arguments: tuple[str, ...]) -> None:
    """Show, compare, check or cite stored reports: `report --help`."""
    from suites.report.__main__ import main as run

    sys.exit(run(arguments))


@main.command(context_settings=_AS_GIVEN, add_help_option=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def sweep(arguments: tuple[str, ...]) -> None:
    """Ask a kernel at every number of a format: `sweep --help`."""
    try:
        from suites.sweep.__main__ import main as run
    except ModuleNotFoundError as error:  # without numba there is no sweep
        raise click.UsageError(str(error)) from error
    sys.exit(run(arguments))


if __name__ == "__main__":
    main(prog_name="softmax-ce")
