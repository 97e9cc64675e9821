"""The script that waits for a GPU, at toy sizes: its parts measure something, and one that fails is a row."""

import json
import sys
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

HERE = Path(__file__).parents[1] / "benchmarks" / "gpu"


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, ModuleType]]:
    """The script's modules, which lie in no package, for as long as a test lasts."""
    import importlib

    monkeypatch.syspath_prepend(str(HERE))
    names = ("parts", "table", "shapes", "tuned", "checks", "steps", "sampled", "run")
    yield {name: importlib.import_module(name) for name in names}
    for name in names:
        sys.modules.pop(name, None)


def rows_of(gpu: dict[str, ModuleType], place: Path, work: Any, *how: str) -> list[dict[str, Any]]:
    bench = gpu["parts"].Bench("cpu", True, 60.0, place)
    work(bench, *how)
    return [json.loads(line) for line in place.read_text().splitlines()]


def test_speeds_are_measured(gpu: dict[str, ModuleType], tmp_path: Path) -> None:
    (sft,) = rows_of(gpu, tmp_path / "sft", gpu["tuned"].sft, "135m", "lora")
    (dpo,) = rows_of(gpu, tmp_path / "dpo", gpu["tuned"].dpo, "135m")
    (grpo,) = rows_of(gpu, tmp_path / "grpo", gpu["sampled"].grpo, "0.6b")
    assert all(row["tokens_per_second"] > 0 and row["steps"] >= 2 for row in (sft, dpo, grpo))
    assert grpo["sampling_seconds"] > 0
    sampled, ragged, held = rows_of(gpu, tmp_path / "sampling", gpu["sampled"].sampling, "135m")
    assert sampled["tokens_per_second"] > 0 and ragged["tokens_per_second"] > 0 and held["value"] > 0


def test_checks_hold_on_a_cpu(gpu: dict[str, ModuleType], tmp_path: Path) -> None:
    checks, steps = gpu["checks"], gpu["steps"]
    for number, work in enumerate((checks.packed_is_plain, checks.gradients, checks.gap, steps.pages, steps.compiled)):
        rows = rows_of(gpu, tmp_path / str(number), work)
        assert rows and all(row["ok"] for row in rows if "ok" in row), rows


def test_a_part_that_fails_is_a_row_and_the_table_says_so(gpu: dict[str, ModuleType], tmp_path: Path) -> None:
    asked = Namespace(device="cpu", toy=True)
    rows = gpu["run"].measured("no-such-part", 60.0, asked, tmp_path, {"PYTHONPATH": str(HERE.parents[1])})
    assert rows[-1]["error"] and "no" in rows[-1]["part"]
    shown = [{"part": "x", "what": "sum", "value": 0.5, "allowed": 0.1, "ok": False}, *rows]
    found = gpu["table"].table({"command": "c"}, shown)
    assert "| x | sum | 0.5 | 0.1 | NO |" in found and "## Not measured" in found


def test_costs_are_those_of_the_published_table(gpu: dict[str, ModuleType]) -> None:
    """Qwen3-0.6B at 8,192 tokens: 6.39 GFLOP a token."""
    shapes = gpu["shapes"]
    found = shapes.flops_a_token(596e6, shapes.SHAPES["0.6b"], 8192)
    assert found["mfu"] == pytest.approx(6.39e9, rel=0.005)
