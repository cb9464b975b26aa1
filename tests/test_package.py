"""The installed package, in an environment of its own beside a foreign `adapters`: what is in it, and its command."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from suites.package.options import argument_list, options
from suites.package.place import TREE
from tests.command import ROOT
from tests.documents import ADAPTERS, SUITES

NAME = "softmax_ce_conformance"
KERNEL = ADAPTERS.block("python", "# my_numpy_kernel.py").text
RIGHT = "np.log(powers.sum(axis=1))"
WRONG = "np.log(powers.sum(axis=1) + 1e-6)"
NARROW = ("--dtype=float32", "--claim=stable", "-x")


@dataclass(frozen=True)
class Installed:
    """A wheel, and an environment that has it, numpy and a foreign package of the name `adapters`."""

    wheel: Path
    environment: Path
    folder: Path
    """That of a user, with a kernel that is right and one that is wrong."""

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """A command of the environment, in the user's folder."""
        return subprocess.run(
            [str(self.environment / "bin" / command[0]), *command[1:]],
            cwd=self.folder,
            env={"PATH": "/usr/bin:/bin", "COLUMNS": "100"},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=300,
            check=False,
        )


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    top = tmp_path_factory.mktemp("package")
    checkout, environment, folder = (top / name for name in ("checkout", "environment", "user"))
    # A copy: pip builds where the sources are, and leaves its files there.
    unwanted = shutil.ignore_patterns(".git", ".venv", "build", "reports", "*.egg-info", "__pycache__", ".*_cache")
    shutil.copytree(ROOT, checkout, ignore=unwanted)
    pip = [sys.executable, "-m", "pip"]
    subprocess.run([*pip, "wheel", "-q", "--no-deps", f"--wheel-dir={top}", str(checkout)], check=True)
    (wheel,) = top.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    pip[0] = str(environment / "bin" / "python")
    subprocess.run([*pip, "install", "-q", str(wheel), "-c", str(ROOT / "ci" / "constraints.txt")], check=True)
    (site,) = (environment / "lib").glob("python*/site-packages")
    (site / "adapters").mkdir()
    (site / "adapters" / "__init__.py").write_text("FOREIGN = True\n")
    folder.mkdir()
    (folder / "right.py").write_text(KERNEL)
    (folder / "wrong.py").write_text(KERNEL.replace(RIGHT, WRONG))
    assert RIGHT in KERNEL
    return Installed(wheel, environment, folder)


def test_one_name_is_installed_and_every_file_of_the_three_packages_is_below_it(installed: Installed) -> None:
    names = set(zipfile.ZipFile(installed.wheel).namelist())
    assert {name.split("/")[0].split("-")[0] for name in names} == {NAME}
    folders = [ROOT / folder for folder in ("adapters", "reference", "suites")]
    files = [path for folder in folders for path in folder.rglob("*") if path.suffix in {".py", ".toml", ".json", ".jinja"}]
    files += [ROOT / "pyproject.toml", *(ROOT / "ci" / "claims").iterdir()]
    own = ROOT / "suites" / "package"
    wanted = {f"{NAME}/tree/{path.relative_to(ROOT)}" for path in files if own not in path.parents}
    wanted |= {f"{NAME}/{path.name}" for path in own.glob("*.py")}
    assert len(wanted) > 250
    assert {name for name in names if name.startswith(f"{NAME}/")} == wanted


def test_a_right_kernel_passes(installed: Installed) -> None:
    done = installed.run("softmax-ce", "judge", "right.py:my_loss_and_gradient", "--like=numpy", *NARROW, "--report=told")
    assert done.returncode == 0, done.stdout
    assert "warning" not in done.stdout
    assert "every claim held that was tried" in done.stdout
    (report,) = (installed.folder / "told").glob("report-*.json")
    checked = installed.run("softmax-ce", "report", "validate", str(report))
    assert (checked.returncode, ": valid, " in checked.stdout) == (0, True)


def test_a_wrong_kernel_fails_and_its_command_fails_again(installed: Installed) -> None:
    done = installed.run("softmax-ce", "judge", "wrong.py:my_loss_and_gradient", "--like=numpy", *NARROW)
    assert done.returncode == 1, done.stdout
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("repro  : "))
    command = shlex.split(line.removeprefix("repro  : "))
    assert command[:2] == ["softmax-ce", "suite"]
    again = installed.run(*command)
    assert again.returncode == 1, again.stdout
    assert "what   : loss[0]" in again.stdout


def test_the_names_of_other_packages_are_left_to_them(installed: Installed) -> None:
    code = "import adapters, importlib.util as u; print(adapters.FOREIGN, u.find_spec('suites'), u.find_spec('reference'))"
    assert installed.run("python", "-c", code).stdout == "True None None\n"


@pytest.mark.parametrize(
    ("command", "status", "says"),
    [
        ("judge right.py:my_loss_and_gradient", 2, "Missing option '--like'"),
        ("judge none.py:f --like=numpy", 4, "there is no file 'none.py'; allowed: path/to/file.py:name"),
        ("judge right.py:f --like=numpy", 4, "right.py has no 'f'; it has: "),
        ("suite --backend=nunpy", 4, "the nearest is 'numpy'"),
        ("report show none.json", 2, "none.json"),
        ("sweep --backend=numpy", 2, "need the package 'numba', which is not installed"),
    ],
)
def test_what_cannot_be_used_is_said(installed: Installed, command: str, status: int, says: str) -> None:
    done = installed.run("softmax-ce", *command.split())
    assert done.returncode == status, done.stdout
    assert says in done.stdout
    assert "Traceback" not in done.stdout


def test_the_commands_have_every_option_of_the_suites() -> None:
    from suites.package.__main__ import judge, suite

    documented = [row[0] for row in SUITES.table("Options")]
    assert [option.opts[0] for option in options()] == documented
    assert {option for parameter in suite.params for option in parameter.opts} == set(documented)
    named = {"--backend": "--like", "--implementation": "kernel"}
    assert {option for parameter in judge.params for option in parameter.opts} == {named.get(o, o) for o in documented}


def test_options_are_handed_on_as_they_were_given() -> None:
    from suites.package.__main__ import suite

    with suite.make_context("suite", ["--backend=torch", "--isolate", "--case", "a b", "-x", "-n", "2"]) as context:
        assert sorted(argument_list(suite, context.params)) == ["--backend=torch", "--case=a b", "--isolate"]
        assert context.args == ["-x", "-n", "2"]


def test_a_checkout_is_its_own_tree() -> None:
    assert TREE == ROOT
