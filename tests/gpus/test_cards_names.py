"""Names that were changed by a word: they find the row that bears the changed name, or none; never a neighbour's."""

import functools
import random
import re
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cf_orch.gpus.cards import CARDS, Card
from cf_orch.gpus.cards.names import read_name
from cf_orch.gpus.profiles import _find

BRANDS = {
    "nvidia", "amd", "ati", "intel", "apple", "geforce", "rtx", "gtx", "tesla", "radeon", "rx", "instinct", "arc",
    "jetson",
}  # fmt: skip
SAYS_NOTHING = {"gpu", "generation", "edition", "with", "design", "tegra", "nvgpu", "developer", "kit"}
WORDS = sorted({word for card in CARDS for word in card.name.split() if word != "/"})
SUFFIXES = [word for word in WORDS if not re.search(r"\d{2}", word)]
SUFFIXES += ["Mobile", "LE", "OEM", "MIG 1g.5gb", "MIG", "10GB", "SXM5", "HBM3", "Kingpin", "2", "X", "M"]


@functools.cache
def told(name: str) -> list[str]:
    """The words that tell a card, told by simpler means than the product's: for names as the table writes them."""
    words = re.findall(r"[a-z0-9.]+", name.casefold().replace("max-q", "maxq").replace("mobile", "laptop"))
    words = [word for word in words if not re.fullmatch(r"\d+gb?", word)]
    series_counts = "quadro" in words or "titan" in words
    brands = BRANDS - {"rtx", "gtx"} if series_counts else BRANDS
    return sorted(word for word in words if word not in brands | SAYS_NOTHING)


def rows_called(name: str) -> set[str]:
    return {card.name for card in CARDS for own in (card.name, *card.also) if told(own) == told(name)}


def changed(name: str) -> Iterator[str]:
    words = name.split()
    for place in range(len(words)):
        yield " ".join(words[:place] + words[place + 1 :])
    for word in SUFFIXES:
        yield f"{name} {word}"


def found(name: str) -> str | None:
    card = _find(read_name(name))
    return card.name if card else None


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)
def test_a_word_more_or_less_finds_a_right_row_or_none(card: Card) -> None:
    """Every name, less any one of its words, and with any word behind it that tells cards apart."""
    wrong = {
        name: row for name in changed(card.name) if (row := found(name)) is not None and row not in rows_called(name)
    }

    assert wrong == {}


@given(st.sampled_from(CARDS), st.randoms(use_true_random=False))
def test_order_case_and_separators_do_not_matter(card: Card, chance: random.Random) -> None:
    """A name's words in any order, in any case, between any blanks."""
    words = card.name.replace("(", "").replace(")", "").replace(" / ", " ").split()
    chance.shuffle(words)
    shuffled = chance.choice(["  ", " ", "\t"]).join(chance.choice([str.upper, str.lower])(word) for word in words)

    assert found(shuffled) == card.name


@given(st.text(max_size=60))
def test_any_text_finds_a_row_or_none(text: str) -> None:
    """Whatever is asked: no crash, and never a row without a word that tells it."""
    if found(text) is not None:
        assert read_name(text).words


@given(st.lists(st.sampled_from(WORDS), max_size=5))
def test_any_words_of_the_table_find_a_right_row_or_none(words: list[str]) -> None:
    """Words of all cards mixed."""
    name = " ".join(words)
    row = found(name)

    assert row is None or row in rows_called(name)
