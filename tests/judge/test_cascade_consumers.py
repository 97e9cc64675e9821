"""What takes a calibrated cascade: binarise, prefer, rlvr and the check for drift; nobody guesses where it abstains."""

import json
from math import comb
from pathlib import Path
from typing import Any

import pytest

from bactrian.cli.main import invoke
from bactrian.data.io.files import read_rows
from bactrian.errors import BactrianError
from bactrian.judge.checks import check_traffic
from bactrian.judge.opened import open_cascade
from bactrian.judge.opinions import AnswerPair
from bactrian.recipe.recipe import load
from bactrian.store.hardware import Hardware
from bactrian.verify.model_verifiers import ABSTAINS
from tests.judge.cascade_recipes import CALIBRATE, JUDGE, calibration_of, made, recipe, rows, write


def answered(first: int, count: int) -> list[dict[str, Any]]:
    """Rows of `respond` with three answers, one of them empty and one cut off."""
    found = []
    for row in rows(first, count):
        texts = [row["first"], row["second"], "", "the cat"]
        finish = ["stop", "stop", "stop", "length"]
        answers = [
            {"model": f"m{n}", "text": t, "finish": f} for n, (t, f) in enumerate(zip(texts, finish, strict=True))
        ]
        found.append({**row, "messages": row["prompt"], "answers": answers, "source": "s", "license": "MIT"})
    return found


def check_pairs(folder: Path, calibration: Path, drawn: int) -> None:
    """Each pair is what the cascade says of it, asked again; the rest is apart and has no side chosen."""
    pairs, cascade = read_rows(folder, "pair"), open_cascade(calibration, Hardware())
    apart = [json.loads(line) for line in (folder / "abstained.jsonl").read_text().splitlines()]
    assert pairs and len(pairs) + len(apart) == drawn
    asked = [
        AnswerPair("", tuple(row["prompt"]), row["chosen"][0]["content"], row["rejected"][0]["content"])
        for row in pairs
    ]
    assert all(verdict.preferred == 0 for verdict in cascade.verdicts(asked))
    left = [AnswerPair("", tuple(row["prompt"]), row["first"], row["second"]) for row in apart]
    assert all(verdict.abstains for verdict in cascade.verdicts(left))
    assert json.loads((folder / "judged.json").read_text())["abstained"] == len(apart)


def test_binarise_pairs_whole_answers_at_random_and_leaves_out_what_nobody_is_sure_of(ready: Path) -> None:
    write(ready / "answers.jsonl", answered(100, 40))
    recipe(ready, f"{CALIBRATE}\npairs: {{stage: binarise, data: answers.jsonl, calibration: calibrated}}")
    steps = made(ready)
    check_pairs(steps["pairs"], steps["calibrated"], 40)
    assert (steps["pairs"] / "abstained.jsonl").read_text()
    pairs = read_rows(steps["pairs"])
    assert {row["chosen_model"] for row in pairs} == {"m0", "m1"} and "chosen_score" not in pairs[0]


def test_prefer_asks_no_verifier_where_a_cascade_decides(ready: Path) -> None:
    problems = [
        {"id": row["id"], "messages": row["prompt"], "ground_truth": "0", "dataset": "gsm8k"} for row in rows(200, 30)
    ]
    write(ready / "problems.jsonl", problems)
    recipe(
        ready,
        f"{CALIBRATE}\npairs: {{stage: prefer, prompts: problems.jsonl, pool: [judge], calibration: calibrated, "
        f"samples: 3, max_new_tokens: 120}}",
    )
    steps = made(ready)
    account = json.loads((steps["pairs"] / "judged.json").read_text())
    check_pairs(steps["pairs"], steps["calibrated"], account["pairs"])


@pytest.mark.parametrize(
    ("step", "told"),
    [
        ("stage: binarise, data: x.jsonl, margin: 0.5, calibration: calibrated", "margin: found beside calibration"),
        (
            "stage: prefer, prompts: x.jsonl, pool: [judge], reward: gsm8k, calibration: calibrated",
            "expected one of them",
        ),
        ("stage: rlvr, model: judge, data: x.jsonl, reward: {calibration: other}", "a step of stage calibrate"),
    ],
)
def test_two_ways_of_preferring_at_once_are_refused(ready: Path, step: str, told: str) -> None:
    write(ready / "x.jsonl", [{"messages": rows(0, 1)[0]["prompt"], "ground_truth": "0", "dataset": "gsm8k"}])
    other = "other: {stage: source, data: fresh.jsonl}" if "other" in step else ""
    recipe(ready, f"{CALIBRATE}\n{other}\nused: {{{step}}}")
    with pytest.raises(BactrianError) as error:
        load(ready / "r.yaml")
    assert told in str(error.value)


def test_rlvr_moves_nothing_on_answers_that_the_cascade_abstains_on(ready: Path) -> None:
    words = ["the", "cat", "sat", "on", "a", "mat", "and", "what", "is", "no", "yes", "one", "two", "three"]
    problems = [  # a longer answer is less likely, and easier to beat
        {"id": row["id"], "messages": row["prompt"], "ground_truth": " ".join(words[:length]), "dataset": "cascade"}
        for row, length in zip(rows(300, 4), range(10, 14), strict=True)
    ]
    write(ready / "problems.jsonl", problems)
    settings = "steps: 1, problems_per_step: 4, samples: 32, max_new_tokens: 14, watch: {rollouts: 4}"
    reward = "reward: {calibration: calibrated, no_end_reward: null}"
    recipe(ready, f"{CALIBRATE}\npolicy: {{stage: rlvr, model: judge, data: problems.jsonl, {settings}, {reward}}}")
    steps = made(ready)
    cascade = open_cascade(steps["calibrated"], Hardware())
    by_id = {row["id"]: row for row in problems}
    groups: dict[str, list[tuple[float, int | None]]] = {}
    for line in (steps["policy"] / "rollouts.jsonl").read_text().splitlines():
        answer = json.loads(line)
        problem = by_id[answer["question"]]
        (verdict,) = cascade.verdicts(
            [AnswerPair("", tuple(problem["messages"]), answer["completion"], problem["ground_truth"])]
        )
        assert (answer["reason"] == ABSTAINS) is verdict.abstains
        groups.setdefault(problem["id"], []).append((answer["reward"], verdict.preferred))
    found = [preferred for group in groups.values() for _, preferred in group]
    assert {None, 0, 1} <= set(found), "expected verdicts of every kind"
    for group in groups.values():
        decided = [1.0 - preferred for _, preferred in group if preferred is not None]
        mean = sum(decided) / len(decided) if decided else 0.0
        for reward_given, preferred in group:
            assert reward_given == pytest.approx(mean if preferred is None else 1.0 - preferred)
    (line,) = (steps["policy"] / "metrics.jsonl").read_text().splitlines()
    assert json.loads(line)["unjudged"] == pytest.approx(found.count(None) / len(found))


def test_rows_that_ask_for_a_cascade_need_a_calibration(ready: Path) -> None:
    write(ready / "p.jsonl", [{"messages": rows(0, 1)[0]["prompt"], "ground_truth": "yes", "dataset": "cascade"}])
    recipe(ready, "policy: {stage: rlvr, model: judge, data: p.jsonl, steps: 1}")
    with pytest.raises(BactrianError, match=r"need a calibration: give the setting reward\.calibration"):
        made(ready)


def test_the_check_tells_traffic_that_has_changed(ready: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe(ready, f"{CALIBRATE}\n{JUDGE}")
    steps = made(ready)
    arguments = ["judge", "check", str(steps["calibrated"]), "--judged", str(steps["judged"])]
    capsys.readouterr()
    assert invoke(arguments) == 0
    assert "nothing speaks against it" in capsys.readouterr().out
    # later the pairs are other ones: two answers that nobody can tell apart, over and over
    shifted = [{**row, "second": f"{row['first']} ."} for row in rows(400, 120)]
    write(ready / "fresh.jsonl", shifted)
    found = json.loads((steps["judged"] / "judged.json").read_text())
    write(
        ready / "later.jsonl",
        [{**row, "place": n, "confidences": {"judge": 0.5 + n / 1e6}} for n, row in enumerate(shifted)],
    )
    assert found["pairs"] == 40 and invoke([*arguments[:-1], str(ready / "later.jsonl"), "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["void"] and report["traffic"]["judge"]["alarm"] is not None


def test_the_check_bounds_the_risk_on_fresh_labels_only(ready: Path, capsys: pytest.CaptureFixture[str]) -> None:
    calibration = calibration_of(ready)
    pairs = [AnswerPair(row["id"], tuple(row["prompt"]), row["first"], row["second"]) for row in rows(500, 60)]
    verdicts = open_cascade(calibration, Hardware()).verdicts(pairs)
    said = [1 + (verdict.preferred or 0) for verdict in verdicts]
    for labels, status, told in ((said, 0, "holds"), ([3 - label for label in said], 1, "broken")):
        lines = [{**row, "label": label} for row, label in zip(rows(500, 60), labels, strict=True)]
        write(ready / "people.jsonl", lines)
        assert invoke(["judge", "check", str(calibration), "--labels", "people.jsonl"]) == status
        assert f"the guarantee {'holds' if told == 'holds' else 'is broken'}" in capsys.readouterr().out
    assert invoke(["judge", "check", str(calibration), "--labels", "labels.jsonl"]) == 2
    assert "were calibrated on" in capsys.readouterr().err


def compared_answers(first: int, count: int) -> list[dict[str, Any]]:
    """Rows of `respond`; the last one has a single answer, which can be compared with nothing."""
    found = answered(first, count)
    return [*found[:-1], {**found[-1], "answers": found[-1]["answers"][:1]}]


def test_annotate_compares_all_answers_and_binarise_draws_from_that(ready: Path) -> None:
    write(ready / "answers.jsonl", compared_answers(100, 40))
    steps_of = f"{CALIBRATE}\nsaid: {{stage: annotate, data: answers.jsonl, calibration: calibrated}}"
    recipe(ready, f"{steps_of}\npairs: {{stage: binarise, data: said, pairs_per_prompt: 3, cut_off: true}}")
    steps = made(ready)
    rows_said, cascade = read_rows(steps["said"]), open_cascade(steps["calibrated"], Hardware())
    different = [{answer["text"] for answer in row["answers"] if answer["text"]} for row in rows_said]
    compared = [comb(len(texts), 2) for texts in different]
    assert [len(row["comparisons"]) for row in rows_said] == compared and set(compared) == {0, 1, 3}
    left = [json.loads(line) for line in (steps["said"] / "abstained.jsonl").read_text().splitlines()]
    for row in rows_said:
        texts = [answer["text"] for answer in row["answers"]]
        pairs = [
            AnswerPair("", tuple(row["messages"]), texts[each["first"]], texts[each["second"]])
            for each in row["comparisons"]
        ]
        for each, verdict in zip(row["comparisons"], cascade.verdicts(pairs), strict=True):
            places = (each["first"], each["second"])
            assert each.get("preferred") == (None if verdict.preferred is None else places[verdict.preferred])
            assert each["confidence"] == pytest.approx(verdict.confidence)
        decided = [each for each in row["comparisons"] if each.get("preferred") is not None]
        for place, answer in enumerate(row["answers"]):
            assert answer["won"] == sum(each.get("preferred") == place for each in decided)
            assert answer["decided"] == sum(place in (each["first"], each["second"]) for each in decided)
    none = sum(each.get("preferred") is None for row in rows_said for each in row["comparisons"])
    assert none == len(left) > 0
    # with all answers usable and enough draws, every comparison is drawn once: decided ones are pairs, others apart
    check_pairs(steps["pairs"], steps["calibrated"], sum(compared))
    assert len((steps["pairs"] / "abstained.jsonl").read_text().splitlines()) == none


def test_binarise_draws_as_if_it_had_asked_the_cascade_itself(ready: Path) -> None:
    """A draw is from all pairs of whole answers, not from the decided ones: as many are left out either way."""
    write(ready / "answers.jsonl", compared_answers(100, 41))
    recipe(
        ready,
        f"{CALIBRATE}\nsaid: {{stage: annotate, data: answers.jsonl, calibration: calibrated}}\n"
        "drawn: {stage: binarise, data: said}\n"
        "asked: {stage: binarise, data: answers.jsonl, calibration: calibrated}",
    )
    steps = made(ready)
    # two answers of each row ended: there is one pair to draw, whoever draws it
    by = {
        name: {row["id"]: (row["chosen"], row["rejected"]) for row in read_rows(steps[name])}
        for name in ("drawn", "asked")
    }
    assert by["drawn"] == by["asked"] and by["drawn"]
    accounts = [json.loads((steps[name] / "judged.json").read_text()) for name in ("drawn", "asked")]
    assert accounts[0]["composition"] == accounts[1]["composition"] and accounts[0]["pairs"] == 40


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ("calibration: calibrated, judge: judge", "expected one of judge, server and calibration"),
        ("calibration: calibrated, aspects: [honesty]", "aspects: found beside calibration"),
        ("calibration: calibrated, unread: 0.5", "unread: found beside calibration"),
        ("calibration: other", "a step of stage calibrate"),
        ("aspects: [honesty]", "expected one of judge, server and calibration"),
    ],
)
def test_annotate_rates_or_compares(ready: Path, settings: str, told: str) -> None:
    write(ready / "answers.jsonl", answered(0, 3))
    other = "other: {stage: source, data: fresh.jsonl}" if "other" in settings else ""
    recipe(ready, f"{CALIBRATE}\n{other}\nsaid: {{stage: annotate, data: answers.jsonl, {settings}}}")
    with pytest.raises(BactrianError) as error:
        load(ready / "r.yaml")
    assert told in str(error.value)


def test_comparisons_that_cannot_be_are_refused_by_row(ready: Path) -> None:
    row = {**answered(0, 1)[0]}
    bad = {"first": 0, "second": 1, "preferred": 7, "judge": "j", "confidence": 1.0, "confidences": "{}"}
    write(ready / "said.jsonl", [{**row, "comparisons": [bad]}])
    recipe(ready, "pairs: {stage: binarise, data: said.jsonl}")
    with pytest.raises(BactrianError, match=r"said.jsonl, line 1: comparisons: found .*'preferred': 7"):
        made(ready)
    write(ready / "said.jsonl", [{**row, "comparisons": []}, row])
    with pytest.raises(BactrianError, match=r"line 2: found no comparisons, expected them in every row"):
        made(ready)


def test_win_rates_by_a_cascade_are_of_what_it_decides(ready: Path) -> None:
    """Each verdict is the cascade's, asked again; what it abstains on is apart and in no number."""
    said = [
        {"messages": row["prompt"], "completion": row[side], "model": side, "license": "MIT"}
        for row in rows(600, 40)
        for side in ("first", "second")
    ]
    write(ready / "said.jsonl", said)
    recipe(
        ready,
        f"{CALIBRATE}\nrates: {{stage: winrate, data: [said.jsonl], baseline: second, calibration: calibrated, "
        "resamples: 20}",
    )
    steps = made(ready)
    found = json.loads((steps["rates"] / "winrates.json").read_text())
    games, cascade = read_rows(steps["rates"]), open_cascade(steps["calibrated"], Hardware())
    apart = [json.loads(line) for line in (steps["rates"] / "abstained.jsonl").read_text().splitlines()]
    pairs = {row["prompt"][0]["content"]: tuple(row["prompt"]) for row in rows(600, 40)}

    def again(game: dict[str, Any]) -> int | None:
        prompt = pairs[game["prompt"][0]["content"]]
        (verdict,) = cascade.verdicts([AnswerPair("", prompt, game["first_text"], game["second_text"])])
        return verdict.preferred

    assert games and apart and len(games) + len(apart) == 40
    assert all(again(game) == (0 if game["probability"] == 1.0 else 1) for game in games)
    assert all(again(game) is None for game in apart)
    wins = sum(game["probability"] for game in games)
    (rate,) = found["models"]
    assert rate["raw"]["rate"] == pytest.approx(wins / len(games)) and rate["abstained"] == len(apart)
    assert rate["bounds"] == pytest.approx([wins / 40, (wins + len(apart)) / 40])
    assert json.loads((steps["rates"] / "judged.json").read_text())["abstained"] == len(apart)
    # `judge check` reads how sure the judge was of each, decided or not
    traffic = check_traffic(steps["calibrated"], [steps["rates"]], 0.01)
    assert traffic["judge"].seen == 40 and all(set(each["confidences"]) == {"judge"} for each in [*games, *apart])
