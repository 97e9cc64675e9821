"""Files of tokens and their reader: every token once an epoch, in the same order whoever reads it, from wherever."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bactrian.data.corpus.permutation import Permutation
from bactrian.data.corpus.token_files import TokenSet, TokenWriter, smallest_dtype
from bactrian.data.corpus.token_reader import TokenReader
from bactrian.errors import BactrianError

END = 9
DOCUMENTS = [[1, 2, 3], [], [4, 5, 6, 7, 8, 1, 2], [3], [5, 5, 5, 5]]


def written(folder: Path, most: int = 10, documents: list[list[int]] = DOCUMENTS) -> TokenSet:
    with TokenWriter(folder, "uint16", END, 10, most) as writer:
        for number, ids in enumerate(documents):
            writer.write(np.array(ids, dtype=np.int64), f"d,{number}\nx", 'so "called"', f"rows.jsonl, line {number}")
    return TokenSet.load(folder)


@settings(max_examples=40)
@given(st.integers(1, 3_000), st.integers(0, 2**40), st.integers(0, 5))
def test_an_order_has_every_number_once_and_its_inverse_leads_back(size: int, seed: int, epoch: int) -> None:
    order = Permutation(size, seed, epoch)
    found = order.of(np.arange(size))
    assert np.array_equal(np.sort(found), np.arange(size))
    assert np.array_equal(order.inverse(found), np.arange(size))
    assert order[size - 1] == found[-1]


def test_an_order_is_far_from_sorted_and_its_own_for_each_seed_and_epoch() -> None:
    size = 10_000
    orders = [Permutation(size, seed, epoch).of(np.arange(size)) for seed in (0, 1) for epoch in (0, 1)]
    for a, found in enumerate(orders):
        assert abs(np.corrcoef(found, np.arange(size))[0, 1]) < 0.04
        assert abs(np.corrcoef(found[1:], found[:-1])[0, 1]) < 0.04
        assert all((found == other).mean() < 0.001 for other in orders[a + 1 :])
    assert Permutation(2**61, 3)[2**60] < 2**61  # no list of that length is made
    with pytest.raises(IndexError):
        Permutation(5, 0)[5]


def test_files_are_as_others_read_them(tmp_path: Path) -> None:
    about = written(tmp_path)
    assert (about.tokens, about.documents, [shard.documents for shard in about.shards]) == (20, 5, [2, 2, 1])
    flat: list[int] = []
    for shard in about.shards:  # as OLMo-core reads them: memory without a header, and lines split at commas
        tokens = np.memmap(tmp_path / shard.file, mode="r", dtype=np.uint16)
        with gzip.open(tmp_path / shard.file.replace(".npy", ".csv.gz"), "rt") as lines:
            places = [tuple(map(int, line.split(",")[:2])) for line in lines]
        assert [end for _, end in places] == [*[start for start, _ in places[1:]], len(tokens)]
        assert all(tokens[end - 1] == END for _, end in places) and np.sum(tokens == END) == len(places)
        flat += tokens.tolist()
    assert flat == [token for ids in DOCUMENTS for token in (*ids, END)]
    again = tmp_path / "again"
    written(again)
    assert all((again / file.name).read_bytes() == file.read_bytes() for file in tmp_path.glob("*.*"))


def test_a_document_longer_than_a_file_has_one_of_its_own(tmp_path: Path) -> None:
    assert [shard.tokens for shard in written(tmp_path, most=4).shards] == [4, 1, 8, 2, 5]


@settings(max_examples=25)
@given(st.integers(1, 25), st.integers(0, 3), st.integers(1, 5))
def test_every_token_once_an_epoch_however_many_workers(length: int, seed: int, workers: int) -> None:
    reader = shared_reader(length, seed)
    whole = np.array([token for ids in DOCUMENTS for token in (*ids, END)])
    for epoch in range(2):
        first = epoch * len(reader)
        numbers = reader.numbers_at(first + np.arange(len(reader))).tolist()
        assert sorted(numbers) == list(range(len(reader)))
        parts = {number: reader.at(first + place) for place, number in enumerate(numbers)}
        assert np.array_equal(np.concatenate([parts[number] for number in range(len(reader))]), whole)
    total = 2 * len(reader)
    alone = [ids.tolist() for ids in reader.instances(0, total)]
    split = [list(reader.instances(0, total, worker, workers)) for worker in range(workers)]
    woven = [split[place % workers][place // workers].tolist() for place in range(total)]
    assert woven == alone


@settings(max_examples=8)
@given(st.integers(1, 4), st.lists(st.integers(0, 60), min_size=10, max_size=10), st.integers(1, 4))
def test_the_order_after_a_resume_is_the_order(length: int, places: list[int], workers: int) -> None:
    alone = [ids.tolist() for ids in shared_reader(length, 5).instances(0, 70)]
    for place in places:
        resumed = shared_reader(length, 5)
        found = {}
        for worker in range(workers):
            mine = [at for at in range(place, 70) if at % workers == worker]
            found |= dict(zip(mine, resumed.instances(place, 70, worker, workers), strict=True))
        assert [found[at].tolist() for at in range(place, 70)] == alone[place:]


@pytest.fixture(scope="module", autouse=True)
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    FILES.append(tmp_path_factory.mktemp("tokens"))
    written(FILES[0])
    return FILES[0]


FILES: list[Path] = []


def shared_reader(length: int, seed: int) -> TokenReader:
    return TokenReader(FILES[0], length, seed)


def test_documents_begin_after_end_tokens() -> None:
    reader = shared_reader(6, 0)
    assert reader.starts(reader.instance(0)).tolist() == [0, 4, 5]
    assert reader.starts(reader.instance(3)).tolist() == [0]
    with pytest.raises(IndexError):
        reader.instance(4)


def test_what_is_refused(tmp_path: Path) -> None:
    with TokenWriter(tmp_path, "uint16", END, 10) as writer:
        writer.write(np.array([1]), "a", "s", "rows.jsonl, line 1")
        for ids in ([END], [10], [-1]):
            with pytest.raises(BactrianError, match=r"rows.jsonl, line 2: document b has a token"):
                writer.write(np.array(ids), "b", "s", "rows.jsonl, line 2")
    assert TokenSet.load(tmp_path).tokens == 2
    (tmp_path / "part-00000.npy").write_bytes(b"123")
    with pytest.raises(BactrianError, match=r"part-00000.npy: found 3 bytes, expected 2 tokens of uint16"):
        TokenSet.load(tmp_path)
    (tmp_path / "tokens.json").write_text(json.dumps({"dtype": "uint16"}))
    with pytest.raises(BactrianError, match="not what stage tokenize writes"):
        TokenSet.load(tmp_path)
    with pytest.raises(BactrianError, match=r"found no tokens.json"):
        TokenSet.load(tmp_path / "none")
    assert (smallest_dtype(65_536), smallest_dtype(65_537)) == ("uint16", "uint32")
