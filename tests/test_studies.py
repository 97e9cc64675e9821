"""Studies: laws and mixtures that are known are found again; what a study stands for; soups that are no averages."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file

from bactrian.data.synth.procedural import corpus
from bactrian.errors import BactrianError
from bactrian.evaluate.loss_law import TrainedSize, fit
from bactrian.evaluate.mixture_regression import best_mixture, fit_domain
from bactrian.evaluate.paired_change import change
from bactrian.evaluate.records import Record
from bactrian.evaluate.scoring import Averaging
from bactrian.recipe.recipe import load
from bactrian.report.load import load_run
from bactrian.report.page import render_page
from bactrian.report.studies import ladder_view
from bactrian.run.runner import run
from bactrian.stages.data.mix import Mix
from bactrian.stages.measure.ladder import Ladder, table
from bactrian.stages.tune.pretrain import Pretrain
from bactrian.store.artifact import Store
from bactrian.store.manifest import Manifest

SHAPE = "hidden_size: 8, layers: 1, heads: 2, intermediate_size: 16, context: 48, batch_size: 4, learning_rate: 0.01"


def law(parameters: float, tokens: float) -> float:
    return 400 / parameters**0.34 + 410 / tokens**0.28 + 1.69


def test_a_known_law_is_found_and_says_what_it_has_not_seen() -> None:
    noise = np.random.default_rng(0)
    sizes = [(n, d) for n in (1e7, 3e7, 1e8, 3e8) for d in (1e9, 3e9, 1e10)]
    runs = [TrainedSize(f"{n:g} {d:g}", n, d, law(n, d) * math.exp(noise.normal(0, 0.002))) for n, d in sizes]
    found = fit(runs, seed=0, samples=60)
    assert found.law.form == "both" and found.law.alpha == pytest.approx(0.34, abs=0.02)
    predicted, (low, high) = found.predicted(1e9, 3e10)
    assert low < law(1e9, 3e10) < high and predicted == pytest.approx(law(1e9, 3e10), rel=0.01)
    assert max(map(abs, found.residuals)) < 0.01
    low, high = found.interval("alpha")
    assert low < 0.34 < high and high - low < 0.2

    apart = [TrainedSize("largest", 1e9, 3e10, law(1e9, 3e10))]
    told = Ladder(held_out="t", rungs={"largest": "m"}, further={"more": {"parameters": 1e10, "tokens": 1e11}})._told(
        found, apart
    )
    assert [each["name"] for each in told["predictions"]] == ["largest", "more"]
    assert abs(told["predictions"][0]["miss"]) < 0.01 and "largest | 1,000,000,000" in table(told)
    view = ladder_view("ladder", told)
    assert len(view.plots) == 2 and view.sentences[0].startswith("largest: predicted")


def test_a_ladder_of_one_length_tells_sizes_alone() -> None:
    found = fit([TrainedSize("", n, 1e9, 400 / n**0.34 + 1.69) for n in (1e5, 3e5, 1e6, 3e6, 1e7)], seed=0, samples=20)
    assert found.law.form == "parameters"
    assert (found.law.alpha, found.law.floor) == pytest.approx((0.34, 1.69), abs=1e-3)
    with pytest.raises(BactrianError, match="found 3 runs of 3 sizes and 1 lengths to fit, expected four sizes"):
        fit([TrainedSize("", n, 1e9, 2.0) for n in (1e5, 1e6, 1e7)], seed=0)


def test_the_best_mixture_of_a_known_surface_is_found_within_its_caps() -> None:
    noise, slopes = np.random.default_rng(1), np.array([[-0.6, 0.2, 0.1], [0.1, -0.5, 0.2]])
    weights = noise.dirichlet([1, 1, 1], 30)
    fits = [
        fit_domain(name, weights, list(np.exp(0.5 + weights @ slope + noise.normal(0, 0.002, 30))))
        for name, slope in zip("ab", slopes, strict=True)
    ]
    assert all(each.beats_mean and each.error < 0.01 < each.error_of_mean for each in fits)
    grid = [(a, b, 1 - a - b) for a in np.linspace(0, 1, 101) for b in np.linspace(0, 1, 101) if a + b <= 1]
    losses = [float(np.exp(0.5 + slopes @ each).mean()) for each in grid]
    best = best_mixture(fits, {}, np.ones(3), np.ones(3) / 3)
    assert best.weights == pytest.approx(grid[int(np.argmin(losses))], abs=0.04)
    assert best.objective == pytest.approx(min(losses), rel=0.005) and best.objective < best.reference
    capped = best_mixture(fits, {}, np.array([0.3, 0.6, 1.0]), np.ones(3) / 3)
    assert capped.weights == pytest.approx((0.3, 0.6, 0.1), abs=1e-6) and capped.capped == (0, 1)
    with pytest.raises(BactrianError, match="fill 90% of the mixture"):
        best_mixture(fits, {}, np.array([0.3, 0.3, 0.3]), np.ones(3) / 3)
    nothing = fit_domain("noise", weights, list(np.exp(noise.normal(0, 0.05, 30))))
    assert not nothing.beats_mean


def test_a_change_in_bits_is_that_of_all_bits_over_all_bytes() -> None:
    def records(bits: list[float]) -> list[Record]:
        values = [{"bits": each, "bytes": size} for each, size in zip(bits, (10.0, 30.0), strict=True)]
        return [
            Record(str(n), 0, "", "", "", None, v["bits"] / v["bytes"], "right", 0, "stop", values=v)
            for n, v in enumerate(values)
        ]

    found = change("t", Averaging(metric="bits"), records([20.0, 60.0]), records([18.0, 50.0]))
    assert (found.before, found.after, found.gain) == pytest.approx((2.0, 1.7, 0.3))
    # by hand: differences -2 and -10, less -0.3 a byte: 1 and -1
    assert found.error == pytest.approx(math.sqrt(2 / 1 * 2) / 40)


RECIPE = f"""\
name: studies
seed: 3
hardware: {{dtype: float32, threads: 1, device: cpu}}
steps:
  base: {{stage: pretrain, data: a.jsonl, vocabulary: b.jsonl, {SHAPE}}}
  one: {{stage: midtrain, model: base, data: a.jsonl, batch_size: 4, learning_rate: 0.01, seed: 1}}
  two: {{stage: midtrain, model: base, data: b.jsonl, batch_size: 4, learning_rate: 0.01, seed: 2}}
  ties: {{stage: soup, models: [one, two], method: ties, start: base, density: 0.5, held_out: c.jsonl, points: 1}}
  arc: {{stage: soup, models: [one, two], method: slerp, weights: [1, 3]}}
  parts: {{stage: soup, models: [one, two], groups: {{"model.layers.*": [1, 0], "*": [0, 1]}}}}
  swarm:
    stage: swarm
    sources: {{a: a.jsonl, b: b.jsonl}}
    domains: {{c: c.jsonl}}
    like: base
    runs: 4
    tokens: 400
  chosen: {{stage: mix, total: 20, sources: [{{data: a.jsonl, name: a}}, {{data: b.jsonl, name: b}}], shares: swarm}}
  annealed:
    stage: microanneal
    model: base
    general: a.jsonl
    candidates: {{other: b.jsonl}}
    tokens: 400
    midtrain: {{batch_size: 4, learning_rate: 0.01}}
    measure: {{texts: {{c: c.jsonl}}}}
    target: c
"""
WRONG = f"""\
  wrong: {{stage: soup, models: [one, two], method: dare, start: strange}}
  strange: {{stage: pretrain, data: a.jsonl, vocabulary: b.jsonl, {SHAPE}, seed: 9}}
"""


def written(folder: Path, recipe: str) -> Path:
    for name, seed, largest in [("a", 0, 10), ("b", 1, 60), ("c", 2, 60)]:
        rows = [json.dumps(row) for row in corpus(seed, 24, largest=largest)]
        (folder / f"{name}.jsonl").write_text("\n".join(rows) + "\n")
    (folder / "studies.yaml").write_text(recipe)
    return folder / "studies.yaml"


def test_studies_are_steps_like_any_others(tmp_path: Path) -> None:
    recipe = load(written(tmp_path, RECIPE))
    names = [step.name for step in recipe.steps]
    assert {"swarm~r01", "swarm~r04-data", "annealed~general", "annealed~other", "annealed~scores"} <= set(names)
    mixed = recipe.step("swarm~r02-data").stage
    assert isinstance(mixed, Mix) and mixed.total == 400 and mixed.unit == "tokens"
    trained = recipe.step("swarm~r02").stage
    assert isinstance(trained, Pretrain) and trained.data == "swarm~r02-data" and trained.hidden_size == 8
    run(recipe, Store(tmp_path / "store"))
    page = render_page(load_run(tmp_path / "store" / "studies"))
    with pytest.raises(BactrianError, match="soup: start: found strange, expected a model that all of one, two were"):
        run(load(written(tmp_path, RECIPE + WRONG)), Store(tmp_path / "store"))
    made = {
        Manifest.read(path).step: path
        for path in (tmp_path / "store" / "artifacts").iterdir()
        if (path / "manifest.json").is_file()
    }
    told: dict[str, Any] = json.loads((made["swarm"] / "swarm.json").read_text())
    shares = json.loads((made["swarm"] / "shares.json").read_text())
    assert sum(shares.values()) == pytest.approx(1) and told["runs"][0]["shares"] == {"a": 0.5, "b": 0.5}
    rows = {each["name"]: each["rows"] for each in json.loads((made["chosen"] / "mixture.json").read_text())["sources"]}
    assert all(rows.get(name, 0) == pytest.approx(20 * share, abs=1) for name, share in shares.items())
    decided = json.loads((made["annealed"] / "microanneal.json").read_text())["candidates"]
    assert [each["candidate"] for each in decided] == ["other"] and "±" in (made["annealed"] / "table.md").read_text()
    table = json.loads((made["ties"] / "soup.json").read_text())
    assert table["lines"][0]["at"] == [0, 0.5, 1] and "halfway" not in table["models"][0]
    assert table["lines"][0]["bits"][::2] == pytest.approx([each["bits"] for each in table["models"]])

    assert all(title in page for title in ("A mix by swarm", "Micro-anneals", "Lines between models"))
    assert "cannot be read" not in page

    one, two, mixed_weights = (load_file(made[each] / "model.safetensors") for each in ("one", "two", "parts"))
    for name, weight in mixed_weights.items():
        assert weight.equal(one[name] if name.startswith("model.layers.") else two[name])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("like: base", "like: bass"), 'field "like": found "bass", expected a step of stage pretrain'),
        (("candidates: {other: b.jsonl}", "candidates: {general: b.jsonl}"), "found one called 'general'"),
        (("measure: {texts", "measure: {textz"), "settings of evaluate: textz"),
        (("measure: {texts: {c: c.jsonl}}", "measure: {texts: {c: d.jsonl}}"), 'step "annealed": found "d.jsonl"'),
    ],
)
def test_what_a_study_cannot_stand_for_is_said_before_anything_is_made(
    tmp_path: Path, change: tuple[str, str], message: str
) -> None:
    with pytest.raises(BactrianError, match=message):
        load(written(tmp_path, RECIPE.replace(*change)))
