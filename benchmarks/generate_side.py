"""One side of generate.py: generate_side.py NAME MODEL_FOLDER DTYPE. Peers' sides import nothing of bactrian."""

from __future__ import annotations

import sys
import time
from typing import Any

from duel import peak_gigabytes, serve

TEXT = """Write about the camel that walked to the sea in winter. Say what it carried, whom it met on the road, and why
it never turned back. Then tell the same story once more, from the side of the merchant who had lost it at the market,
and who looked for it in every town between the desert and the coast, until the money for the journey was gone."""
Ids = list[list[int]]


def prompts(tokenizer: Any, rows: int, longest: int = 40) -> Ids:
    """Prompts of 25 to `longest` tokens, all different from their first on."""
    ids = tokenizer.encode(TEXT)
    return [ids[i % 16 :][: 25 + (7 * i) % (longest - 24)] for i in range(rows)]


class Ours:
    def __init__(self, folder: str, dtype: str) -> None:
        from pathlib import Path

        from bactrian.generate.local import LocalEngine

        self.engine = LocalEngine.load(Path(folder), dtype)
        self.engine.ends = frozenset()
        self.tokenizer = self.engine.model.tokenizer

    def run(self, asked: Ids, new: int, temperature: float, seed: int) -> Ids:
        from bactrian.generate.engine import Request

        requests = [
            Request(tuple(ids), seed=seed * 1000 + i, max_new_tokens=new, temperature=temperature)
            for i, ids in enumerate(asked)
        ]
        self.engine.rows = len(asked)
        groups = self.engine.generate(requests)
        assert all(len(g[0].logprobs) == new for g in groups)
        return [list(g[0].ids) for g in groups]


class Transformers:
    def __init__(self, folder: str, dtype: str) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.torch = torch
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype)).eval()

    def config(self, new: int, temperature: float, seed: int) -> Any:
        from transformers import GenerationConfig

        self.torch.manual_seed(max(0, seed))
        drawn = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0} if temperature else {}
        self.model.generation_config = GenerationConfig()
        return GenerationConfig(max_new_tokens=new, eos_token_id=None, pad_token_id=0, **drawn)

    def run(self, asked: Ids, new: int, temperature: float, seed: int) -> Ids:
        torch = self.torch
        longest = max(map(len, asked))
        ids = torch.tensor([[0] * (longest - len(p)) + p for p in asked])
        mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in asked])
        kept: list[Any] = []
        last: list[Any] = []

        def keep(ids: Any, logits: Any) -> Any:
            """The log-prob of the token before, whose logits were kept; the last one's is not even asked for."""
            if last:
                kept.append(last[0].gather(-1, ids[:, -1:])[:, 0] - last[0].logsumexp(-1))
            last[:] = [logits]
            return logits

        processors = [keep] if temperature else []
        with torch.inference_mode():
            out = self.model.generate(
                input_ids=ids,
                attention_mask=mask,
                generation_config=self.config(new, temperature, seed),
                logits_processor=processors,
            )
        assert len(kept) == (new - 1 if temperature else 0)
        answers: Ids = out[:, longest:].tolist()
        return answers


class Continuous(Transformers):
    def run(self, asked: Ids, new: int, temperature: float, seed: int) -> Ids:
        from transformers import ContinuousBatchingConfig

        config = self.config(new, temperature, seed)
        config.eos_token_id = -1
        # room for 64 sequences of two pages; by default it takes a share of all memory, as on a GPU of its own
        batching = ContinuousBatchingConfig(num_blocks=160, max_batch_tokens=512, return_logprobs=temperature > 0)
        with self.torch.no_grad():  # it does not bear inference mode
            out = self.model.generate_batch(
                asked, generation_config=config, continuous_batching_config=batching, progress_bar=False
            )
        by_prompt = {i: list(o.generated_tokens) for i, o in enumerate(out.values())}
        answers = [by_prompt[i] for i in range(len(asked))]
        assert all(len(a) == new for a in answers), "it ended before"
        return answers


class VLLM:
    def __init__(self, folder: str, dtype: str) -> None:
        import os

        os.environ |= {
            "VLLM_CPU_KVCACHE_SPACE": "2",  # GiB; 64 rows of 300 tokens of SmolLM2 are 0.45
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        }
        from vllm import LLM

        self.llm = LLM(
            folder,
            dtype=dtype,
            max_model_len=2048,
            enable_prefix_caching=False,
            max_num_seqs=64,
            seed=0,
            disable_log_stats=True,
        )
        self.tokenizer = self.llm.get_tokenizer()

    def run(self, asked: Ids, new: int, temperature: float, seed: int) -> Ids:
        from vllm import SamplingParams

        settings = SamplingParams(temperature=temperature, max_tokens=new, ignore_eos=True, logprobs=0)
        out = self.llm.generate([{"prompt_token_ids": ids} for ids in asked], settings, use_tqdm=False)
        return [list(o.outputs[0].token_ids) for o in out]


SIDES = {"ours": Ours, "transformers": Transformers, "continuous": Continuous, "vllm": VLLM}


def main() -> None:
    name, folder, dtype = sys.argv[1:]
    state: dict[str, Any] = {}

    def side() -> Any:
        if not state:
            state["side"] = SIDES[name](folder, dtype)
        return state["side"]

    def greedy(new: int) -> dict[str, Any]:
        return {"ids": side().run(prompts(side().tokenizer, 8), new, 0.0, 0)}

    def sample(rows: int, new: int, run: int) -> dict[str, Any]:
        asked = prompts(side().tokenizer, rows)
        start = time.perf_counter()
        answers = side().run(asked, new, 1.0, run)
        seconds = time.perf_counter() - start
        assert all(len(a) == new for a in answers)
        return {"seconds": seconds}

    serve({"greedy": greedy, "sample": sample, "peak": lambda: {"gigabytes": peak_gigabytes()}})


if __name__ == "__main__":
    main()
