"""Synthesis: novelty checks against rouge-score's speed, and what the scheduler of requests costs.

    python benchmarks/synthesis.py [--pool 50000] [--checks 100000] [--sample 20] [--requests 20000]

Novelty: `checks` texts against a pool of `pool` texts, the questions and instructions in ../shared/data; some are texts
of the pool with words replaced. First the decisions on `sample` of them are seen to be those of rouge-score 0.1.2
(pip install rouge-score), one by one against the whole pool; then both are timed, rouge-score on that sample.

Scheduler: requests by way of `ask_pool`, `ServerResponder` and the store of answers, to a server in another process
that answers at once, 64 in flight; then to one that takes 200 ms for each, beside the ideal of 64 / 0.2 s.

Prints one line of JSON: {"ratio_novelty": …, "requests_per_s": …, "share_of_ideal": …, and what they were made of}.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import multiprocessing
import random
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from bactrian.data.synth.rouge_novelty import RougePool
from bactrian.evaluate.answer_store import AnswerStore, request_key
from bactrian.generate.chat_request import ChatReply, ChatRequest
from bactrian.generate.chat_server import Endpoint, ServerResponder
from bactrian.generate.generator_pool import PoolMember, Spending, ask_pool

DATA = Path(__file__).parents[1].parent / "shared" / "data"
FILES = {
    "flan_cot.jsonl.gz": "question",
    "lf_alpaca_en_demo.jsonl": "instruction",
    "codealpaca_2k.jsonl": "instruction",
    "codealpaca_new.jsonl.gz": "instruction",
    "rasbt_instructions_1100.jsonl": "instruction",
    "gpteacher_roleplay.jsonl.gz": "instruction",
    "gsm8k_train.jsonl.gz": "question",
    "personahub_personas.jsonl": "persona",
}
IN_FLIGHT = 64
LATENCY = 0.2
THRESHOLD = 0.7


def texts() -> list[str]:
    """All texts of FILES, each once, in a fixed order that mixes the files."""
    found: dict[str, None] = {}
    for name, field in FILES.items():
        opened = gzip.open if name.endswith(".gz") else open
        with opened(DATA / name, "rt", encoding="utf-8") as file:
            found.update((json.loads(line)[field], None) for line in file)
    mixed = list(found)
    random.Random(0).shuffle(mixed)
    return mixed


def changed(text: str, draw: random.Random) -> str:
    """With up to a third of its words replaced by common ones."""
    words = text.split()
    for _ in range(int(len(words) * draw.uniform(0, 0.35))):
        words[draw.randrange(len(words))] = draw.choice(["the", "of", "seven", "red", "and"])
    return " ".join(words)


def novelty(pool_size: int, checks: int, sample: int) -> dict[str, Any]:
    from rouge_score import rouge_scorer

    whole, draw = texts(), random.Random(1)
    members = whole[:pool_size]
    asked = [changed(draw.choice(whole), draw) for _ in range(checks)]
    pool = RougePool(THRESHOLD)
    begun = time.perf_counter()
    for text in members:
        pool.add(text)
    building = time.perf_counter() - begun
    scorer = rouge_scorer.RougeScorer(["rougeL"], use_stemmer=False)
    begun = time.perf_counter()
    theirs = [max(scorer.score(text, each)["rougeL"].fmeasure for text in members) for each in asked[:sample]]
    each_theirs = (time.perf_counter() - begun) / sample
    for text, best in zip(asked, theirs, strict=False):
        nearest = pool.nearest(text, 1)
        if (pool.like(text) is not None) != (best > THRESHOLD) or (nearest[0][1] if nearest else 0.0) != best:
            sys.exit(f"not what rouge-score says of {text!r}: {nearest}, expected {best}")
    begun = time.perf_counter()
    known = sum(pool.like(text) is not None for text in asked)
    each_ours = (time.perf_counter() - begun) / checks
    return {
        "ratio_novelty": each_theirs / each_ours,
        "pool": len(pool),
        "checks": checks,
        "known": known,
        "compared_with_rouge_score": sample,
        "of_them_known": sum(best > THRESHOLD for best in theirs),
        "ms_a_check": each_ours * 1e3,
        "ms_a_check_rouge_score": each_theirs * 1e3,
        "building_s": building,
    }


def serve(latency: float, tell: Connection) -> None:
    """The least that a server of chat completions can be, so that its time is not the client's."""
    choice = {"message": {"role": "assistant", "content": "Three bees."}, "finish_reason": "stop"}
    body = json.dumps({"choices": [choice], "usage": {"completion_tokens": 3, "prompt_tokens": 9}}).encode()
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                lines = head.lower().split(b"\r\n")
                size = next(int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length"))
                await reader.readexactly(size)
                if latency:
                    await asyncio.sleep(latency)
                writer.write(answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def main() -> None:
        server = await asyncio.start_server(talk, "127.0.0.1", 0, backlog=256)
        tell.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(main())


def requests_per_second(latency: float, count: int) -> float:
    context = multiprocessing.get_context("spawn")
    hear, tell = context.Pipe(duplex=False)
    process = context.Process(target=serve, args=(latency, tell), daemon=True)
    process.start()
    endpoint = Endpoint(f"http://127.0.0.1:{hear.recv()}/v1", "mock", concurrency=IN_FLIGHT)
    asked = [
        (str(n), ChatRequest(({"role": "user", "content": f"Question {n}?"},), f"request {n}", seed=n))
        for n in range(count)
    ]
    responder = ServerResponder(endpoint)
    member = PoolMember("mock", lambda: responder, served=True)
    with tempfile.TemporaryDirectory() as folder, AnswerStore(Path(folder), "mock") as store:

        def keep(key: str, request: ChatRequest, reply: ChatReply) -> None:
            store.put(request_key("chat", key=key), [reply.text, reply.finish, reply.tokens])

        ask_pool({"mock": asked[:IN_FLIGHT]}, {"mock": member}, keep, Spending())  # connections are made
        begun = time.perf_counter()
        ask_pool({"mock": asked}, {"mock": member}, keep, Spending())
        took = time.perf_counter() - begun
    process.terminate()
    process.join()
    return count / took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pool", type=int, default=50_000)
    parser.add_argument("--checks", type=int, default=100_000)
    parser.add_argument("--sample", type=int, default=20)
    parser.add_argument("--requests", type=int, default=20_000)
    given = parser.parse_args()
    found = novelty(given.pool, given.checks, given.sample)
    at_once = requests_per_second(0.0, given.requests)
    late = requests_per_second(LATENCY, max(IN_FLIGHT * 4, given.requests // 5))
    found |= {"requests_per_s": at_once, "late_requests_per_s": late, "share_of_ideal": late / (IN_FLIGHT / LATENCY)}
    print(json.dumps({name: round(value, 4) for name, value in found.items()}))


if __name__ == "__main__":
    main()
