"""Stage `rlvr` whose samplers are actors of a local Ray cluster, each with a vLLM of its own; and what is refused."""

import json
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from bactrian.data.io.files import write_rows
from bactrian.data.io.problem_rows import problem
from bactrian.errors import BactrianError
from bactrian.recipe.recipe import load
from bactrian.stages.rl.rlvr import RLVR
from bactrian.store.artifact import Input, Workspace
from bactrian.store.hardware import Hardware, VllmSettings
from bactrian.store.manifest import Kind
from tests.model.tiny import write_tiny

NEEDED: dict[str, Any] = {
    "model": "start",
    "data": "rows",
    "problems_per_step": 4,
    "samples": 3,
    "max_new_tokens": 6,
    "learning_rate": 1e-2,
    "reward": {"no_end_reward": None},
    "template": "raw",
    "sampling": {"gap_limit": 1e-3, "importance_cap": 2.0, "staleness": 1},
    "checkpoints": {"checkpoint_seconds": 0},
}
RECIPE = """steps:
  rlvr:
    stage: rlvr
    model: start
    data: rows.jsonl
    asynchronous: {samplers: 2}
hardware: HARDWARE
"""
needs_both = pytest.mark.skipif(
    find_spec("vllm") is None or find_spec("ray") is None, reason="vLLM or Ray is not installed (extras vllm, ray)"
)


@pytest.fixture
def session() -> Iterator[None]:
    yield
    import ray

    ray.shutdown()


def children(name: str) -> set[int]:
    """Processes of this machine whose command begins so."""
    found = set()
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and (entry / "cmdline").read_text().startswith(name):
                found.add(int(entry.name))
        except OSError:
            continue  # it has just ended
    return found


@needs_both
@pytest.mark.slow
def test_samplers_with_vllm_follow_the_policy_and_one_that_is_killed_is_replaced(
    tmp_path: Path, session: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bactrian.train.rl.asynchronous.books import Share
    from bactrian.train.rl.asynchronous.ray_workers import RayWorkers

    write_tiny(tmp_path / "start", hidden_size=64, num_attention_heads=2, num_key_value_heads=1, head_dim=32)
    write_rows([problem(f"say {i} + {i}", "1", "1", "gsm8k", "test", "CC0-1.0") for i in range(9)], tmp_path / "rows")
    inputs = {
        "rows": Input("rows", tmp_path / "rows", Kind.DATA, "hash of rows"),
        "start": Input("start", tmp_path / "start", Kind.MODEL, "hash of start"),
    }
    how = VllmSettings(cache_gib=0.1, check_weights=True)
    hardware = Hardware(dtype="float32", threads=1, engine="vllm", vllm=how)
    made = Workspace.temporary(tmp_path / "out", inputs, 1, hardware)
    give, given, before = RayWorkers.give, list[Share](), children("VLLM::")

    def deadly(self: RayWorkers, worker: int, share: Share) -> None:
        give(self, worker, share)
        given.append(share)
        if len(given) == 3:
            self.ray.kill(self._actors[worker])

    monkeypatch.setattr(RayWorkers, "give", deadly)
    stage = RLVR(**NEEDED, steps=4, asynchronous={"samplers": 1, "compare_weights": True})
    stage.run(made)
    lines = [json.loads(line) for line in (made.output / "metrics.jsonl").read_text().splitlines()]
    assert [line["staleness"] for line in lines] == [0, 1, 1, 1] and lines[-1]["reward"] > 0
    assert len(set(given)) < len(given), "the share that was lost was sampled again"
    ends = time.monotonic() + 60
    while (left := children("VLLM::") - before) and time.monotonic() < ends:
        time.sleep(0.5)
    assert not left, "vLLM ends with its sampler"


@pytest.mark.parametrize(
    ("hardware", "expected"),
    [
        (
            "{engine: vllm, vllm: {server: 'http://localhost:8000'}}",
            r'step "rlvr", field "asynchronous": found samplers: 2 beside hardware.vllm.server',
        ),
        (
            "{engine: vllm, data: ray, samplers: 2, vllm: {server: 'http://localhost:8000'}}",
            "samplers: each starts a vLLM of its own: expected none beside vllm.server",
        ),
    ],
)
def test_several_samplers_with_one_server_are_refused_before_anything_runs(
    hardware: str, expected: str, tmp_path: Path
) -> None:
    write_tiny(tmp_path / "start")
    (tmp_path / "rows.jsonl").write_text(
        json.dumps({"prompt": "say 1", "ground_truth": "1", "dataset": "gsm8k"}) + "\n"
    )
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE.replace("HARDWARE", hardware))
    with pytest.raises(BactrianError, match=expected):
        load(recipe)
