"""Simulated annotators with shared demonstrations against each prompt sent by itself: pairs judged a second.

    OMP_NUM_THREADS=2 python benchmarks/judge.py [--pairs 200] [--peer-pairs 4] [--annotators 5] [--demonstrations 5]
        [--model embedded:smollm2-135m] [--threads 2] [--rounds 1]

Ours is what `open_pair_judge` opens: N annotators of K demonstrations, both orders, N·2 prompts a pair, the
demonstrations forwarded once per annotator. The peer is transformers' own forward, one whole prompt at a time, on the
very same token ids, in the same dtype and threads; it is timed on `--peer-pairs` pairs only, as every prompt takes it
as long as the next, while ours reads the demonstrations once and so gains with their number: as many on both sides is
the stricter measure. What both sides say in the first round is compared. The pairs and demonstrations are made up, of
about as many tokens as short answers have. Ends with a line of JSON: {"ratio_vs_separate": …}.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random

import torch
from duel import machine
from versus import model_folder

from bactrian.generate.choices import ChoiceRequest
from bactrian.generate.choosers import EngineChooser
from bactrian.judge.demonstrations import Demonstration, DemonstrationPool
from bactrian.judge.opinions import AnswerPair, Opinion
from bactrian.judge.pair_judges import ChoicePairJudge, JudgeMethod
from bactrian.judge.panel import open_pair_judge
from bactrian.store.hardware import Hardware

TOLERANCE = 1e-4
THINGS = "kettle", "lantern", "boat", "garden wall", "bicycle", "wool coat", "oak table", "brass clock", "paper kite"
VERBS = "mend", "clean", "store", "paint", "measure", "carry", "sell", "describe"
SAID = "first look at it closely then take a soft dry cloth and work slowly from the top to the bottom"


def made_up(number: int) -> AnswerPair:
    """A pair of short answers; no two numbers have the same prompt."""
    random = Random(f"judge/{number}")
    asked = f"How do I {random.choice(VERBS)} a {random.choice(THINGS)} in {number + 2} minutes?"
    answers = [" ".join(random.choices(SAID.split(), k=random.randint(10, 20))) for _ in range(2)]
    return AnswerPair(str(number), ({"role": "user", "content": asked},), *answers)


def made_up_pool(annotators: int, count: int) -> DemonstrationPool:
    random = Random("judge/labels")
    return DemonstrationPool(
        "made up",
        tuple(
            Demonstration(f"person {who}", made_up(100_000 + who * count + at), random.randint(0, 1))
            for who in range(annotators)
            for at in range(count)
        ),
    )


def judged(judge: ChoicePairJudge, pairs: Sequence[AnswerPair]) -> list[Opinion]:
    found: dict[int, Opinion] = {}
    judge.compare(pairs, found.__setitem__)
    return [found[place] for place in range(len(pairs))]


class Separate:
    """transformers' forward of one prompt at a time; the probabilities of two letters after it."""

    def __init__(self, folder: Path, chooser: EngineChooser) -> None:
        from transformers import AutoModelForCausalLM

        self.network = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        self.chooser = chooser

    @torch.inference_mode()
    def probability(self, request: ChoiceRequest) -> float:
        """Of the first option."""
        ask = self.chooser.ask_of(request)
        logits = self.network(torch.tensor([ask.context]), logits_to_keep=1).logits[0, -1]
        return float(logits[[option[0] for option in ask.options]].softmax(0)[0])

    def opinion(self, judge: ChoicePairJudge, pair: AnswerPair) -> float:
        """The probability that the first answer is the better one, as the mean of all its prompts."""
        found = [self.probability(request) for request in judge.requests(pair)]
        return statistics.mean(p if number % 2 == 0 else 1 - p for number, p in enumerate(found))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--model", default="embedded:smollm2-135m")
    options.add_argument("--pairs", type=int, default=200)
    options.add_argument("--peer-pairs", type=int, default=4)
    options.add_argument("--annotators", type=int, default=5)
    options.add_argument("--demonstrations", type=int, default=5)
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--rounds", type=int, default=1, help="each side timed this often, in turns; the best counts")
    given = options.parse_args()
    torch.set_num_threads(given.threads)
    folder = model_folder(given.model)
    judge = open_pair_judge(
        folder,
        Hardware(threads=given.threads),
        method=JudgeMethod("annotators", given.annotators, given.demonstrations),
        pool=made_up_pool(given.annotators, given.demonstrations),
    )
    assert isinstance(judge, ChoicePairJudge) and isinstance(judge.chooser, EngineChooser)
    peer = Separate(folder, judge.chooser)
    pairs = [made_up(number) for number in range(given.pairs)]
    asks = [judge.chooser.ask_of(request) for pair in pairs[:4] for request in judge.requests(pair)]
    whole = statistics.mean(len(ask.context) for ask in asks)
    own = statistics.mean(len(ask.context) - ask.shared for ask in asks)
    print(f"{machine()}, {given.threads} threads; a prompt: {whole:.0f} tokens, {own:.0f} of them the pair's own")
    few = pairs[: given.peer_pairs]
    peer.probability(judge.requests(few[0])[0])  # not timed: the first forward of a process is slower
    seconds: dict[str, list[float]] = {"ours": [], "separate": []}
    processor: dict[str, list[float]] = {"ours": [], "separate": []}
    apart = 0.0
    for _ in range(given.rounds):
        start, spent = time.perf_counter(), time.process_time()
        separate = [peer.opinion(judge, pair) for pair in few]
        seconds["separate"].append((time.perf_counter() - start) / len(few))
        processor["separate"].append((time.process_time() - spent) / len(few))
        start, spent = time.perf_counter(), time.process_time()
        ours = judged(judge, pairs)
        seconds["ours"].append((time.perf_counter() - start) / len(pairs))
        processor["ours"].append((time.process_time() - spent) / len(pairs))
        apart = max(apart, *(abs(a - b.probabilities[0]) for a, b in zip(separate, ours, strict=False)))
    assert apart <= TOLERANCE, f"not the same numbers: {apart:.1e} apart"
    print(f"same numbers: {apart:.1e} apart at most, over {len(few)} pairs")
    speeds = {name: 1 / min(each) for name, each in seconds.items()}
    for name, speed in speeds.items():
        clock, cpu = (", ".join(f"{each:.2f}" for each in found[name]) for found in (seconds, processor))
        print(f"{name:>10}: {speed:.3f} pairs/s ({clock} s a pair, {cpu} s of processor time)")
    ratio = speeds["ours"] / speeds["separate"]
    steady = min(processor["separate"]) / min(processor["ours"])  # on a busy machine the clock says little
    counts = {"ratio_of_processor_time": round(steady, 3), "pairs": len(pairs), "peer_pairs": len(few)}
    print(json.dumps({"ratio_vs_separate": round(ratio, 3), "apart": apart, **counts, **speeds}))


if __name__ == "__main__":
    main()
