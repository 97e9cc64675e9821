"""The package as a user has it: the built wheel in an environment of its own, and an empty folder to work in."""

import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.first_hour import files

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class User:
    """Types commands in `folder`; each must succeed at the first try."""

    folder: Path
    command: Path
    server: "subprocess.Popen[str]" = field(repr=False)

    def types(self, *words: str, **environment: str) -> str:
        """Run `bactrian WORDS`; returns what it printed.

        A process of the wheel's Python is forked for it that has imported torch already: only those seconds are spared.
        """
        log = self.folder / ".said"
        log.unlink(missing_ok=True)
        asked = {"arguments": words, "folder": str(self.folder), "log": str(log), "environment": environment}
        assert self.server.stdin is not None and self.server.stdout is not None
        self.server.stdin.write(json.dumps(asked) + "\n")
        self.server.stdin.flush()
        self.server.stdout.readline()  # its process id
        status, said = int(self.server.stdout.readline()), log.read_text() if log.exists() else ""
        assert status == 0, f"bactrian {' '.join(words)}\n{said}"
        return said


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=300)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="session")
def command(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`bactrian` of the wheel alone. Its dependencies are those of the tests, by a path; the checkout is on none."""
    home = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True, timeout=300)
    places = {"base": str(home), "platbase": str(home)}
    own = Path(sysconfig.get_path("purelib", scheme="venv", vars=places))
    ours = [sysconfig.get_paths()[each] for each in ("purelib", "platlib")]
    ours += [each for each in sys.path if Path(each).name == "site-packages"]  # and of what ours is laid upon
    (own / "dependencies.pth").write_text("\n".join(dict.fromkeys(ours)) + "\n")
    pip = [sys.executable, "-m", "pip", "--python", str(home / "bin" / "python"), "install"]
    subprocess.run([*pip, "--quiet", "--no-deps", "--no-index", str(wheel)], check=True, timeout=300)
    return home / "bin" / "bactrian"


@pytest.fixture(scope="session")
def server(command: Path, tmp_path_factory: pytest.TempPathFactory) -> "Iterator[subprocess.Popen[str]]":
    folder = tmp_path_factory.mktemp("server")
    hidden = ("PYTHONPATH", "BACTRIAN_EVAL_DATA")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    environment |= {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1", "BACTRIAN_NO_REEXEC": "1"}
    arguments = [str(command.parent / "python"), str(ROOT / "tests" / "stages" / "zygote.py"), str(folder / "log")]
    process = subprocess.Popen(
        arguments, cwd=folder, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    yield process
    process.kill()
    process.wait()


@pytest.fixture(scope="module")
def user(command: Path, server: "subprocess.Popen[str]", tmp_path_factory: pytest.TempPathFactory) -> User:
    """In a folder with a model and files of every kind, and nothing else."""
    folder = tmp_path_factory.mktemp("first-hour")
    files.write_all(folder)
    return User(folder, command, server)


@pytest.fixture
def newcomer(command: Path, server: "subprocess.Popen[str]", tmp_path: Path) -> Callable[[], User]:
    """In an empty folder."""
    return lambda: User(tmp_path, command, server)
