"""One side of grpo.py: grpo_side.py NAME DTYPE FOLDER PROMPTS SAMPLES NEW PROMPT_TOKENS."""

from __future__ import annotations

import sys
import time
from typing import Any

from duel import peak_gigabytes, serve
from generate_side import TEXT

Ids = list[list[int]]
RATE = 1e-6
LONG = 500  # tokens of a prompt from which the peer trains on four rows at a time: all at once need more than 24 GiB


def prompts(tokenizer: Any, count: int, length: int) -> Ids:
    """`count` prompts of `length` tokens, different from their first token on."""
    ids = tokenizer.encode(TEXT) * (2 + length // 50)
    return [ids[i : i + length] for i in range(count)]


def reward(ids: list[int]) -> float:
    """A number in [0, 1] that the ids decide, and that differs between any two rollouts, nearly always."""
    return sum(i * 7919 % 1000 for i in ids) % 1000 / 1000


def rollouts(count: int, samples: int, new: int, vocabulary: int) -> list[Ids]:
    """The same made-up rollouts for every side, of different lengths."""
    return [
        [
            [(37 * (p + 1) * (s + 3) + 101 * t) % (vocabulary - 10) + 5 for t in range(new - 5 * s)]
            for s in range(samples)
        ]
        for p in range(count)
    ]


class OurGrpo:
    def __init__(self, dtype: str, folder: str, count: int, samples: int, new: int, length: int) -> None:
        from pathlib import Path

        from bactrian.generate.local import LocalEngine
        from bactrian.model.language_model import LanguageModel
        from bactrian.stages.rl.rlvr import RLVR
        from bactrian.train.optimiser import MasterAdamW
        from bactrian.train.rl.policy import GroupPolicy

        self.model = LanguageModel.load(Path(folder), dtype)
        self.engine = LocalEngine(self.model)
        self.engine.ends = frozenset()
        self.samples, self.new = samples, new
        self.prompts = prompts(self.model.tokenizer, count, length)
        self.sampling: list[float] = []
        chosen = {"sampling": {"gap_limit": 1e9}, "reward": {"no_end_reward": None}}
        asked = {"model": "-", "data": "-", "problems_per_step": count, "max_new_tokens": new}
        settings = RLVR.model_validate({**asked, **chosen})
        self.task = GroupPolicy(self.model, self, count, settings, steps=1000, seed=0)
        self.optimiser = MasterAdamW(self.model.network)

    def prompt(self, problem: int) -> tuple[int, ...]:
        return tuple(self.prompts[problem])

    def rollouts(self, problems: list[int], step: int, version: int, before: int = 0) -> Any:
        from bactrian.generate.engine import Request
        from bactrian.train.rl.rollouts import Rollout

        start = time.perf_counter()
        requests = [
            Request(self.prompt(p), n=self.samples, seed=step * 100 + p, max_new_tokens=self.new) for p in problems
        ]
        groups = self.engine.generate(requests)
        self.sampling.append(time.perf_counter() - start)
        return [[Rollout(c.ids, c.logprobs, reward(list(c.ids)), True, version) for c in g] for g in groups]

    def step(self, run: int) -> None:
        for update in self.task.updates(run + 1):
            sums: dict[str, float] = {}
            for share in update.micro_batches:
                loss, parts = share()
                loss.backward()
                for key, value in parts.items():
                    sums[key] = sums.get(key, 0.0) + value
            update.finish(sums)
            self.optimiser.step(RATE, 1.0)

    def gradient(self, path: str) -> float:
        from safetensors.torch import save_file

        from bactrian.train.rl.rollouts import Rollout

        made = rollouts(len(self.prompts), self.samples, self.new, self.model.head.shape[0])
        given = {
            p: [Rollout(tuple(r), (0.0,) * len(r), reward(r), True, 0) for r in group] for p, group in enumerate(made)
        }
        self.rollouts = lambda problems, step, version, before: [given[p] for p in problems]  # type: ignore[method-assign]
        total = 0.0
        (update,) = self.task.updates(0)
        for share in update.micro_batches:
            loss, _ = share()
            loss.backward()
            total += loss.item()
        save_file({k: w.grad for k, w in self.model.network.named_parameters() if w.grad is not None}, path)
        return total


class TRL:
    def __init__(self, dtype: str, folder: str, count: int, samples: int, new: int, length: int) -> None:
        import tempfile

        import torch
        from datasets import Dataset
        from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
        from trl import GRPOConfig, GRPOTrainer

        self.torch = torch
        tokenizer = AutoTokenizer.from_pretrained(folder)
        self.asked = prompts(tokenizer, count, length)
        texts = [tokenizer.decode(ids) for ids in self.asked]
        assert [tokenizer.encode(text) for text in texts] == self.asked
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype))
        model.config.eos_token_id = model.generation_config.eos_token_id = None
        self.samples, self.new = samples, new
        rows = count * samples
        cuts = rows // 4 if length > LONG and rows % 4 == 0 else 1
        config = GRPOConfig(
            output_dir=tempfile.mkdtemp(),
            use_cpu=True,
            bf16=False,
            report_to="none",
            save_strategy="no",
            per_device_train_batch_size=rows // cuts,
            gradient_accumulation_steps=cuts,
            num_generations=samples,
            max_completion_length=new,
            learning_rate=RATE,
            lr_scheduler_type="constant",
            gradient_checkpointing=False,
            logging_steps=10**6,
            loss_type="dapo",
            epsilon=0.2,
            epsilon_high=0.272,
            beta=0.0,
            temperature=1.0,
            max_grad_norm=1.0,
            max_steps=10**6,
            disable_tqdm=True,
            seed=1,
            generation_kwargs={"min_new_tokens": new},
            use_transformers_continuous_batching=self.continuous,
        )

        def rewarded(completion_ids: Ids, **_: Any) -> list[float]:
            assert all(len(ids) == new for ids in completion_ids), "a rollout ended early"
            return [reward(ids) for ids in completion_ids]

        self.trainer = GRPOTrainer(
            model,
            args=config,
            reward_funcs=rewarded,
            processing_class=tokenizer,
            train_dataset=Dataset.from_list([{"prompt": t} for t in texts] * 64),
        )
        self.trainer.eos_token_ids = [-1]
        self.sampling: list[float] = []
        self._time_sampling()
        self.steps: Any = None
        self.callback = TrainerCallback

    continuous = False

    def _time_sampling(self) -> None:
        generate = self.trainer._generate_single_turn

        def timed(*arguments: Any, **named: Any) -> Any:
            start = time.perf_counter()
            out = generate(*arguments, **named)
            self.sampling.append(time.perf_counter() - start)
            return out

        self.trainer._generate_single_turn = timed

    def step(self, run: int) -> None:
        """Run the trainer in a thread that pauses at the end of each step."""
        import threading

        if self.steps is None:
            go, done = threading.Semaphore(0), threading.Semaphore(0)
            self.steps = (go, done)
            failed: list[BaseException] = []
            self.failed = failed

            class Pause(self.callback):  # type: ignore[name-defined, misc]
                def on_step_begin(self, *_: Any, **__: Any) -> None:
                    pass

                def on_step_end(self, *_: Any, **__: Any) -> None:
                    done.release()
                    go.acquire()

            self.trainer.add_callback(Pause())

            def train() -> None:
                try:
                    self.trainer.train()
                except BaseException as error:
                    failed.append(error)
                    done.release()

            threading.Thread(target=train, daemon=True).start()
        else:
            self.steps[0].release()
        self.steps[1].acquire()
        if self.failed:
            raise self.failed[0]

    def gradient(self, path: str) -> float:
        from safetensors.torch import save_file

        torch, trainer = self.torch, self.trainer
        made = rollouts(len(self.asked), self.samples, self.new, trainer.model.config.vocab_size)
        rows = [r for group in made for r in group]
        rewards = torch.tensor([[reward(r) for r in group] for group in made])
        spread = rewards.std(1, correction=0, keepdim=True)
        advantages = ((rewards - rewards.mean(1, keepdim=True)) / (spread + 1e-8)).flatten()
        longest = max(map(len, rows))
        completion = torch.tensor([r + [0] * (longest - len(r)) for r in rows])
        mask = torch.tensor([[1] * len(r) + [0] * (longest - len(r)) for r in rows])
        prompt = torch.tensor([p for p in self.asked for _ in range(self.samples)])
        trainer.model.train()
        trainer.current_gradient_accumulation_steps = 1
        inputs = {
            "prompt_ids": prompt,
            "prompt_mask": torch.ones_like(prompt),
            "completion_ids": completion,
            "completion_mask": mask,
            "advantages": advantages,
            "num_items_in_batch": mask.sum(),
        }
        loss = trainer._compute_loss(trainer.model, inputs)
        loss.backward()
        save_file({k: w.grad for k, w in trainer.model.named_parameters() if w.grad is not None}, path)
        return loss.item()


class ContinuousGrpo(TRL):
    continuous = True


SIDES = {"ours": OurGrpo, "trl": TRL, "continuous": ContinuousGrpo}


def main() -> None:
    name, dtype, folder, *numbers = sys.argv[1:]
    side = SIDES[name](dtype, folder, *map(int, numbers))

    def step(run: int) -> dict[str, Any]:
        start = time.perf_counter()
        side.step(run)
        return {"seconds": time.perf_counter() - start}

    def peak() -> dict[str, Any]:
        drawn = sorted(side.sampling[1:] or side.sampling)
        return {"gigabytes": peak_gigabytes(), "sampling": drawn[len(drawn) // 2]}

    serve({"step": step, "gradient": lambda path: {"loss": side.gradient(path)}, "peak": peak})


if __name__ == "__main__":
    main()
