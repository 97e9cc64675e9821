"""The command line: options from fields, messages without tracebacks, and no torch where none is needed."""

import json
import os
import re
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bactrian import progress
from bactrian.cli import main as cli
from bactrian.cli.main import commands, invoke
from bactrian.cli.stage_command import one_step_recipe
from bactrian.recipe.recipe import Recipe, load

RECIPE = "name: small\nsteps:\n  data: {stage: letters}\n  sft: {stage: blend, data: data}\n"
REPOSITORY = Path(__file__).parent.parent


def python(*arguments: str, bytecode: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "BACTRIAN_NO_REEXEC": "1"}
    if bytecode is not None:  # compiled modules are kept, as in any installation
        environment |= {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(bytecode)}
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=environment)


def best_seconds(bytecode: Path, *arguments: str) -> float:
    """Processor time, the best of three, the first of which compiles: other work on the machine only ever adds."""
    times = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert python(*arguments, bytecode=bytecode).returncode == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(times)


HEAVY = "{'torch', 'transformers', 'pyarrow', 'numpy', 'scipy'}"


def test_importing_is_quick_and_loads_nothing_heavy(tmp_path: Path) -> None:
    assert python("-c", f"import sys, bactrian; assert not {HEAVY} & set(sys.modules)").returncode == 0
    assert best_seconds(tmp_path, "-c", "import bactrian") < 0.3


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["show", "--help"]])
def test_help_is_quick_and_loads_nothing_heavy(arguments: list[str], tmp_path: Path) -> None:
    check = (
        f"import sys\nfrom bactrian.cli.main import invoke\nstatus = invoke({arguments})\n"
        f"print(sorted({HEAVY} & set(sys.modules)), status, file=sys.stderr)"
    )
    assert python("-c", check).stderr.strip() == "[] 0"
    alone = best_seconds(tmp_path, "-c", "import click, pydantic")  # a slow machine is slow at these too
    assert best_seconds(tmp_path, "-m", "bactrian", *arguments) < max(0.5, 6 * alone)


def test_every_real_stage_has_a_command_that_loads_nothing_heavy() -> None:
    check = (
        "import sys\nfrom bactrian.cli.main import invoke\nfrom bactrian.stages import all_stages\n"
        "assert all(invoke([name, '--help']) == 0 for name in all_stages())\n"
        f"assert not {HEAVY} & set(sys.modules)"
    )
    result = python("-c", check)
    assert result.returncode == 0, result.stderr


def test_help_lists_stages_and_their_fields(fakes: list[str]) -> None:
    top = CliRunner().invoke(commands, ["--help"]).output
    assert all(name in top for name in ("run", "plan", "show", "report", "chat", "sft", "rlvr", "compare"))
    blend = " ".join(CliRunner().invoke(commands, ["blend", "--help"]).output.split())
    assert "--learning-rate NUMBER how fast [default: 0.5]" in blend and "--shuffle / --no-shuffle" in blend
    assert "--data TEXT [required]" in blend and "--store" in blend and "--name" in blend and "--set" in blend


def test_a_recipe_runs_plans_and_shows(fakes: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    Path("r.yaml").write_text(RECIPE)
    assert invoke(["plan", "r.yaml"]) == 0
    assert "2 of 2 to make" in capsys.readouterr().out
    assert invoke(["run", "r.yaml", "--set", "data.count=4"]) == 0 and fakes == ["letters", "blend"]
    assert invoke(["plan", "r.yaml", "--set", "data.count=4"]) == 0
    assert "0 of 2 to make" in capsys.readouterr().out
    for name in (["sft", "--run", "small"], ["blend-"], [str(next(Path("runs/artifacts").glob("blend-*")))]):
        assert invoke(["show", *name]) == 0
        assert "model, by step sft, stage blend" in capsys.readouterr().out
    assert invoke(["show", "data", "--run", "small", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["settings"]["count"] == 4


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["show", "nothing"], 'error: "nothing": found no artifact'),
        (["show", "x", "--run", "small"], "no run named small"),
        (["run", "no.yaml"], "error: no.yaml: found no such file, expected a recipe file"),
        (["run", "r.yaml", "--only", "no"], 'found no step "no"'),
        (["run", "r.yaml", "--set", "sft.lr=1"], "error: --set sft.lr=1"),
        (["rnu", "r.yaml"], 'did you mean "run"?'),
        (["blend"], 'field "data": found nothing'),
        (["blend", "--data", "nowhere"], "error: --data nowhere"),
        (["blend", "--data", "r.yaml", "--learning-rate", "fast"], '--learning-rate fast, step "blend"'),
        (["blend", "--data", "r.yaml", "--loss", "simp"], "expected 'dpo' or 'simpo'"),
        (["letters", "--set", "cuont=3"], "--set cuont=3"),
    ],
)
def test_bad_input_is_a_message_and_status_2(
    fakes: list[str], capsys: pytest.CaptureFixture[str], arguments: list[str], part: str
) -> None:
    Path("r.yaml").write_text(RECIPE)
    assert invoke(arguments) == 2
    error = capsys.readouterr().err
    assert part in error and "Traceback" not in error


def test_hostile_text_in_a_message_steers_nothing(fakes: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    Path("r.yaml").write_text(RECIPE.replace("stage: letters", "stage: letters, trouble: input"))
    assert invoke(["run", "r.yaml"]) == 2
    error = capsys.readouterr().err
    assert "\x1b" not in error and r"\x1b[31m[red]" in error


def test_a_bug_names_the_step_then_shows_the_traceback(fakes: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    Path("r.yaml").write_text(RECIPE.replace("stage: letters", "stage: letters, trouble: bug"))
    assert invoke(["run", "r.yaml"]) == 1
    error = capsys.readouterr().err
    named, trace = error.index('bactrian failed while making step "data" (stage letters)'), error.index("Traceback")
    assert named < trace and "ZeroDivisionError: a bug" in error


def test_a_stage_is_a_command(fakes: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    recipes: list[tuple[Recipe, Path]] = []
    monkeypatch.setattr(cli, "_run_recipe", lambda recipe, store: recipes.append((recipe, store)))
    Path("rows").mkdir()
    Path("base").mkdir()
    arguments = [
        "--data",
        "rows",
        "--model",
        "base",
        "--no-shuffle",
        "--learning-rate",
        "1e-4",
        "--seed",
        "3",
        "--name",
        "mine",
        "--store",
        "there",
        "--set",
        "steps=2",
        "--more",
        "[{data: rows, weight: 2}]",
    ]
    assert invoke(["blend", *arguments]) == 0
    ((recipe, store),) = recipes
    assert (recipe.name, recipe.seed, store) == ("mine", 3, Path("there"))
    assert recipe.steps[0].stage.model_dump() == {
        "seed": None,
        "data": "rows",
        "model": "base",
        "more": [{"data": "rows", "weight": 2.0}],
        "learning_rate": 1e-4,
        "loss": "dpo",
        "shuffle": False,
        "turns": [],
        "steps": 2,
        "seconds": None,
    }


def test_lists_repeat_or_are_separated_by_commas(fakes: list[str]) -> None:
    import fake_stages

    for name in "abc":
        Path(name).mkdir()
    given = [("a", "b", "c"), ("a,b", "c"), ("a, b, c",), ("[a, b, c]",)]
    stages = [one_step_recipe(fake_stages.Compare, {"models": models}, "x", 0).steps[0].stage for models in given]
    assert all(stage.model_dump()["models"] == ["a", "b", "c"] for stage in stages)
    tasks = one_step_recipe(fake_stages.Compare, {"models": ("a",), "tasks": "{sums: b}"}, "x", 0).steps[0].stage
    assert tasks.model_dump()["tasks"] == {"sums": "b"}


def test_a_stage_command_runs_and_keeps_what_it_made(fakes: list[str]) -> None:
    assert invoke(["letters", "--count", "2"]) == 0 and invoke(["letters", "--count", "2"]) == 0
    assert fakes == ["letters"] and Path("runs/letters/run.json").is_file()


def test_the_process_starts_over_once_with_the_allocator_s_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[dict[str, str]] = []
    monkeypatch.setattr(os, "execve", lambda path, arguments, environment: started.append(environment))
    monkeypatch.setattr(cli, "_has_glibc", lambda: True)
    for arguments in (["plan", "x"], ["--help"], ["run", "--help"], ["show", "x"], []):
        cli._keep_freed_memory(arguments, {})
    assert started == []
    cli._keep_freed_memory(["run", "x"], {"A": "1"})
    assert started[0].items() >= {"A": "1", "MALLOC_MMAP_MAX_": "0", "MALLOC_TOP_PAD_": "268435456"}.items()
    cli._keep_freed_memory(["run", "x"], started[0])
    cli._keep_freed_memory(["run", "x"], {"MALLOC_TOP_PAD_": "1"})
    cli._keep_freed_memory(["run", "x"], {"BACTRIAN_NO_REEXEC": "1"})
    assert len(started) == 1


def test_waiting_threads_sleep_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "invoke", lambda arguments: 0)
    monkeypatch.setattr(cli, "_keep_freed_memory", lambda arguments: None)
    for given, expected in (({}, "1000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, None)):
        environment = dict(given)
        monkeypatch.setattr(os, "environ", environment)
        with pytest.raises(SystemExit):
            cli.main()
        assert environment.get("GOMP_SPINCOUNT") == expected


def test_starting_over_keeps_arguments_and_status(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "BACTRIAN_NO_REEXEC"}
    environment["PYTHONPATH"] = str(REPOSITORY)
    result = subprocess.run(
        [sys.executable, "-m", "bactrian", "run", "a b.yaml"],
        capture_output=True,
        text=True,
        env=environment,
        cwd=tmp_path,
    )
    assert result.returncode == 2 and "a b.yaml: found no such file" in result.stderr


def test_a_bar_away_from_a_terminal_is_a_few_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 1000, 4))
    monkeypatch.setattr(time, "monotonic", lambda: float(next(clock)))
    with progress.progress("rlvr · [grpo]\x1b", total=20, done=5) as bar:
        for step in range(15):
            bar.advance(1, loss=1 / (step + 1), tokens_per_second=12345.6)
    lines = capsys.readouterr().err.splitlines()
    assert 2 <= len(lines) < 15 and lines[-1].startswith(r"rlvr · [grpo]\x1b · 20/20 steps · loss 0.06667")
    assert "tokens/second 12,346" in lines[-1] and "left" in lines[0] and "\x1b" not in "".join(lines)


def test_a_bar_on_a_terminal_shows_text_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with progress.progress("sft [bold]", total=2) as bar:
        bar.advance(2, loss=0.5)
    assert "sft [bold]" in terminal.getvalue() and "loss 0.5" in terminal.getvalue()


def test_a_wrong_recipe_is_refused_before_anything_is_written(fakes: list[str]) -> None:
    Path("r.yaml").write_text(RECIPE.replace("data: data", "data: dta"))
    assert invoke(["run", "r.yaml"]) == 2 and not Path("runs").exists() and fakes == []
    Path("r.yaml").write_text(RECIPE)
    assert load(Path("r.yaml")).name == "small"


def test_the_help_lists_every_command_once_and_loads_no_stage(capsys: pytest.CaptureFixture[str]) -> None:
    check = "import sys\nfrom bactrian.cli.main import invoke\ninvoke(['--help'])\nassert 'pydantic' not in sys.modules"
    done = python("-c", check)
    assert done.returncode == 0, done.stderr
    named = re.findall(r"^  ([\w-]+) +\S", done.stdout[done.stdout.index("Recipes:") :], re.M)
    known = python("-c", "from bactrian.cli.main import commands; print(*commands.list_commands(None))").stdout.split()
    assert sorted(named) == sorted(known)


def test_a_list_of_objects_may_lack_its_brackets() -> None:
    from bactrian.cli.stage_command import setting_value

    both = [{"model": "a"}, {"model": "b", "weight": 2}]
    given = [("[{model: a}, {model: b, weight: 2}]",), ("{model: a}, {model: b, weight: 2}",)]
    given += [("{model: a}", "{model: b, weight: 2}")]
    assert all(setting_value(list[dict[str, Any]], texts, "--judges") == both for texts in given)
