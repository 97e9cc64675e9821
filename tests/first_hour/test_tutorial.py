"""Every command of docs/tutorial.md, in its order, from an empty folder, on a third of its rows."""

import re
import shlex
import subprocess
from collections.abc import Callable

import pytest

from tests.documents import ROOT, blocks, commands
from tests.first_hour.conftest import User


def fewer_rows(program: str) -> str:
    """make.py, with 32 rows to train on and 12 of an exam in place of 96 and 32."""
    for number, smaller, times in (("128", "44", 1), ("96", "32", 2)):
        assert program.count(number) == times
        program = program.replace(number, smaller)
    return program


@pytest.mark.slow
def test_the_tutorial(newcomer: Callable[[], User]) -> None:
    user, said = newcomer(), dict[str, str]()
    for block in blocks(ROOT / "docs" / "tutorial.md"):
        if block.language in ("python", "yaml"):
            name = block.text.splitlines()[0].removeprefix("# ")
            (user.folder / name).write_text(fewer_rows(block.text) if name == "make.py" else block.text)
            continue
        for line in commands(block.text):
            program, *words = shlex.split(line)
            if program == "pip":
                continue  # what it installs is there
            if program == "python":
                python = user.command.parent / "python"
                subprocess.run([str(python), *words], cwd=user.folder, check=True, timeout=60)
            else:
                said[line] = user.types(*words)
    tuned = next(text for line, text in said.items() if line.startswith("bactrian eval base=") and "tuned=" in line)
    assert re.search(r"base.*tuned|tuned.*base", tuned, re.DOTALL)
    for made in ("runs/sums/report.html", "board.html", "tuned/README.md", "tuned/model.safetensors"):
        assert (user.folder / made).is_file()
    again = user.types(*shlex.split(next(line for line in said if line.startswith("bactrian sft")))[1:])
    assert "nothing to make" in again
