"""lm-eval's IFEval checkers over a file of responses: the peer of benchmarks/verify.py, run in a process of its own.

Usage: verify_peer.py FOLDER FILE, where FOLDER holds lm_eval, immutabledict and Punkt's model, installed by
`pip install --no-deps --target FOLDER lm-eval==0.4.13 immutabledict llama-index-core` (the last has the model inside,
which nltk would download). Prints one JSON object: seconds, responses, and the prompt-level verdicts.
"""

import json
import os
import sys
import time
import types
from pathlib import Path

folder = Path(sys.argv[1])
punkt = folder / "llama_index/core/_static/nltk_cache"
os.environ["NLTK_DATA"] = str(punkt)
sys.path.append(str(folder))
for name in ("lm_eval", "lm_eval.tasks", "lm_eval.tasks.ifeval"):  # without lm_eval's own dependencies
    module = types.ModuleType(name)
    module.__path__ = [str(folder / name.replace(".", "/"))]
    sys.modules[name] = module

from lm_eval.tasks.ifeval import utils  # noqa: E402

rows = [json.loads(line) for line in Path(sys.argv[2]).read_text().split("\n") if line]
inputs = [utils.InputExample(row["key"], row["instruction_id_list"], row["prompt"], row["kwargs"]) for row in rows]
utils.test_instruction_following_strict(inputs[0], rows[0]["response"])  # what it loads at first use is not timed
started = time.perf_counter()
strict = [utils.test_instruction_following_strict(i, r["response"]) for i, r in zip(inputs, rows, strict=True)]
middle = time.perf_counter()
loose = [utils.test_instruction_following_loose(i, r["response"]) for i, r in zip(inputs, rows, strict=True)]
ended = time.perf_counter()
print(
    json.dumps(
        {
            "strict_seconds": middle - started,
            "loose_seconds": ended - middle,
            "n": len(rows),
            "strict": [s.follow_all_instructions for s in strict],
            "loose": [s.follow_all_instructions for s in loose],
        }
    )
)
