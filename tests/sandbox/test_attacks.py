"""No attack gets out, none passes, none stops the run, none leaves anything behind; and the attacks have teeth."""

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sandbox.walls import WORKING

from bactrian.cli.main import invoke
from bactrian.sandbox import WEAK, Isolation
from bactrian.sandbox.attacks.escapes import ESCAPES
from bactrian.sandbox.attacks.forgeries import FORGERIES
from bactrian.sandbox.attacks.naive import fooled
from bactrian.sandbox.attacks.siege import ATTACKS, FORGED, SUITE, Bait, bait, besiege, left_behind, perform
from bactrian.sandbox.attacks.tasks import TASKS
from bactrian.sandbox.examination import examine
from bactrian.sandbox.limits import Limits
from tests.draws import drawn_seed

SLOW = {"time and signals that are not heeded", "sleeping through"}
SEEN = [
    "StopIteration in map",
    "StopIteration in map, in check",
    "an exception's name for all of them",
    "swallowing a visitor's assertion",
    "hanging where an exception is expected",
    "a Counter of its own",
    "abs of its own",
    "has as many as are asked for",
]
"""Forgeries that passed, or would pass if what was mended for them were undone."""
FOOLING = [
    "StopIteration in map",
    "equal from the right",
    "a context that swallows",
    "isclose of its own",
    "emptying the list that is sorted",
    "swallowing a visitor's assertion",
    "a mock of anything",
]
NAIVE = "\n{program}\n\n{tests}\nprint('all tests passed')\n"
FOOLED = {
    "leaving with status 0": lambda run: run.returncode == 0,
    "equal to everything": lambda run: "all tests passed" in run.stdout,
    "a number equal to every number": lambda run: "all tests passed" in run.stdout,
    "printing success": lambda run: '"passed": 3' in run.stdout,
}


def test_the_set_is_large_and_its_names_are_distinct() -> None:
    assert len({*ATTACKS}) == len(ATTACKS) == len(ESCAPES) + len(FORGERIES) + len(FORGED)
    assert len(FORGED) >= 100


def test_one_attack_in_five_is_contained(strong: Isolation) -> None:
    names = [name for name in (*ESCAPES, *FORGERIES) if name not in SLOW][::5]
    results = list(besiege(strong, names))
    assert [result.attack for result in results] == names
    assert not [result for result in results if result.holes]


@pytest.mark.slow
def test_all_attacks_are_contained(strong: Isolation) -> None:
    results = list(besiege(strong))
    assert len(results) == len(ATTACKS)
    assert not [result for result in results if result.holes]


def test_forgeries_of_each_kind_are_not_taken_for_right(strong: Isolation) -> None:
    names = [*SEEN, *[name for name in FORGED if name not in SEEN][::9]]
    results = list(besiege(strong, names))
    assert {result.attack for result in results} == {*names}
    assert not [result for result in results if result.holes]


@pytest.mark.parametrize("task", TASKS)
def test_honest_programs_pass_the_tests_that_forgeries_are_put_to(task: str, strong: Isolation) -> None:
    report = examine(TASKS[task].honest, TASKS[task].suite, strong, Limits(wall=10.0))
    assert report.all_passed, report


@pytest.mark.parametrize("name", FOOLING)
def test_a_judge_without_a_wall_between_is_fooled(name: str, strong: Isolation) -> None:
    task, program = FORGED[name]
    assert fooled(program, TASKS[task].suite, strong)


@pytest.mark.slow
def test_most_forgeries_fool_a_judge_without_a_wall_between(strong: Isolation) -> None:
    taken = [name for name, (task, program) in FORGED.items() if fooled(program, TASKS[task].suite, strong)]
    assert len(taken) >= 100


@pytest.mark.slow
@pytest.mark.parametrize("part", [3, pytest.param(1, marks=pytest.mark.heavy)])
@pytest.mark.parametrize("other", WORKING[1:], ids=lambda each: each.name)
def test_attacks_are_contained_by_the_other_tool(other: Isolation, part: int) -> None:
    """A third of them, other ones in each run; under `-m heavy` all."""
    names = [name for name in ATTACKS if name not in SLOW]
    names = random.Random(drawn_seed()).sample(names, len(names) // part)
    results = list(besiege(other, names))
    assert {result.attack for result in results} == {*names}
    assert not [result for result in results if result.holes]


@pytest.mark.parametrize("name", FOOLED)
def test_a_runner_in_one_process_is_fooled(name: str) -> None:
    program = NAIVE.format(program=FORGERIES[name], tests="\n".join(SUITE.tests))
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert FOOLED[name](run)


def test_without_walls_the_bait_is_found() -> None:
    """The siege sees an escape where there is one: an attack that only reads, under limits alone."""
    with bait() as laid:
        attacks = {attack.name: attack for attack in laid.attacks()}
        assert any("got out" in hole for hole in perform(attacks["the machine's files"], WEAK, laid).holes)


def test_no_attack_is_run_without_walls() -> None:
    with pytest.raises(ValueError, match="rlimits only"):
        list(besiege(WEAK))


def test_touched_bait_is_seen(tmp_path: Path) -> None:
    laid = Bait(tmp_path)
    assert laid.touched() == []
    (tmp_path / "new").touch()
    laid.process.kill()
    laid.process.wait()
    assert laid.touched() == ["a process outside was ended", "files outside were changed"]
    laid.close()


def test_a_process_left_behind_is_seen() -> None:
    from bactrian.sandbox.process import MARK

    left = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", MARK])
    until = time.monotonic() + 10  # a process has no command line yet while it is being started
    try:
        while not (found := left_behind(patience=0.0)) and time.monotonic() < until:
            time.sleep(0.01)
        assert found == [f"left process {left.pid}"]
    finally:
        left.kill()
        left.wait()
    assert left_behind() == []


def test_commands(strong: Isolation, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program = tmp_path / "p.py"
    program.write_text("print(int(input()) * 2, '\\x1b[31m')")
    (tmp_path / "in").write_text("21")
    assert invoke(["sandbox", "run", str(program), "--stdin", str(tmp_path / "in")]) == 0
    said = capsys.readouterr()
    assert said.out == "42 \\x1b[31m\n"
    assert strong.name in said.err
    program.write_text("1 / 0")
    assert invoke(["sandbox", "run", str(program)]) == 1
    assert "ZeroDivisionError" in capsys.readouterr().err
    assert invoke(["sandbox", "check", "loopback"]) == 0
    assert "1 attacks, 1 contained" in capsys.readouterr().out
    assert invoke(["sandbox", "check", "lopback"]) == 2
    assert "did you mean 'loopback'" in capsys.readouterr().err
