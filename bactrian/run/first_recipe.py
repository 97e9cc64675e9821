"""A recipe from five answers: which model, which data, what for, on which hardware, how long. It plans as it is."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Literal

from bactrian.data.io.adoption import Account, Adoption
from bactrian.data.io.first_rows import FIRST, Finding, examine, first_rows, one_by_one
from bactrian.data.io.formats import ENDINGS, Fault, Scanned
from bactrian.data.io.needs import RowNeed
from bactrian.data.io.survey import characters
from bactrian.errors import BactrianError
from bactrian.recipe.recipe import Recipe, check, read_recipe
from bactrian.recipe.references import find_path
from bactrian.recipe.shipped_recipes import schema_file
from bactrian.run.plan import Plan, plan
from bactrian.store.artifact import Store

Aim = Literal["sft", "preference", "rl", "evaluation"]
Device = Literal["auto", "cpu", "cuda"]
AIMS: Mapping[Aim, str] = {
    "sft": "teach a model to answer like the data",
    "preference": "move a model towards the better of two answers, or of good ones and bad",
    "rl": "let a model try problems whose answers a program can check",
    "evaluation": "measure a model on problems",
}
DEFAULT_MODEL = "embedded:smollm2-135m"
FEWEST = 20
"""Questions that an evaluation is cut to at most: fewer say nothing."""


@dataclass(frozen=True)
class Use:
    """A stage that an aim may mean, and what its rows must be."""

    aim: Aim
    stage: str
    needs: tuple[RowNeed, ...]
    rows: str


USES = (
    Use("sft", "sft", ("conversation", "worked"), "conversations, or questions with worked answers"),
    Use("preference", "dpo", ("pair",), "a prompt with a chosen and a rejected answer"),
    Use("preference", "kto", ("feedback",), "a conversation and a label, good or bad, of its last answer"),
    Use("rl", "rlvr", ("problem",), "questions with answers that a verifier can check"),
    Use("evaluation", "evaluate", ("problem",), "questions with answers that a verifier can check"),
)


@dataclass(frozen=True)
class FirstLook:
    """What the first rows of a file are: how many, in which layouts, how long (characters, on average), and for each
    use what is in its way, if anything is. unseen: why a data set of the Hub could not be looked at; then nothing is
    known of it."""

    rows: int
    layouts: Mapping[str, int]
    characters: float
    uses: Mapping[str, Finding]
    unseen: str = ""

    @property
    def suits(self) -> list[Use]:
        """What the rows can be used for, the likeliest first."""
        return [use for use in USES if self.uses[use.stage].misfit is None]


@dataclass(frozen=True)
class InitAnswers:
    """The five, and a reward of the user's own, FILE.py:FUNCTION. `minutes`: None for as long as it takes."""

    model: str
    data: str
    aim: Aim
    device: Device = "auto"
    minutes: float | None = None
    reward: str | None = None


HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")


def look(data: str) -> FirstLook:
    """The first rows of a file, folder or pattern, or of a data set of the Hub where its client is installed and
    reaches it.

    Raises:
        BactrianError: there is none, or nothing in it can be read.
    """
    path = find_path(data, Path())
    if path is not None:
        rows = first_rows(path)
    elif HUB_ID.fullmatch(data) and Path(data).suffix not in ENDINGS:
        try:
            rows = _first_of_hub(data)
        except BactrianError as error:
            return FirstLook(0, {}, 0.0, {use.stage: Finding() for use in USES}, str(error))
    else:
        what = "expected a file, a folder, a pattern, or owner/name of a data set of the Hub"
        raise BactrianError(f"data: found {data}, which is no file here; {what}")
    how, account = Adoption(source=Path(data).stem), Account()
    read = [row for row, _ in rows if not isinstance(row, Fault)]
    if not read:
        raise BactrianError(f"{data}: found no row that can be read, expected .jsonl, .json, .csv or .parquet")
    list(one_by_one(rows, replace(how, keep=("label",)), account))
    length = sum(characters(row) for row in read) / len(read)
    labelled = replace(how, keep=("label",))
    findings = {u.stage: examine(rows, u.needs, labelled if "feedback" in u.needs else how) for u in USES}
    return FirstLook(len(rows), account.layouts, length, findings)


def _first_of_hub(data: str) -> list[Scanned]:
    """The first rows of a data set's training split.

    Raises:
        BactrianError: the client is not installed, or the Hub does not give them.
    """
    from bactrian.data.io.files import scan_hub

    repository, _, revision = data.partition("@")
    return list(islice(scan_hub(repository, revision=revision or None), FIRST))


def use_for(aim: Aim, found: FirstLook, data: str, reward: str | None = None) -> Use:
    """The stage for an aim. With a reward of the user's own any row will do that asks something: the recipe's check
    sees to that.

    Raises:
        BactrianError: the data do not suit it; with what would, and what they do suit.
    """
    if reward is not None:
        if aim != "rl":
            raise BactrianError(f"--reward: found --for {aim}; a reward is for rl")
        return next(use for use in USES if use.aim == aim)
    for use in found.suits:
        if use.aim == aim:
            return use
    first = next(use for use in USES if use.aim == aim)
    told, expected = found.uses[first.stage].misfit or ("", "")
    wanted = " or ".join(use.rows for use in USES if use.aim == aim)
    other = " or ".join(dict.fromkeys(use.aim for use in found.suits))
    suits = f"they suit {other}" if other else "they suit none of the aims as they are"
    detail = f"\n  {told + ': ' if told else ''}{expected}"
    raise BactrianError(f"{data}: the rows do not suit {aim}, which needs {wanted}; {suits}{detail}")


@dataclass(frozen=True)
class WrittenRecipe:
    """A recipe's file, and its plan."""

    path: Path
    plan: Plan


def write_recipe(
    path: Path, answers: InitAnswers, found: FirstLook, store: Store, force: bool = False
) -> WrittenRecipe:
    """Write the recipe, after it was checked and planned: with adapters where the memory would not do for all weights,
    an evaluation with as many questions as there is time for.

    Raises:
        BactrianError: the file is there (without `force`); the data do not suit the aim; the recipe is wrong, for
            example in its model.
    """
    refuse_existing(path, force)
    use = use_for(answers.aim, found, answers.data, answers.reward)
    draft = Draft(use, answers, found)
    planned = plan(draft.recipe(path), store)
    if planned.short_of_memory and use.stage != "evaluate":
        draft = replace(draft, adapter=True)
        planned = plan(draft.recipe(path), store)
    if use.stage == "evaluate" and answers.minutes and planned.seconds > 60 * answers.minutes:
        rows = max(step.rows or 0 for step in planned.steps) or found.rows
        draft = replace(draft, limit=max(FEWEST, int(rows * 60 * answers.minutes / planned.seconds)))
        planned = plan(draft.recipe(path), store)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(draft.text(path), encoding="utf-8")
    return WrittenRecipe(path, planned)


def refuse_existing(path: Path, force: bool) -> None:
    """
    Raises:
        BactrianError: a file is there, and not to be replaced.
    """
    if path.exists() and not force:
        raise BactrianError(f"{path}: is there already; another name, or --force to replace it")


@dataclass(frozen=True)
class Draft:
    """What will be written."""

    use: Use
    answers: InitAnswers
    found: FirstLook
    adapter: bool = False
    limit: int | None = None

    def recipe(self, path: Path) -> Recipe:
        """As it will be read.

        Raises:
            BactrianError: what is wrong with it.
        """
        import tempfile

        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / path.name
            file.write_text(self.text(path), encoding="utf-8")
            document = read_recipe(file)
        return check(document, folder=path.parent)

    def text(self, path: Path) -> str:
        """The file."""
        a, layouts = self.answers, ", ".join(self.found.layouts) or "our own"
        count = f"the first {self.found.rows}" if self.found.rows >= FIRST else f"all {self.found.rows}"
        beside = path.resolve().parent == Path.cwd()
        data = a.data if beside or find_path(a.data, Path()) is None else str(Path.cwd() / a.data)
        told = f"{count} rows were looked at; layout {layouts}, about {self.found.characters:,.0f} characters a row"
        if self.found.unseen:
            told = "a data set of the Hub, which was not looked at; the first rows are, before anything is trained"
        reward = (a.reward or "") if beside or not a.reward else f"{Path.cwd() / a.reward}"
        lines = [
            f"# yaml-language-server: $schema={schema_file()}",
            f"# To {AIMS[a.aim]}.",
            "#",
            f"#   bactrian plan {path}       what it would take",
            f"#   bactrian run {path}        makes it; the same command goes on after a kill",
            f"name: {name_of(a)}",
            "seed: 17",
            *([f"hardware: {{device: {a.device}}}"] if a.device != "auto" else []),
            "# track: tensorboard   # or wandb, mlflow, trackio: told of every step while it runs",
            "",
            "steps:",
            f"  # {a.data}: {told}",
            f"  {STEP_NAMES[self.use.stage]}:",
            f"    stage: {self.use.stage}",
            *(f"    {line}" for line in self._settings(json.dumps(data, ensure_ascii=False), reward)),
        ]
        if self.use.stage != "evaluate":
            lines += ["", *_AFTERWARDS.format(step=STEP_NAMES[self.use.stage], model=a.model).splitlines()]
        return "\n".join(lines) + "\n"

    def _settings(self, data: str, reward: str) -> list[str]:
        a, model = self.answers, json.dumps(self.answers.model, ensure_ascii=False)
        if self.use.stage == "evaluate":
            limit = "# limit: 200            # questions; all of them without it"
            if self.limit is not None:
                limit = f"limit: {self.limit}  # questions that fit the time; without it all"
            return [f"models: {{model: {model}}}", f"data: {data}", limit]
        settings = [f"model: {model}", f"data: {data}"]
        if a.reward is not None:
            settings.append(f"reward: {json.dumps(reward, ensure_ascii=False)}  # yours; it is tried first")
        settings += _SETTINGS[self.use.stage]
        rate = RATES[self.use.stage] * (10 if self.adapter else 1)
        settings.append(f"learning_rate: {rate:.1e}  # ten times as much with adapters as without")
        if self.adapter:
            settings.append("adapter: {rank: 16}     # this machine's memory would not do for all weights")
        else:
            settings.append("# adapter: {rank: 16}   # trains low-rank adapters: a fraction of the memory")
        if a.minutes is not None:
            settings.append(f"checkpoints: {{time_limit_minutes: {a.minutes:g}}}  # stops there and keeps what it has")
        return settings


STEP_NAMES = {"sft": "tuned", "dpo": "preferred", "kto": "preferred", "rlvr": "trained", "evaluate": "scores"}
RATES = {"sft": 2e-5, "dpo": 1e-6, "kto": 1e-6, "rlvr": 1e-6}
_SETTINGS: Mapping[str, tuple[str, ...]] = {
    "sft": ("epochs: 2", "batch_size: 16          # conversations a step"),
    "dpo": ("epochs: 1", "batch_size: 16          # pairs a step", "loss: dpo_norm          # or dpo, simpo, ipo"),
    "kto": ("epochs: 1", "batch_size: 16          # answers a step"),
    "rlvr": (
        "steps: 100",
        "problems_per_step: 8",
        "samples: 8              # answers to each problem; groups all right or all wrong teach nothing",
        "max_new_tokens: 256",
    ),
}
_AFTERWARDS = """\
  # What it did, with intervals: problems that nothing was trained on
  # scores:
  #   stage: evaluate
  #   models: {{before: {model}, after: {step}}}
  #   data: unseen-problems.jsonl
"""


def name_of(answers: InitAnswers) -> str:
    """Of the run: the data's name and the aim."""
    stem = re.sub(r"[^A-Za-z0-9]+", "-", Path(answers.data).name.partition(".")[0]).strip("-") or "data"
    return f"{stem}-{answers.aim}"


def likeliest(found: FirstLook) -> Aim | None:
    """The first aim that the rows suit; None where nothing is known of them."""
    return None if found.unseen else next((use.aim for use in found.suits), None)
