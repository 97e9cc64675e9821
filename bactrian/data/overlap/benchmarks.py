"""The evaluation sets that are known: their public names, and which of their fields hold what a model is asked.

The first group are those that Tülu 3 decontaminates against, with its fields. A field is a column; "a.b" is b inside a,
"a + b" the two as one text, and a column that holds a list is its elements as one text.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from bactrian.data.io.files import DATA_FILE, data_files, stream_rows
from bactrian.data.io.formats import is_data
from bactrian.data.overlap.asked import asked_of
from bactrian.data.overlap.index import IndexedItem
from bactrian.errors import BactrianError


@dataclass(frozen=True)
class Benchmark:
    """An evaluation set: its Hub id, the fields that are compared, and what its files are called."""

    name: str
    hub: str
    fields: tuple[str, ...]
    files: tuple[str, ...]


def _known(name: str, hub: str, fields: str, files: str = "") -> Benchmark:
    patterns = [f"{file}*" for file in (files or name).split()]
    return Benchmark(name, hub, tuple(field.strip() for field in fields.split(",")), tuple(patterns))


# Hub ids from memory, without a network to try them: [unverified]. Files are matched by the beginning of their names,
# the first that fits, so that longer names come before the shorter ones that they begin with.
KNOWN = (
    _known("gsm8k", "openai/gsm8k", "question", "gsm8k_test"),
    _known("math500", "HuggingFaceH4/MATH-500", "problem"),
    _known("math", "EleutherAI/hendrycks_math", "problem", "math_test"),
    _known("mmlu-val", "cais/mmlu", "question", "mmlu_val"),
    _known("mmlu-dev", "cais/mmlu", "question", "mmlu_dev"),
    _known("mmlu-pro", "TIGER-Lab/MMLU-Pro", "question", "mmlu_pro mmlu-pro"),
    _known("mmlu", "cais/mmlu", "question", "mmlu_test"),
    _known("bbh", "lukaemon/bbh", "input", "bbh.dev bbh.jsonl bbh_test"),
    _known("drop", "ucinlp/drop", "passage, question", "drop_validation"),
    _known("drop-prompts", "", "context", "drop_dev"),
    _known("ifeval", "google/IFEval", "prompt", "ifeval_input ifeval."),
    _known("popqa", "akariasai/PopQA", "metadata.subj, metadata.prop, metadata.obj"),
    _known("truthfulqa", "truthfulqa/truthful_qa", "question"),
    _known("alpaca-eval", "tatsu-lab/alpaca_eval", "instruction", "alpaca_eval_davinci"),
    _known("humaneval-plus", "evalplus/humanevalplus", "prompt", "humanevalplus humaneval_plus"),
    _known("humaneval", "openai/openai_humaneval", "prompt", "humaneval human_eval"),
    _known("bigcodebench", "bigcode/bigcodebench", "instruct_prompt"),
    _known("gpqa", "Idavidrein/gpqa", "Question"),
    _known("agieval", "", "passage, question"),
    _known("wildguardtest", "allenai/wildguardmix", "prompt", "wildguardtest wildguard_test"),
    _known("wildjailbreak", "allenai/wildjailbreak", "adversarial"),
    _known("jailbreaktrigger", "TrustLLM/TrustLLM-dataset", "prompt", "trustllm_jailbreaktrigger jailbreaktrigger"),
    _known("do-anything-now", "TrustLLM/TrustLLM-dataset", "prompt", "trustllm_misuse do_anything_now"),
    _known("harmbench", "walledai/HarmBench", "Behavior"),
    _known("dm-math", "deepmind/math_dataset", "question", "deepmind_math_test dm_math"),
    # others
    _known("aime24", "HuggingFaceH4/aime_2024", "problem", "aime_2024 aime24"),
    _known("amc23", "math-ai/amc23", "question"),
    _known("svamp", "ChilleD/SVAMP", "Body + Question"),
    _known("asdiv", "EleutherAI/asdiv", "body + question"),
    _known("mgsm", "juletxara/mgsm", "question"),
    _known("mbpp", "google-research-datasets/mbpp", "text", "mbpp_test"),
    _known("triviaqa", "mandarjoshi/trivia_qa", "question"),
    _known("arc-easy", "allenai/ai2_arc", "question", "olmo_val_arc-easy arc-easy ARC-Easy"),
    _known("openbookqa", "allenai/openbookqa", "question_stem", "olmo_val_openbookqa openbookqa"),
    _known("piqa", "ybisk/piqa", "goal", "olmo_val_piqa piqa"),
    _known("sciq", "allenai/sciq", "question", "olmo_val_sciq sciq"),
    _known("social-iqa", "allenai/social_i_qa", "context + question", "olmo_val_social_i_qa social_i_qa"),
    _known("commonsenseqa", "tau/commonsense_qa", "question", "olmo_val_commonsense_qa commonsense_qa"),
    _known("copa", "aps/super_glue", "premise + choice1 + choice2", "olmo_val_copa copa"),
    _known("boolq", "google/boolq", "passage, question", "olmo_val_boolq boolq"),
    _known("basic-arithmetic", "allenai/basic_arithmetic", "question", "olmo_val_basic_arithmetic"),
    _known("mediq", "stellalisy/MediQ", "context, question", "mediq_"),
    _known("self-instruct", "", "instruction", "self_instruct_user_oriented"),
    _known("mt-bench", "HuggingFaceH4/mt_bench_prompts", "turns", "mt_bench_questions"),
    _known("vicuna-bench", "", "turns", "vicuna_bench_questions"),
    _known("arena-hard", "lmarena-ai/arena-hard-auto", "turns", "arena_hard"),
    _known("wizardlm", "", "Instruction", "wizardlm_testset"),
    _known("coconot", "allenai/coconot", "prompt", "coconot_eval"),
    _known("coconot-contrast", "allenai/coconot", "prompt", "coconot_contrast_eval"),
    _known("xstest", "walledai/XSTest", "prompt", "xstest_prompts xstest."),
    _known("simple-safety-tests", "Bertievidgen/SimpleSafetyTests", "prompts_final", "simple_safety_tests"),
    _known("sycophancy", "TrustLLM/TrustLLM-dataset", "prompt", "trustllm_sycophancy"),
    _known("advfactuality", "TrustLLM/TrustLLM-dataset", "prompt", "trustllm_advfactuality"),
    _known("llmbar", "princeton-nlp/LLMBar", "input", "llmbar_judges"),
    _known("pandalm", "WeOpenML/PandaLM", "instruction + input", "pandalm_test"),
    _known("auto-j", "", "prompt", "autoj_pairwise"),
    _known("trust-or-escalate", "", "instruction", "trust_or_escalate_calibration"),
    _known("tulu1-human-eval", "", "prompt", "tulu1_human_eval"),
    _known("ifbench", "allenai/IFBench_test", "prompt", "ifbench ifeval_ood"),
    _known("aime25", "math-ai/aime25", "problem", "aime_2025 aime25"),
    _known("arc-challenge", "", "question", "olmo_val_arc-challenge arc-challenge ARC-Challenge"),
    _known("hellaswag", "Rowan/hellaswag", "ctx_a + ctx_b"),
    _known("winogrande", "allenai/winogrande", "sentence"),
    _known("naturalqs", "google-research-datasets/nq_open", "question", "nq_ naturalqs"),
    _known("hh-rlhf-harmless", "Anthropic/hh-rlhf", "chosen", "hh_rlhf_harmless_test"),
)


def holds_known(folder: Path) -> bool:
    """Whether a file in a folder is a known benchmark by its name."""
    return any(is_data(file.name) and known_as(file.name) for file in folder.iterdir())


def known_as(name: str) -> Benchmark | None:
    """The known benchmark that a file's name or a Hub id means, or None."""
    if not name:
        return None
    return next((known for known in KNOWN if name == known.hub or any(fnmatch(name, p) for p in known.files)), None)


def read_benchmarks(path: Path, ref: str, fields: Mapping[str, Sequence[str]]) -> list[IndexedItem]:
    """The test items behind one reference: a file, a Hub data set, or all known benchmarks among a
    folder's files.

    `fields` gives, by the name of a file or the reference, the columns to compare where the table
    does not know them. Rows in a layout of ours need neither: what they ask is known.

    Raises:
        BactrianError: naming the file, the row, the field and what is there instead.
    """
    name = Path(ref).name
    if given := fields.get(ref) or fields.get(name):
        return _items(path, Benchmark(name, "", tuple(given), ()))
    if known := known_as(ref.partition("@")[0]) or known_as(name) or known_as(path.name):
        return [item for file in _test_files(path) for item in _items(file, known)]
    if path.is_file() or (path / DATA_FILE).is_file():
        return _items(path, Benchmark(name, "", (), ()))
    chosen = [(file, _of_file(file, fields)) for file in data_files(path)]
    items = [item for file, benchmark in chosen if benchmark for item in _items(file, benchmark)]
    if not items:
        raise BactrianError(
            f"{path}: holds no file that is known to be a benchmark, such as gsm8k_test.jsonl; name "
            f"single files in `against`, and the columns to compare in `fields`"
        )
    return items


def _test_files(path: Path) -> list[Path]:
    """The files of a downloaded data set that hold its test split, else its validation split, else all of them."""
    if path.is_file() or (path / DATA_FILE).is_file():
        return [path]
    files = [file for file in sorted(path.rglob("*")) if is_data(file.name) and file.is_file()]
    splits = ([file for file in files if word in file.relative_to(path).as_posix()] for word in ("test", "val", "dev"))
    return next(filter(None, splits), files) or [path]


def _of_file(file: Path, fields: Mapping[str, Sequence[str]]) -> Benchmark | None:
    given = fields.get(file.name)
    return Benchmark(file.name, "", tuple(given), ()) if given else known_as(file.name)


def _items(path: Path, benchmark: Benchmark) -> list[IndexedItem]:
    items = []
    for number, (row, where) in enumerate(stream_rows(path), 1):
        texts = _fields(row, benchmark.fields, where) if benchmark.fields else ["\n".join(asked_of(row, where))]
        identity = next((row[key] for key in ("id", "task_id", "unique_id", "key") if key in row), f"row {number}")
        items.append(IndexedItem(benchmark.name, str(identity), tuple(filter(str.strip, texts)) or ("",)))
    return items


def _fields(row: Mapping[str, Any], fields: Iterable[str], where: str) -> list[str]:
    return ["\n".join(_text(row, part.strip(), where) for part in field.split(" + ")) for field in fields]


def _text(row: Mapping[str, Any], field: str, where: str) -> str:
    """The text of a field. A row may lack some of its benchmark's fields (then ""), not the column's whole table."""
    value: Any = row
    for part in field.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    if isinstance(value, list):
        return "\n".join(map(str, value))
    if value is None or isinstance(value, str):
        return value or ""
    raise BactrianError(f"{where}: field '{field}': found {type(value).__name__}, expected text")
