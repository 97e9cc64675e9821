"""`bactrian rehearse`: every step of a recipe, here and now, so that a mistake is found before it costs GPU-hours.

The recipe stays as it is but for three things: made-up rows of the same layout and toy models of the same family stand
in for what comes from the Hub, what says how much work there is is capped, and the hardware is this machine's.
"""

import json
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from math import gcd
from pathlib import Path
from typing import Any

from bactrian.chat.named_templates import TOOL_TEXT
from bactrian.errors import BactrianError
from bactrian.progress import say
from bactrian.recipe.document import Document
from bactrian.recipe.groups import groups_of, lengthened
from bactrian.recipe.recipe import Recipe, check, read_recipe
from bactrian.recipe.references import find_path
from bactrian.recipe.shipped_recipes import find_recipe
from bactrian.run.known_models import family_of
from bactrian.run.log import StepEntry
from bactrian.run.rehearsal.toy_models import write_toy
from bactrian.run.rehearsal.toy_rows import WORDS, made_up_cases, made_up_rows
from bactrian.run.runner import run
from bactrian.stages.stage import ReferenceUse, Stage
from bactrian.stages.tune.checkpoint import Checkpoint
from bactrian.store.artifact import Store
from bactrian.store.manifest import Kind

ROWS = 16
"""Of each source."""
CAPS: dict[str, float] = {
    "amount": ROWS,
    "total": 4 * ROWS,
    "count": ROWS,
    "limit": 4 * ROWS,
    "largest": 10,
    "epochs": 2,
    "batch_size": 4,
    "steps": 2,
    "problems_per_step": 4,
    "samples": 4,
    "refills": 1,
    "look_every": 1,
    "keep_every": 1,
    "value_warmup": 1,
    "max_new_tokens": 16,
    "prompt_tokens": 16,
    "max_thinking_tokens": 64,
    "answer_tokens": 48,
    "budgets": 16,
    "budget": 16,
    "widths": 2,
    "tries": 2,
    "prompts_per_round": 2,
    "idle_rounds": 1,
    "rollouts": 2,
    "waits": 1,
    "step_tokens": 8,
    "tokens_per_step": 8,
    "overlong_zone": 4,
    "time_limit_minutes": 0.5,
    "expected": 1_000,
    "hidden_size": 32,
    "layers": 2,
    "heads": 4,
    "intermediate_size": 64,
    "kv_heads": 2,
    "experts": 8,
    "active": 2,
    "window": 32,
    "tokens": 1200,
    "horizon": 1500,
    "target_tokens": 1200,
    "runs": 4,
    "points": 1,
    "warmup_tokens": 100,
    "first_batch": 2,
    "each": 4,
    "copies": 4,
    "fillers": 2 * ROWS,
    "song_count": 4,
    "song_copies": 4,
}
"""Settings that say how much there is to do, by their name in whatever stage, and the most that a rehearsal takes."""
ALL = 4 * ROWS
"""Rows that are read of a file of this machine, and asked of a task, where there is no limit."""
TOKEN_CAPS: dict[str, float] = {"amount": 64 * ROWS, "total": 256 * ROWS}
"""The same of a mixture that counts tokens."""
_NOTHING = re.compile(
    r'step "([^"]+)" \(stage (\w+)\): (?:prefer: no pairs|\w+: no (?:row|pair) is left|vote: no problem has a majority|'
    r"paraphrase: no segment has a paraphrase)"
)
"""What steps say that want answers that are right, or in form."""
LAYOUT_OF = {
    "prefer": "pair",
    "constraint_pairs": "pair",
    "binarise": "pair",
    "counterfactuals": "pair",
    "paraphrase": "pair",
    "vote": "problem",
    "noncompliance_prompts": "problem",
    "curate": "text",
}
"""Stage → layout of the rows that take the place of those that it could not make; another's depends on its `into`."""
LAYOUT_INTO = {
    "problem": "problem",
    "solution": "problem",
    "text": "text",
    "pair": "pair",
    "conversation": "messages",
}
LENIENT: dict[str, float] = {"alpha": 0.9, "delta": 0.9, "least": 1}
"""Levels of a calibration: random weights are near chance, and at a recipe's own levels nothing after it would run."""
SHORT: dict[str, float] = {"prefix": 8, "suffix": 4, "minimum": 0, "skip": 4, "long": 0}
"""Of mining: made-up rows are short and few, and random weights recite nothing."""
TOY_SETTINGS: dict[str, dict[str, float]] = {
    "calibrate": LENIENT,
    "mine": SHORT,
    "quality": {"held_out": 0.5, "least": 1},
    "noncompliance_prompts": {"skip": 0},
}
"""Stage → settings without which few made-up rows would leave a later step none."""
REWARDS = ("value", "reward_model", "process_reward")
"""Settings that name a reward model, where others name a language model."""
ELSEWHERE = ("hub", "subset", "split", "files", "revision", "rows", "tokens", "limit")
"""Settings of a source that its stand-in has no use for."""


@dataclass
class Rehearsal:
    """What was put in whose place, in words, and the recipe that came of it."""

    recipe: Recipe
    stand_ins: list[str] = field(default_factory=list)
    capped: list[str] = field(default_factory=list)


def rehearse(path: Path, store: Store, overrides: Iterable[str] = (), family: str | None = None) -> list[StepEntry]:
    """Run the recipe at toy scale in a store of its own.

    Raises:
        BactrianError: where the real run would, and sooner.
    """
    rehearsal = prepare(path, store.root, overrides, family)
    say(f"rehearsal of {path}: made-up rows, random weights; no number in it means anything")
    for line in rehearsal.stand_ins:
        say(f"  {line}")
    say(f"  less work: {'; '.join(rehearsal.capped) or 'none was needed'}")
    records = _run(rehearsal, store, f"bactrian rehearse {path}")
    say(f"rehearsal of {path}: all {len(records)} steps work together")
    return records


def _run(rehearsal: Rehearsal, store: Store, command: str) -> list[StepEntry]:
    """Run it; rows that random weights cannot give are made up, once the step has tried."""
    try:
        return run(rehearsal.recipe, store, command=command)
    except BactrianError as error:
        unlucky = _NOTHING.match(str(error))
        if unlucky is None:
            raise
        name, stage = unlucky.groups()
    document = json.loads(rehearsal.recipe.text)
    into = document["steps"][name].get("into", "")
    layout = LAYOUT_INTO.get(into) or LAYOUT_OF.get(stage, "messages")
    say(f"{name}: random weights answered nothing of use, so it goes on with {ROWS} made-up rows, layout {layout}")
    rows = made_up_rows(name, layout, ROWS, columns={})
    file = _write_rows(store.root / "stand-ins" / rehearsal.recipe.name, name, rows)
    document["steps"][name] = {"stage": "source", "data": file, "license": "CC0-1.0", "layout": layout}
    rehearsal.recipe = check(_document(rehearsal.recipe.name, document), rehearsal.recipe.folder)
    return _run(rehearsal, store, command)


def prepare(path: Path, folder: Path, overrides: Iterable[str] = (), family: str | None = None) -> Rehearsal:
    """The recipe that is run in place of the one at `path`; stand-ins are written below `folder`.

    `family` is that of models whose name does not say it.

    Raises:
        BactrianError: as `load` does, and for a model of which no family is known.
    """
    path = find_recipe(path)
    document = read_recipe(path, overrides)
    recipe = check(document, folder=path.parent, path=path)
    written = recipe.written
    made = Rehearsal(recipe)
    place = folder / "stand-ins" / recipe.name
    shutil.rmtree(place, ignore_errors=True)
    steps: dict[str, Any] = {}
    for name, settings in written.items():
        stage = recipe.step(name).stage
        steps[name] = _capped(settings, stage, name, made)
        if stage.name == "source" and settings.get("hub"):
            steps[name] = _source(name, steps[name], stage, place, made, recipe.adopted.get(name, ()))
        if settings["stage"] == "cases" and settings.get("data") not in (None, *written):
            steps[name] |= {"data": _write_rows(place, name, made_up_cases(name, ROWS))}
            made.stand_ins.append(f"{name}: {ROWS} made-up patients in place of {settings['data']}")
    _checkpoints(steps, recipe)
    _ladders(steps, recipe, made)
    _served(steps, place, made)
    _models(steps, recipe, place, family, made)
    here = {"dtype": "float32", "sandbox": recipe.hardware.sandbox}
    data = {**document.data, "name": f"{recipe.name}-rehearsal", "steps": steps, "hardware": here, "remote": ""}
    made.recipe = check(_document(str(path), data), folder=path.parent)
    return made


def _checkpoints(steps: dict[str, Any], recipe: Recipe) -> None:
    """A model of which several checkpoints are taken has as many: the first after one step, the next after two."""
    checkpoints = [(step.name, step.stage) for step in recipe.steps if isinstance(step.stage, Checkpoint)]
    taken: dict[str, set[int]] = {}
    for _, stage in checkpoints:
        taken.setdefault(stage.model, set()).add(stage.step)
    for name, stage in checkpoints:
        steps[name]["step"] = 1 + sorted(taken[stage.model]).index(stage.step)
    for name, after in taken.items():
        if "steps" in steps.get(name, {}):
            steps[name]["steps"] = max(steps[name]["steps"], len(after) + 1)


def _ladders(steps: dict[str, Any], recipe: Recipe, made: Rehearsal) -> None:
    """Sizes and lengths of a ladder, which below one cap would all be the same, as so many small ones."""
    for name in [name for name in steps if recipe.step(name).stage.name == "ladder"]:
        sizes, lengths = list(steps[name].get("sizes", ())), steps[name].get("lengths", ())
        small = {"layers": 1, "heads": 2, "intermediate_size": 32}
        steps[name]["sizes"] = {size: {**small, "hidden_size": 8 * n} for n, size in enumerate(sizes, 1)}
        steps[name]["lengths"] = [400 * n for n in range(1, len(lengths) + 1)]
        made.capped.append(f"{name}: {len(sizes)} sizes of widths 8, 16, …")


def _document(name: str, data: dict[str, Any]) -> Document:
    return Document(f"{name} (rehearsal)", json.dumps(data, indent=1, ensure_ascii=False), data)


def _write_rows(place: Path, name: str, rows: list[dict[str, Any]]) -> str:
    place.mkdir(parents=True, exist_ok=True)
    file = place / f"{name}.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file.resolve())


def _capped(settings: Mapping[str, Any], stage: Stage, name: str, made: Rehearsal) -> dict[str, Any]:
    """The settings with nothing above its cap; also what the recipe leaves to a default above it."""
    caps = {**CAPS, **TOKEN_CAPS} if getattr(stage, "unit", "rows") == "tokens" else CAPS
    own = {field: getattr(stage, field) for field in type(stage).model_fields if field in caps}
    above = {field: value for field, value in own.items() if _above(value, caps[field])}
    if own.get("limit", 0) is None:
        above["limit"] = ALL
        made.capped.append(f"{name}.limit all → {ALL}")
    settings = {**lengthened(type(stage), settings), **above}
    for name_of, group in ((key, getattr(stage, key)) for key in groups_of(type(stage))):
        inner = {} if group is None else group.model_dump()
        if over := {key: value for key, value in inner.items() if key in caps and _above(value, caps[key])}:
            settings[name_of] = {**settings.get(name_of, {}), **over}
        if inner.get("tasks") and inner.get("limit", 0) is None:
            settings[name_of] = {**settings.get(name_of, {}), "limit": ALL}
            made.capped.append(f"{name}.{name_of}.limit all → {ALL}")
    if (lenient := TOY_SETTINGS.get(stage.name)) is not None:
        settings |= lenient
        made.capped.append(f"{name}: {', '.join(f'{key} → {value:g}' for key, value in lenient.items())}")
    if settings.get("against") and hasattr(
        stage, "gates"
    ):  # toys need not be held against all test sets of this machine
        settings["gates"] = {**settings.get("gates", {}), "known": False}
    result: dict[str, Any] = _cap(settings, name, caps, made.capped)
    if "k" in result and "samples" in result:  # pass@k of more samples than there are
        result["k"] = [k for k in result["k"] if k <= result["samples"]]
    return result


def _cap(value: Any, where: str, caps: Mapping[str, float], capped: list[str]) -> Any:
    if isinstance(value, Mapping):
        settings = {key: _number(key, inner, f"{where}.{key}", caps, capped) for key, inner in value.items()}
        if settings.keys() >= {"hidden_size", "heads"}:
            settings["heads"] = gcd(settings["hidden_size"], settings["heads"])
        return settings
    if isinstance(value, list):
        less = [_cap(inner, f"{where}.{number}", caps, capped) for number, inner in enumerate(value)]
        # what only differed above a cap is the same below it, and some lists take nothing twice
        return [each for place, each in enumerate(less) if each not in less[:place] or value[place] in value[:place]]
    return value


def _number(key: str, value: Any, where: str, caps: Mapping[str, float], capped: list[str]) -> Any:
    cap = caps.get(key)
    if cap is not None and isinstance(value, list) and any(_above(each, cap) for each in value):
        fewer = list(dict.fromkeys(type(each)(min(each, cap)) for each in value))
        capped.append(f"{where} {value} → {fewer}")
        return fewer
    share = key == "amount" and isinstance(value, float)  # of what there is
    if cap is None or share or not _above(value, cap):
        return _cap(value, where, caps, capped)
    least = type(value)(cap) if cap == int(cap) else cap
    capped.append(f"{where} {value:,} → {least:,}")
    return least


def _above(value: Any, cap: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > cap


def _source(
    name: str, settings: dict[str, Any], stage: Any, place: Path, made: Rehearsal, needs: Iterable[str]
) -> dict[str, Any]:
    """A source of the Hub as one of a file of made-up rows; `needs`: what they are read for, where that is known."""
    layouts = ("pair", "feedback") if stage.verifier else ("pair", "feedback", "problem")
    needed = next((need for need in needs if need in layouts), stage.layout)
    layout = needed if stage.layout == "auto" else stage.layout
    rows = made_up_rows(
        name,
        layout,
        ROWS,
        columns=stage.columns,
        keep=stage.keep,
        source_column=stage.source_column,
        verifier=stage.verifier,
    )
    file = _write_rows(place, name, rows)
    made.stand_ins.append(f"{stage.hub}: {ROWS} made-up rows, layout {layout} ({file})")
    kept = {key: value for key, value in settings.items() if key not in ELSEWHERE}
    return kept | {"data": file, "title": stage.title or stage.hub}


def _served(steps: dict[str, Any], place: Path, made: Rehearsal) -> None:
    """Models behind servers that write data or answer, as toys: a rehearsal asks nobody, and costs nothing."""
    toy = place / "models" / "served"

    def stand_in(name: str, server: Mapping[str, Any]) -> str:
        if not toy.exists():
            write_toy(toy, "llama", [" ".join(WORDS), *_texts(place)])
        label = server.get("name") or server["model"]
        made.stand_ins.append(f"{name}: {label}, behind a server: a llama of random weights ({toy})")
        return str(toy.resolve())

    for name, settings in steps.items():
        for key in [key for key in ("generators", "judges") if settings.get(key)]:
            served = [{"model": stand_in(name, each["server"])} for each in settings[key] if "server" in each]
            settings[key] = [*(each for each in settings[key] if "server" not in each), *served[:1]]
        for key in [key for key in ("patient", "decision") if "server" in (settings.get(key) or {})]:
            settings[key] = {"model": stand_in(name, settings[key]["server"])}
        judge = ((settings.get("gates") or {}).get("judge") or {}).get("by") or {}
        if server := judge.pop("server", None):
            judge["model"] = stand_in(name, server)
        if servers := settings.pop("servers", None):
            settings["pool"] = [*settings.get("pool", ()), stand_in(name, servers[0])]


def _models(steps: dict[str, Any], recipe: Recipe, place: Path, family: str | None, made: Rehearsal) -> None:
    """Every model from outside the recipe as a toy of its family; other things from the Hub are refused."""
    toys: dict[tuple[str, bool], str] = {}
    made_here = {step.name for step in recipe.steps}
    for name in steps:
        for found in recipe.step(name).stage.references():
            if found.ref in made_here or (find_path(found.ref, recipe.folder) and found.kind is not Kind.MODEL):
                continue
            if found.kind is not Kind.MODEL:
                if recipe.step(name).stage.name in ("source", "cases"):  # made up above
                    continue
                raise BactrianError(
                    f'step "{name}", field "{found.field}": {found.ref} would come from the Hub; '
                    f"read it by a step of stage source, which says its layout"
                )
            reward = found.path[-1] in REWARDS
            if (found.ref, reward) not in toys:
                toys[found.ref, reward] = str(_toy(found.ref, reward, recipe, place, family, made))
            _put(steps[name], found, toys[found.ref, reward])


def _toy(ref: str, reward: bool, recipe: Recipe, place: Path, family: str | None, made: Rehearsal) -> Path:
    known = _family_in(find_path(ref, recipe.folder)) or family_of(ref) or family
    if known is None:
        raise BactrianError(f"{ref}: of which family this model is its name does not say; name one with --family")
    folder = place / "models" / ("".join(c if c.isalnum() else "-" for c in ref) + ("-reward" if reward else ""))
    write_toy(folder, known, [" ".join(WORDS), *_texts(place)], reward)
    made.stand_ins.append(f"{ref}: a {known}{' reward model' if reward else ''} of random weights ({folder})")
    return folder.resolve()


def _family_in(folder: Path | None) -> str | None:
    config = folder / "config.json" if folder else None
    return json.loads(config.read_text()).get("model_type") if config and config.is_file() else None


def _texts(place: Path) -> Iterator[str]:
    for file in sorted(place.glob("*.jsonl")):
        text = file.read_text()
        yield f"{text}{TOOL_TEXT}" if '"tools"' in text else text


def _put(settings: Any, found: ReferenceUse, ref: str) -> None:
    for part in found.path[:-1]:
        settings = settings[part]
    settings[found.path[-1]] = ref
