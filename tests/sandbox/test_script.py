"""Programs as scripts: what they print, how they end, and that nothing of them stays."""

import pytest

from bactrian.errors import BactrianError
from bactrian.sandbox import WEAK, Isolation, Limits, chosen_isolation, problem_with, run_program, selection, used, want
from bactrian.sandbox import isolation as tools
from bactrian.sandbox.attacks.siege import mounts
from bactrian.sandbox.choice import strongest, weak

QUICK = Limits(wall=3.0, cpu=2)


def test_reads_and_prints(isolation: Isolation) -> None:
    run = run_program("import sys\nprint(sum(map(int, sys.stdin)), input.__name__)", isolation, "1\n2\n", QUICK)
    assert (run.ended, run.output, run.status) == ("finished", "3 input\n", 0)


def test_input_works_line_by_line(strong: Isolation) -> None:
    assert run_program("print(input() + input())", strong, "a\nä", QUICK).output == "aä\n"


def test_an_exception_is_told(isolation: Isolation) -> None:
    run = run_program("print('so far')\n1 / 0", isolation, limits=QUICK)
    assert (run.ended, run.output) == ("failed", "so far\n")
    assert run.error.endswith("ZeroDivisionError: division by zero")


@pytest.mark.parametrize(
    "program, ended",
    [
        ("raise SystemExit(0)", "finished"),
        ("raise SystemExit(3)", "failed"),
        ("import os; os._exit(0)", "finished"),
        ("import os; os.abort()", "killed"),
        ("import time; time.sleep(60)", "timed_out"),
        ("import os, time; os.close(1); os.close(2); time.sleep(60)", "timed_out"),
        ("while True: print('x' * 1000)", "flooded"),
        ("while True: pass", "killed"),
        ("x = 'x' * 10 ** 10", "failed"),
    ],
)
def test_how_programs_end(program: str, ended: str, isolation: Isolation) -> None:
    burning = program == "while True: pass"
    limits = Limits(wall=20.0, cpu=1) if burning else Limits(wall=2.0)
    run = run_program(program, isolation, limits=limits)
    assert run.ended == ended, run
    assert len(run.output) <= limits.output


def test_two_runs_share_nothing(strong: Isolation) -> None:
    assert run_program("open('left', 'w').write('x')", strong, limits=QUICK).ended == "finished"
    assert run_program("import os; print(os.listdir())", strong, limits=QUICK).output == "[]\n"


def test_hashes_are_the_same_in_each_run(strong: Isolation) -> None:
    program = "print({str(i) for i in range(20)}, hash('x'))"
    assert run_program(program, strong, limits=QUICK).output == run_program(program, strong, limits=QUICK).output


def test_without_isolation_nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools.shutil, "which", lambda name: None)
    strongest.cache_clear()
    try:
        want("isolated")
        with pytest.raises(BactrianError, match="apt-get install bubblewrap"):
            chosen_isolation()
        assert used() is None
    finally:
        strongest.cache_clear()


def test_a_tool_that_makes_no_walls_is_refused_before_anything_is_mounted(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says that it isolates and does not: what runs inside sees that it is on the machine itself, and stops."""
    sham = Isolation("bubblewrap that does nothing", WEAK.command)
    before = mounts()
    monkeypatch.setattr(selection, "tools", lambda: [sham])
    strongest.cache_clear()
    try:
        with pytest.raises(BactrianError, match="refused: this is not a sandbox"):
            chosen_isolation()
    finally:
        strongest.cache_clear()
    assert mounts() == before


def test_the_probe_finds_limits_alone_wanting() -> None:
    assert problem_with(WEAK) is not None


def test_limits_alone_must_be_asked_for_and_are_named() -> None:
    try:
        weak()
    except BactrianError as error:
        pytest.skip(str(error))
    want("rlimits")
    try:
        assert run_program("print(1)", chosen_isolation(), limits=QUICK).output == "1\n"
        assert used() == "rlimits only"
    finally:
        want("isolated")
    assert used() is None


def test_without_walls_nobody_is_root_and_nobody_sends_signals() -> None:
    program = "import os\nprint(os.getuid() == 0)\ntry: os.kill(os.getppid(), 0); print('sent')\nexcept OSError: pass"
    assert run_program(program, WEAK, limits=QUICK).output == "False\n"
