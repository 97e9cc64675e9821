"""The quick look for names of assistants finds all that the pattern finds, whatever the letters."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from bactrian.data.curate.hygiene import IDENTITIES, _names, named_identity

PIECES = [
    "Gemini",
    "GEMİNI",
    "gemını",
    "opEnai",
    "BinG chat",
    "Bard",
    "bards",
    "DeepſeeK",
    "\u212a",
    "gpt-4o",
    "GPT-4",
    " ",
    "x",
    "ß",
    ",",
    "\n",
    "Mistral\u00a0AI",
]


def answer(text: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "OpenAI?"}, {"role": "assistant", "content": text}]}


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=6).map("".join) | st.text(max_size=20))
def test_the_quick_look_misses_nothing(text: str) -> None:
    match = _names(IDENTITIES).search(text)
    found = named_identity(answer(text))
    assert found.startswith(f"{match[0]}: …".replace("\n", " ")) if match else found == ""


def test_names_of_other_scripts_and_none() -> None:
    assert named_identity(answer("я ЯндексGPT."), ("ЯНДЕКСGPT",)).startswith("ЯндексGPT")
    assert named_identity(answer("OpenAI"), ()) == ""
