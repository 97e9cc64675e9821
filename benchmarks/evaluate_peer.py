"""The side of evaluate.py that is lm-evaluation-harness: evaluate_peer.py MODEL_FOLDER DTYPE FOLDER. No bactrian here.

FOLDER holds the rows (JSONL) of gsm8k, mmlu, bbh and truthfulqa. Each is asked as the harness's own task of that name,
prompts, stops, filters and metrics as it has them; only where the rows come from and how long an answer may be is ours.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from duel import peak_gigabytes, serve


class Peer:
    def __init__(self, folder: str, dtype: str, data: Path) -> None:
        import lm_eval
        from lm_eval.models.huggingface import HFLM

        self.data, self.tasks = data, Path(lm_eval.__file__).parent / "tasks"
        self.lm: Any = HFLM(pretrained=folder, device="cpu", dtype=dtype, batch_size=8)
        self.asking = self.processor = 0.0  # seconds in the model, tokenising and padding included
        for name in ("loglikelihood", "generate_until"):
            self._time(name)

    def _time(self, name: str) -> None:
        plain = getattr(self.lm, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            start, used = time.perf_counter(), time.process_time()
            try:
                return plain(*args, **kwargs)
            finally:
                self.asking += time.perf_counter() - start
                self.processor += time.process_time() - used

        setattr(self.lm, name, timed)

    def configs(self, task: str, tokens: int) -> dict[str, dict[str, Any]]:
        """The harness's own tasks by name, with our files."""
        rows = self.data / f"{task}.jsonl"
        if task == "gsm8k":
            until = ["Q:", "</s>", "<|im_end|>"]
            return {"gsm8k_cot": self._config("gsm8k/gsm8k-cot.yaml", rows, tokens, until)}
        if task == "truthfulqa":
            made = self._config("truthfulqa/truthfulqa_mc2.yaml", rows, 0, [])
            return {"truthfulqa_mc2": made | {"dataset_kwargs": {"data_files": {"validation": str(rows)}}}}
        groups = dict.fromkeys(json.loads(line)["group"] for line in rows.read_text().splitlines())
        found = {}
        for group in groups:
            own = self.data / f"{task}.{group}.jsonl"
            lines = [line for line in rows.read_text().splitlines() if json.loads(line)["group"] == group]
            own.write_text("\n".join(lines) + "\n")
            if task == "bbh":
                until = ["</s>", "Q", "\n\n"]
                found[f"bbh_cot_fewshot_{group}"] = self._config(f"bbh/cot_fewshot/{group}.yaml", own, tokens, until)
            else:
                made = self._config(f"mmlu/default/mmlu_{group}.yaml", own, 0, [])
                dev = str(self.data / f"mmlu_dev.{group}.jsonl")
                files = {"dataset_kwargs": {"data_files": {"test": str(own), "dev": dev}}}
                found[f"mmlu_{group}"] = made | files | {"num_fewshot": 5}  # the harness's own default is none
        return found

    def _config(self, yaml: str, rows: Path, tokens: int, until: list[str]) -> dict[str, Any]:
        config: dict[str, Any] = {
            "include": str(self.tasks / yaml),
            "dataset_path": "json",
            "dataset_name": None,
            "dataset_kwargs": {"data_files": {"test": str(rows)}},
        }
        if tokens:
            kwargs = {"until": until, "do_sample": False, "temperature": 0.0, "max_gen_toks": tokens}
            config["generation_kwargs"] = kwargs
        return config

    def run(self, task: str, tokens: int, batch: int, limit: int | None, out: str) -> dict[str, Any]:
        """Ask a task; the samples go to a file in the harness's own form."""
        from lm_eval import simple_evaluate
        from lm_eval.loggers import EvaluationTracker
        from lm_eval.tasks import TaskManager

        folder = self.data / f"tasks-{task}-{tokens}"
        folder.mkdir(exist_ok=True)
        configs = self.configs(task, tokens)
        for name, config in configs.items():
            # a name of its own: the harness has tasks of these names already
            (folder / f"{name}.yaml").write_text(json.dumps({"task": f"ours_{name}", **config}))
        self.lm.batch_size_per_gpu, self.asking, self.processor = batch, 0.0, 0.0
        found = simple_evaluate(
            self.lm,
            tasks=[f"ours_{name}" for name in configs],
            limit=limit,
            log_samples=True,
            bootstrap_iters=0,
            task_manager=TaskManager(include_path=str(folder), include_defaults=False),
        )
        questions = 0
        if out:
            tracker = EvaluationTracker(output_path=out)
            tracker.general_config_tracker.model_name_sanitized = "peer"
            tracker.date_id = "2000-01-01T00-00-00"  # of the name of a file that is written once
            for old in (Path(out) / "peer").glob("samples_*"):
                old.unlink()
            for name, samples in found["samples"].items():
                tracker.save_results_samples(task_name=name, samples=samples)
        for samples in found["samples"].values():
            questions += len({sample["doc_id"] for sample in samples})
        return {
            "seconds": self.asking,
            "processor": self.processor,
            "questions": questions,
            "results": {name: _numbers(found["results"][name]) for name in found["results"]},
        }


def _numbers(result: dict[str, Any]) -> dict[str, float]:
    return {name: value for name, value in result.items() if isinstance(value, int | float)}


def main() -> None:
    folder, dtype, data = sys.argv[1:]
    state: dict[str, Peer] = {}

    def peer() -> Peer:
        if not state:
            state["peer"] = Peer(folder, dtype, Path(data))
        return state["peer"]

    def run(**asked: Any) -> dict[str, Any]:
        return peer().run(**asked)

    serve({"run": run, "peak": lambda: {"gigabytes": peak_gigabytes()}})


if __name__ == "__main__":
    main()
