"""Stages `pretrain` and `midtrain`: how far they go, at which rates, and that one goes on where the other ended."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file

from bactrian.data.io.files import write_rows
from bactrian.data.io.tally import Tally
from bactrian.data.synth.procedural import corpus
from bactrian.errors import BactrianError
from bactrian.model.language_model import LanguageModel
from bactrian.recipe.recipe import load
from bactrian.run.runner import run
from bactrian.stages.data.tokenize import Tokenize
from bactrian.stages.tune.pretrain import Pretrain
from bactrian.stages.tune.text_training import course_of, encoded, token_rows
from bactrian.store.artifact import Input, Store, Workspace
from bactrian.store.hardware import Hardware
from bactrian.store.manifest import Kind, Manifest
from bactrian.train.schedules import learning_rate
from tests.model.tiny import write_tiny

SHAPE = "hidden_size: 16, layers: 1, heads: 2, intermediate_size: 24, context: 48, batch_size: 4, learning_rate: 0.01"
KEEP, ON = "checkpoints: {keep_optimiser: true}", "batch_size: 4, schedule: constant"
RECIPE = f"""\
name: base
seed: 3
hardware: {{dtype: float32, threads: 1, device: cpu}}
steps:
  whole: {{stage: pretrain, data: alike.jsonl, {SHAPE}, epochs: 2, schedule: constant, warmup: 0}}
  half: {{stage: pretrain, data: alike.jsonl, {SHAPE}, schedule: constant, warmup: 0, {KEEP}}}
  kept: {{stage: midtrain, model: half, data: alike.jsonl, {ON}, optimiser: {{start: keep}}}}
  fresh: {{stage: midtrain, model: half, data: alike.jsonl, {ON}}}
  base:
    stage: pretrain
    data: texts.jsonl
    {SHAPE.replace(", ", chr(10) + "    ")}
    z_loss: 1.0e-4
    mask_repeats: true
    spikes: {{}}
    course: {{tokens: 600, horizon: 1800, warmup_tokens: 200, first_batch: 2}}
    shape: {{tied: false, rope_theta: 500000, norm_epsilon: 1.0e-6, vocabulary_multiple: 64, kv_heads: 1}}
  one: {{stage: midtrain, model: base, data: texts.jsonl, batch_size: 4, seed: 1}}
  two: {{stage: midtrain, model: base, data: texts.jsonl, batch_size: 4, seed: 2}}
  soup: {{stage: soup, models: [one, two], held_out: held_out.jsonl}}
  greedy: {{stage: soup, models: [one, two, base], held_out: held_out.jsonl, greedy: true}}
  strangers: {{stage: midtrain, model: soup, data: texts.jsonl, batch_size: 4}}
"""


def lines(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def same(a: Path, b: Path) -> bool:
    return all(torch.equal(weight, weights(b)[name]) for name, weight in weights(a).items())


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folder of each step."""
    folder = tmp_path_factory.mktemp("base")
    rows = list(corpus(0, 60, largest=10))
    (folder / "texts.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in [*rows, {**rows[0], "id": "x", "text": "a b " * 40}])
    )
    alike = [{**rows[0], "id": str(n)} for n in range(12)]
    (folder / "alike.jsonl").write_text("".join(json.dumps(row) + "\n" for row in alike))
    held_out = list(corpus(1, 8, largest=10))
    (folder / "held_out.jsonl").write_text("".join(json.dumps(row) + "\n" for row in held_out))
    (folder / "base.yaml").write_text(RECIPE)
    store = Store(folder / "store")
    with pytest.raises(
        BactrianError, match="midtrain: soup: no manifest says at which learning rate its training ended"
    ):
        run(load(folder / "base.yaml"), store)
    found = {}
    for path in (folder / "store" / "artifacts").iterdir():
        if (path / "manifest.json").is_file():
            found[Manifest.read(path).step] = path
    return found


def test_with_its_optimiser_kept_training_goes_on_to_the_bit(made: dict[str, Path]) -> None:
    assert same(made["kept"], made["whole"])
    assert not same(made["fresh"], made["whole"])
    assert {name.partition("#")[2] for name in load_file(made["half"] / "optimiser/state.safetensors")} == {
        "mean",
        "square",
        "step",
    }


def test_a_course_ends_before_its_horizon(made: dict[str, Path]) -> None:
    steps, metrics = lines(made["base"]), Manifest.read(made["base"]).metrics
    assert 600 <= metrics["tokens"] < 800 and metrics["rows_dropped"] == 1 and metrics["skipped"] == 0
    rates = [line["learning_rate"] for line in steps]
    peak = rates.index(max(rates))
    assert rates[:peak] == sorted(rates[:peak]) and 0 < peak < len(rates) - 1
    assert rates[-1] == metrics["learning_rate"] > 0.003  # a third of the way down a cosine to 0.001
    assert all(line["loss"] == pytest.approx(line["cross_entropy"] + 1e-4 * line["z_loss"]) for line in steps)


def test_midtraining_falls_linearly_from_there_to_nothing(made: dict[str, Path]) -> None:
    start = Manifest.read(made["base"]).metrics["learning_rate"]
    rates = [line["learning_rate"] for line in lines(made["one"])]
    assert rates == pytest.approx([start * (1 - n / len(rates)) for n in range(len(rates))])
    assert not same(made["one"], made["two"])
    mean = {name: (weight + weights(made["two"])[name]) / 2 for name, weight in weights(made["one"]).items()}
    assert all(torch.allclose(mean[name], weight, atol=1e-7) for name, weight in weights(made["soup"]).items())


def test_a_soup_is_measured_on_held_out_texts_with_its_parts_and_between(made: dict[str, Path]) -> None:
    texts = [row["text"] for row in corpus(1, 8, largest=10)]

    def bits(name: str) -> float:
        """Text by text, by transformers' own forward."""
        model = LanguageModel.load(made[name])
        total = 0.0
        for text in texts:
            ids = [model.tokenizer.bos_token_id, *model.tokenizer(text, add_special_tokens=False).input_ids]
            cut = [ids[at : at + 48] for at in range(0, len(ids) - 1, 47)]
            total -= sum(float(model._plain_logprobs(window).detach().sum()) for window in cut)
        return total / math.log(2) / sum(len(text.encode()) for text in texts)

    table = json.loads((made["soup"] / "soup.json").read_text())
    assert table["bits"] == pytest.approx(bits("soup"), rel=1e-5)
    assert [each["bits"] for each in table["models"]] == pytest.approx([bits("one"), bits("two")], rel=1e-5)
    for each in table["models"]:
        assert each["barrier"] == pytest.approx(each["halfway"] - (each["bits"] + table["bits"]) / 2)
    greedy = json.loads((made["greedy"] / "soup.json").read_text())
    own = [each["bits"] for each in greedy["models"]]
    assert greedy["bits"] <= min(own) and greedy["models"][own.index(min(own))]["share"] > 0
    assert Manifest.read(made["greedy"]).metrics["models"] == sum(each["share"] > 0 for each in greedy["models"])


def test_the_shape_is_as_it_was_asked_for(made: dict[str, Path]) -> None:
    model = LanguageModel.load(made["base"])
    config = model.network.config
    assert config.vocab_size % 64 == 0 and config.vocab_size >= len(model.tokenizer)
    assert config.num_key_value_heads == 1 and config.rms_norm_eps == 1e-6 and not config.tie_word_embeddings
    assert config.rope_parameters["rope_theta"] == 500_000


def test_another_model_s_tokenizer(tmp_path: Path) -> None:
    write_rows(list(corpus(0, 9, largest=10)), tmp_path / "text")
    inputs = {"text": Input("text", tmp_path / "text", Kind.DATA, "")}
    inputs["other"] = Input("other", write_tiny(tmp_path / "other"), Kind.MODEL, "")
    workspace = Workspace.temporary(tmp_path / "out", inputs, 0, Hardware())
    small: dict[str, Any] = {"hidden_size": 16, "layers": 1, "heads": 2, "intermediate_size": 24, "batch_size": 9}
    Pretrain(data="text", tokenizer="other", **small).run(workspace)
    vocabulary = LanguageModel.load(workspace.output).tokenizer.get_vocab()
    assert vocabulary == LanguageModel.load(tmp_path / "other").tokenizer.get_vocab()


def test_a_course_in_updates() -> None:
    stage = Pretrain(data="d", batch_size=10, course={"tokens": 4000, "horizon": 50_000, "warmup_tokens": 1000})
    course = course_of(stage, 1000, 10.0)
    assert course.most_rows == 400 and course.horizon == 500
    rates = [learning_rate(i, 500, 1.0, "cosine", course.warmup) for i in range(500)]
    assert rates[9] < rates[10] == 1.0 > rates[11]  # ten updates of 100 tokens
    assert course_of(Pretrain(data="d", batch_size=10, course={"warmup_tokens": 0}), 1000, 10.0).warmup == 0
    assert course_of(Pretrain(data="d", warmup=0.2), 1000, 10.0) == (None, None, 0.2, None)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tokenizer": "a", "vocabulary": "b"}, "vocabulary: found one beside tokenizer"),
        ({"course": {"tokens": 9, "horizon": 8}}, "tokens 9 beyond the horizon 8"),
        ({"heads": 4, "shape": {"kv_heads": 3}}, "shape.kv_heads: found 3, expected a divisor of heads 4"),
        ({"shape": {"active": 9}}, "shape.active: found 9, expected at most experts 8"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Pretrain(data="d", **settings)


def test_tokens_on_disk_are_the_texts_that_they_are_of(tmp_path: Path) -> None:
    """Cut apart, documents are what text rows are: with one document an instance, to the bit."""
    rows = [{**row, "text": " ".join(["cat"] * 9)} for row in corpus(0, 8, largest=10)]
    write_rows(rows, tmp_path / "text")
    inputs = {"text": Input("text", tmp_path / "text", Kind.DATA, "")}
    inputs["other"] = Input("other", write_tiny(tmp_path / "other"), Kind.MODEL, "")
    Tokenize(data=["text"], tokenizer="other").run(Workspace.temporary(tmp_path / "tokens", inputs, 0, Hardware()))
    inputs["tokens"] = Input("tokens", tmp_path / "tokens" / "output", Kind.DATA, "")
    model, found = LanguageModel.load(tmp_path / "other"), {}
    stage = Pretrain(data="tokens", tokenizer="other")
    (text,) = {tuple(row.ids) for row in encoded(stage, model, rows, 48, Tally())}
    whole = token_rows(stage, model, tmp_path / "tokens" / "output", 5 * (len(text) - 1), seed=1)
    pieces = whole.at(0, len(whole))
    assert sorted(len(row.ids) for row in pieces) == [len(text) - 1] * 2 + [len(text)] * 6
    assert all(tuple(row.ids) == text[-len(row.ids) :] for row in pieces)
    across = replace(whole, across=True).at(0, 2)
    assert sum(len(row.ids) for row in across) == 8 * (len(text) - 1) and len(across) == 2
    small: dict[str, Any] = {"hidden_size": 16, "layers": 1, "heads": 2, "intermediate_size": 24, "batch_size": 2}
    for place, settings in (("a", {}), ("b", {"checkpoints": {"checkpoint_seconds": 0}})):
        workspace = Workspace.temporary(tmp_path / place, inputs, 0, Hardware())
        Pretrain(data="tokens", tokenizer="other", context=16, epochs=2, **small, **settings).run(workspace)
        found[place] = workspace
    assert same(found["a"].output, found["b"].output) and found["a"].metrics["tokens"] > 2 * 8 * (len(text) - 1) - 1
    with pytest.raises(BactrianError, match="holds tokens; expected tokenizer"):
        Pretrain(data="tokens", **small).run(Workspace.temporary(tmp_path / "c", inputs, 0, Hardware()))
    own = Tokenize(data=["text"], vocabulary=["more"])
    write_rows([{"messages": [{"role": "user", "content": "A zebra!"}], "id": "m"}], tmp_path / "more")
    inputs["more"] = Input("more", tmp_path / "more", Kind.DATA, "")
    own.run(Workspace.temporary(tmp_path / "own", inputs, 0, Hardware()))
    inputs["own"] = Input("own", tmp_path / "own" / "output", Kind.DATA, "")
    workspace = Workspace.temporary(tmp_path / "d", inputs, 0, Hardware())
    Pretrain(data="own", context=16, **small).run(workspace)
    taken = LanguageModel.load(workspace.output).tokenizer
    assert taken.model_max_length == 16 and taken.unk_token_id not in taken("A zebra cat!").input_ids
    with pytest.raises(BactrianError, match="expected vocabulary: … in the step that made it"):
        Pretrain(data="own", vocabulary="more", **small).run(Workspace.temporary(tmp_path / "e", inputs, 0, Hardware()))
    with pytest.raises(BactrianError, match="expected those of the model's tokenizer"):
        token_rows(stage, LanguageModel.load(found_elsewhere(tmp_path)), tmp_path / "tokens" / "output", 16, 0)


def found_elsewhere(folder: Path) -> Path:
    """A model with another tokenizer."""
    write_rows(list(corpus(0, 9, largest=10)), folder / "rows")
    workspace = Workspace.temporary(folder / "elsewhere", {"rows": Input("rows", folder / "rows", Kind.DATA, "")}, 0)
    Pretrain(data="rows", hidden_size=16, layers=1, heads=2, intermediate_size=24).run(workspace)
    return workspace.output
