"""Another trainer's settings → a recipe that trains the same, and a list of what is not the same."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bactrian.errors import BactrianError
from bactrian.errors.wording import show
from bactrian.recipe.foreign import counterparts
from bactrian.recipe.foreign.read import ForeignSettings
from bactrian.recipe.foreign.sources import data_steps
from bactrian.recipe.groups import groups_of
from bactrian.stages import all_stages

_LORA_TARGETS = ["q_proj", "v_proj"]  # peft's own choice for Llama, Qwen, Gemma and OLMo where none is named


@dataclass
class Conversion:
    """A recipe's parts. differs: what trains differently, in words; left_out: setting → why it has no counterpart."""

    name: str
    seed: int
    hardware: dict[str, Any] = field(default_factory=dict)
    steps: dict[str, dict[str, Any]] = field(default_factory=dict)
    differs: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    carried: list[str] = field(default_factory=list)


def convert(given: ForeignSettings, devices: int = 1) -> Conversion:
    """The recipe; every setting that was written is carried over, named in `differs`, or in `left_out`.

    Defaults that the other trainer would have used are written out, since ours are others. devices: processes
    that it ran on; its batch is so many times as large.

    Raises:
        BactrianError: for a value that means nothing, or a choice that Bactrian does not offer.
    """
    stated = {name: value for name, value in given.values.items() if value not in (None, "", [], {})}
    values = {**_defaults(given), **stated}
    made = Conversion(_name(given.label), int(values.get("seed", 42)))
    stage: dict[str, Any] = {"stage": given.kind, "model": _model(values)}
    stage["data"], made.steps = data_steps(given, made.differs)
    if given.kind == "kto":  # bad answers are kept too
        for step in made.steps.values():
            step |= {"keep": ["label"]} if step["stage"] == "source" else {}
    _Carrying(given, values, stage, made, devices).all()
    for name in stated:
        _account(name, stated[name], made)
    made.steps[given.kind] = stage
    return made


def recipe_text(made: Conversion, given: ForeignSettings) -> str:
    """The recipe as a file, with what is not the same in its first lines."""
    lines = [f"# From {given.label} ({given.trainer})."]
    if made.differs:
        lines += ["# Not the same there:", *(f"#   {each}" for each in made.differs)]
    lines += [f"name: {made.name}", f"seed: {made.seed}"]
    if made.hardware:
        lines.append(f"hardware: {_flow(made.hardware)}")
    lines.append("steps:")
    for name, settings in made.steps.items():
        lines.append(f"  {name}:")
        lines += [f"    {key}: {_flow(value)}" for key, value in settings.items()]
    return "\n".join(lines) + "\n"


class _Carrying:
    """Fills in the settings of one stage."""

    def __init__(
        self, given: ForeignSettings, values: Mapping[str, Any], stage: dict[str, Any], made: Conversion, devices: int
    ) -> None:
        self.given, self.values, self.stage, self.made, self.devices = given, values, stage, made, devices
        self.record = all_stages()[given.kind]

    def all(self) -> None:
        self._batch()
        self._schedule()
        self._loss()
        self._adapter()
        self._optimiser()
        self._machine()
        for name, to in counterparts.RENAMED.items():
            if name in self.values and not (name.startswith("lora") and "adapter" not in self.stage):
                self._put(name, to, self.values[name])

    def _put(self, name: str, to: str, value: Any) -> None:
        """Set `to` ("optimiser.weight_decay") if the stage has it and nothing was put there; `name` is carried."""
        if self.given.kind == "rlvr" and to == "beta":
            to = "kl"
        group, _, setting = to.rpartition(".")
        record = groups_of(self.record).get(group) if group else self.record
        if record is None or setting not in record.model_fields:
            return
        home = self.stage.setdefault(group, {}) if group else self.stage
        home.setdefault(setting, value)
        self.made.carried.append(name)

    def _number(self, *names: str, default: int = 1) -> int:
        """The first of these that is given."""
        for name in names:
            if name in self.values:
                self.made.carried.append(name)
                try:
                    return int(self.values[name])
                except (TypeError, ValueError):
                    found = show(self.values[name])
                    raise BactrianError(f"{self.given.label}, {name}: found {found}, expected a whole number") from None
        return default

    def _batch(self) -> None:
        each = self._number("per_device_train_batch_size", "micro_batch_size")
        accumulated = self._number("gradient_accumulation_steps")
        rows = each * accumulated * self.devices
        if self.given.kind != "rlvr":
            self._put("", "batch_size", rows)
            return
        samples = int(self.values.get("num_generations", 8))
        sampled = self._number("generation_batch_size", default=0)
        sampled = sampled or each * self.devices * self._number("steps_per_generation", default=accumulated)
        if sampled % samples:
            raise BactrianError(
                f"{self.given.label}: found {sampled} answers a step and {samples} to each problem, expected a multiple"
            )
        self._put("", "problems_per_step", sampled // samples)
        updates = max(1, sampled // rows) * self._number("num_iterations")
        self._put("", "update.updates_per_step", updates)
        if "max_steps" not in self.values:
            self.made.differs.append("steps: the length of RL is given in steps, not epochs; set steps of rlvr")

    def _schedule(self) -> None:
        name = "lr_scheduler_type" if "lr_scheduler_type" in self.values else "lr_scheduler"
        kind = str(self.values.get(name, "linear"))
        self.made.carried.append(name)
        if kind in counterparts.SCHEDULES:
            self._put(name, "schedule", counterparts.SCHEDULES[kind])
        else:
            self._put(name, "schedule", "cosine" if kind.startswith("cosine") else "linear")
            self.made.differs.append(f"{name}: {kind}: the nearest here is {self.stage['schedule']}")
        self._put("warmup_ratio", "warmup", self.values.get("warmup_ratio", 0.0))

    def _loss(self) -> None:
        loss = self.values.get("loss_type", self.values.get("dpo_loss_type", self.values.get("rl", "sigmoid")))
        loss = loss[0] if isinstance(loss, list) and len(loss) == 1 else loss
        if self.given.kind == "dpo":
            self._choice("loss", loss, counterparts.DIRECT_LOSSES)
        elif self.given.kind == "rlvr":
            self._choice("aggregate", loss if loss in counterparts.GROUP_LOSSES else "dapo", counterparts.GROUP_LOSSES)
            scaled = str(self.values.get("scale_rewards", "group")).lower()
            self._put("scale_rewards", "advantage", "none" if scaled in ("false", "none") else "std")
            self._put("", "update.clip_high", self.values.get("epsilon_high", self.values.get("epsilon", 0.2)))
            if self.values.get("importance_sampling_level") == "sequence":
                self._put("importance_sampling_level", "objective", "gspo")
        elif self.given.kind == "sft" and not self._assistants_alone():
            self.made.differs.append("loss: on what the assistant says alone, never on prompts")
        self.made.carried += [name for name in ("loss_type", "dpo_loss_type", "rl") if name in self.values]

    def _assistants_alone(self) -> bool:
        own = [name for name in ("assistant_only_loss", "completion_only_loss") if self.values.get(name)]
        self.made.carried += own
        return bool(own) or self.given.trainer == "axolotl"  # unless train_on_inputs, which is named as it stands

    def _choice(self, setting: str, found: Any, choices: Mapping[str, str]) -> None:
        if str(found) not in choices:
            raise BactrianError(f"{self.given.label}: found loss {show(found)}, expected one of {', '.join(choices)}")
        self._put("", setting, choices[str(found)])

    def _adapter(self) -> None:
        kind = self.values.get("adapter")
        if not (self.values.get("use_peft") or kind in ("lora", "qlora")):
            return
        four_bits = bool(self.values.get("load_in_4bit")) or kind == "qlora"
        self.made.carried += [name for name in ("use_peft", "adapter", "load_in_4bit") if name in self.values]
        adapter = self.stage["adapter"] = {"weights": "nf4"} if four_bits else {}
        targets = self.values.get("lora_target_modules")
        every = bool(self.values.get("lora_target_linear")) or targets in ("all-linear", ["all-linear"])
        if "lora_target_linear" in self.values:
            self.made.carried.append("lora_target_linear")
        if every:
            adapter["targets"] = []
        elif not targets:
            adapter["targets"] = _LORA_TARGETS
            self.made.differs.append(f"adapter.targets: none were named; peft takes {_LORA_TARGETS} for most models")
        elif isinstance(targets, str):
            adapter["targets"] = [targets]

    def _optimiser(self) -> None:
        first = self.values.get("adam_beta1", 0.9)
        second = self.values.get("adam_beta2", 0.999)
        self._put("", "optimiser.betas", [first, second])
        self.made.carried += [name for name in ("adam_beta1", "adam_beta2") if name in self.values]
        name = "optim" if "optim" in self.values else "optimizer"
        kind = str(self.values.get(name, "adamw_torch"))
        self.made.carried.append(name)
        if "adamw" not in kind:
            self.made.differs.append(f"{name}: {kind}: AdamW is what there is")
        elif "8bit" in kind:
            self._put(name, "optimiser.states", "8bit")

    def _machine(self) -> None:
        if self.values.get("gradient_checkpointing"):
            self._put("gradient_checkpointing", "memory.recompute", "layer")
        if self.values.get("bf16") is True:
            self.made.hardware["dtype"] = "bfloat16"
        self.made.carried += [name for name in ("bf16", "gradient_checkpointing", "seed") if name in self.values]
        template = self.values.get("chat_template")
        if template is not None:
            self.made.carried.append("chat_template")
            own = str(template) if template == "chatml" else "model"
            self._put("chat_template", "template", own)
            if own == "model" and template != "tokenizer_default":
                self.made.differs.append(f"chat_template: {show(template)}: the model's own is used")


def _account(name: str, value: Any, made: Conversion) -> None:
    """Where a setting that was written ended: nothing is dropped in silence."""
    if name in made.carried or name in _READ_ELSEWHERE or value in (False, 0):
        return
    if name in counterparts.LEFT_OUT:
        made.left_out[name] = counterparts.LEFT_OUT[name]
        if name in ("val_set_size", "test_split_size"):
            made.differs.append(f"{name}: {show(value)}: all rows are trained on; keep some in a file of their own")
    else:
        made.differs.append(f"{name}: {show(value)}: {counterparts.DIFFERS.get(name, 'not known here')}")


_READ_ELSEWHERE = (
    *("base_model", "model_name_or_path", "model", "datasets", "dataset_name", "dataset_config", "dataset_train_split"),
    *("dataset_mixer", "dataset_mixer_list", "dataset_splits", "pretraining_dataset", "config"),
)


def _defaults(given: ForeignSettings) -> dict[str, Any]:
    lora = counterparts.LORA_DEFAULTS
    if given.trainer == "axolotl":
        return {**counterparts.AXOLOTL_DEFAULTS, **lora}
    return {**counterparts.TRL_DEFAULTS, **lora, **counterparts.TRL_DEFAULTS_OF[given.kind]}


def _model(values: Mapping[str, Any]) -> str:
    return str(values.get("base_model") or values.get("model_name_or_path") or values.get("model"))


def _name(label: str) -> str:
    words = "".join(letter if letter.isalnum() else " " for letter in Path(label).stem).split()
    return "-".join(words) or "run"


def _flow(value: Any) -> str:
    """A value in YAML's flow style."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if isinstance(value, str):
        return value if value.replace("_", "").replace("-", "").isalnum() else json.dumps(value, ensure_ascii=False)
    return json.dumps(value)
