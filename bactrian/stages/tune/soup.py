"""Stage `soup`: one model whose weights are the average of several models' that came from the same start."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, model_validator

from bactrian.errors import BactrianError
from bactrian.stages.stage import Divisible, Facts, Forecast, HeldOutRef, ModelRef
from bactrian.stages.tune.tasting import Tasting
from bactrian.store.manifest import MANIFEST, Kind, Manifest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bactrian.model.averaged_weights import Blend
    from bactrian.store.artifact import Workspace


class Soup(Divisible):
    """The average of models' weights, in float32, written as the first model is [Wortsman et al. 2022].

    Models must have the same architecture, weights of the same shapes and the same tokenizer, and, by their manifests,
    a model that all of them were trained from: the average of strangers is noise. Policy fusion of ALFA is the soup of
    one policy for each attribute. Adapters that lie beside all models are averaged too, exactly, as one of the sum of
    their ranks. `ablate` leaves out models. With `held_out` texts each model, the soup and the point halfway between
    are measured; `greedy` keeps a model only where it does the soup no harm there.
    """

    name: ClassVar[str] = "soup"
    makes: ClassVar[Kind] = Kind.MODEL
    positional: ClassVar[str] = "models"

    models: list[ModelRef] = Field(min_length=1, description="what is averaged")
    weights: list[float] = Field([], description="of each model, in the same order; by default all alike")
    unrelated: bool = Field(False, description="average even models whose manifests show no common start")
    held_out: HeldOutRef | None = Field(None, description="text rows on which models and soup are measured")
    greedy: bool = Field(False, description="from the best model on, add those that make held_out no less likely")
    method: Literal["average", "slerp", "ties", "dare", "dare_ties"] = Field(
        "average",
        description="slerp: along the arc between two models; ties, dare, dare_ties: of what training changed since "
        "`start`",
    )
    start: ModelRef | None = Field(None, description="the model that all were trained from, for ties and dare")
    density: float = Field(0.5, gt=0, le=1, description="share of each model's changes that ties or dare keep")
    scale: float = Field(1.0, gt=0, description="of the merged change, for ties and dare")
    groups: dict[str, list[float]] = Field(
        {}, description="weights by name, * for any part → weights of the models there: model.layers.0.*: [1, 0]"
    )
    points: int = Field(0, ge=0, le=99, description="between the first model and each other, measured on held_out")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(set(self.models)) < len(self.models):
            raise ValueError("models: found one twice; give it a weight instead")
        if self.weights and len(self.weights) != len(self.models):
            raise ValueError(f"weights: found {len(self.weights)}, expected one for each of {len(self.models)} models")
        if self.weights and (min(self.weights) < 0 or not sum(self.weights)):
            raise ValueError("weights: expected none below 0, and not all 0")
        if self.greedy and (self.held_out is None or self.weights):
            raise ValueError("greedy: expected held_out texts, and no weights: those that are kept count alike")
        if self.greedy and (self.method != "average" or self.groups):
            raise ValueError("greedy: expected method: average, and no groups")
        if self.method == "slerp" and len(self.models) != 2:
            raise ValueError(f"slerp: found {len(self.models)} models, expected two")
        of_changes = self.method in ("ties", "dare", "dare_ties")
        if of_changes != (self.start is not None):
            wanted = "needs the model that all were trained from" if of_changes else "has no use for it"
            raise ValueError(f"start: {self.method} {wanted}")
        if self.points and self.held_out is None:
            raise ValueError("points: expected held_out texts, on which they are measured")
        for pattern, own in self.groups.items():
            if len(own) != len(self.models) or min(own) < 0 or not sum(own):
                raise ValueError(f"groups: {pattern}: expected a weight for each model, none below 0, not all 0")
        return self

    def parts(self) -> list[tuple[str, ...]]:
        return [(ref,) for ref in self.models]

    def keeping(self, kept: "Sequence[int]") -> Self:
        models, weights = ([each[n] for n in kept] if each else [] for each in (self.models, self.weights))
        groups = {pattern: [own[n] for n in kept] for pattern, own in self.groups.items()}
        return self.model_copy(update={"models": models, "weights": weights, "groups": groups})

    def shares(self) -> list[float]:
        """Of each model; they add up to 1."""
        given = self.weights or [1.0] * len(self.models)
        return [weight / sum(given) for weight in given]

    def run(self, workspace: "Workspace") -> None:
        from bactrian.model.averaged_weights import average, average_adapters, check_alike
        from bactrian.model.language_model import LanguageModel, is_reward_model
        from bactrian.model.reward_model import RewardModel
        from bactrian.progress import say

        folders = {ref: workspace.input(ref).path for ref in self.models}
        check_alike(folders)
        starts = common_starts({ref: (workspace.input(ref).content_hash, path) for ref, path in folders.items()})
        if not starts and not self.unrelated:
            raise BactrianError(
                f"soup: found no model that all of {', '.join(self.models)} were trained from, by their manifests; "
                "expected a common start (or `unrelated: true`, to average them in spite of it)"
            )
        blend = self._blend(workspace, starts)
        tasting = self._tasting(workspace, folders)
        shares = tasting.greedy() if tasting and self.greedy else self.shares()
        told = average(list(folders.values()), shares, workspace.output, blend)
        plain = self.method == "average" and not self.groups
        rank = average_adapters(list(folders.values()), shares, workspace.output) if plain else None
        kind = RewardModel if is_reward_model(workspace.output) else LanguageModel
        kind.load(workspace.output)  # what cannot be loaded is no artifact
        workspace.metrics.update(told, models=float(sum(share > 0 for share in shares)))
        if tasting:
            workspace.metrics["bits_per_byte"] = tasting.report(workspace.output, shares, plain, self.points)
        also = f"; the adapter beside it has rank {rank}" if rank else ""
        say(f"soup: {len(self.models)} models, {told['tensors']:,.0f} weights, spread {told['spread']:.2g}{also}")

    def _blend(self, workspace: "Workspace", starts: set[str]) -> "Blend":
        """How weights are made one.

        Raises:
            BactrianError: the start is none of the models that all were trained from.
        """
        from bactrian.model.averaged_weights import Blend, check_alike

        groups = {pattern: [each / sum(own) for each in own] for pattern, own in self.groups.items()}
        if self.start is None:
            return Blend(self.method, groups=groups)
        given = workspace.input(self.start)
        if given.content_hash not in starts and not self.unrelated:
            raise BactrianError(
                f"soup: start: found {self.start}, expected a model that all of {', '.join(self.models)} were trained "
                "from, by their manifests (or `unrelated: true`, to take it in spite of that)"
            )
        check_alike({self.models[0]: workspace.input(self.models[0]).path, self.start: given.path})
        return Blend(self.method, given.path, self.density, self.scale, workspace.seed, groups)

    def _tasting(self, workspace: "Workspace", folders: Mapping[str, Path]) -> "Tasting | None":
        """What measures candidates, where there are held-out texts."""
        from bactrian.data.io.files import read_rows

        if self.held_out is None:
            return None
        texts = [row["text"] for row in read_rows(workspace.input(self.held_out).path, "text")]
        return Tasting(list(folders.values()), texts, workspace)

    def forecast(self, inputs: Mapping[str, Facts]) -> Forecast:
        largest = max((inputs.get(ref, Facts()) for ref in self.models), key=lambda each: each.parameters)
        return Forecast(peak_memory=8.0 * largest.parameters + 1e9, makes=largest)


def common_starts(models: Mapping[str, tuple[str, Path]]) -> set[str]:
    """Content hashes of the models that all of these were trained from, or are. models: name → (its hash, folder)."""
    lines = [ancestors(content, folder) for content, folder in models.values()]
    return set.intersection(*lines) if lines else set()


def ancestors(content: str, folder: Path) -> set[str]:
    """Content hashes of a model and of those that it was trained from, as far as manifests lead.

    Only the model that training started from counts (the setting `model`; of a soup all): two policies that learnt from
    one reward model are strangers all the same.
    """
    found = {content}
    if not (folder / MANIFEST).is_file():
        return found
    manifest = Manifest.read(folder)
    refs = manifest.settings.get("models") if manifest.stage == Soup.name else [manifest.settings.get("model")]
    for ref in refs or []:
        record = manifest.inputs.get(str(ref))
        if record is not None:
            found |= ancestors(record.content_hash, Path(record.path))
    return found
