"""TRL at the same work, where it is installed; imports nothing of bactrian.

Its defaults that cost time and measure nothing are off (reports, saving); packing is its own ("bfd"), attention
FlashAttention 2 where that is installed, else torch's. Gradients are recomputed where ours are.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from parts import Bench
from shapes import Shape, flops_a_token, network, random_ids, shape_of, skewed_lengths
from tuned import LONG_ENOUGH, LONGEST, Steps, pair


def tokenizer() -> Any:
    """TRL wants one, though rows are token ids; where it wants texts, w3 is the token 3."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {f"w{number}": number for number in range(3, 256)}
    core = Tokenizer(models.WordLevel({"<unk>": 0, "<s>": 1, "</s>": 2, **words}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=core, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="</s>"
    )


def common(bench: Bench) -> dict[str, Any]:
    return {
        "output_dir": tempfile.mkdtemp(),
        "bf16": True,
        "use_cpu": bench.device == "cpu",
        "report_to": "none",
        "save_strategy": "no",
        "logging_strategy": "no",
        "learning_rate": 1e-5,
        "disable_tqdm": True,
        "num_train_epochs": 1000,
    }


def attention(bench: Bench) -> str:
    return "flash_attention_2" if bench.device == "cuda" and find_spec("flash_attn") else "sdpa"


def timed(
    bench: Bench, trainer: Any, costs: dict[str, float], tokens_of: Callable[[dict[str, Any]], int]
) -> dict[str, Any]:
    """Train for the time that there is; real tokens, without padding."""
    from transformers import TrainerCallback

    log, seen = Steps(bench.device), [0]
    inner = trainer.training_step

    def step(model: Any, inputs: dict[str, Any], *rest: Any, **more: Any) -> Any:
        seen[0] += tokens_of(inputs)
        return inner(model, inputs, *rest, **more)

    trainer.training_step = step

    class Watch(TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            log.rewind(0)

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
            log.log(state.global_step, loss=float("nan"), tokens=float(seen[0]))
            if (
                bench.left < 0
                or time.perf_counter() - log.at[0] > LONG_ENOUGH
                or (bench.toy and state.global_step >= 6)
            ):
                control.should_training_stop = True
            return control

    trainer.add_callback(Watch())
    trainer.train()
    return log.told(costs)


def sft(bench: Bench, name: str) -> None:
    """name: a shape, or a shape and "8k"."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    name, _, how = name.partition("-")
    shape, toy = shape_of(name, bench.toy), bench.toy
    long = 128 if toy else LONGEST
    lengths = [long] * 64 if how == "8k" else skewed_lengths(2048 if not toy else 64, long // 4)
    rows = [random_ids(n, shape.vocabulary, i) for i, n in enumerate(lengths)]
    micro = long if how == "8k" else 2 * long
    packed = long if how == "8k" else max(lengths)
    settings = SFTConfig(
        **common(bench),
        per_device_train_batch_size=max(1, micro // packed),
        gradient_checkpointing=how == "8k",
        packing=True,
        max_length=packed,
    )
    model = network(shape, bench.device, "float32", long, attention(bench))
    data = Dataset.from_list([{"input_ids": ids} for ids in rows])
    trainer = SFTTrainer(model, settings, train_dataset=data, processing_class=tokenizer())
    mean = sum(n * n for n in lengths) / sum(lengths)
    costs = flops_a_token(sum(p.numel() for p in model.parameters()), shape, mean)
    found = timed(bench, trainer, costs, lambda inputs: int(inputs["input_ids"].numel()))
    bench.row(f"TRL SFT {name} {how or 'skewed'}, packed, bf16, {attention(bench)}", **found)


def dpo(bench: Bench, name: str) -> None:
    """As ours, but that the reference is run in each step, as TRL does by default."""
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    class Ready(DPOTrainer):  # type: ignore[misc]
        def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
            return dataset  # tokens already

    shape, toy = shape_of(name, bench.toy), bench.toy
    prompt, answer, count = (16, 12, 16) if toy else (512, 384, 256)
    rows = [_row(shape, i, prompt, answer) for i in range(count)]
    settings = DPOConfig(
        **common(bench),
        per_device_train_batch_size=8,
        gradient_checkpointing=False,
        beta=0.1,
        max_length=prompt + answer,
    )
    model, reference = (network(shape, bench.device, "float32", prompt + answer, attention(bench)) for _ in range(2))
    began = time.perf_counter()
    trainer = Ready(model, reference, settings, train_dataset=Dataset.from_list(rows), processing_class=tokenizer())
    costs = flops_a_token(sum(p.numel() for p in model.parameters()), shape, prompt + answer)
    found = timed(bench, trainer, costs, lambda _: 8 * 2 * (prompt + answer))
    bench.row(
        f"TRL DPO {name}, {prompt} + 2 x {answer} tokens, reference in each step, {attention(bench)}",
        made_seconds=time.perf_counter() - began,
        **found,
    )


def _row(shape: Shape, number: int, prompt: int, answer: int) -> dict[str, list[int]]:
    parts = pair(shape, number, prompt, answer)
    return {f"{name}_ids": list(ids) for name, ids in zip(("prompt", "chosen", "rejected"), parts, strict=True)}


def grpo(bench: Bench, name: str) -> None:
    """As ours: answers that all have one length, rewards that the ids decide; sampled by transformers' generate."""
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    shape, toy = shape_of(name, bench.toy), bench.toy
    problems, samples, prompt, new = (2, 2, 16, 6) if toy else (16, 8, 512, 256)
    model = network(shape, bench.device, "float32", prompt + new, attention(bench))
    model.config.eos_token_id = model.generation_config.eos_token_id = None
    cuts = 1 if toy else 4
    settings = GRPOConfig(
        **common(bench) | {"max_steps": 1000},
        per_device_train_batch_size=problems * samples // cuts,
        gradient_accumulation_steps=cuts,
        num_generations=samples,
        max_completion_length=new,
        gradient_checkpointing=not toy,
        beta=0.0,
        generation_kwargs={"min_new_tokens": new},
    )
    texts = [" ".join(f"w{i}" for i in random_ids(prompt, 256, number)) for number in range(problems)]

    def rewards(completion_ids: list[list[int]], **_: Any) -> list[float]:
        return [sum(ids) % 1000 / 1000 for ids in completion_ids]

    data = Dataset.from_list([{"prompt": text} for text in texts] * 64)
    trainer = GRPOTrainer(model, args=settings, reward_funcs=rewards, train_dataset=data, processing_class=tokenizer())
    trainer.eos_token_ids = [-1]
    tokens = problems * samples * (prompt + new) // cuts
    found = timed(bench, trainer, {}, lambda _: tokens)
    bench.row(
        f"TRL GRPO step {name}, {problems} x {samples} answers, {prompt} + {new} tokens, transformers' generate",
        **found,
    )


KINDS: dict[str, Callable[[Bench, str], None]] = {"sft": sft, "dpo": dpo, "grpo": grpo}
