"""The installed package, in an environment of its own beside a foreign `adapters`: what is in it, and its command."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from suites.package.options import argument_list, options
from suites.package.place import TREE
from tests.command import ROOT
from tests.documents import ADAPTERS, README, SUITES

NAME = "softmax_ce_conformance"
KERNEL = ADAPTERS.block("python", "# my_numpy_kernel.py").text
RIGHT = "np.log(powers.sum(axis=1))"
WRONG = "np.log(powers.sum(axis=1) + 1e-6)"
CALLS = """
import sys
import numpy as np
from softmax_ce_conformance import assert_reaches, judge
from right import my_loss_and_gradient

found = judge(lambda x, y: my_loss_and_gradient(x, y), "numpy", claim="stable", dtypes="float32", case="absorption/gap-20")
logits = np.zeros((1, 2), dtype=np.float32)
assert_reaches("accurate", logits, [0], loss=np.array([np.log(2)], dtype=np.float32))
print(found.name, {"adapters", "suites", "reference"} & set(sys.modules))
"""
"""What is run in Python."""

NARROW = ("--dtype=float32", "--claim=stable", "-x")
GATE = {
    "IMPLEMENTATION": "package.kernels:my_loss_and_gradient",
    "DTYPES": "float32",
    "CLAIM": "stable",
    "NAME": "of_ours",
    "PYTEST_ADDOPTS": "--case=absorption/*",
}
"""Variables of the steps of a recipe."""


@dataclass(frozen=True)
class Installed:
    """A wheel, and an environment that has it, numpy and a foreign package of the name `adapters`."""

    wheel: Path
    environment: Path
    folder: Path
    """That of a user, with a kernel that is right and one that is wrong."""

    def run(self, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """A command of the environment, in the user's folder."""
        return subprocess.run(
            [str(self.environment / "bin" / command[0]), *command[1:]],
            cwd=self.folder,
            env={"PATH": f"{self.environment / 'bin'}:/usr/bin:/bin", "COLUMNS": "100"} | variables,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=300,
            check=False,
        )


def copied(checkout: Path) -> None:
    """A copy of the checkout: pip builds where the sources are, and leaves its files there."""
    unwanted = shutil.ignore_patterns(".git", ".venv", "build", "reports", "*.egg-info", "__pycache__", ".*_cache")
    shutil.copytree(ROOT, checkout, ignore=unwanted)


def environment_with(folder: Path, interpreter: str, place: str) -> Path:
    """A new environment into which a place is installed, with a foreign package of the name `adapters`."""
    subprocess.run([interpreter, "-m", "venv", str(folder)], check=True)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "-q"]
    subprocess.run([*pip, place, "-c", str(ROOT / "ci" / "constraints.txt")], check=True)
    (site,) = (folder / "lib").glob("python*/site-packages")
    (site / "adapters").mkdir()
    (site / "adapters" / "__init__.py").write_text("FOREIGN = True\n")
    return folder


def write_kernels(folder: Path) -> None:
    """One that is right and one that is wrong."""
    assert RIGHT in KERNEL
    (folder / "right.py").write_text(KERNEL)
    (folder / "wrong.py").write_text(KERNEL.replace(RIGHT, WRONG))


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    top = tmp_path_factory.mktemp("package")
    checkout, folder = top / "checkout", top / "user"
    copied(checkout)
    wheel = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", f"--wheel-dir={top}", str(checkout)]
    subprocess.run(wheel, check=True)
    (wheel_file,) = top.glob("*.whl")
    environment = environment_with(top / "environment", sys.executable, str(wheel_file))
    folder.mkdir()
    write_kernels(folder)
    return Installed(wheel_file, environment, folder)


def python(version: str) -> str:
    """An interpreter of a version, on the path or beside this one; the test is skipped where there is none."""
    beside = map(str, sorted(Path(sys.base_prefix).parent.glob(f"{version}.*/bin/python3")))
    for found in (shutil.which(f"python{version}"), *beside):
        if found and subprocess.run([found, "-c", ""], capture_output=True, check=False).returncode == 0:
            return found
    pytest.skip(f"there is no Python {version} here")


@pytest.mark.parametrize(("version", "source"), [("3.12", "git"), ("3.13", "sdist")])
def test_it_is_installed_from_its_sources_by_other_versions_of_python(version: str, source: str, tmp_path: Path) -> None:
    """From the address of a repository, and from a source distribution; on the command line and in Python."""
    checkout, interpreter = tmp_path / "checkout", python(version)
    copied(checkout)
    if source == "git":
        author = ("-c", "user.name=somebody", "-c", "user.email=somebody@example.org")
        for arguments in (["init", "-q"], ["add", "-A"], [*author, "commit", "-q", "-m", "all of it"]):
            subprocess.run(["git", *arguments], cwd=checkout, check=True)
        place = f"git+{checkout.as_uri()}"
    else:
        build = "from setuptools.build_meta import build_sdist; print(build_sdist('..'))"
        subprocess.run([sys.executable, "-c", build], cwd=checkout, check=True, stdout=subprocess.DEVNULL)
        (archive,) = tmp_path.glob("*.tar.gz")
        place = str(archive)
    made = environment_with(tmp_path / "environment", interpreter, place)
    installed = Installed(Path(), made, tmp_path)
    write_kernels(tmp_path)
    narrow = ("--like=numpy", "--dtype=float32", "--claim=stable", "--case=absorption/*", "--json")
    for kernel, status in (("right", 0), ("wrong", 1)):
        done = installed.run("softmax-ce", "judge", f"{kernel}.py:my_loss_and_gradient", *narrow)
        assert done.returncode == status, done.stdout
    assert installed.run("python", "-c", CALLS).stdout == "REDUCED set()\n"


def test_one_name_is_installed_and_every_file_of_the_three_packages_is_below_it(installed: Installed) -> None:
    names = set(zipfile.ZipFile(installed.wheel).namelist())
    assert {name.split("/")[0].split("-")[0] for name in names} == {NAME}
    folders = [ROOT / folder for folder in ("adapters", "reference", "suites")]
    files = [path for folder in folders for path in folder.rglob("*") if path.suffix in {".py", ".toml", ".json", ".jinja"}]
    scripts = [ROOT / "ci" / name for name in ("install.sh", "conformance.sh")]
    files += [ROOT / "pyproject.toml", *scripts, *(ROOT / "ci" / "claims").iterdir()]
    own = ROOT / "suites" / "package"
    wanted = {f"{NAME}/tree/{path.relative_to(ROOT)}" for path in files if own not in path.parents}
    wanted |= {f"{NAME}/{path.name}" for path in (*own.glob("*.py"), own / "py.typed")}
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


def test_a_kernel_of_torch_passes(installed: Installed) -> None:
    """With the PyTorch of this environment behind the packages of the other."""
    pytest.importorskip("torch")
    (installed.folder / "of_torch.py").write_text(README.block("python", "# my_kernel.py").text)
    (site,) = (installed.environment / "lib").glob("python*/site-packages")
    (site / "torch_of_the_other.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    try:
        done = installed.run(
            "softmax-ce", "judge", "of_torch.py:my_cross_entropy", "--like=torch", *NARROW, "--case=absorption/*"
        )
        assert done.returncode == 0, done.stdout
        assert "tree/suites/test_cases.py" in done.stdout
    finally:
        (site / "torch_of_the_other.pth").unlink()


def test_the_steps_of_the_recipes_run(installed: Installed) -> None:
    """By variables, in the folder of a user who has a file named as one of our packages."""
    (theirs := installed.folder / "theirs" / "package").mkdir(parents=True)
    (theirs.parent / "suites.py").write_text("raise RuntimeError")
    shutil.copy(installed.folder / "right.py", theirs / "kernels.py")
    for step, says in (("install", ""), ("conformance", "REDUCED: ")):
        done = replace(installed, folder=theirs.parent).run("softmax-ce", "ci", step, **GATE)
        assert (done.returncode, says in done.stdout) == (0, True), done.stdout
    assert (theirs.parent / "reports" / "of_ours" / "summary.md").is_file()


def test_a_wrong_kernel_fails_and_its_command_fails_again(installed: Installed) -> None:
    done = installed.run("softmax-ce", "judge", "wrong.py:my_loss_and_gradient", "--like=numpy", *NARROW)
    assert done.returncode == 1, done.stdout
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("repro  : "))
    command = shlex.split(line.removeprefix("repro  : "))
    assert command[:2] == ["softmax-ce", "suite"]
    again = installed.run(*command)
    assert again.returncode == 1, again.stdout
    assert "what   : loss[0]" in again.stdout


def test_the_calls_and_the_plugin_work(installed: Installed) -> None:
    assert installed.run("python", "-c", CALLS).stdout == "REDUCED set()\n"
    assert "@pytest.mark.softmax_ce(**options): options of assert_conforms" in installed.run("pytest", "--markers").stdout


def test_a_shell_can_complete_the_command(installed: Installed) -> None:
    said = subprocess.run(
        [str(installed.environment / "bin" / "softmax-ce")],
        env={"_SOFTMAX_CE_COMPLETE": "bash_source", "PATH": "/usr/bin:/bin"},
        text=True,
        capture_output=True,
        check=False,
    )
    assert "complete -o nosort -F _softmax_ce_completion softmax-ce" in said.stdout


def test_the_names_of_other_packages_are_left_to_them(installed: Installed) -> None:
    code = "import adapters, importlib.util as u; print(adapters.FOREIGN, u.find_spec('suites'), u.find_spec('reference'))"
    assert installed.run("python", "-c", code).stdout == "True None None\n"


@pytest.mark.parametrize(
    ("command", "status", "says"),
    [
        ("judge right.py:my_loss_and_gradient", 4, "Missing option '--like'"),
        ("judge right.py:my_loss_and_gradient --like=numpy --timeout=5", 4, "--timeout is given without --json"),
        ("judge right.py --form=kernel", 4, "form: 'kernel' is not known; allowed: kernelbench"),
        ("judge none.py:f --like=numpy", 4, "there is no file 'none.py'; allowed: path/to/file.py:name"),
        ("judge right.py:f --like=numpy", 4, "right.py has no 'f'; it has: "),
        ("suite --backend=nunpy", 4, "the nearest is 'numpy'"),
        ("suite --backend=torch", 4, "get it with: pip install 'softmax-ce-conformance[torch]'"),
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
    own = {"--form", "--json", "--timeout"}
    assert {option for parameter in judge.params for option in parameter.opts} == {named.get(o, o) for o in documented} | own


def test_options_are_handed_on_as_they_were_given() -> None:
    from suites.package.__main__ import suite

    with suite.make_context("suite", ["--backend=torch", "--isolate", "--case", "a b", "-x", "-n", "2"]) as context:
        assert sorted(argument_list(suite, context.params)) == ["--backend=torch", "--case=a b", "--isolate"]
        assert context.args == ["-x", "-n", "2"]


def test_a_checkout_is_its_own_tree() -> None:
    assert TREE == ROOT
