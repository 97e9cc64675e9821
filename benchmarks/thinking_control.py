"""Does budget forcing keep every budget? Many questions, several budgets, one model; every answer looked at.

    python benchmarks/thinking_control.py --model embedded:smollm2-135m --questions 1000 --budgets 8 16 24 32 48

Checked of each answer, on its tokens: thinking within the budget; the answer section opened by the format's delimiter
and header; at least one token of answer; and over all, that tokens forwarded are those of prompts, sampled and forced
ones, less one for each completion's last token and each ending taken back. Prints a table, ends with a line of JSON.
"""

import argparse
import json
import sys
import time
from pathlib import Path

from bactrian.cli.model_argument import model_folder

from bactrian.chat import literal_ids, thinking_format
from bactrian.data.io.files import read_rows
from bactrian.data.synth.procedural import sums, word_problems
from bactrian.generate.local import LocalEngine
from bactrian.progress import progress
from bactrian.think.forcing import ThinkingQuestion, opened_prompt, think
from bactrian.think.thought import Budget, Thought


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--model", default="embedded:smollm2-135m")
    options.add_argument("--data", type=Path, help="rows with a column `question`; by default word problems made here")
    options.add_argument("--sums", action="store_true", help="short sums instead of word problems: less to read")
    options.add_argument("--questions", type=int, default=1000)
    options.add_argument("--budgets", type=int, nargs="+", default=[8, 16, 24, 32, 48])
    options.add_argument("--waits", type=int, default=1)
    options.add_argument("--answer", type=int, default=8)
    options.add_argument("--format", default="s1")
    options.add_argument("--temperature", type=float, default=1.0)
    options.add_argument("--rows", type=int, default=64)
    options.add_argument("--dtype", default="bfloat16")
    asked = options.parse_args()

    engine = LocalEngine.load(model_folder(asked.model, None, Path("runs")), asked.dtype, rows=asked.rows)
    form = thinking_format(engine.template, asked.format)
    if asked.data:
        texts = [str(row["question"]) for row in read_rows(asked.data)[: asked.questions]]
    else:
        made = sums(0, asked.questions) if asked.sums else word_problems(0, asked.questions)
        texts = [row["messages"][0]["content"] for row in made]
    prompts = [opened_prompt([{"role": "user", "content": text}], engine.template, form) for text in texts]
    lines = []
    for size in asked.budgets:
        budget = Budget(size, asked.waits, answer=asked.answer)
        questions = [ThinkingQuestion(prompt, 1, seed, asked.temperature) for seed, prompt in enumerate(prompts)]
        before, start = engine.forwarded, time.monotonic()
        with progress(f"budget {size}", unit="token") as bar:
            thoughts = [group[0] for group in think(engine, questions, form, budget, on_tokens=bar.advance)]
        seconds = time.monotonic() - start
        header = literal_ids(engine.template, form.header)
        within = sum(thought.thinking_tokens <= size for thought in thoughts)
        answered = sum(opens_an_answer(thought, header, budget) for thought in thoughts)
        line = {
            "budget": size,
            "questions": len(thoughts),
            "within": within,
            "answered": answered,
            "longest": max(t.thinking_tokens for t in thoughts),
            "mean": sum(t.thinking_tokens for t in thoughts) / len(thoughts),
            "cut": sum(t.ended == "budget" for t in thoughts),
            "waited": sum(len(t.waits) for t in thoughts),
            "loops": sum(t.loop is not None for t in thoughts),
            "forwarded": engine.forwarded - before,
            "sampled": sum(t.sampled for t in thoughts),
            "forced": sum(t.forced_tokens for t in thoughts),
            "prompts": sum(map(len, prompts)),
            "seconds": seconds,
        }
        lines.append(line)
        print(
            " · ".join(
                f"{key} {value:,.1f}" if isinstance(value, float) else f"{key} {value:,}" for key, value in line.items()
            ),
            flush=True,
        )
    total = sum(line["questions"] for line in lines)
    control = sum(line["within"] for line in lines) / total
    sections = sum(line["answered"] for line in lines) / total
    print(f"\nControl {control:.2%}, answer sections {sections:.2%}, of {total:,} answers")
    print(json.dumps({"control": control, "answer_sections": sections, "answers": total, "by_budget": lines}))
    return 0 if control == sections == 1 else 1


def opens_an_answer(thought: Thought, header: tuple[int, ...], budget: Budget) -> bool:
    """Whether the tokens before the answer's are the header (and the final words, after a cut), and it has some."""
    opened = thought.ids[thought.thinking_tokens : len(thought.ids) - thought.answer_tokens]
    cut = thought.ended == "budget"
    return (
        thought.answer_tokens >= 1
        and len(opened) > len(header)
        and (cut or opened[len(opened) - len(header) :] == header)
        and (not cut or thought.answer.startswith(budget.final))
    )


if __name__ == "__main__":
    sys.exit(main())
