"""What a reference names when it is not a step of the recipe: an embedded model, a file or folder, or the Hub."""

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bactrian.errors import BactrianError
from bactrian.errors.wording import nearest
from bactrian.store.artifact import Input
from bactrian.store.fingerprint import code_fingerprint
from bactrian.store.hashes import files_matching, hash_json, hash_path
from bactrian.store.manifest import MANIFEST, Decontamination, Kind, Licence, Manifest
from bactrian.store.special_files import at_home, refuse_special, special

EMBEDDED_PREFIX = "embedded:"
_HUB = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(@[\w./-]+)?")
_FILE_ENDINGS = (".json", ".jsonl", ".gz", ".parquet", ".yaml", ".txt", ".safetensors")
_MODEL_FILES = ["*.json", "*.safetensors", "*.jinja", "*.txt", "*.model", "README.md", "LICENSE*"]  # never a pickle


@dataclass(frozen=True)
class ExternalSource:
    """Something outside the recipe, named and hashed; `fetch` makes it a file or folder on this machine."""

    name: str
    kind: Kind
    content_hash: str
    fetch: Callable[[], Path]
    licences: Callable[[Path], tuple[Licence, ...]]
    key: str | None = None
    local: bool = True  # False if fetching it needs the network
    decontamination: tuple[Decontamination, ...] = ()
    statement: str | None = None  # of an artifact's manifest

    def input(self) -> Input:
        """The source on this machine, converted or downloaded if need be.

        Raises:
            BactrianError: if it cannot be had.
        """
        path = self.fetch()
        return Input(
            self.name,
            path,
            self.kind,
            self.content_hash,
            self.licences(path),
            self.key,
            self.decontamination,
            self.statement,
        )


class Unreachable(BactrianError):
    """The Hub cannot be reached, and what is wanted of it is not in its cache."""


def outline(ref: str, kind: Kind, folder: Path) -> ExternalSource:
    """As `resolve`, for plans: of a repository of the Hub that cannot be reached now, its name."""
    try:
        return resolve(ref, kind, folder)
    except Unreachable as error:
        reason = str(error)

    def fetch() -> Path:
        raise Unreachable(reason)

    return ExternalSource(
        ref,
        kind,
        hash_json(["not reached", ref]),
        fetch,
        lambda path: _no_licences(ref, path),
        local=False,
        decontamination=_unknown(ref, kind),
    )


def problem_with(ref: str, kind: Kind, folder: Path, steps: Iterable[str]) -> tuple[str, str] | None:
    """(found, expected) if `ref` is no step and names nothing that could be a source; None if it may be one."""
    if ref.startswith(EMBEDDED_PREFIX):
        from bactrian.model.embedded import EMBEDDED

        names = [EMBEDDED_PREFIX + name for name in sorted(EMBEDDED)]
        if kind is not Kind.MODEL:
            return f'"{ref}", which is a model', f"something that is {with_article(kind)}"
        return None if ref in names else (f'"{ref}"', f"one of {', '.join(names)}{_meant(ref, names)}")
    for each in (at_home(ref), folder / ref):
        if (odd := special(each)) is not None:
            return f'"{ref}", {odd}', "a file or a folder"
    path = find_path(ref, folder)
    if path is not None:
        if kind is Kind.DATA and path.is_file():
            from bactrian.data.io.formats import EXPECTED, is_readable

            return None if is_readable(path.name) else (f'"{ref}", a file of no known format of rows', EXPECTED)
        made = Manifest.read(path).kind if (path / MANIFEST).is_file() else kind
        return (
            None
            if made is kind
            else (f'"{ref}", an artifact that is {with_article(made)}', f"something that is {with_article(kind)}")
        )
    if _looks_like_hub_id(ref):
        return None
    places = "a step, embedded:NAME, an existing file or folder, or a Hub id (owner/name)"
    return f'"{ref}", which is no step and does not exist', places + _meant(ref, steps)


def resolve(ref: str, kind: Kind, folder: Path) -> ExternalSource:
    """The source that `ref` names; paths are relative to the current directory, or else to
    `folder`.

    Raises:
        BactrianError: if an artifact folder does not match its manifest, or a Hub repository
            cannot be reached.
    """
    if ref.startswith(EMBEDDED_PREFIX):
        return _embedded(ref)
    path = find_path(ref, folder)
    return _from_path(ref, kind, path) if path is not None else _from_hub(ref, kind)


def find_path(ref: str, folder: Path) -> Path | None:
    """The existing file or folder that `ref` names, or the pattern that names some files; or None.

    Raises:
        BactrianError: if it names something else: a pipe, a device, a link that leads nowhere.
    """
    path = at_home(ref)
    candidates = (path, folder / path) if ref else ()
    for each in candidates:
        refuse_special(each)
    return next((found for found in candidates if found.exists() or files_matching(found)), None)


def _embedded(ref: str) -> ExternalSource:
    from bactrian.model.embedded import EMBEDDED, materialise

    name = ref.removeprefix(EMBEDDED_PREFIX)
    model = EMBEDDED[name]
    licence = Licence.of(f"{model.package} {model.version} (PyPI)", model.licence)
    converted = hash_json([model.sha256, code_fingerprint("bactrian.model.embedded")])
    return ExternalSource(ref, Kind.MODEL, converted, lambda: materialise(name), lambda _: (licence,))


def _from_path(ref: str, kind: Kind, path: Path) -> ExternalSource:
    if (path / MANIFEST).is_file():
        manifest = Manifest.read(path)
        manifest.verify(path)
        return ExternalSource(
            ref,
            kind,
            manifest.content_hash,
            lambda: path,
            lambda _: manifest.licences,
            manifest.key,
            decontamination=manifest.decontamination,
            statement=manifest.statement(),
        )
    licences = _card_licences if kind is Kind.MODEL else _no_licences
    return ExternalSource(
        ref,
        kind,
        hash_path(path),
        lambda: path,
        lambda found: licences(ref, found),
        decontamination=_unknown(ref, kind),
    )


def _from_hub(ref: str, kind: Kind) -> ExternalSource:
    repository, _, revision = ref.partition("@")
    repo_type = "model" if kind is Kind.MODEL else "dataset"
    commit = _hub_commit(repository, revision or None, repo_type)

    def fetch() -> Path:
        from huggingface_hub import snapshot_download

        patterns = _MODEL_FILES if kind is Kind.MODEL else None
        with _naming_hub(ref):
            return Path(snapshot_download(repository, repo_type=repo_type, revision=commit, allow_patterns=patterns))

    return ExternalSource(
        ref,
        kind,
        hash_json([repo_type, repository, commit]),
        fetch,
        lambda path: _card_licences(f"{repository} (Hub, {commit[:12]})", path),
        local=False,
        decontamination=_unknown(ref, kind),
    )


def _unknown(ref: str, kind: Kind) -> tuple[Decontamination, ...]:
    """Rows from outside were not compared with anything, as far as is known; of models' data nothing is claimed."""
    return (Decontamination(data=ref),) if kind is Kind.DATA else ()


def _hub_commit(repository: str, revision: str | None, repo_type: str) -> str:
    """The commit that a revision is now; offline, the one in the cache."""
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    if revision and re.fullmatch(r"[0-9a-f]{40}", revision):
        return revision
    try:
        info = HfApi().repo_info(repository, revision=revision, repo_type=repo_type, timeout=10)
        return str(info.sha)
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise BactrianError(f"{repository}: no such {repo_type} or revision on the Hub ({error})") from None
    except Exception:  # whatever its HTTP client raises without a network
        with _naming_hub(repository):
            cached = snapshot_download(repository, repo_type=repo_type, revision=revision, local_files_only=True)
            return Path(cached).name


@contextmanager
def _naming_hub(ref: str) -> Iterator[None]:
    """Turn whatever the Hub's client raises into a BactrianError naming the repository."""
    try:
        yield
    except Exception as error:
        first = next(iter(str(error).splitlines()), type(error).__name__)
        raise Unreachable(f"{ref}: cannot be had from the Hub, and is not in its cache ({first})") from error


def _card_licences(source: str, path: Path) -> tuple[Licence, ...]:
    """The licence in the front matter of README.md, or one marked unclear."""
    card = path / "README.md"
    header = re.match(r"---\n(.*?)\n---", card.read_text(errors="replace"), re.DOTALL) if card.is_file() else None
    stated = re.search(r"^licen[sc]e:\s*['\"]?([^'\"\n#]+)", header[1], re.MULTILINE) if header else None
    return (Licence.of(source, stated[1].strip() if stated else ""),)


def licences_at(ref: str, path: Path) -> tuple[Licence, ...]:
    """The licence of a model that bactrian did not make: of an embedded one as is known, else as its card says."""
    return (
        resolve(ref, Kind.MODEL, Path()).licences(path)
        if ref.startswith(EMBEDDED_PREFIX)
        else _card_licences(ref, path)
    )


def _no_licences(source: str, path: Path) -> tuple[Licence, ...]:
    """Of data files each row says its own licence; the stage that reads them adds those."""
    return ()


def _looks_like_hub_id(ref: str) -> bool:
    return _HUB.fullmatch(ref) is not None and not ref.endswith(_FILE_ENDINGS)


def with_article(kind: Kind) -> str:
    return "a model" if kind is Kind.MODEL else kind.value


def _meant(word: str, words: Iterable[str]) -> str:
    meant = nearest(word, words)
    return f'; did you mean "{meant}"?' if meant else ""
