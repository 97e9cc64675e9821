"""The stage `evaluate` with engines that answer from a table: what is written, kept, compared and refused."""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from bactrian.chat import ChatTemplate
from bactrian.data.io.files import write_rows
from bactrian.data.io.problem_rows import question_seed
from bactrian.data.synth.procedural import sums, word_problems
from bactrian.errors import BactrianError
from bactrian.evaluate.comparison import pairs_to_compare
from bactrian.evaluate.results import read_results
from bactrian.generate.engine import Completion, Request
from bactrian.stages.measure.evaluate import Evaluate
from bactrian.store.artifact import Input, Workspace
from bactrian.store.manifest import Kind
from bactrian.verify import OUTCOMES, Item, Pool, Verdict

ROWS = list(sums(0, 40, split="dev"))
TRUTH = {row["messages"][0]["content"]: row["ground_truth"] for row in ROWS}


@pytest.fixture(scope="session")
def template() -> ChatTemplate:
    letters = [*sorted(pre_tokenizers.ByteLevel.alphabet()), "<s>", "</s>"]
    tokenizer = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(letters)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return ChatTemplate.load(
        PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>"), "tulu"
    )


@dataclass
class FakeAnswerer:
    """Knows the answers to the first `knows` questions; a sampled answer is right where seed + sample is even."""

    template: ChatTemplate
    knows: int
    text: str = "Answer: {}"
    calls: int = 0
    schedules: bool = False

    def generate(
        self, requests: Sequence[Request], on_finish: Callable[[int, int, Completion], None]
    ) -> list[list[Completion]]:
        self.calls += 1
        answers = [self.answers(request) for request in requests]
        for i, mine in enumerate(answers):
            for sample, completion in enumerate(mine):
                on_finish(i, sample, completion)
        return answers

    def place(self, request: Request) -> int:
        """The number of the question that is asked."""
        text = self.template.tokenizer.decode(request.prompt)
        (place,) = (i for i, q in enumerate(TRUTH) if re.search(re.escape(q) + r"(?!\d| [-+])", text))
        return place

    def answers(self, request: Request) -> list[Completion]:
        i = self.place(request)
        question = list(TRUTH)[i]
        found = []
        for sample in range(request.n):
            right = i < self.knows and (request.temperature == 0 or (request.seed + sample) % 2 == 0)
            said = self.text.format(TRUTH[question] if right else "12345")
            finish = "stop" if right or i % 2 else "length"
            found.append(Completion(tuple(range(9)), said, (), finish))  # type: ignore[arg-type]
        return found


class EvaluateBench:
    """A folder with a task, and engines by the name of their model."""

    def __init__(self, folder: Path, template: ChatTemplate, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.template = folder, template
        self.engines: dict[str, FakeAnswerer] = {}
        self.loads: list[str] = []
        write_rows(ROWS, folder / "dev")
        template.tokenizer.chat_template = template.text
        monkeypatch.setattr("bactrian.generate.engines.open_engine", self.load)

    def load(self, path: Path, *_: Any, **__: Any) -> FakeAnswerer:
        self.loads.append(path.name)
        return self.engines[path.name]

    def model(self, name: str) -> Path:
        """A folder with what is read before a model is loaded."""
        path = self.folder / "models" / name
        if not path.is_dir():
            self.template.tokenizer.save_pretrained(path)
            (path / "config.json").write_text("{}")
            (path / "model.safetensors").write_text("")
        return path

    def run(self, name: str, inputs: dict[str, Path] | None = None, seed: int = 0, **settings: Any) -> dict[str, Any]:
        given = {ref: Input(ref, self.model(ref), Kind.MODEL, f"hash of {ref}") for ref in self.engines}
        data = {"dev": self.folder / "dev"} | (inputs or {})
        given |= {ref: Input(ref, path, Kind.DATA, "") for ref, path in data.items()}
        workspace = Workspace.temporary(self.folder / name, given, seed)
        workspace.memos = self.folder / "memos"
        Evaluate(**{"models": list(self.engines), "data": "dev", "max_new_tokens": 9} | settings).run(workspace)
        self.output, self.metrics = workspace.output, workspace.metrics
        return dict(json.loads((workspace.output / "results.json").read_text()))


@pytest.fixture
def bench(tmp_path: Path, template: ChatTemplate, monkeypatch: pytest.MonkeyPatch) -> EvaluateBench:
    made = EvaluateBench(tmp_path, template, monkeypatch)
    made.engines = {
        "base": FakeAnswerer(template, 4),
        "sft": FakeAnswerer(template, 20),
        "rl": FakeAnswerer(template, 24),
    }
    return made


def test_results_as_designed(bench: EvaluateBench, capsys: pytest.CaptureFixture[str]) -> None:
    results = bench.run("a", samples=4, k=[1, 4])
    assert results["models"] == ["base", "sft", "rl"]
    task = results["tasks"]["dev"]
    assert (task["n"], task["verifier"], task["max_new_tokens"]) == (40, "gsm8k", 9)
    assert task["template_hash"] == bench.template.digest and task["prompt_example"].endswith("<|assistant|>\n")
    assert ROWS[0]["messages"][0]["content"] in task["prompt_example"]
    by_place = {(each["model"], each["mode"]): each for each in results["scores"]}
    assert [by_place[model, "greedy"]["score"] for model in results["models"]] == [0.1, 0.5, 0.6]
    first = by_place["base", "greedy"]
    assert first["counts"] == dict.fromkeys(OUTCOMES, 0) | {"right": 4, "wrong": 18, "truncated": 18}
    assert first["interval"][0] < 0.1 < first["interval"][1] and first["pass_at_k"] == {}
    sampled = by_place["sft", "sampled"]
    assert (sampled["samples"], sampled["score"], sampled["pass_at_k"]) == (4, 0.25, {"1": 0.25, "4": 0.5})
    assert len(results["comparisons"]) == 2 * 3
    jump = results["comparisons"][0]
    assert (jump["before"], jump["after"], jump["gained"], jump["lost"], jump["test"]) == (
        "base",
        "sft",
        16,
        0,
        "mcnemar",
    )
    assert jump["p"] == pytest.approx(2 / 2**16) and jump["difference"] == pytest.approx(0.4)
    assert [(c["before"], c["after"]) for c in results["comparisons"][:3]] == [
        ("base", "sft"),
        ("sft", "rl"),
        ("base", "rl"),
    ]
    assert results["comparisons"][3]["test"] == "paired bootstrap"
    assert bench.metrics["dev/greedy/rl"] == 0.6
    printed = capsys.readouterr().err
    assert "60.0" in printed and "mcnemar" in printed and "+40.0" in printed
    assert task["sampled"]["samples"] == 4 and task["samples"] == 1 and task["metric"] == "share right"
    assert all(each["p_holm"] == each["p"] for each in results["comparisons"]), "one task a pair: nothing to correct"
    assert read_results(bench.output) == results  # what `bactrian scores` reads


def test_questions_file(bench: EvaluateBench) -> None:
    bench.run("a", samples=2)
    table = pq.read_table(bench.output / "questions.parquet")
    assert table.column_names == [
        "model",
        "task",
        "mode",
        "question",
        "sample",
        "prompt",
        "completion",
        "ground_truth",
        "extracted",
        "score",
        "outcome",
        "tokens",
        "finish",
        "thinking_tokens",
        "answer_tokens",
        "answer_at",
        "group",
        "cluster",
        "values",
        "reason",
    ]
    assert table.num_rows == 3 * 40 * (1 + 2)
    row = table.to_pylist()[0]
    assert row["question"] == ROWS[0]["id"] and row["extracted"] == ROWS[0]["ground_truth"] and row["tokens"] == 9


def test_thinking_is_counted_apart(bench: EvaluateBench, capsys: pytest.CaptureFixture[str]) -> None:
    class Thinks(FakeAnswerer):
        """Thinks before it answers; the first question it thinks about without end."""

        def answers(self, request: Request) -> list[Completion]:
            i, encode = self.place(request), self.template.encoder.text
            thought = encode("<think>\nwell, 5 or 6?")
            found = []
            for said in super().answers(request):
                ids = thought if i == 0 else [*thought, *encode("</think>"), *encode("\n" + said.text)]
                found.append(replace(said, ids=tuple(ids), text=self.template.tokenizer.decode(ids)))
            return found

    bench.engines = {"plain": FakeAnswerer(bench.template, 20), "thinks": Thinks(bench.template, 20)}
    plain, thinks = bench.run("a")["scores"]
    assert (plain["mean_thinking_tokens"], plain["mean_answer_tokens"]) == (0, plain["mean_tokens"])
    assert thinks["mean_thinking_tokens"] == len("<think>\nwell, 5 or 6?") and thinks["score"] == 19 / 40
    rows = [row for row in pq.read_table(bench.output / "questions.parquet").to_pylist() if row["model"] == "thinks"]
    assert all(row["tokens"] == row["thinking_tokens"] + row["answer_tokens"] + 8 for row in rows[1:])
    assert rows[1]["completion"][rows[1]["answer_at"] :] == "\nAnswer: " + rows[1]["ground_truth"]
    assert (rows[0]["answer_tokens"], rows[0]["answer_at"]) == (0, len(rows[0]["completion"]))
    assert "thinking" in capsys.readouterr().err


def test_nothing_is_answered_twice(bench: EvaluateBench) -> None:
    def answered(results: dict[str, Any]) -> list[dict[str, Any]]:
        return [{**score, "reused": 0} for score in results["scores"]]

    first = bench.run("a", samples=2)
    assert [fake.calls for fake in bench.engines.values()] == [1, 1, 1] and bench.loads == ["base", "sft", "rl"]
    again = bench.run("b", samples=2)
    assert answered(again) == answered(first) and again["comparisons"] == first["comparisons"]
    assert len(bench.loads) == 3 and all(score["reused"] == score["requests"] == 40 for score in again["scores"])
    bench.engines["more"] = FakeAnswerer(bench.template, 40)
    bench.run("c", samples=2)
    assert bench.loads == ["base", "sft", "rl", "more"]
    changed = bench.run("d", samples=3)["scores"]
    assert [fake.calls for fake in bench.engines.values()] == [2, 2, 2, 2]
    assert all((score["reused"] > 0) == (score["mode"] == "greedy") for score in changed), "greedy answers are kept"
    bench.run("e", models={"new name": "sft"}, max_new_tokens=9)
    assert bench.engines["sft"].calls == 2


def test_a_kill_loses_one_answer_at_most(bench: EvaluateBench, monkeypatch: pytest.MonkeyPatch) -> None:
    class Dies(FakeAnswerer):
        def generate(self, requests: Sequence[Request], on_finish: Any) -> list[list[Completion]]:
            super().generate(requests[:7], on_finish)
            raise KeyboardInterrupt

    left: list[int] = []

    class Goes(FakeAnswerer):
        def generate(self, requests: Sequence[Request], on_finish: Any) -> list[list[Completion]]:
            left.append(len(requests))
            return super().generate(requests, on_finish)

    bench.engines["rl"] = Dies(bench.template, 24)
    with pytest.raises(KeyboardInterrupt):
        bench.run("a")
    bench.engines["rl"] = Goes(bench.template, 24)
    results = bench.run("a")
    assert [fake.calls for fake in bench.engines.values()] == [1, 1, 1]
    assert left == [33]
    assert [score["reused"] for score in results["scores"]] == [0, 0, 0], "as in a run that was not killed"
    assert results["scores"][2]["score"] == 0.6


def test_verdicts_of_slow_verifiers_are_kept_and_named_by_what_shapes_them(
    bench: EvaluateBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A further model verifies only its own; other walls of the sandbox, or another verifier, verify all again."""
    rows = [{**row, "dataset": "math"} for row in ROWS]
    write_rows(rows, bench.folder / "slow")
    asked: list[int] = []
    verify = Pool.verify_all

    def counted(pool: Pool, items: Sequence[Item]) -> list[Verdict]:
        asked.extend(len(items) for _ in [0] if items and items[0].completion not in ("", "qzx"))
        return verify(pool, items)

    def verified(name: str, **settings: Any) -> int:
        del asked[:]
        bench.run(name, {"slow": bench.folder / "slow"}, data="slow", **settings)
        return sum(asked)

    bench.run("gold", {"slow": bench.folder / "slow"}, data="slow", models=["base"])  # and the check of gold answers
    monkeypatch.setattr(Pool, "verify_all", counted)
    assert verified("a", models=["base"]) == 0
    assert verified("b", models=["base", "sft"]) == 40
    assert verified("c", models=["base", "sft"], timeout=11.0) >= 80
    monkeypatch.setattr("bactrian.evaluate.verdicts.versions", lambda rows: {"math": "another version"})
    assert verified("d", models=["base", "sft"]) == 80
    assert verified("e", models=["base", "sft"]) == 0


def test_several_tasks_a_limit_and_a_baseline(bench: EvaluateBench, tmp_path: Path) -> None:
    write_rows(ROWS[10:], tmp_path / "later")
    sets = {"first": "dev", "second": "later"}
    more = {"limit": 8, "limits": {"second": 5}, "baseline": "sft"}
    results = bench.run("a", {"later": tmp_path / "later"}, data=None, problems=sets, **more)
    assert [(name, task["n"]) for name, task in results["tasks"].items()] == [("first", 8), ("second", 5)]
    pairs = [(c["before"], c["after"]) for c in results["comparisons"] if c["task"] == "second"]
    assert pairs == [("base", "sft"), ("sft", "rl"), ("base", "rl")]


def test_overlap_with_training_is_an_error(bench: EvaluateBench, tmp_path: Path) -> None:
    answer = {"role": "assistant", "content": "5"}
    seen = [{"messages": [*row["messages"], answer], "id": str(i)} for i, row in enumerate(ROWS[:3])]
    clean = list(word_problems(0, 5))
    write_rows([*clean, *seen], tmp_path / "dirty")
    with pytest.raises(
        BactrianError, match=f"3 of 40 questions of task dev are in the training set dirty: {ROWS[0]['id']}"
    ):
        bench.run("a", {"dirty": tmp_path / "dirty"}, train=["dirty"])
    assert bench.loads == []
    write_rows(clean, tmp_path / "clean")
    assert bench.run("b", {"clean": tmp_path / "clean"}, train=["clean"])["tasks"]["dev"]["overlap"] == 0


def test_errors_are_not_zeros(bench: EvaluateBench, tmp_path: Path) -> None:
    write_rows([{**row, "ground_truth": "five"} for row in ROWS], tmp_path / "broken")
    with pytest.raises(BactrianError, match=r"task broken: .*the tests crash on 40 of 40 gold answers"):
        bench.run("a", {"broken": tmp_path / "broken"}, data="broken")
    assert bench.loads == [], "nothing is asked"


def test_hostile_answers_are_stored_and_printed(bench: EvaluateBench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.engines = {"[red]base": FakeAnswerer(bench.template, 4, "\ud800 \x1b[31m [bold] {}\x00")}
    results = bench.run("a")
    assert results["scores"][0]["counts"]["right"] == 4
    printed = capsys.readouterr().err
    assert "[red]base" in printed and "\x1b[31m" not in printed


def test_bad_settings(bench: EvaluateBench) -> None:
    for settings, words in [
        ({"models": {}, "data": "d"}, "at least one"),
        ({"models": ["m"]}, "expected problems .*or public tasks"),
        ({"models": ["m"], "data": "d", "problems": {"t": "d"}}, "found data and problems, expected one"),
        ({"models": ["m"], "tasks": {"t": "d"}}, "problem sets: problems: {t: d}"),
        ({"models": ["m"], "data": "d", "samples": 2, "k": [3]}, "numbers from 1 to samples"),
    ]:
        with pytest.raises(ValidationError, match=words):
            Evaluate(**settings)  # type: ignore[arg-type]
    with pytest.raises(BactrianError, match="baseline: found 'x', expected one of base, sft, rl"):
        bench.run("a", baseline="x")
    with pytest.raises(BactrianError, match="two are called the same"):
        bench.run("b", models=["base", "base"])


def test_pairs_and_seeds() -> None:
    assert pairs_to_compare(["a"], None) == []
    assert pairs_to_compare(["a", "b"], "a") == [("a", "b")]
    assert pairs_to_compare(["a", "b", "c", "d"], "b") == [("a", "b"), ("b", "c"), ("c", "d"), ("a", "d"), ("b", "d")]
    assert 0 <= question_seed(1, "q") < 2**63 and question_seed(1, "q") != question_seed(2, "q") != question_seed(
        2, "r"
    )


def test_with_the_real_engine(tmp_path: Path, template: ChatTemplate) -> None:
    """An untrained model: all wrong or unparsable or cut, no failure, and the same when done again."""
    torch = pytest.importorskip("torch")
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    network = LlamaForCausalLM(LlamaConfig(vocab_size=len(template.tokenizer), **sizes))
    network.save_pretrained(tmp_path / "model")
    template.tokenizer.chat_template = template.text
    template.tokenizer.save_pretrained(tmp_path / "model")
    write_rows(ROWS[:6], tmp_path / "dev")
    found = []
    for name in ("a", "b"):
        inputs = {
            "m": Input("m", tmp_path / "model", Kind.MODEL, "h"),
            "dev": Input("dev", tmp_path / "dev", Kind.DATA, ""),
        }
        workspace = Workspace.temporary(tmp_path / name, inputs)
        Evaluate(models=["m"], data="dev", samples=2, k=[2], max_new_tokens=12).run(workspace)
        found.append((workspace.output / "results.json").read_text())
    assert found[0] == found[1]
    scores = json.loads(found[0])["scores"]
    assert [each["mode"] for each in scores] == ["greedy", "sampled"]
    assert all(each["score"] == 0 and each["interval"][1] > 0.3 and 0 < each["mean_tokens"] <= 12 for each in scores)
