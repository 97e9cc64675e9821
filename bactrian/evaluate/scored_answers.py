"""Rows with the scores of their answers: which were kept, and what scores.json says of them (docs/methods.md).

A score is a number, or a text that says why there is none; rows without one are dropped and counted.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from bactrian.chat.messages import check_messages
from bactrian.data.io.tally import Tally
from bactrian.errors import BactrianError
from bactrian.evaluate.completion_files import TEXTS
from bactrian.evaluate.reward_agreement import (
    REWARDBENCH,
    Ties,
    agreement,
    best_of,
    calibration,
    powers,
    sections,
)
from bactrian.evaluate.statistics import wilson

Row = dict[str, Any]
ScoreOrReason = float | str
SectionLayout = Literal["rewardbench"] | Mapping[str, Sequence[str]]


def scored_pairs(
    pairs: Sequence[Row], chosen: Sequence[ScoreOrReason], rejected: Sequence[ScoreOrReason], tally: Tally
) -> list[Row]:
    """The pairs of which both sides have a score, with `chosen_reward` and `rejected_reward`."""
    scored = []
    for row, better, worse in zip(pairs, chosen, rejected, strict=True):
        if isinstance(better, str) or isinstance(worse, str):
            tally.drop(better if isinstance(better, str) else str(worse), str(row["id"]))
            continue
        tally.keep()
        scored.append({**row, "chosen_reward": better, "rejected_reward": worse})
    return scored


def pair_summary(
    scored: Sequence[Row], where: str, by: str, ties: Ties, layout: SectionLayout | None, calibrated: bool
) -> dict[str, Any]:
    """How well the scores of pairs agree with what is preferred, by the column `by`; at least one pair.

    Args:
        calibrated: also as probabilities, which a reward model's differences are.

    Raises:
        BactrianError: a row lacks the column, or no row is of any section.
    """
    groups: dict[str, list[tuple[float, float]]] = {}
    for row in scored:
        if by not in row:
            raise BactrianError(f"{where}, row {row['id']}: no field {by!r}, by which pairs are to be counted")
        groups.setdefault(str(row[by]), []).append((row["chosen_reward"], row["rejected_reward"]))
    each = [agreement(name, rewards, ties) for name, rewards in groups.items()]
    both = [reward for rewards in groups.values() for reward in rewards]
    found: dict[str, Any] = {"by": by, "ties": ties}
    found |= {"all": asdict(agreement("all", both, ties)), "groups": [asdict(group) for group in each]}
    if calibrated:
        found["calibration"] = asdict(calibration([better - worse for better, worse in both]))
    if layout is not None:
        known = REWARDBENCH if layout == "rewardbench" else layout
        made = sections(each, known)
        if not made:
            raise BactrianError(f"{where}: no {by} of any section; found {', '.join(sorted(groups)[:12])}")
        outside = sorted(set(groups) - {subset for subsets in known.values() for subset in subsets})
        found["sections"] = [asdict(section) for section in made]
        found |= {"overall": sum(section.accuracy for section in made) / len(made), "in_no_section": outside}
    return found


def order_changes(changed: Sequence[bool]) -> dict[str, Any]:
    """How often a judge of pairs preferred another answer when the two changed places, with Wilson's 95 % interval."""
    return {"pairs": len(changed), "share": sum(changed) / len(changed), "interval": wilson(sum(changed), len(changed))}


def scored_answers(rows: Sequence[Row], scores: Sequence[ScoreOrReason], tally: Tally) -> list[Row]:
    """The rows that have a score, as `reward`."""
    scored = []
    for row, score in zip(rows, scores, strict=True):
        if isinstance(score, str):
            tally.drop(score, str(row["id"]))
            continue
        tally.keep()
        scored.append({**row, "reward": score})
    return scored


def answer_summary(scored: Sequence[Row], by: str) -> dict[str, Any]:
    """The mean score of each value of the column `by`."""
    groups: dict[str, list[float]] = {}
    for row in scored:
        groups.setdefault(str(row.get(by, "?")), []).append(row["reward"])
    means = [{"name": name, "answers": len(mine), "mean": sum(mine) / len(mine)} for name, mine in groups.items()]
    return {"by": by, "means": means}


def scored_samples(
    problems: Mapping[str, Row], samples: Sequence[Row], scores: Sequence[ScoreOrReason], tally: Tally
) -> tuple[list[Row], dict[tuple[str, str, str], tuple[list[float], list[float]]]]:
    """An evaluation's samples with a score as rows; and by (model, task, question) their rewards and their scores.

    Args:
        problems: by id.
        samples: rows of questions.parquet.
    """
    scored: list[Row] = []
    questions: dict[tuple[str, str, str], tuple[list[float], list[float]]] = {}
    for sample, reward in zip(samples, scores, strict=True):
        if isinstance(reward, str):
            tally.drop(reward, f"{sample['question']}, sample {sample['sample']}")
            continue
        tally.keep()
        row = problems[sample["question"]]
        scored.append(
            {
                "id": f"{row['id']}-{sample['model']}-{sample['sample']}",
                "question": row["id"],
                "model": sample["model"],
                "messages": [*row["messages"], *answer_turn(sample["completion"])],
                "reward": reward,
                "score": float(sample["score"]),
                "source": row.get("source", "?"),
                "license": row.get("license", "?"),
            }
        )
        rewards, verified = questions.setdefault((sample["model"], sample["task"], sample["question"]), ([], []))
        rewards.append(reward)
        verified.append(float(sample["score"]))
    return scored, questions


def best_of_curves(
    questions: Mapping[tuple[str, str, str], tuple[list[float], list[float]]], seed: int
) -> list[dict[str, Any]]:
    """For each model and task what picking the best of k samples would have scored, for k of 1, 2, 4, …"""
    curves = []
    for model, task in dict.fromkeys((model, task) for model, task, _ in questions):
        mine = [pair for (a, b, _), pair in questions.items() if (a, b) == (model, task)]
        for k in powers(min(len(rewards) for rewards, _ in mine)):
            curves.append({"model": model, "task": task, **asdict(best_of(mine, k, seed))})
    return curves


def answer_turn(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def prompt_and_answer(row: Row, where: str) -> tuple[list[Any], list[Any]]:
    """(prompt, answer turns) of a conversation, or of a problem row with a completion.

    Raises:
        BactrianError: the row is neither.
    """
    messages = check_messages(row.get("messages"), f"{where}, field 'messages'")
    text = next((row[field] for field in TEXTS if isinstance(row.get(field), str)), None)
    if messages[-1]["role"] == "assistant" and text is None:
        return messages[:-1], messages[-1:]
    if messages[-1]["role"] == "user" and text is not None and text.strip():
        return messages, answer_turn(text)
    raise BactrianError(
        f"{where}: expected messages that end with the assistant's turn, or with the user's and a text in one of "
        f"{', '.join(TEXTS)}"
    )


def read_samples(folder: Path, name: str) -> list[Row]:
    """The sampled answers of an evaluation called `name`.

    Raises:
        BactrianError: the folder holds no results.
    """
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(folder / "questions.parquet", filters=[("mode", "==", "sampled")])
    except (OSError, ValueError) as error:
        raise BactrianError(f"{name}: {folder} cannot be read as results of `evaluate`: {error}") from None
    rows: list[Row] = table.to_pylist()
    return rows


def score_metrics(found: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of scores.json for the manifest."""
    numbers: dict[str, float] = {}
    if "all" in found:
        numbers |= {"accuracy": found["all"]["accuracy"], "margin": found["all"]["margin"]}
    if "order_changed" in found:
        numbers["order_changed"] = found["order_changed"]["share"]
    if "calibration" in found:
        numbers["calibration_error"] = found["calibration"]["error"]
    if "overall" in found:
        numbers["overall"] = found["overall"]
    for each in found.get("best_of", ()):
        numbers[f"best_of_{each['k']}/{each['task']}/{each['model']}"] = each["score"]
    for each in found.get("means", ()):
        numbers[f"reward/{each['name']}"] = each["mean"]
    return numbers


def score_lines(found: Mapping[str, Any]) -> Iterable[str]:
    """What a person reads of scores.json at the end."""
    for each in [*found.get("groups", ()), *([found["all"]] if "all" in found else [])]:
        low, high = each["interval"]
        yield (
            f"  {each['name']}: {each['accuracy']:.1%} of {each['pairs']:,} pairs ranked rightly "
            f"({low:.1%} to {high:.1%}), {each['ties']:,} ties, mean margin {each['margin']:.3g}"
        )
    for each in found.get("sections", ()):
        yield f"  section {each['name']}: {each['accuracy']:.1%} of {each['pairs']:,} pairs"
    if "overall" in found:
        yield f"  overall, the mean of the sections: {found['overall']:.1%}"
    if "calibration" in found:
        each = found["calibration"]
        yield f"  calibration error {each['error']:.3f}, loss {each['loss']:.3f}, Brier score {each['brier']:.3f}"
    if "order_changed" in found:
        low, high = found["order_changed"]["interval"]
        yield (
            f"  the order of the answers changed the judge's mind on {found['order_changed']['share']:.1%} of "
            f"{found['order_changed']['pairs']:,} pairs ({low:.1%} to {high:.1%})"
        )
    for each in found.get("best_of", ()):
        low, high = each["interval"]
        yield (
            f"  {each['model']}, {each['task']}: best of {each['k']} scores {each['score']:.1%} ({low:.1%} to "
            f"{high:.1%}), one answer {each['single']:.1%}, the truly best {each['oracle']:.1%}"
        )
    for each in found.get("means", ()):
        yield f"  {each['name']}: {each['answers']:,} answers, mean reward {each['mean']:.3g}"
