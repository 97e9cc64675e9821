"""Personas made by rules: who somebody is, where, and what occupies them. Ours, so nobody's terms come with them.

The published personas (PersonaHub) are not for commerce, and share-alike: a row made with one is, too. These are
plainer, and fewer kinds of people; a generator widens them (templates `related-persona` and `persona-of-text`).
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

from bactrian.data.io.problem_rows import ATTEMPTS, question_hash
from bactrian.data.synth.procedural import LICENSE
from bactrian.errors import BactrianError


def _phrases(text: str) -> tuple[str, ...]:
    return tuple(" ".join(phrase.split()) for phrase in text.split(";"))


TRADES: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "nurse",
        ("plans the night shifts of a ward", "trains newcomers at a clinic", "keeps the records of vaccinations"),
    ),
    ("beekeeper", ("moves hives between orchards", "sells honey at a weekly market", "breeds queens")),
    ("bus driver", ("knows every detour of a mountain line", "represents colleagues in the works council")),
    ("carpenter", ("restores staircases", "builds stage sets for a small theatre", "teaches apprentices")),
    ("pharmacist", ("mixes ointments for a hospital", "checks doses for children", "runs a village pharmacy")),
    ("structural engineer", ("inspects bridges", "calculates timber roofs", "plans scaffolds for old churches")),
    ("astronomer", ("measures variable stars", "runs a public observatory", "hunts for asteroids")),
    ("baker", ("bakes rye bread through the night", "costs out every recipe", "supplies nine cafés")),
    ("accountant", ("looks after farms", "untangles inheritances", "audits sports clubs")),
    ("history teacher", ("collects the town's oral history", "leads a debating club", "writes a textbook on trade")),
    ("mathematics teacher", ("invents puzzles for a school paper", "coaches a team for olympiads")),
    ("librarian", ("mends old bindings", "catalogues maps", "reads to children on Saturdays")),
    ("fisher", ("sails a trawler with two sons", "counts eels for a survey", "repairs nets")),
    ("gardener", ("plans beds for a city park", "grafts apple trees", "keeps a seed bank")),
    ("software tester", ("breaks ticket machines before passengers do", "writes reports that nobody can misread")),
    ("web developer", ("builds shops for craftspeople", "looks after the site of a charity")),
    ("data analyst", ("forecasts how many meals a canteen sells", "plots the water levels of a river")),
    ("electrician", ("wires solar roofs", "keeps the lights of a fairground running")),
    ("judge", ("decides quarrels between neighbours", "writes opinions in plain language")),
    ("midwife", ("drives to remote farms", "teaches courses for fathers")),
    ("violinist", ("plays in a provincial orchestra", "arranges folk tunes for beginners")),
    ("chess coach", ("prepares juniors for tournaments", "annotates games for a newspaper")),
    ("potter", ("mixes glazes from wood ash", "fires a kiln with friends twice a year")),
    ("cook", ("feeds a school of four hundred", "writes menus for people with allergies")),
    ("surveyor", ("measures boundaries in the hills", "charts caves at weekends")),
    ("veterinarian", ("treats cattle", "counts bats in church towers", "runs a practice for birds")),
    ("translator", ("translates instruction manuals", "interprets at court", "subtitles films")),
    ("logistics planner", ("routes lorries across borders", "fills the holds of cargo ships")),
    ("student of physics", ("repairs radios", "tutors pupils", "works in a laboratory for laser light")),
    ("student of economics", ("runs a stall for second-hand books", "keeps the accounts of a choir")),
    ("retired miner", ("guides visitors through the old pit", "builds model railways")),
    ("grandmother of five", ("keeps a ledger of every jar she cooks", "learns to program with a grandchild")),
    ("referee", ("runs a league for women", "studies every change of the rules")),
    ("tailor", ("cuts suits from old uniforms", "costs out costumes for a carnival")),
    ("weather observer", ("reads instruments on a summit", "keeps a diary of first frosts")),
    ("social worker", ("finds flats for families", "runs an evening school")),
    ("photographer", ("documents building sites", "teaches how to see in a park")),
    ("firefighter", ("plans drills for a chemical works", "maintains pumps")),
    ("paramedic", ("plans the coverage of a rural county", "teaches first aid at schools")),
    ("brewer", ("measures every mash", "revives forgotten kinds of barley")),
)
PLACES = _phrases(
    """
in a harbour town; in a mountain village; in the suburbs of a large city; on an island; by a wide river;
in a desert town; in a cold country; in a city that floods; near a border; in an old mining region;
among vineyards; in a new town; in a university town; on a plain of wheat; in a railway town
"""
)
BENTS = _phrases(
    """
who distrusts round numbers; who explains everything with an example; who saves for a long journey;
who likes rules and their exceptions; who has just changed careers; who argues with every bill;
who draws diagrams on napkins; who wants to waste nothing; who learns a new language;
who writes long letters; who plans to the minute; who is shy of computers;
who reads statistics for pleasure; who is training for a marathon; who speaks for the neighbourhood;
who collects old instruments; who keeps bees on a roof; who is raising twins;
who cannot bear vague promises; who loves a wager
"""
)
YEARS = ("young", "middle-aged", "retired", "newly qualified", "seasoned", "")


def personas(seed: int, count: int) -> Iterator[dict[str, Any]]:
    """Rows of plain text, one persona each, none twice. The same seed gives the same ones, a larger count more.

    Raises:
        BactrianError: there are no so many.
    """
    seen: set[str] = set()
    draw = Random(f"personas/{seed}")
    for _ in range(count):
        for _ in range(ATTEMPTS):
            text = _persona(draw)
            if text not in seen:
                break
        else:
            raise BactrianError(f"personas: found {len(seen):,} different ones, expected {count:,}: ask for fewer")
        seen.add(text)
        yield {"id": question_hash(text), "text": text, "source": "bactrian/personas", "license": LICENSE}


def _persona(draw: Random) -> str:
    trade, doings = draw.choice(TRADES)
    years = draw.choice(YEARS)
    if trade.startswith(("retired", "grandmother", "student")):
        years = ""
    who = f"{years} {trade}".strip()
    article = "An" if who[0] in "aeiou" else "A"
    return f"{article} {who} {draw.choice(PLACES)} {draw.choice(BENTS)}, and who {draw.choice(doings)}."
