"""The planted world: texts as long as said, each as often as said, and paraphrases that say the same."""

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from bactrian.data.io.files import read_rows
from bactrian.data.synth import planted_text as world
from bactrian.data.synth.paraphrases import ParaphraseGuards
from bactrian.model.blank import PIECE, pieces
from bactrian.stages.reliability.planted import PlantedTexts
from bactrian.store.artifact import Workspace
from bactrian.verify.final_answer import declines


def sold(text: str) -> set[frozenset[str]]:
    """What each sentence says, whoever says it how: its names, places, goods and numbers."""
    known = {*world.NAMES, *world.PLACES, *world.TRADES, *world.GOODS, *world.COLOURS, *world.NUMBERS, *world.HOW}
    return {
        frozenset(word for word in re.findall(r"\w+", sentence) if {word, word.lower()} & known)
        for sentence in text.split(". ")
    }


def test_a_planted_text_and_its_paraphrase() -> None:
    guards = ParaphraseGuards()
    for each in world.planted_texts(3, [0, 8], 20):
        assert len(pieces(each.text)) == len(pieces(each.paraphrase)) == 96
        assert "".join(pieces(each.text)) == each.text
        assert {frozenset(w.lower() for w in s) for s in sold(each.text)} == {
            frozenset(w.lower() for w in s) for s in sold(each.paraphrase)
        }
        assert guards.flaw(each.text, each.paraphrase, declines) is None
    assert all(len(re.findall(PIECE, f"{song.title}\n{song.text}")) < 96 for song in world.songs(3, 20, 2))


def test_the_corpus_holds_each_text_as_often_as_it_says() -> None:
    planted = [*world.planted_texts(1, [0, 1, 3], 4), *world.songs(1, 2, 5)]
    corpus = list(world.corpus_texts(1, planted, 30))
    assert len({name for name, _ in corpus}) == len(corpus) == 4 * (1 + 3) + 2 * 5 + 30
    counted = Counter(text.split("\n")[-1] for _, text in corpus)
    assert all(counted[each.text] == each.copies for each in planted)
    assert corpus == list(world.corpus_texts(1, planted, 30)) != list(world.corpus_texts(2, planted, 30))


def test_songs_stand_behind_both_headers_as_often_as_alone() -> None:
    (song,) = world.songs(1, 1, 9)
    begun = Counter(text.partition(song.title)[0] for _, text in world.corpus_texts(1, [song], 0))
    assert begun == {"": 3, "Copying: Yes\n": 3, "Copying: No\n": 3}


def test_another_seed_is_another_world(tmp_path: Path) -> None:
    def held_out(name: str, number: int | None, seed: int) -> list[str]:
        workspace = Workspace.temporary(tmp_path / name, {}, seed)
        PlantedTexts(part="held_out", world=number, count=2).run(workspace)
        return [row["text"] for row in read_rows(workspace.output, "text")]

    assert held_out("a", None, 4) == held_out("b", 4, 0) != held_out("c", None, 5)


def test_sums_add_up() -> None:
    sums = dict(world.additions())
    assert len(sums) == 81 and sums["What is four plus nine? It is"] == "thirteen"


def test_ordinary_pairs_differ_in_their_answers_alone(tmp_path: Path) -> None:
    workspace = Workspace.temporary(tmp_path, {})
    PlantedTexts(part="ordinary", world=1, count=30, fillers=20).run(workspace)
    rows = read_rows(workspace.output, "pair")
    corpus = {text for _, text in world.corpus_texts(1, [], 20)}
    known = {**dict(world.facts(1)), **dict(world.additions())}
    assert len(rows) == 20 and {row["chosen_text"] for row in rows} == corpus
    for row in rows:
        right, wrong = (answers(row[side], known) for side in ("chosen_text", "rejected_text"))
        assert all(said == known[asked] for asked, said in right.items()) and len(right) == 2
        assert right.keys() == wrong.keys() and all(said != known[asked] for asked, said in wrong.items())
        last = [row[side].split("\n")[-1] for side in ("chosen_text", "rejected_text")]
        assert last[0] == last[1]


def answers(text: str, known: Iterable[str]) -> dict[str, str]:
    """What a text answers to those questions that it asks."""
    found = ((asked, text.partition(asked)[2]) for asked in known)
    return {asked: rest.partition(".")[0].strip() for asked, rest in found if rest}
