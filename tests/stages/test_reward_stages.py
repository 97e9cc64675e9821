"""Reward models, PPO and KTO as steps of a recipe, on a tiny model made here."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from bactrian.data.io.files import read_rows
from bactrian.errors import BactrianError
from bactrian.generate.chat_request import ChatReply, ChatRequest
from bactrian.generate.local import LocalEngine
from bactrian.generate.responders import EngineResponder
from bactrian.judge.models import RewardJudge, rewards_of_answers
from bactrian.model.packing import Group
from bactrian.model.reward_model import RewardModel
from bactrian.recipe.recipe import load
from bactrian.run import runner
from bactrian.store.artifact import Store
from bactrian.train.losses import ADVANTAGES
from bactrian.verify import Problem, verify
from tests.generate.chat_server import Handler, completion, serving
from tests.stages.test_training_stages import write_inputs

RECIPE = """\
name: rewards
seed: 5
hardware: {dtype: float32, threads: 1, device: cpu}
steps:
  base: {stage: pretrain, data: texts.jsonl, vocabulary: problems.jsonl, hidden_size: 32, layers: 2, heads: 2,
         intermediate_size: 48, context: 64, epochs: 5, batch_size: 24, learning_rate: 0.02}
  sft: {stage: sft, model: base, data: problems.jsonl, epochs: 6, batch_size: 9, learning_rate: 0.01}
  reward: {stage: reward, model: sft, data: pairs.jsonl, margin: scores, centring: 0.001, epochs: 8, batch_size: 8,
           learning_rate: 1.0e-2}
  ppo: {stage: ppo, model: sft, data: problems.jsonl, value: reward, steps: 4, problems_per_step: 8, samples: 2,
        epochs: 2, max_new_tokens: 8, learning_rate: 1.0e-3, reward: {reward_model: reward, reward_weight: 0.5}}
  rlvr: {stage: rlvr, model: sft, data: problems.jsonl, steps: 2, problems_per_step: 6, samples: 4, kl: 0.01,
         max_new_tokens: 8, learning_rate: 1.0e-2, adapter: {rank: 4}}
  ppo_adapter: {stage: ppo, model: sft, data: problems.jsonl, value: reward,
                steps: 1, problems_per_step: 8, samples: 2, epochs: 2, max_new_tokens: 8, learning_rate: 1.0e-2,
                adapter: {rank: 4}, reward: {reward_model: reward, reward_weight: 0.5}}
  kto_adapter: {stage: kto, model: sft, data: labelled.jsonl, batch_size: 8, learning_rate: 1.0e-2, adapter: {rank: 4}}
  reward_adapter: {stage: reward, model: sft, data: pairs.jsonl, epochs: 2, batch_size: 8, learning_rate: 3.0e-2,
                   adapter: {rank: 4}}
  pairs: {stage: prefer, prompts: mixed.jsonl, pool: [sft], reward_model: reward, samples: 4, max_new_tokens: 8}
  mixed: {stage: rlvr, model: sft, data: mixed.jsonl, steps: 3, problems_per_step: 8, samples: 4,
          max_new_tokens: 8, learning_rate: 1.0e-3, reward: {reward_model: reward}}
  both: {stage: ppo, model: sft, data: mixed.jsonl, value: reward, steps: 2, problems_per_step: 8,
         epochs: 1, max_new_tokens: 8, learning_rate: 1.0e-3, reward: {reward_model: reward}}
  ranked: {stage: score, data: pairs.jsonl, reward_model: reward, sections: {Tests: [test, other]}}
  answered: {stage: evaluate, models: [sft], data: problems.jsonl, samples: 4, max_new_tokens: 8}
  best: {stage: score, data: problems.jsonl, answers: answered, reward_model: reward}
  checked: {stage: score, data: completions.jsonl}
  pool: {stage: respond, prompts: problems.jsonl, pool: [sft], always: [base], per_prompt: 1, samples: 2, limit: 5,
         max_new_tokens: 8}
  kto: {stage: kto, model: sft, data: labelled.jsonl, epochs: 4, batch_size: 8, learning_rate: 3.0e-3, beta: 0.3}
"""


SIDES = (("chosen", 1), ("rejected", 2))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """The folder of each step."""
    folder = tmp_path_factory.mktemp("rewards")
    write_inputs(folder, "float32")
    with (
        (folder / "labelled.jsonl").open("w") as file,
        (folder / "pairs.jsonl").open("w") as pairs,
        (folder / "mixed.jsonl").open("w") as mixed,
        (folder / "completions.jsonl").open("w") as completions,
    ):
        for i, row in enumerate(read_rows(folder / "problems.jsonl", "problem")):
            sides = {side: [{"role": "assistant", "content": f"Answer: {n}"}] for side, n in SIDES}
            pair = {"prompt": row["messages"], **sides, "chosen_score": 0.9, "rejected_score": 0.4}
            pairs.write(json.dumps(pair | {"source": "test", "license": "CC0-1.0"}) + "\n")
            answer = {"role": "assistant", "content": "Answer: 1" if i % 2 else "Answer: 2"}
            completion = {**row, "completion": f"Answer: {1 + i % 2}"}
            completions.write(json.dumps(completion) + "\n")
            if i % 2:  # half of the prompts are scored by the reward model, half by rule
                row = {**row, "dataset": "reward_model", "ground_truth": "-"}
            mixed.write(json.dumps(row) + "\n")
            labelled = {"messages": [*row["messages"], answer], "label": bool(i % 2)}
            file.write(json.dumps(labelled | {"source": "test", "license": "CC0-1.0"}) + "\n")
    (folder / "r.yaml").write_text(RECIPE)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        records = runner.run(load(Path("r.yaml"), ()), Store(Path("runs")))
        yield {record.name: Path("runs").absolute() / str(record.path) for record in records}


def manifest(folder: Path) -> dict[str, float]:
    metrics: dict[str, float] = json.loads((folder / "manifest.json").read_text())["metrics"]
    return metrics


def lines(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_a_reward_model_prefers_what_the_pairs_prefer(made: dict[str, Path]) -> None:
    first, last = lines(made["reward"])[0], lines(made["reward"])[-1]
    assert last["loss"] < 0.5 * first["loss"] and last["accuracy"] == 1.0 and last["margin"] > 0.5
    model = RewardModel.load(made["reward"])
    assert torch.isfinite(model.rewards([Group((5, 6, 7), ((8, 9),))])).all()


def test_ppo_moves_the_policy_and_logs_what_matters(made: dict[str, Path]) -> None:
    steps = lines(made["ppo"])
    assert len(steps) == 8 == manifest(made["ppo"])["updates"]
    needed = {"reward", "score", "kl", "value_loss", "value_explained", "clip_fraction", "ratio", "entropy"}
    assert needed | {"completion_length", "truncated", "logprob_gap_mean"} <= steps[0].keys()
    assert steps[0]["ratio"] == 1.0 and steps[0]["logprob_gap_max"] <= 1e-5
    assert (made["ppo"] / "config.json").read_text() == (made["sft"] / "config.json").read_text()
    assert (made["ppo"] / "model.safetensors").read_bytes() != (made["sft"] / "model.safetensors").read_bytes()


def test_a_reward_model_scores_the_rows_that_name_it_and_verifiers_the_others(made: dict[str, Path]) -> None:
    model = RewardModel.load(made["reward"])
    pairs, by_model = read_rows(made["pairs"]), set()
    judge, rows = RewardJudge(model), read_rows(made["sft"].parents[2] / "mixed.jsonl", "problem")
    asked = {row["messages"][-1]["content"]: row for row in rows}
    for pair in pairs:
        row = asked[pair["prompt"][-1]["content"]]
        by_model.add(row["dataset"])
        problem = Problem("", {"right_from": 0.5}, row["messages"][-1]["content"], row["messages"][:-1])
        assert [turn["role"] for turn in row["messages"]] == ["system", "user"], "a turn before the prompt is read too"
        for side in ("chosen", "rejected"):
            text, score = pair[side][0]["content"], pair[f"{side}_score"]
            if row["dataset"] == "reward_model":
                (whole,) = rewards_of_answers(model, [(row["messages"], pair[side])], ["x"], 64)
                assert score == pytest.approx(judge.judge([(problem, text)])[0].score, abs=1e-5)
                assert score == pytest.approx(1 / (1 + math.exp(-(whole or 0.0))), abs=1e-5)
            else:
                assert score == verify("gsm8k", text, row["ground_truth"]).score
    assert by_model == {"gsm8k", "reward_model"}


@pytest.mark.parametrize("step", ["mixed", "both"])
def test_rewards_of_both_kinds_train_one_policy(made: dict[str, Path], step: str) -> None:
    scores = [line["score"] for line in lines(made[step])]
    assert all(0 < score < 1 and score != round(score, 3) for score in scores), "neither rule nor model alone"
    assert (made[step] / "model.safetensors").read_bytes() != (made["sft"] / "model.safetensors").read_bytes()


@pytest.mark.parametrize("scale", ["std", "none", "rloo"])
def test_advantages_never_compare_two_scales(scale: str) -> None:
    """A group's advantages are those that it has alone, whatever the rewards of other prompts' groups."""
    rule, model = torch.tensor([[1.0, 0.0, 0.0, 1.0]]), torch.tensor([[0.52, 0.48, 0.51, 0.5]])
    together = ADVANTAGES.use(scale)(torch.cat([rule, model]))
    for place, alone in enumerate((rule, model)):
        assert torch.equal(together[place], ADVANTAGES.use(scale)(alone)[0])
        assert abs(float(together[place].sum())) < 1e-5


def test_a_judge_behind_a_server_makes_pairs(made: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """It likes answers that say 1; the artifact says which answers it liked."""
    folder = made["sft"].parents[2]
    monkeypatch.chdir(folder)
    rows = [{**row, "dataset": "judge", "ground_truth": "-"} for row in read_rows("problems.jsonl", "problem")][:12]
    Path("judged.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def behave(handler: Handler, content: str, nth: int) -> None:
        answer = content.split("<answer ")[1].split(">\n", 1)[1].split("\n</answer")[0]
        handler.give(200, completion("Rating: 10" if "1" in answer else "Rating: 2"))

    with serving(behave) as (url, _):
        server = f"pairs.judge_server={{url: {url}, model: m, backoff: 0.01}}"
        changes = ("pairs.prompts=judged.jsonl", "pairs.reward_model=null", server)
        (record,) = [
            r
            for r in runner.run(load(Path("r.yaml"), changes), Store(Path("runs")), only="pairs")
            if r.path and r.name == "pairs"
        ]
    for pair in read_rows(folder / "runs" / str(record.path)):
        assert "1" in pair["chosen"][0]["content"] and "1" not in pair["rejected"][0]["content"]
        assert (pair["chosen_score"], pair["rejected_score"]) == (1.0, pytest.approx(1 / 9))


@pytest.mark.parametrize("step", ["pairs", "mixed", "both"])
def test_rows_of_a_model_that_is_not_given_are_refused_before_sampling(
    made: dict[str, Path], monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    folder = made["sft"].parents[2]
    monkeypatch.chdir(folder)
    setting = "reward_model" if step == "pairs" else "reward.reward_model"
    with pytest.raises(BactrianError, match="'reward_model' need a model: give the setting reward_model"):
        runner.run(load(Path("r.yaml"), (f"{step}.{setting}=null",)), Store(Path("runs")), only=step)


def scores_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "scores.json").read_text())
    return found


def test_pairs_are_scored_and_counted(made: dict[str, Path]) -> None:
    rows, found = read_rows(made["ranked"]), scores_of(made["ranked"])
    right = sum(row["chosen_reward"] > row["rejected_reward"] for row in rows) / len(rows)
    assert found["all"]["accuracy"] == right == manifest(made["ranked"])["accuracy"] > 0.9
    assert [group["name"] for group in found["groups"]] == ["test"] and found["all"]["pairs"] == len(rows) == 40
    assert found["overall"] == right and found["sections"][0]["missing"] == ["other"]
    assert sum(each["pairs"] for each in found["calibration"]["bins"]) == 40
    assert found["calibration"]["loss"] < 0.1, "what the model was trained on, it is sure of"
    model = RewardModel.load(made["reward"])
    asked = [([{"role": "user", "content": "x"}], [{"role": "assistant", "content": "Answer: 1"}])]
    assert rewards_of_answers(model, asked, ["x"], 64) == rewards_of_answers(model, asked * 3, ["x"] * 3, 64)[:1]
    assert rewards_of_answers(model, asked, ["x"], 64, longest=2) == [None]


def test_samples_of_an_evaluation_are_scored_and_the_best_of_k_is_expected(made: dict[str, Path]) -> None:
    rows, found = read_rows(made["best"]), scores_of(made["best"])["best_of"]
    assert len(rows) == 160 and [each["k"] for each in found] == [1, 2, 4]
    picked = []
    for question in {row["question"] for row in rows}:
        mine = [row for row in rows if row["question"] == question]
        top = [row["score"] for row in mine if row["reward"] == max(row["reward"] for row in mine)]
        picked.append(sum(top) / len(top))
    assert found[-1]["score"] == pytest.approx(sum(picked) / 40)
    assert found[0]["score"] == pytest.approx(sum(row["score"] for row in rows) / 160)
    assert all(each["oracle"] >= each["score"] for each in found)
    assert all(row["messages"][-1]["role"] == "assistant" for row in rows)


def test_completions_are_scored_by_the_verifiers_that_they_name(made: dict[str, Path]) -> None:
    for row in read_rows(made["checked"]):
        assert row["reward"] == verify("gsm8k", row["completion"], row["ground_truth"]).score
    assert manifest(made["checked"])["rows_kept"] == 40


def test_a_pool_of_models_of_this_run_answers(made: dict[str, Path]) -> None:
    rows = read_rows(made["pool"])
    assert [row["id"] for row in rows] == [f"p{n}" for n in range(5)]
    assert all(
        [(a["model"], a["sample"]) for a in row["answers"]] == [("sft", 0), ("sft", 1), ("base", 0), ("base", 1)]
        for row in rows
    )
    asked = [ChatRequest(tuple(row["messages"]), str(row["id"]), n, 8) for n, row in enumerate(rows)]
    responder = EngineResponder(LocalEngine.load(made["sft"]))
    whole, part = dict[int, ChatReply](), dict[int, ChatReply]()
    responder.answer(asked, whole.__setitem__)
    responder.answer(asked[2:4], part.__setitem__)
    assert sorted(whole) == list(range(5)) and [part[0], part[1]] == [whole[2], whole[3]], "as a resumed run asks"
    assert all(reply.tokens >= 1 and not reply.fault for reply in whole.values())


def test_the_page_shows_rewards(made: dict[str, Path]) -> None:
    page = (made["sft"].parents[1] / "rewards" / "report.html").read_text()
    for part in ("Rewards and preferences", "Reliability diagram", "The best of k answers", "By section"):
        assert part in page


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        (("ranked.by=flavour",), "no field 'flavour', by which pairs are to be counted"),
        (("ranked.sections=rewardbench",), "no source of any section; found test"),
        (("ranked.reward_model=null",), "pairs need a judge or a reward_model"),
        (("ranked.judge=sft",), "found a judge and a reward_model, expected one of them"),
        (("checked.data=labelled.jsonl",), "row 1: without judge and reward_model a row names its verifier"),
        (("best.data=mixed.jsonl", "best.limit=1", "best.answers=ranked"), "expected one that makes results"),
    ],
)
def test_what_cannot_be_scored_is_told(
    made: dict[str, Path], monkeypatch: pytest.MonkeyPatch, changes: tuple[str, ...], complaint: str
) -> None:
    monkeypatch.chdir(made["sft"].parents[2])
    with pytest.raises(BactrianError, match=complaint):
        runner.run(load(Path("r.yaml"), changes), Store(Path("runs")), only=changes[0].split(".")[0])


def test_kto_tells_good_from_bad(made: dict[str, Path]) -> None:
    last = lines(made["kto"])[-1]
    assert last["reward_desirable"] > last["reward_undesirable"] + 0.1


@pytest.mark.parametrize("step", ["rlvr", "ppo_adapter", "kto_adapter", "reward_adapter"])
def test_an_adapter_beside_the_merged_model_is_the_merged_model(made: dict[str, Path], step: str) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    scores = step == "reward_adapter"
    kind: Any = AutoModelForSequenceClassification if scores else AutoModelForCausalLM
    options: dict[str, Any] = {"num_labels": 1} if scores else {}
    ids = torch.tensor([[5, 6, 7, 8, 9]])
    merged = kind.from_pretrained(made[step], dtype=torch.float32)
    plain = kind.from_pretrained(made["sft"], dtype=torch.float32, **options)
    for model in (merged, plain):
        model.config.pad_token_id = 0
    with torch.no_grad():
        before = plain(ids).logits.clone()
        adapted = PeftModel.from_pretrained(plain, str(made[step] / "adapter"))(ids).logits
        torch.testing.assert_close(adapted, merged(ids).logits, atol=1e-4, rtol=1e-4)
    assert float((adapted - before).abs().max()) > 1e-3


def test_the_first_step_of_a_policy_with_adapters_is_its_reference(made: dict[str, Path]) -> None:
    first, last = lines(made["rlvr"])[0], lines(made["rlvr"])[-1]
    assert first["ratio"] == 1.0 and first["kl"] == pytest.approx(0, abs=1e-6) and first["logprob_gap_max"] <= 1e-5
    assert last["kl"] > 1e-4 and last["logprob_gap_max"] <= 1e-5


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ("ppo.value=sft", "a language model; expected a reward model"),
        ("ppo.model=reward", "a reward model, which scores answers; expected a language model"),
        ("kto.data=problems.jsonl", "expected answers labelled good or bad"),
        ("kto.data=unlabelled.jsonl", "line 1|row 1, field 'label': found None, expected true or false"),
        ("reward.data=bare.jsonl", "margin scores needs the numbers chosen_score and rejected_score"),
    ],
)
def test_the_wrong_input_is_named(
    made: dict[str, Path], monkeypatch: pytest.MonkeyPatch, change: str, complaint: str
) -> None:
    folder = made["sft"].parents[2]
    monkeypatch.chdir(folder)
    said = {"messages": [{"role": "user", "content": "cat ?"}, {"role": "assistant", "content": "Answer: 1"}]}
    Path("unlabelled.jsonl").write_text(json.dumps(said) + "\n")
    sides = {side: [{"role": "assistant", "content": f"Answer: {n}"}] for side, n in SIDES}
    Path("bare.jsonl").write_text(json.dumps({"prompt": said["messages"][:1], **sides}) + "\n")
    step = change.split(".")[0]
    with pytest.raises(BactrianError, match=complaint):
        runner.run(load(Path("r.yaml"), (change,)), Store(Path("runs")), only=step)
