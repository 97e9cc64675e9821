"""Models on a Ray cluster answer as one process does: row by row, whoever dies, and no finished block twice."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from bactrian.data.io.fleet import Room, release
from bactrian.errors import BactrianError
from bactrian.generate.elastic import ElasticEngine, blocks, room_for_each
from bactrian.generate.engine import Completion, Continuation, Request
from bactrian.generate.engines import open_engine
from bactrian.generate.kept import generate_kept
from bactrian.generate.local import LocalEngine
from bactrian.model.ranking import Ask
from bactrian.stages.data.difficulty import Difficulty
from bactrian.stages.judge.respond import Respond
from bactrian.stages.measure.evaluate import Evaluate
from bactrian.stages.stage import Stage
from bactrian.stages.synth.synthesise import Synthesise
from bactrian.store.artifact import Input, Workspace
from bactrian.store.hardware import Hardware, HardwareSettings
from bactrian.store.manifest import Kind
from tests.model.tiny import write_tiny
from tests.plugins.test_plugins import install

ROOT = Path(__file__).resolve().parents[2]
HARDWARE = Hardware(samplers=2, data="ray")
FAITHLESS = '''
"""An engine that writes down which requests it was given, and may be told to die over one, once, or to be slow."""
import os, time
from pathlib import Path
from bactrian.generate.local import LocalEngine

class Faithless(LocalEngine):
    def generate(self, requests, on_tokens=None, on_finish=None):
        folder = Path(os.environ["FAITHLESS"])
        for each in requests:
            (folder / f"asked-{each.prompt[0]}-{time.time_ns()}").touch()
            if (folder / f"die-{each.prompt[0]}").exists():
                (folder / f"die-{each.prompt[0]}").unlink()
                os.kill(os.getpid(), 9)
        time.sleep(float((folder / "seconds").read_text()) if (folder / "seconds").exists() else 0)
        return super().generate(requests, on_tokens, on_finish)

def make(model, hardware, template, rows):
    return Faithless.load(model, hardware.dtype, template, rows=rows)
'''
CUT = """
import sys
from pathlib import Path
from bactrian.generate.elastic import ElasticEngine
from bactrian.generate.engines import open_engine
from bactrian.generate.kept import generate_kept
from tests.generate.test_elastic import HARDWARE, requests
import dataclasses
engine = ElasticEngine(Path(sys.argv[1]), dataclasses.replace(HARDWARE, engine="faithless"), None, 64, open_engine)
generate_kept(engine, requests(24), Path(sys.argv[2]))
"""


def requests(count: int) -> list[Request]:
    """Sampled and greedy, of several lengths; the first token of each prompt is its number."""
    how: list[dict[str, Any]] = [{"temperature": 0.0}, {"n": 3}, {"temperature": 0.7, "top_p": 0.9, "n": 2}]
    return [
        Request(
            (number + 4, *range(3, 3 + number % 5), 7), seed=number, max_new_tokens=6 + number % 9, **how[number % 3]
        )
        for number in range(count)
    ]


def test_blocks_hold_all_requests_in_their_order() -> None:
    assert blocks([2, 0, 1, 3], [3, 1, 9, 2], 4) == [[2], [0, 1], [3]]
    assert blocks([], [], 4) == []


def test_each_model_has_a_gpu_or_its_share_of_the_threads() -> None:
    gpu = dataclasses.replace(HARDWARE, device="cuda")
    assert room_for_each(gpu, {"GPU": 8.0, "CPU": 64.0}) == Room(1, 1)
    assert room_for_each(dataclasses.replace(HARDWARE, threads=16, samplers=4), {"CPU": 24.0}) == Room(6, 0)
    assert room_for_each(dataclasses.replace(HARDWARE, threads=4, samplers=4), {"CPU": 2.0}) == Room(1, 0)
    with pytest.raises(BactrianError, match=r'"samplers": each takes a GPU .*the Ray cluster has none'):
        room_for_each(gpu, {"CPU": 64.0})


def test_samplers_want_a_cluster() -> None:
    assert HardwareSettings(data="ray", samplers=3).decide().samplers == 3
    assert HardwareSettings(data="ray").decide().samplers == 0
    with pytest.raises(ValidationError, match="expected data: ray beside it"):
        HardwareSettings(samplers=2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models; and, on the workers' path, the faithless engine."""
    folder = tmp_path_factory.mktemp("elastic")
    for name in ("one", "two"):
        write_tiny(folder / name, seed=len(name))
    (folder / "path").mkdir()
    (folder / "path" / "faithless.py").write_text(FAITHLESS)
    install(folder / "path", "faithless", {"faithless": "faithless:make"}, kind="engine")
    return folder


@pytest.fixture(scope="module")
def cluster(folder: Path) -> Iterator[str]:
    ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'bactrian[ray]'")
    from ray.cluster_utils import Cluster

    before = dict(os.environ)
    paths = (str(folder / "path"), str(ROOT), before.get("PYTHONPATH"))
    os.environ |= {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "FAITHLESS": str(folder)}
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    ray.init(address=nodes.address, log_to_driver=False, logging_level="ERROR")
    yield nodes.address
    ray.shutdown()
    nodes.shutdown()
    os.environ.clear()
    os.environ |= before


def plain(answers: list[list[Completion]]) -> list[list[tuple[Any, ...]]]:
    return [[(each.ids, each.text, each.finish) for each in group] for group in answers]


@pytest.mark.slow
def test_completions_and_likelihoods_are_one_process_s(cluster: str, folder: Path) -> None:
    near, far = LocalEngine.load(folder / "one"), ElasticEngine(folder / "one", HARDWARE, None, 64, open_engine)
    asked, heard, drawn = requests(30), set[tuple[int, int]](), list[int]()

    def hear(request: int, sample: int, completion: Completion) -> None:
        heard.add((request, sample))

    found = far.generate(asked, drawn.append, hear)
    assert plain(found) == plain(near.generate(asked))
    assert heard == {(number, sample) for number, each in enumerate(asked) for sample in range(each.n)}
    assert sum(drawn) == sum(len(each.ids) for group in found for each in group) and len(drawn) > 4
    asks = [Ask((5, 6, 7, 8 + n), ((9, 4), (3,), (11, 12, 13)), shared=2 * (n % 2)) for n in range(12)]
    likely = [dict(pair for batch in engine.likelihoods(asks) for pair in batch) for engine in (near, far)]
    assert sorted(likely[1]) == list(range(12))
    for number in range(12):
        for mine, theirs in zip(likely[0][number], likely[1][number], strict=True):
            assert mine.logprob == pytest.approx(theirs.logprob, abs=1e-5) and mine.tokens == theirs.tokens
    with pytest.raises(BactrianError, match="cannot go on from an answer"):
        far.generate(asked[:1], on_finish=lambda *_: Continuation((3,)))
    with pytest.raises(BactrianError, match="context is 256"):
        far.generate([Request((3,) * 250, max_new_tokens=9)])


@pytest.mark.slow
def test_a_model_that_dies_is_replaced_and_its_block_answered(cluster: str, folder: Path) -> None:
    for number in (9, 17):
        (folder / f"die-{number}").touch()
    far = ElasticEngine(folder / "one", dataclasses.replace(HARDWARE, engine="faithless"), None, 64, open_engine)
    assert plain(far.generate(requests(24))) == plain(LocalEngine.load(folder / "one").generate(requests(24)))
    assert not list(folder.glob("die-*"))


@pytest.mark.slow
def test_after_a_stop_no_finished_block_is_asked_again(cluster: str, folder: Path, tmp_path: Path) -> None:
    far, kept, blocks_done = ElasticEngine(folder / "one", HARDWARE, None, 64, open_engine), tmp_path / "kept.jsonl", 0

    def stop(tokens: int) -> None:
        nonlocal blocks_done
        blocks_done += 1
        if blocks_done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate_kept(far, requests(24), kept, stop)
    finished = kept.read_bytes().count(b"\n")
    assert 3 <= finished < 24
    drawn: list[int] = []
    found = generate_kept(far, requests(24), kept, drawn.append)
    assert plain(found) == plain(LocalEngine.load(folder / "one").generate(requests(24)))
    earlier = [json.loads(line)[1] for line in kept.read_bytes().splitlines()[:finished]]
    assert sum(drawn) == sum(len(each.ids) for group in found for each in group) - sum(
        len(ids) for group in earlier for ids, _, _ in group
    )


@pytest.mark.heavy
def test_after_a_kill_no_finished_block_is_asked_again(cluster: str, folder: Path, tmp_path: Path) -> None:
    release()  # this process's workers would leave no room for the other's
    kept, asked = tmp_path / "kept.jsonl", requests(24)
    environment = os.environ | {"RAY_ADDRESS": cluster}
    (folder / "seconds").write_text("0.3")
    command = [sys.executable, "-c", CUT, str(folder / "one"), str(kept)]
    process = subprocess.Popen(command, env=environment, cwd=ROOT)
    end = time.monotonic() + 90
    while time.monotonic() < end and (not kept.exists() or kept.read_bytes().count(b"\n") < 6):
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    time.sleep(1.0)  # the models of a driver that is gone are let go
    (folder / "seconds").unlink()
    finished = {json.loads(line)[0] for line in kept.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")}
    assert 6 <= len(finished) < 24
    for path in folder.glob("asked-*"):
        path.unlink()
    subprocess.run(command, env=environment, cwd=ROOT, check=True, timeout=90)
    again = {str(int(path.name.split("-")[1]) - 4) for path in folder.glob("asked-*")}
    assert again == {str(number) for number in range(24)} - finished
    found = {int(key): value for key, value in map(json.loads, kept.read_text().splitlines())}
    expected = LocalEngine.load(folder / "one").generate(asked)
    assert {n: [tuple(ids) for ids, _, _ in found[n]] for n in found} == {
        n: [each.ids for each in group] for n, group in enumerate(expected)
    }


def rows(folder: Path, count: int) -> Path:
    lines = [
        {
            "id": str(n),
            "messages": [{"role": "user", "content": f"what is {n} + 12"}],
            "ground_truth": "46" if n % 2 else "12",
            "dataset": "gsm8k",
            "text": f"the cat sat on {n} and a mat",
            "source": "s",
            "license": "MIT",
        }
        for n in range(count)
    ]
    path = folder / "in.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


OPEN = {"refusals": False, "identities": False, "novelty": None, "decontaminate": False, "known": False}
STAGES: list[tuple[str, Callable[[], Stage]]] = [
    ("respond", lambda: Respond(prompts="in", pool=["one", "two"], per_prompt=1, samples=2, max_new_tokens=9)),
    ("difficulty", lambda: Difficulty(data="in", models=["one", "two"], samples=3, most=1.0, max_new_tokens=9)),
    (
        "synthesise",
        lambda: Synthesise(
            seeds="in",
            prompt="Compute {{ question }}",
            into="text",
            generators=[{"model": "one"}, {"model": "two"}],
            per_seed=2,
            max_new_tokens=30,
            temperature=1.0,
            gates=OPEN,
        ),
    ),
    ("evaluate", lambda: Evaluate(models=["one", "two"], data="in", texts={"t": "in"}, samples=2, max_new_tokens=40)),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "stage"), STAGES, ids=[name for name, _ in STAGES])
def test_a_stage_makes_the_same_with_models_on_a_cluster(
    cluster: str, folder: Path, tmp_path: Path, name: str, stage: Callable[[], Stage]
) -> None:
    inputs = {"in": Input("in", rows(tmp_path, 24), Kind.DATA, "rows")}
    inputs |= {each: Input(each, folder / each, Kind.MODEL, f"hash of {each}") for each in ("one", "two")}
    made = {}
    for where, hardware in (("here", Hardware()), ("there", HARDWARE)):
        workspace = Workspace.temporary(tmp_path / where, inputs, seed=3, hardware=hardware)
        stage().run(workspace)
        made[where] = workspace
    for file in sorted(made["here"].output.iterdir()):
        assert file.read_bytes() == (made["there"].output / file.name).read_bytes(), file.name
    assert made["here"].metrics == made["there"].metrics
