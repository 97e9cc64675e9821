"""lm-evaluation-harness: its logs of samples read, ours written in its form, our questions as tasks of its own."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bactrian.data.io.files import stream_rows
from bactrian.errors import BactrianError
from bactrian.evaluate.comparison import Side, labelled
from bactrian.evaluate.prompting import plain_text
from bactrian.evaluate.records import Place, Record
from bactrian.evaluate.results import about_of
from bactrian.evaluate.scoring import Averaging
from bactrian.evaluate.task import Loaded, Metric, Question, Row, Task, TaskSource
from bactrian.store.disk import write_atomically
from bactrian.store.hashes import hash_json

METRICS = ("exact_match", "acc", "acc_norm", "f1", "em", "prompt_level_loose_acc", "pass@1", "math_verify")
"""Of a sample's numbers the first of these is its score."""


def is_samples(path: Path) -> bool:
    """Whether a file is a harness's log of samples: samples_TASK_DATE.jsonl."""
    return path.is_file() and path.name.startswith("samples_") and path.suffix == ".jsonl"


def task_name(path: Path) -> str:
    """samples_gsm8k_2026-11-25T03-00-00.jsonl → gsm8k."""
    return path.stem.removeprefix("samples_").rpartition("_20")[0] or path.stem.removeprefix("samples_")


def read_samples(path: Path, kept: str | None = None) -> list[Record]:
    """The samples of a log as records; `kept`: of several filters' verdicts the one of this name,
    else the last.

    A question's id is the hash of its prompt, so that logs of one task fit together.

    Raises:
        BactrianError: naming the line and what it lacks.
    """
    rows = list(stream_rows(path))
    if not rows:
        raise BactrianError(f"{path}: no samples in it")
    filters = list(dict.fromkeys(str(row.get("filter", "none")) for row, _ in rows))
    chosen = kept or filters[-1]
    if chosen not in filters:
        raise BactrianError(f"{path}: no filter {chosen!r}; expected one of {', '.join(filters)}")
    return [_record(row, where) for row, where in rows if str(row.get("filter", "none")) == chosen]


def _record(row: Row, where: str) -> Record:
    try:
        arguments = row["arguments"]
        first = arguments["gen_args_0"] if isinstance(arguments, Mapping) else arguments[0]
        prompt = str(first["arg_0"] if isinstance(first, Mapping) else first[0])
        said = row["filtered_resps"]
        number = next(row[name] for name in METRICS if isinstance(row.get(name), int | float))
        ranked = isinstance(said[0], list)
        raw = "" if ranked else str(row["resps"][0][0])
    except (KeyError, IndexError, TypeError, StopIteration) as error:
        expected = f"expected arguments, filtered_resps and one of {', '.join(METRICS)}"
        raise BactrianError(f"{where}: not a harness's sample: {error!r}; {expected}") from None
    score = float(number)
    extracted = json.dumps(said) if ranked else str(said[0])
    values = {"right": float(score == 1)} | {
        name: float(row[name]) for name in METRICS if isinstance(row.get(name), int | float)
    }
    outcome = "right" if score > 0.5 else "unparsable" if extracted == "[invalid]" else "wrong"
    return Record(
        hash_json(prompt)[:16],
        0,
        prompt,
        raw,
        str(row.get("target", "")),
        extracted,
        score,
        outcome,
        0,
        "",
        values=values,
    )


def side_of_samples(path: Path) -> Side:
    """A log of samples as a side of a comparison."""
    task = task_name(path)
    return Side(path.parent.name or "harness", {task: read_samples(path)}, {task: {"metric": "score"}})


def write_results(folder: Path, results: Mapping[str, Any], records: Mapping[Place, Sequence[Record]]) -> list[Path]:
    """Ours in the harness's layout: a folder for each model with results.json and
    samples_TASK.jsonl.

    A set that was asked in two ways is two tasks there.

    Raises:
        BactrianError: where the folder cannot be written.
    """
    written = []
    names = labelled(records)
    for model in results["models"]:
        place = folder / model.replace("/", "__")
        place.mkdir(parents=True, exist_ok=True)
        mine = {names[model, s["task"], s["mode"]]: s for s in results["scores"] if s["model"] == model}
        abouts = {name: about_of(results["tasks"], s["task"], s["mode"]) for name, s in mine.items()}
        whole = {
            "results": {name: _numbers(score, name) for name, score in mine.items()},
            "n-shot": {name: about["exemplars"] for name, about in abouts.items()},
            "n-samples": {name: {"original": s["questions"], "effective": s["questions"]} for name, s in mine.items()},
            "model_name": model,
            "configs": abouts,
        }
        write_atomically(place / "results.json", json.dumps(whole, indent=1, ensure_ascii=False))
        written.append(place / "results.json")
        for name, score in mine.items():
            path, how = place / f"samples_{name}.jsonl", Averaging.of_results(abouts[name])
            lines = [
                json.dumps(_sample(number, record, how.value(record)), ensure_ascii=True)
                for number, record in enumerate(records[model, score["task"], score["mode"]])
            ]
            write_atomically(path, "\n".join(lines) + "\n")
            written.append(path)
    return written


def _numbers(score: Mapping[str, Any], alias: str) -> dict[str, Any]:
    name = {"exact match": "exact_match", "F1": "f1"}.get(score["metric"], score["metric"])
    return {"alias": alias, f"{name},none": score["score"], f"{name}_stderr,none": score["error"]} | {
        f"{other.replace(' ', '_')},none": value for other, value in score["numbers"].items()
    }


def _sample(number: int, record: Record, value: float) -> dict[str, Any]:
    lls = [value for name, value in record.values.items() if name.startswith("ll_")]
    said: list[Any] = [[ll, False] for ll in lls] or [record.extracted or "[invalid]"]
    shown = {name: value for name, value in record.values.items() if not name.startswith("ll_")}
    return {
        "doc_id": number,
        "doc": {"id": record.question, "group": record.group},
        "target": record.ground_truth,
        "arguments": {"gen_args_0": {"arg_0": record.prompt}},
        "resps": [[record.completion]],
        "filtered_resps": said,
        "filter": "none",
        "metrics": ["exact_match"],
        "exact_match": value,
        "outcome": record.outcome,
        "doc_hash": hash_json(record.question),
        "prompt_hash": hash_json(record.prompt),
        "target_hash": hash_json(record.ground_truth),
    } | shown


def export_task(loaded: Loaded, folder: Path) -> Path:
    """A task's questions, exemplars and all, as a task of the harness: a YAML and its rows. For
    `--include_path`.

    It asks the very same texts (plain format). Scored there: exact match of the last number, or of
    the option.

    Raises:
        BactrianError: for a form that the harness has no match for.
    """
    task = loaded.task
    if task.form == "bits" or any(question.contexts for question in loaded.questions):
        raise BactrianError(f"task {task.name}: its form, {task.form}, cannot be written as a task of the harness")
    folder.mkdir(parents=True, exist_ok=True)
    rows = folder / f"{task.name}.jsonl"
    lines = [json.dumps(_exported(loaded, question), ensure_ascii=True) for question in loaded.questions]
    write_atomically(rows, "\n".join(lines) + "\n")
    name = f"bactrian_{task.name}"
    config: dict[str, Any] = {
        "task": name,
        "dataset_path": "json",
        "test_split": "test",
        "num_fewshot": 0,
        "doc_to_text": "{{prompt}}",
        "dataset_kwargs": {"data_files": {"test": str(rows.resolve())}},
        "metadata": {"version": 1.0},
    }
    if task.form == "rank":
        config |= {
            "output_type": "multiple_choice",
            "doc_to_choice": "{{options}}",
            "doc_to_target": "{{right}}",
            "target_delimiter": task.joint,
            "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
        }
    else:
        config |= {
            "output_type": "generate_until",
            "doc_to_target": "{{truth}}",
            "generation_kwargs": {
                "until": list(task.stop) or ["\n\n\n"],
                "max_gen_toks": task.max_new_tokens,
                "do_sample": False,
            },
            "metric_list": [{"metric": "exact_match"}],
        }
    path = folder / f"{name}.yaml"
    write_atomically(path, json.dumps(config, indent=1))  # JSON is YAML
    return path


def _exported(loaded: Loaded, question: Question) -> dict[str, Any]:
    prompt = plain_text(loaded.task, question, loaded.preamble(question))
    return {
        "prompt": prompt,
        "options": list(question.options),
        "truth": question.truth,
        "right": question.right[0] if question.right else 0,
        "id": question.id,
    }


def as_asked(path: Path, verifier: str, tokens: int, stop: Sequence[str], metric: Metric = "acc") -> Loaded:
    """A harness's log as a task of ours: its prompts to the letter, to be answered and scored here.

    Ranked samples become ranked questions; the right option is found by the sample's `target`.
    """
    rows = [row for row, _ in stream_rows(path)]
    if not rows:
        raise BactrianError(f"{path}: no samples in it")
    last = str(rows[-1].get("filter", "none"))
    questions = [_asked(row, number) for number, row in enumerate(rows) if str(row.get("filter", "none")) == last]
    ranked = bool(questions[0].options)
    task = Task(
        task_name(path),
        ("more",),
        "harness",
        TaskSource(()),
        lambda row: [],
        form="rank" if ranked else "generate",
        metric=metric if ranked else "right",
        verifier=verifier,
        max_new_tokens=tokens,
        stop=tuple(stop),
        format="plain",
        joint="",
    )
    return Loaded(task, tuple(questions), {}, str(path), len(questions))


def _asked(row: Row, number: int) -> Question:
    arguments = [each for _, each in sorted(row["arguments"].items(), key=lambda item: int(item[0].rpartition("_")[2]))]
    prompt = str(arguments[0]["arg_0"])
    if len(arguments) == 1 and isinstance(arguments[0].get("arg_1"), Mapping):
        return Question(prompt, str(row["target"]), id=str(row.get("doc_id", number)))
    options = tuple(str(each["arg_1"]) for each in arguments)
    labels = row["doc"].get("mc2_targets", {}).get("labels")
    right = tuple(i for i, label in enumerate(labels) if label) if labels else (int(row["target"]),)
    return Question(prompt, str(row["target"]), options, right, id=str(row.get("doc_id", number)))
