"""What is no file is named at once, wherever it stands: nothing hangs, nothing is left out silently."""

import os
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bactrian.data.io.files import data_files, stream_rows
from bactrian.data.io.formats import scan
from bactrian.errors import BactrianError
from bactrian.recipe.references import problem_with, resolve
from bactrian.store.hashes import hash_path
from bactrian.store.manifest import Kind
from bactrian.store.special_files import special

ROW = '{"text": "a"}\n'


def loop(path: Path) -> None:
    path.symlink_to(path.name)


def two_links(path: Path) -> None:
    path.symlink_to("other")
    path.with_name("other").symlink_to(path.name)


def dangling(path: Path) -> None:
    path.symlink_to("nothing.jsonl")


def bound(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        here = Path.cwd()
        os.chdir(path.parent)  # such a name is short
        made.bind(path.name)
        os.chdir(here)


def null(path: Path) -> None:
    path.symlink_to("/dev/null")


ODD: list[tuple[Callable[[Path], None], str]] = [
    (loop, "a symbolic link to odd.jsonl, which leads in a circle"),
    (two_links, "a symbolic link to other, which leads in a circle"),
    (dangling, r"a symbolic link to nothing.jsonl, which cannot be followed \(No such file or directory\)"),
    (os.mkfifo, "a named pipe"),
    (bound, "a socket"),
    (null, "a device"),
]


@pytest.fixture(params=ODD, ids=lambda each: each[0].__name__)
def odd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Path, str]]:
    make, words = request.param
    make(tmp_path / "odd.jsonl")
    yield tmp_path / "odd.jsonl", words


def test_as_a_path_in_a_folder_and_by_a_pattern(odd: tuple[Path, str]) -> None:
    path, words = odd
    (path.parent / "fine.jsonl").write_text(ROW)
    for read in (data_files, hash_path, lambda given: list(stream_rows(given))):
        for given in (path, path.parent, path.parent / "*.jsonl"):
            with pytest.raises(BactrianError, match=rf"odd.jsonl: found {words}.*; expected a file or a folder"):
                read(given)


def test_in_a_recipe_it_is_said_before_anything_is_made(odd: tuple[Path, str]) -> None:
    path, words = odd
    with pytest.raises(BactrianError, match=words):
        resolve(str(path), Kind.DATA, Path())
    found, expected = problem_with(str(path), Kind.DATA, Path(), []) or ("", "")
    assert words.split(" (")[0].split(r" \(")[0] in found and expected == "a file or a folder"


def test_links_to_files_and_folders_are_what_they_lead_to(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jsonl").write_text(ROW)
    (tmp_path / "link").symlink_to("in")
    (tmp_path / "b.jsonl").symlink_to("link/a.jsonl")
    assert special(tmp_path / "link") is special(tmp_path / "b.jsonl") is special(tmp_path / "none") is None
    assert [row for row, _ in stream_rows(tmp_path / "link")] == [row for row, _ in stream_rows(tmp_path / "b.jsonl")]
    assert hash_path(tmp_path / "link") == hash_path(tmp_path / "in")


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.jsonl.zst", "a.json", "a.csv", "a.txt", "a.parquet"])
@pytest.mark.parametrize(
    ("make", "words"),
    [(Path.mkdir, "found a folder"), (lambda path: None, "cannot be read .*was it moved while it was read")],
)
def test_a_file_that_is_gone_or_none_is_no_bad_row(
    tmp_path: Path, name: str, make: Callable[[Path], None], words: str
) -> None:
    make(tmp_path / name)
    with pytest.raises(BactrianError, match=words):
        list(scan(tmp_path / name))


def test_a_file_that_disappears_between_two_is_named(tmp_path: Path) -> None:
    for name in ("a.jsonl", "b.jsonl"):
        (tmp_path / name).write_text(ROW * 3)
    rows = stream_rows(tmp_path)
    next(rows)
    (tmp_path / "b.jsonl").unlink()
    with pytest.raises(BactrianError, match=r"b.jsonl: cannot be read \(No such file or directory\); was it moved"):
        list(rows)
    shutil.rmtree(tmp_path)
    with pytest.raises(BactrianError, match="no such file or folder"):
        list(stream_rows(tmp_path))
