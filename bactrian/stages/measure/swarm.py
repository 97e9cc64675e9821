"""Stage `swarm`: shares of the sources of a mixture, chosen by many small models trained on random mixtures."""

import json
from collections.abc import Mapping, Sequence
from math import exp
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import Field, PositiveFloat, model_validator

from bactrian.stages.data.mix import SHARES, Mix
from bactrian.stages.measure.ladder import like_step
from bactrian.stages.stage import DataRef, Expanding, Facts, Forecast, HeldOutRef, ModelRef, Stage, changed_stage
from bactrian.store.manifest import Kind

if TYPE_CHECKING:
    from bactrian.evaluate.mixture_regression import ChosenMixture, DomainFit
    from bactrian.store.artifact import Workspace

SWARM = "swarm.json"
LEAST = 0.02
"""A smaller share of a random mixture is none."""


class Swarm(Expanding):
    """Small models on mixtures drawn from a Dirichlet distribution, a regression, and the mixture it holds best.

    Adds `runs` mixtures of `sources` and as many `pretrain` steps with the settings of the step `like`; measures each
    model on texts of several domains; fits the loss of each domain by the shares (log-linear, with a ridge); and finds
    the shares of the least mean loss, no source repeated more than `most_repeats` times [Olmo 3, Olmo team 2025]. A
    `mix` with `shares` set to this step takes them. Where the regression does not surely beat the mean of the runs, the
    reference mixture is what it leaves, and it says so.
    """

    name: ClassVar[str] = "swarm"
    makes: ClassVar[Kind] = Kind.RESULTS
    labels_inputs: ClassVar[bool] = True

    sources: dict[str, DataRef] = Field(min_length=2, description="name → text rows")
    domains: dict[str, HeldOutRef] = Field(min_length=1, description="name → held-out text rows that are measured")
    importance: dict[str, PositiveFloat] = Field({}, description="domain → weight of its loss, by default all alike")
    like: str | None = Field(None, description="the `pretrain` step of this recipe that the small models are like")
    proxy: dict[str, Any] = Field({}, description="settings of that step that are others in the small models")
    runs: int = Field(20, ge=4, description="small models; about five for each source")
    tokens: int | None = Field(None, ge=1, description="of each small model's mixture")
    prior: dict[str, PositiveFloat] = Field(
        {}, description="source → share of the reference mixture, which draws are around; by default all alike"
    )
    concentration: float = Field(3.0, gt=0, description="of the Dirichlet distribution; more: nearer to the prior")
    target_tokens: float | None = Field(None, gt=0, description="of the mixture that is wanted, for most_repeats")
    most_repeats: float = Field(4.0, gt=0, description="times that a source may be read in it")
    drawn: dict[str, dict[str, float]] = Field({}, description="run → shares; filled by the settings above")
    models: dict[str, ModelRef] = Field({}, description="run → its model; filled by the settings above")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if not self.models and (self.like is None or self.tokens is None):
            raise ValueError("expected like and tokens: what small models are like, and are trained on")
        if self.prior and set(self.prior) != set(self.sources):
            raise ValueError(f"prior: found {', '.join(self.prior)}, expected a share for each source")
        if strange := sorted(set(self.importance) - set(self.domains)):
            raise ValueError(f"importance: {strange[0]!r} is none of the domains {', '.join(self.domains)}")
        if set(self.drawn) != set(self.models):
            raise ValueError("drawn: expected the shares of each model")
        return self

    def reference(self) -> dict[str, float]:
        """The shares that draws are around."""
        given = self.prior or dict.fromkeys(self.sources, 1.0)
        return {name: given[name] / sum(given.values()) for name in self.sources}

    def expanded(self, name: str, steps: Mapping[str, Stage]) -> dict[str, Stage]:
        if self.models:
            return {name: self}
        added: dict[str, Stage] = {}
        drawn, models = {}, {}
        for number, shares in enumerate(self._drawn(), 1):
            run = f"r{number:02}"
            portions = [{"data": self.sources[each], "name": each, "weight": share} for each, share in shares.items()]
            added[f"{name}~{run}-data"] = Mix.model_validate(
                {"sources": portions, "total": self.tokens, "unit": "tokens"}
            )
            changes = {"data": f"{name}~{run}-data", **self.proxy}
            added[f"{name}~{run}"] = like_step(self.like or "", steps, changes, ("proxy",))
            drawn[run], models[run] = shares, f"{name}~{run}"
        return {**added, name: changed_stage(self, {"drawn": drawn, "models": models})}

    def _drawn(self) -> list[dict[str, float]]:
        """Shares of each run; the first has the reference mixture, which is thereby measured too."""
        import numpy as np

        names, reference = list(self.sources), np.array(list(self.reference().values()))
        random = np.random.default_rng([0 if self.seed is None else self.seed, len(names), 0x5A4B])
        rows = [reference]
        while len(rows) < self.runs:
            row = random.dirichlet(reference * self.concentration * len(names))
            row[row < LEAST] = 0.0
            rows.append(row / row.sum())
        return [
            {name: round(float(share), 4) for name, share in zip(names, row, strict=True) if share > 0} for row in rows
        ]

    def run(self, workspace: "Workspace") -> None:
        import numpy as np

        from bactrian.evaluate.mixture_regression import best_mixture, fit_domain
        from bactrian.progress import say

        names = list(self.sources)
        weights = np.array([[shares.get(name, 0.0) for name in names] for shares in self.drawn.values()])
        weights = weights / weights.sum(1, keepdims=True)
        losses = self._measured(workspace)
        fits = [fit_domain(domain, weights, [run[domain] for run in losses.values()]) for domain in self.domains]
        caps = np.array(self._caps(workspace))
        reference = np.array(list(self.reference().values()))
        best = best_mixture(fits, self.importance, caps, reference)
        trusted = all(fit.beats_mean for fit in fits)
        shares = dict(zip(names, best.weights if trusted else map(float, reference), strict=True))
        told = self._told(losses, fits, best, [float(cap) for cap in caps]) | {"shares": shares, "trusted": trusted}
        (workspace.output / SWARM).write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
        (workspace.output / SHARES).write_text(json.dumps(shares, indent=1) + "\n", encoding="utf-8")
        text = table(told)
        (workspace.output / "table.md").write_text(text + "\n", encoding="utf-8")
        workspace.metrics.update({f"share/{name}": share for name, share in shares.items()})
        workspace.metrics.update({f"error/{fit.domain}": fit.error for fit in fits}, trusted=float(trusted))
        say(f"swarm:\n{text}")

    def _measured(self, workspace: "Workspace") -> dict[str, dict[str, float]]:
        """Run → domain → bits per byte."""
        from bactrian.data.io.files import read_rows
        from bactrian.model.language_model import LanguageModel, context_of
        from bactrian.model.text_bits import WINDOW, bits_per_byte
        from bactrian.progress import progress

        texts = {
            domain: [row["text"] for row in read_rows(workspace.input(ref).path, "text")]
            for domain, ref in self.domains.items()
        }
        found: dict[str, dict[str, float]] = {}
        with progress("swarm", total=len(self.models), unit="model") as bar:
            for run, ref in self.models.items():
                folder = workspace.input(ref).path
                model = LanguageModel.load(folder, workspace.hardware.dtype, device=workspace.hardware.device)
                context = context_of(folder) or WINDOW
                found[run] = {domain: bits_per_byte(model, mine, context) for domain, mine in texts.items()}
                bar.advance()
        return found

    def _caps(self, workspace: "Workspace") -> list[float]:
        """The largest share of each source."""
        from bactrian.data.curate.portions import measured_source

        if self.target_tokens is None:
            return [1.0] * len(self.sources)
        found = []
        for name, ref in self.sources.items():
            source = measured_source(name, workspace.input(ref).path, None, workspace.hardware)
            found.append(min(1.0, self.most_repeats * float(source.tokens.sum()) / self.target_tokens))
        return found

    def _told(
        self,
        losses: Mapping[str, Mapping[str, float]],
        fits: "Sequence[DomainFit]",
        best: "ChosenMixture",
        caps: Sequence[float],
    ) -> dict[str, Any]:
        """swarm.json."""
        names = list(self.sources)
        return {
            "sources": names,
            "reference": self.reference(),
            "caps": dict(zip(names, caps, strict=True)),
            "best": dict(zip(names, best.weights, strict=True)),
            "at_cap": [names[place] for place in best.capped],
            "predicted": {"best": best.objective, "reference": best.reference},
            "domains": [
                {
                    "domain": fit.domain,
                    "slopes": dict(zip(names, fit.slopes, strict=True)),
                    "ridge": fit.ridge,
                    "error": fit.error,
                    "error_of_mean": fit.error_of_mean,
                    "beats_mean": fit.beats_mean,
                }
                for fit in fits
            ],
            "runs": [
                {"run": run, "shares": self.drawn[run], "bits": losses[run]}
                | {"validated": {fit.domain: losses[run][fit.domain] * exp(fit.errors[place]) for fit in fits}}
                for place, run in enumerate(self.drawn)
            ],
        }

    def forecast(self, inputs: Mapping[str, Facts]) -> Forecast:
        read = [inputs.get(ref, Facts()) for ref in self.models.values()]
        facts = [inputs.get(ref, Facts()) for ref in self.domains.values()]
        tokens = sum(each.rows * (each.tokens_per_row or 500.0) for each in facts)
        flops = 2.0 * sum(each.multiplied for each in read) * tokens
        memory = 4.0 * max((each.parameters for each in read), default=0) + 1e9
        return Forecast(tokens * len(read), flops, memory)


def table(told: Mapping[str, Any]) -> str:
    """Shares and regressions, in Markdown."""
    lines = ["| source | reference | least predicted loss | cap |", "|---|---:|---:|---:|"]
    for name in told["sources"]:
        cap = "–" if told["caps"][name] >= 1 else f"{told['caps'][name]:.1%}"
        lines.append(f"| {name} | {told['reference'][name]:.1%} | {told['best'][name]:.1%} | {cap} |")
    lines += ["", "| domain | error, one run left out | error of the mean | the regression |", "|---|---:|---:|---|"]
    for each in told["domains"]:
        verdict = "beats the mean" if each["beats_mean"] else "does not surely beat the mean"
        lines.append(f"| {each['domain']} | {each['error']:.2%} | {each['error_of_mean']:.2%} | {verdict} |")
    predicted = told["predicted"]
    lines += ["", f"Predicted: {predicted['reference']:.4f} → {predicted['best']:.4f} bits per byte."]
    if not told["trusted"]:
        lines.append("The regression is not to be trusted, so the shares that are left are those of the reference.")
    return "\n".join(lines)
