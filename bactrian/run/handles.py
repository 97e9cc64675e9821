"""What Python code gets back: models, data and results that are made, each with its folder and its manifest."""

from __future__ import annotations

import html
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bactrian.errors import BactrianError
from bactrian.run.made import Made
from bactrian.store.hardware import HardwareSettings
from bactrian.store.manifest import MANIFEST, Kind, Manifest

if TYPE_CHECKING:
    from bactrian.run.push import Pushed


@dataclass(frozen=True)
class Model(Made):
    """A language model, or a reward model, in a folder that transformers reads."""

    def generate(
        self,
        prompts: str | Sequence[str] | Sequence[Sequence[Mapping[str, Any]]],
        *,
        max_new_tokens: int = 256,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int = 0,
        template: str | None = None,
    ) -> list[str]:
        """The model's answer to each prompt; greedy at temperature 0.

        Args:
            prompts: one user turn as text, several of them, or conversations as lists of {role, content}.
            template: chat template, where not the model's own.

        Raises:
            BactrianError: the folder is no language model; a prompt is no conversation or does not fit.
        """
        from bactrian.chat import prompt_ids
        from bactrian.generate.engine import Request

        given: Sequence[str | Sequence[Mapping[str, Any]]] = [prompts] if isinstance(prompts, str) else prompts
        engine = self._engine(template)
        requests = [
            Request(
                tuple(prompt_ids(_messages(prompt), engine.template, f"prompt {number}")),
                seed=seed + number,
                max_new_tokens=max_new_tokens,
                temperature=temperature,
                top_p=top_p,
            )
            for number, prompt in enumerate(given)
        ]
        names = [f"prompt {number}" for number in range(len(requests))]
        engine.check_fits([request.prompt for request in requests], max_new_tokens, names)
        return [completions[0].text for completions in engine.generate(requests)]

    def export(
        self,
        folder: str | os.PathLike[str],
        *,
        dtype: str = "as-is",
        merge: bool = False,
        gguf: Sequence[str] = (),
        card: bool = True,
        name: str | None = None,
    ) -> Path:
        """The model as a folder for transformers, vLLM, llama.cpp and lm-eval, with a card (docs/export.md).

        A model that was trained with adapters becomes a peft adapter, or with `merge` a whole model.

        Raises:
            BactrianError: an artifact that was changed, a folder with something else in it, or what the chosen form
                cannot hold.
        """
        from bactrian.run.export import export

        return export(self, Path(folder), dtype=dtype, merge=merge, gguf=gguf, card=card, name=name)

    def push(self, target: str, *, public: bool = False, dry_run: bool = False, **options: Any) -> Pushed:
        """Export the model and send it to a Hub id (owner/name) or a URL (s3://…, file://…); `options` as of `export`.

        What is there with the same hash is not sent again.

        Raises:
            BactrianError: the target cannot be reached, or refuses.
        """
        from bactrian.run.push import push

        return push(self, target, public=public, dry_run=dry_run, **options)

    def _engine(self, template: str | None) -> Any:
        from bactrian.generate.engines import open_engine

        kept: dict[str | None, Any] = self.__dict__.setdefault("_engines", {})
        if template not in kept:
            kept[template] = open_engine(self.path, HardwareSettings().decide(), template=template)
        return kept[template]


def _messages(prompt: str | Sequence[Mapping[str, Any]]) -> list[Any]:
    return [{"role": "user", "content": prompt}] if isinstance(prompt, str) else [dict(turn) for turn in prompt]


@dataclass(frozen=True)
class Data(Made):
    """Rows. Iterating reads them from disk, one by one; `len` where the rows were counted when they were made."""

    def __iter__(self) -> Iterator[dict[str, Any]]:
        from bactrian.data.io.files import stream_rows

        return (row for row, _ in stream_rows(self.path))

    def __len__(self) -> int:
        return sum(1 for _ in self)


@dataclass(frozen=True)
class Results(Made):
    """Scores with their intervals, and paired comparisons."""

    @cached_property
    def results(self) -> dict[str, Any]:
        """The whole of results.json (docs/design.md has its form)."""
        path = self.path / "results.json"
        try:
            found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise BactrianError(f"{path}: no results can be read ({error})") from None
        return found

    @property
    def scores(self) -> list[dict[str, Any]]:
        """One for each model, task and mode: `score`, `interval` (95 %), `counts` of outcomes, and more."""
        return list(self.results["scores"])

    @property
    def comparisons(self) -> list[dict[str, Any]]:
        """One for each pair of models and task: `difference`, `interval` (95 %), `p`, `test`."""
        return list(self.results["comparisons"])

    def score(self, model: str, task: str | None = None, mode: str = "greedy") -> float:
        """One score.

        Raises:
            BactrianError: with what there is, if there is none or more than one.
        """
        found = [s for s in self.scores if s["model"] == model and task in (None, s["task"]) and s["mode"] == mode]
        if len(found) != 1:
            there = "; ".join(f"{s['model']}, {s['task']}, {s['mode']}" for s in self.scores)
            raise BactrianError(
                f"score({model!r}, {task!r}, {mode!r}): found {len(found)} scores, expected one of: {there}"
            )
        return float(found[0]["score"])

    def _repr_html_(self) -> str:
        scores = [("model", "task", "mode", "score", "95 % interval", "questions")]
        for each in self.scores:
            values = (each["score"], *each["interval"])
            bits = each.get("metric") == "bits per byte"
            score, low, high = (f"{value:.3f}" if bits else f"{value:.1%}" for value in values)
            scores.append(
                (each["model"], each["task"], each["mode"], score, f"{low} to {high}", str(each["questions"]))
            )
        differences = [("from", "to", "task", "difference", "95 % interval", "p")]
        for each in self.comparisons:
            low, high = each["interval"]
            interval, p = f"{low:+.1%} to {high:+.1%}", f"{each['p']:.2g}"
            differences.append((each["before"], each["after"], each["task"], f"{each['difference']:+.1%}", interval, p))
        return _table(scores) + (_table(differences) if self.comparisons else "")


@dataclass(frozen=True)
class Run(Mapping[str, Made]):
    """The steps of a recipe that were made, by name; `report`: the page about them."""

    name: str
    folder: Path
    steps: Mapping[str, Made] = field(repr=False)

    def __getitem__(self, step: str) -> Made:
        if step not in self.steps:
            raise KeyError(f"no step {step!r}; made are: {', '.join(self.steps)}")
        return self.steps[step]

    def __iter__(self) -> Iterator[str]:
        return iter(self.steps)

    def __len__(self) -> int:
        return len(self.steps)

    @property
    def report(self) -> Path:
        return self.folder / "report.html"

    def _repr_html_(self) -> str:
        page = html.escape(self.report.read_text(encoding="utf-8")) if self.report.is_file() else ""
        return f'<iframe srcdoc="{page}" sandbox="allow-scripts" style="width:100%;height:40em;border:0"></iframe>'


def _table(lines: Sequence[Sequence[str]]) -> str:
    """HTML; the first line is the head."""
    head, *rows = ["".join(f"<td>{html.escape(cell)}</td>" for cell in line) for line in lines]
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return f"<table><thead><tr>{head.replace('td>', 'th>')}</tr></thead><tbody>{body}</tbody></table>"


KINDS: Mapping[Kind, type[Made]] = {Kind.MODEL: Model, Kind.DATA: Data, Kind.RESULTS: Results}


def handle(ref: str, path: Path, kind: Kind | None = None) -> Made:
    """The handle of a folder or file; its kind is the manifest's, where it has one.

    Raises:
        BactrianError: the manifest is damaged, or not of the kind asked for.
    """
    manifest = Manifest.read(path) if (path / MANIFEST).is_file() else None
    if manifest is not None and kind not in (None, manifest.kind):
        raise BactrianError(f"{path}: found {manifest.kind.value}, expected {kind.value if kind else ''}")
    found = manifest.kind if manifest else kind
    if found is None:
        model = any((path / name).is_file() for name in ("config.json", "adapter_config.json"))
        found = Kind.MODEL if model else Kind.DATA
    return KINDS[found](ref, path, manifest)
