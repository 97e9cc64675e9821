"""What a plan says: how tokens are known, how long it takes in words, what would make a step fit, JSON for tools."""

import gzip
import json
import re
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from bactrian.cli.main import invoke
from bactrian.cli.plan_table import plan_json, print_plan
from bactrian.progress import long_duration
from bactrian.recipe.facts import facts_of
from bactrian.recipe.recipe import load
from bactrian.recipe.token_sample import ROWS_COUNTED, TokenCounter
from bactrian.run.plan import Plan, plan, seconds_of
from bactrian.run.remedies import remedy
from bactrian.stages.stage import Facts
from bactrian.stages.tune.sft import SFT
from bactrian.store.artifact import Store
from bactrian.store.hardware import Hardware
from bactrian.store.manifest import Kind


@pytest.fixture
def tokenizer(tmp_path: Path) -> Path:
    """A token for each word."""
    made = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    (tmp_path / "model").mkdir()
    made.save(str(tmp_path / "model" / "tokenizer.json"))
    return tmp_path / "model" / "tokenizer.json"


def conversation(words: int) -> dict[str, object]:
    turns = [{"role": "user", "content": "why"}, {"role": "assistant", "content": " ".join(["so"] * (words - 1))}]
    return {"id": 7, "note": "not read by a model", "messages": turns}


def write(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def count(path: Path, tokenizer: Path | None, store: Path) -> Facts:
    return TokenCounter(Store(store), tokenizer).sharpen(facts_of(path, Kind.DATA), path, "hash of " + path.name)


def test_few_rows_are_counted(tmp_path: Path, tokenizer: Path) -> None:
    file = write(tmp_path / "a.jsonl", [conversation(10), conversation(30)])
    found = count(file, tokenizer, tmp_path)
    assert (found.rows, found.tokens_per_row, found.basis, found.error) == (2, 20 + 2 * 5, "counted", 0.0)
    assert list(tmp_path.glob("memo/*")) == []


def test_of_many_rows_a_sample_is_counted_with_its_error_once(
    tmp_path: Path, tokenizer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths = [10 + 10 * (number % 7) for number in range(3000)]
    file = write(tmp_path / "a.jsonl", [conversation(length) for length in lengths])
    found = count(file, tokenizer, tmp_path)
    truth = sum(lengths) / len(lengths) + 10
    assert found.rows == 3000 and found.basis == "sampled" and 0.01 < found.error < 0.05
    assert found.tokens_per_row == pytest.approx(truth, rel=4 * found.error)
    monkeypatch.setattr("bactrian.recipe.token_sample._rows", lambda path: pytest.fail("read again"))
    assert count(file, tokenizer, tmp_path) == found
    assert ROWS_COUNTED == 400


def test_other_columns_and_compressed_files(tmp_path: Path, tokenizer: Path) -> None:
    file = tmp_path / "a.jsonl.gz"
    file.write_bytes(gzip.compress(b'{"question": "one two", "answer": "three"}\n' * 3))
    assert count(file, tokenizer, tmp_path).tokens_per_row == 3


def test_without_a_tokenizer_bytes_say_it(tmp_path: Path, tokenizer: Path) -> None:
    file = write(tmp_path / "a.jsonl", [conversation(10)])
    assert count(file, None, tmp_path).basis == "bytes"
    assert count(file, None, tmp_path).tokens_per_row == file.stat().st_size / 4
    (tmp_path / "bad.jsonl").write_bytes(b"\xff\xfe\n")
    assert count(tmp_path / "bad.jsonl", tokenizer, tmp_path).basis == "bytes"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (250, "4 min 10 s"),
        (1234, "21 min"),
        (3599, "1 h"),
        (11_432.3, "3 h 11 min"),
        (12_000, "3 h 20 min"),
        (86_399, "1 day"),
        (187_200, "2 days 4 h"),
        (2e8, "6 years"),
    ],
)
def test_times_are_said_as_one_says_them(seconds: float, said: str) -> None:
    assert long_duration(seconds) == said


PLANNED = """
name: p
hardware: {device: cpu, threads: 1}
steps:
  data: {stage: source, hub: nobody/nothing, license: MIT, rows: 1000, layout: messages}
  sft: {stage: sft, model: meta-llama/Llama-3.1-8B, data: data, epochs: 1}
"""


@pytest.fixture
def planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    from bactrian.recipe import references

    def no_network(repository: str, *rest: object) -> str:
        raise references.Unreachable(repository)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(references, "_hub_commit", no_network)
    monkeypatch.setattr("bactrian.run.plan.measure_speed", lambda hardware: 1e12)
    monkeypatch.setattr("bactrian.run.plan.device_memory", lambda device: 80 * 2**30)
    Path("r.yaml").write_text(PLANNED)
    return plan(load(Path("r.yaml")), Store(Path("runs")))


def test_what_is_assumed_is_said(planned: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    print_plan(planned)
    said = capsys.readouterr().out
    assert "about 500.0k" in said and "about: 500 tokens a row assumed" in said and "(sft)" in said
    assert not re.search(r"\d\.\d s\b", said)


def test_a_step_that_does_not_fit_says_what_would_make_it_fit(
    planned: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    print_plan(planned)
    said = capsys.readouterr().out
    (line,) = [line for line in said.splitlines() if line.startswith("warning")]
    assert "sft may need" in line and "of 80.0 GiB: " in line
    settings = line.split("of 80.0 GiB: ")[1].split(" brings ")[0]
    assert settings == "memory: {recompute: layer, micro_tokens: 1024}, optimiser: {states: 8bit}"
    promised = planned.steps[1].remedy
    assert promised is not None and promised.fits and promised.peak_memory < 80 * 2**30
    # what it promises is what a plan with these settings says
    Path("r.yaml").write_text(PLANNED.replace("epochs: 1}", f"epochs: 1, {settings}}}"))
    again = plan(load(Path("r.yaml")), Store(Path("runs")))
    assert again.steps[1].peak_memory == promised.peak_memory and not again.short_of_memory


@pytest.mark.parametrize(("gibibytes", "settings"), [(7, "memory: {recompute: layer}"), (4, None), (1, "nf4")])
def test_the_cheapest_setting_comes_first(gibibytes: float, settings: str | None) -> None:
    stage = SFT(model="m", data="d")
    known = {"m": Facts(parameters=300_000_000), "d": Facts(rows=1000, tokens_per_row=500)}
    assert stage.forecast(known).peak_memory > 7 * 2**30
    found = remedy(stage, known, Hardware(), gibibytes * 2**30)
    assert found is not None
    if settings == "nf4":
        assert not found.fits and settings in found.settings
    else:
        assert found.fits and (settings is None or found.settings == settings)
    on_gpu = remedy(stage, known, Hardware(device="cuda"), 4 * 2**30)
    assert on_gpu is not None and on_gpu.fits


def test_a_plan_for_tools(planned: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    told = json.loads(plan_json(planned))
    assert [step["name"] for step in told["steps"]] == ["data", "sft"] and told["memory"] == 80 * 2**30
    assert told["steps"][1]["basis"] == "assumed" and told["steps"][1]["remedy"]["fits"] is True
    assert told["seconds"] == planned.seconds > 0
    assert invoke(["plan", "r.yaml", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["steps"][1]["tokens"] == 500_000


def test_a_tokenizer_that_cannot_be_read_is_none(tmp_path: Path, tokenizer: Path) -> None:
    file = write(tmp_path / "a.jsonl", [conversation(10)])
    tokenizer.write_text("{}")
    assert count(file, tokenizer, tmp_path).basis == "bytes"


MEASURED = {"sft": 242, "pairs": 78, "dpo": 63, "rlvr": 1037, "scores": 565}
"""Seconds of the quickstart on two cores of an AMD EPYC (AVX2, 120 GFLOP/s), float32, 29 November 2026."""


def test_times_are_near_those_of_a_run_that_was_measured() -> None:
    facts = {"embedded:smollm2-135m": Facts(parameters=134_515_008)}
    total = 0.0
    for step in load(Path(__file__).parents[1] / "recipes" / "quickstart.yaml").steps:
        made = step.stage.forecast(facts)
        facts[step.name] = made.makes
        if step.name in MEASURED:
            seconds = seconds_of(made, 1.2e11, Hardware(dtype="float32", threads=2))
            assert 0.5 < seconds / MEASURED[step.name] < 2.3, step.name
            total += seconds
    assert 0.6 < total / sum(MEASURED.values()) < 2
