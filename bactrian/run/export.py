"""A model as a folder for others: what transformers, vLLM, llama.cpp and lm-eval load, with a card, and nothing else.

The folder appears when it is whole. `export.json` in it says what it was made from and lists its files with their
hashes: by it a later export knows that it may replace the folder, and `push` what is there already.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from bactrian.errors import BactrianError
from bactrian.run.made import Made
from bactrian.store.disk import allow_as_umask, naming_full_disk, sync_folder
from bactrian.store.hashes import files_below, hash_files, hash_path
from bactrian.store.manifest import MANIFEST, Licence, check_artifact

EXPORT = "export.json"
DTYPES = {"as-is": "", "bf16": "bfloat16", "f16": "float16", "f32": "float32"}
ADAPTER = "adapter_config.json"
_COPIED = ("*.json", "*.jinja", "*.txt", "*.model", "LICENSE*", "LICENCE*")
_LEFT = (MANIFEST, EXPORT, "looks.json", "choice.json", "hashes.json", "rows.json", ADAPTER)
_OF_TOKENIZERS = ("tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab.*", "merges.txt", "*.jinja")


def export(
    model: Made,
    folder: Path,
    *,
    dtype: str = "as-is",
    merge: bool = False,
    gguf: Sequence[str] = (),
    card: bool = True,
    name: str | None = None,
) -> Path:
    """Write a model into a folder. A model trained with adapters becomes a peft adapter, or with `merge` a whole model.

    Args:
        dtype: of the weights: as-is, bf16, f16 or f32.
        gguf: types of GGUF files to write besides, such as q8_0 or q4_k_m; of a whole model.
        card: write README.md from the manifest.
        name: what the card and the GGUF files call it; by default the folder's name.

    Returns:
        The folder.

    Raises:
        BactrianError: no model, an artifact that was changed, a folder with something else in it, or what the chosen
            form cannot hold.
    """
    source, folder = model.path, Path(folder)
    _check(model, folder, dtype, gguf)
    adapter = _adapter_of(source)
    alone = adapter is not None and not merge
    if alone and gguf:
        raise BactrianError(f"{model}: a GGUF file holds a whole model, and this would be an adapter: add --merge")
    draft = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(draft, ignore_errors=True)
    with naming_full_disk(folder):
        draft.mkdir(parents=True)
        if alone and adapter is not None:
            _write_adapter(source, adapter, draft, DTYPES[dtype])
        else:
            _write_model(source, adapter, draft, DTYPES[dtype])
        files = _write_gguf(draft, gguf, name or folder.name, model)
        if card:
            _write_card(model, draft, name or folder.name, alone, files, dtype)
        _seal(model, draft)
        allow_as_umask(draft)
        sync_folder(draft)
        if folder.exists():
            shutil.rmtree(folder)
        draft.rename(folder)
    return folder


def _check(model: Made, folder: Path, dtype: str, gguf: Sequence[str]) -> None:
    if dtype not in DTYPES:
        raise BactrianError(f"dtype: found {dtype!r}, expected one of {', '.join(DTYPES)}")
    if gguf:
        from bactrian.model.gguf_writer import TYPES

        if strange := [kind for kind in gguf if kind not in TYPES]:
            raise BactrianError(f"gguf: found the type {strange[0]!r}, expected one of {', '.join(TYPES)}")
    source = model.path
    if not source.is_dir() or not any((source / each).is_file() for each in ("config.json", ADAPTER)):
        raise BactrianError(f"{model}: no model: found neither config.json nor {ADAPTER} in {source}")
    if source.resolve() in (folder.resolve(), *folder.resolve().parents):
        raise BactrianError(f"{folder}: lies in the model that is exported; name another folder")
    if folder.exists() and not (folder / EXPORT).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise BactrianError(
            f"{folder}: there is something that is no earlier export (no {EXPORT}); name another folder, or remove it"
        )
    check_artifact(source)


def _adapter_of(source: Path) -> Path | None:
    """Where the peft adapter of a model is: beside the merged model, or the folder itself, of somebody else's."""
    if (source / "adapter" / ADAPTER).is_file():
        return source / "adapter"
    return source if (source / ADAPTER).is_file() and not (source / "config.json").is_file() else None


def _write_adapter(source: Path, adapter: Path, draft: Path, dtype: str) -> None:
    from bactrian.model.weight_files import convert

    for path in sorted(adapter.glob("adapter_*")):
        if not dtype or path.suffix != ".safetensors":
            shutil.copyfile(path, draft / path.name)
    if dtype:
        convert(adapter, draft, dtype)
    if not list(draft.glob("*.safetensors")):
        raise BactrianError(f"{adapter}: no adapter_model.safetensors; a pickle is never read")
    _copy(source, draft, _OF_TOKENIZERS)


def _write_model(source: Path, adapter: Path | None, draft: Path, dtype: str) -> None:
    from bactrian.model.folders import check_folder
    from bactrian.model.weight_files import convert, name_dtype, stored_dtype, weight_files

    if adapter == source:  # somebody else's: its base is somewhere else
        from bactrian.model.adapters import merge_folder

        merge_folder(source, _base_of(source), draft)
        if dtype:
            convert(draft, draft, dtype)
    else:
        check_folder(source)
        _copy(source, draft, _COPIED)
        if dtype:
            convert(source, draft, dtype)
        else:
            for path in weight_files(source):
                shutil.copyfile(path, draft / path.name)
    name_dtype(draft, dtype or stored_dtype(draft))
    _write_generation(draft)


def _base_of(adapter: Path) -> Path:
    """The folder of the model that an adapter belongs to, from its own configuration.

    Raises:
        BactrianError: it is not said, or cannot be had.
    """
    from bactrian.recipe.references import problem_with, resolve
    from bactrian.store.manifest import Kind

    try:
        config = json.loads((adapter / ADAPTER).read_text(encoding="utf-8"))
        base, revision = str(config["base_model_name_or_path"]), config.get("revision")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BactrianError(f"{adapter / ADAPTER}: found no base_model_name_or_path ({error!r})") from None
    ref = f"{base}@{revision}" if revision and not Path(base).exists() else base
    if (problem := problem_with(ref, Kind.MODEL, adapter, ())) is not None:
        raise BactrianError(f"{adapter / ADAPTER}: base_model_name_or_path: found {problem[0]}, expected {problem[1]}")
    return resolve(ref, Kind.MODEL, adapter).input().path


def _copy(source: Path, draft: Path, patterns: Sequence[str]) -> None:
    for path in {each for pattern in patterns for each in source.glob(pattern)}:
        if path.is_file() and path.name not in _LEFT and not path.name.startswith("adapter_"):
            shutil.copyfile(path, draft / path.name)


def _write_generation(draft: Path) -> None:
    """generation_config.json in which all tokens that end an answer of the chat template end generation."""
    from bactrian.chat import ChatTemplate
    from bactrian.model.language_model import is_reward_model, load_tokenizer

    if is_reward_model(draft):
        return
    tokenizer = load_tokenizer(draft)
    path = draft / "generation_config.json"
    said: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    given = said.get("eos_token_id")
    ends = [given] if isinstance(given, int) else list(given or [])
    if not ends and tokenizer.eos_token_id is not None:
        ends = [tokenizer.eos_token_id]
    if tokenizer.chat_template:
        with suppress(BactrianError):  # somebody else's template, not fit for training: what the model says stays
            ends = list(dict.fromkeys([*ChatTemplate.load(tokenizer).end_ids, *ends]))
    said["eos_token_id"] = ends[0] if len(ends) == 1 else ends
    for kind in ("bos", "pad"):
        if (number := getattr(tokenizer, f"{kind}_token_id")) is not None:
            said.setdefault(f"{kind}_token_id", number)
    path.write_text(json.dumps(said, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _write_gguf(draft: Path, kinds: Sequence[str], name: str, model: Made) -> list[str]:
    from bactrian.report.card import terms_of

    if not kinds:
        return []
    from bactrian.model.gguf_writer import write_gguf

    licence = terms_of(licences_of(model))[0]
    files = []
    for kind in dict.fromkeys(kinds):
        files.append(f"{name}-{kind.upper()}.gguf")
        write_gguf(draft, draft / files[-1], kind, name, "" if licence == "unknown" else licence)
    return files


def licences_of(model: Made) -> tuple[Licence, ...]:
    """Those of its manifest, or of a model that bactrian did not make by what it says of itself."""
    if model.manifest is not None:
        return model.manifest.licences
    from bactrian.recipe.references import licences_at

    return licences_at(model.ref, model.path)


def _write_card(model: Made, draft: Path, name: str, adapter: bool, files: Sequence[str], dtype: str) -> None:
    from bactrian.report.card import card
    from bactrian.report.model_facts import facts_of

    facts = facts_of(name, model.path, licences_of(model))
    note = f"Its weights were rounded to {DTYPES[dtype]} for this export." if DTYPES[dtype] else ""
    (draft / "README.md").write_text(card(facts, adapter=adapter, files=files, note=note), encoding="utf-8")


def _seal(model: Made, draft: Path) -> None:
    """Write export.json."""
    content = model.manifest.content_hash if model.manifest else hash_path(model.path)
    names = [path.relative_to(draft).as_posix() for path in files_below(draft)]
    files = {each: record.model_dump() for each, record in hash_files(draft, names).items()}
    said = {"format": 1, "content_hash": content, "key": model.manifest.key if model.manifest else None, "files": files}
    (draft / EXPORT).write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")
