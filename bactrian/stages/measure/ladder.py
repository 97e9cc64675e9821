"""Stage `ladder`: the same training at several sizes, a law of its loss, and what it says of other sizes."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from bactrian.errors import BactrianError
from bactrian.errors.wording import show
from bactrian.stages.stage import (
    CannotExpand,
    Expanding,
    Facts,
    Forecast,
    HeldOutRef,
    ModelRef,
    Settings,
    Stage,
    changed_stage,
)
from bactrian.stages.tune.pretrain import Pretrain
from bactrian.store.manifest import Kind

if TYPE_CHECKING:
    from bactrian.evaluate.loss_law import FittedLaw, TrainedSize
    from bactrian.store.artifact import Workspace

LADDER = "ladder.json"
EMBEDDINGS = ("embed_tokens", "lm_head")


class FurtherSize(Settings):
    """A size that is predicted and not trained."""

    parameters: float = Field(gt=0, description="counted as `count` has it")
    tokens: float = Field(gt=0, description="trained on")


class Ladder(Expanding):
    """A law of loss by parameters and tokens, L = A/N^α + B/D^β + E [Hoffmann et al. 2022], from runs of several sizes.

    Adds a `pretrain` step for each size and length, with the settings of the step `like`; measures each model on
    held-out texts in bits per byte; fits the law to those that are not in `predict` [Bhagia et al. 2024]. Leaves
    ladder.json and table.md: the law with intervals, residuals, and what it says of sizes that it has not seen.
    """

    name: ClassVar[str] = "ladder"
    makes: ClassVar[Kind] = Kind.RESULTS
    labels_inputs: ClassVar[bool] = True

    held_out: HeldOutRef = Field(description="text rows on which the loss is measured")
    like: str | None = Field(None, description="the `pretrain` step of this recipe whose settings the sizes have")
    sizes: dict[str, dict[str, Any]] = Field({}, description="size → settings of that step that are others")
    lengths: list[int] = Field([], description="tokens that each size is trained on, its schedule too")
    predict: list[str] = Field([], description="sizes that are predicted from the others, and measured")
    further: dict[str, FurtherSize] = Field({}, description="name → a size that is predicted and not trained")
    count: Literal["non_embedding", "all"] = Field("non_embedding", description="parameters that N counts")
    bootstrap: int = Field(300, ge=50, description="laws of resampled residuals, for the intervals")
    rungs: dict[str, ModelRef] = Field({}, description="name → a model; filled by `sizes`, or given by hand")

    @model_validator(mode="after")
    def _has_rungs(self) -> Self:
        if not self.sizes and not self.rungs:
            raise ValueError("sizes: found none, expected sizes to train, or rungs: models that there are")
        if self.sizes and self.like is None:
            raise ValueError("like: found nothing, expected the step whose settings the sizes have")
        names = [*self.sizes, *self.rungs]
        if strange := [name for name in self.predict if not any(_of_size(rung, name) for rung in names)]:
            raise ValueError(f"predict: found {strange[0]!r}, expected some of {', '.join(names)}")
        return self

    def expanded(self, name: str, steps: Mapping[str, Stage]) -> dict[str, Stage]:
        added: dict[str, Stage] = {}
        rungs = dict(self.rungs)
        for size, changes in self.sizes.items():
            for length in self.lengths or [0]:
                rung = f"{size}-{_short(length)}" if length else size
                course = {"course": {"tokens": length, "horizon": length}} if length else {}
                added[f"{name}~{rung}"] = like_step(self.like or "", steps, {**course, **changes}, ("sizes", size))
                rungs[rung] = f"{name}~{rung}"
        return {**added, name: self.model_copy(update={"rungs": rungs, "sizes": {}})}

    def run(self, workspace: "Workspace") -> None:
        from bactrian.evaluate.loss_law import fit
        from bactrian.progress import say

        found = self._measured(workspace)
        apart = [run for run in found if any(_of_size(run.name, name) for name in self.predict)]
        fitted = fit([run for run in found if run not in apart], workspace.seed, self.bootstrap)
        told = self._told(fitted, apart)
        (workspace.output / LADDER).write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
        text = table(told)
        (workspace.output / "table.md").write_text(text + "\n", encoding="utf-8")
        law = told["law"]
        workspace.metrics.update({each: law[each] for each in ("alpha", "beta", "floor") if each in law})
        for each in told["predictions"]:
            if "miss" in each:
                workspace.metrics[f"miss/{each['name']}"] = each["miss"]
        say(f"ladder:\n{text}")

    def _measured(self, workspace: "Workspace") -> "list[TrainedSize]":
        from bactrian.data.io.files import read_rows
        from bactrian.evaluate.loss_law import TrainedSize
        from bactrian.model.language_model import LanguageModel, context_of
        from bactrian.model.text_bits import WINDOW, bits_per_byte
        from bactrian.progress import progress

        texts = [row["text"] for row in read_rows(workspace.input(self.held_out).path, "text")]
        found, hardware = [], workspace.hardware
        with progress("ladder", total=len(self.rungs), unit="model") as bar:
            for rung, ref in self.rungs.items():
                folder = workspace.input(ref).path
                model = LanguageModel.load(folder, hardware.dtype, device=hardware.device)
                bits = bits_per_byte(model, texts, context_of(folder) or WINDOW)
                found.append(TrainedSize(rung, parameters(folder, self.count), trained_tokens(folder, rung), bits))
                bar.advance()
        return found

    def _told(self, fitted: "FittedLaw", apart: "list[TrainedSize]") -> dict[str, Any]:
        """ladder.json."""
        law = fitted.law
        terms = {"both": ("a", "alpha", "b", "beta"), "parameters": ("a", "alpha"), "tokens": ("b", "beta")}
        coefficients = [*terms[law.form], "floor"]
        runs = [
            {"name": run.name, "parameters": run.parameters, "tokens": run.tokens, "loss": run.loss}
            | {"fitted": law.at(run.parameters, run.tokens), "residual": residual}
            for run, residual in zip(fitted.runs, fitted.residuals, strict=True)
        ]
        predictions = []
        measured = {run.name: run.loss for run in apart}
        sizes = [(run.name, run.parameters, run.tokens) for run in apart]
        sizes += [(name, size.parameters, size.tokens) for name, size in self.further.items()]
        for name, count, tokens in sizes:
            loss, interval = fitted.predicted(count, tokens)
            each = {"name": name, "parameters": count, "tokens": tokens, "predicted": loss, "interval": interval}
            if name in measured:
                each |= {"measured": measured[name], "miss": loss / measured[name] - 1}
            predictions.append(each)
        values = {each: getattr(law, each) for each in coefficients}
        intervals = {each: fitted.interval(each) for each in coefficients}
        about = {"unit": "bits per byte", "count": self.count, "bootstrap": self.bootstrap}
        return {
            "law": {"form": law.form, **values},
            "intervals": intervals,
            "runs": runs,
            "predictions": predictions,
        } | about

    def forecast(self, inputs: Mapping[str, Facts]) -> Forecast:
        read = [inputs.get(ref, Facts()) for ref in self.rungs.values()]
        texts = inputs.get(self.held_out, Facts())
        tokens = texts.rows * (texts.tokens_per_row or 500.0)
        flops = 2.0 * sum(each.multiplied for each in read) * tokens
        memory = 4.0 * max((each.parameters for each in read), default=0) + 1e9
        return Forecast(tokens * len(read), flops, memory)


def like_step(like: str, steps: Mapping[str, Stage], changes: Mapping[str, Any], place: tuple[str | int, ...]) -> Stage:
    """A `pretrain` step of a recipe with settings that are others.

    Raises:
        CannotExpand: there is no such step, or the settings do not fit it. `place`: where they stand.
    """
    stage = steps.get(like)
    if not isinstance(stage, Pretrain):
        raise CannotExpand(("like",), show(like), "a step of stage pretrain")
    try:
        return changed_stage(stage, changes)
    except ValueError as error:
        first = error.errors()[0] if hasattr(error, "errors") else {"loc": (), "msg": str(error)}
        told = f"settings of pretrain: {'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise CannotExpand(place, show(dict(changes)), told) from None


def parameters(folder: Path, count: str) -> float:
    """Numbers in a model's weights; without those of its embeddings and output, if so."""
    from math import prod

    from bactrian.model.weight_files import header, weight_files

    shapes = {name: each["shape"] for file in weight_files(folder) for name, each in header(file).items()}
    left_out = EMBEDDINGS if count == "non_embedding" else ()
    return float(sum(prod(shape) for name, shape in shapes.items() if not any(part in name for part in left_out)))


def trained_tokens(folder: Path, name: str) -> float:
    """The tokens that a model was trained on, by its manifest.

    Raises:
        BactrianError: it does not say.
    """
    from bactrian.store.manifest import MANIFEST, Manifest

    found = Manifest.read(folder).metrics.get("tokens") if (folder / MANIFEST).is_file() else None
    if not found:
        raise BactrianError(f"ladder: rungs: {name}: no manifest says on how many tokens it was trained")
    return found


def table(told: Mapping[str, Any]) -> str:
    """The law, its residuals and predictions, in Markdown."""
    law, intervals = told["law"], told["intervals"]
    signs = {"a": "A", "alpha": "α", "b": "B", "beta": "β", "floor": "E"}
    lines = ["| | value | 95 % interval |", "|---|---:|---|"]
    lines += [
        f"| {signs[each]} | {law[each]:.4g} | {low:.4g} to {high:.4g} |" for each, (low, high) in intervals.items()
    ]
    lines += ["", "| run | parameters | tokens | bits per byte | law | off by |", "|---|---:|---:|---:|---:|---:|"]
    lines += [
        f"| {run['name']} | {run['parameters']:,.0f} | {run['tokens']:,.0f} | {run['loss']:.4f} | "
        f"{run['fitted']:.4f} | {100 * run['residual']:+.2f} % |"
        for run in told["runs"]
    ]
    if told["predictions"]:
        lines += ["", "| not fitted | parameters | tokens | predicted | 95 % interval | measured | miss |"]
        lines += ["|---|---:|---:|---:|---|---:|---:|"]
    for each in told["predictions"]:
        low, high = each["interval"]
        measured = f"{each['measured']:.4f} | {100 * each['miss']:+.2f} %" if "miss" in each else "– | –"
        lines.append(
            f"| {each['name']} | {each['parameters']:,.0f} | {each['tokens']:,.0f} | {each['predicted']:.4f} | "
            f"{low:.4f} to {high:.4f} | {measured} |"
        )
    return "\n".join(lines)


def _of_size(rung: str, size: str) -> bool:
    """Whether a rung is a size's, at some length."""
    return rung == size or rung.startswith(f"{size}-")


def _short(tokens: int) -> str:
    for unit, sign in ((10**9, "B"), (10**6, "M"), (10**3, "k")):
        if tokens % unit == 0:
            return f"{tokens // unit}{sign}"
    return str(tokens)
