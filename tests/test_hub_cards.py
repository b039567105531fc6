"""What can be checked of the cards for modules of TF-Hub without the modules."""

import re

import pytest

from tlkeras import zoo

CARDS = [card for card in zoo.cards().values() if card.scheme == "hub"]
HANDLE = r"hub:https://tfhub\.dev/\w[\w./-]*/[1-9]\d*"


def test_every_card_is_seen():
    assert len(CARDS) == 50


def test_handles_are_unique():
    assert len({card.source for card in CARDS}) == len(CARDS)


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)
def test_handles_are_https_and_end_with_a_version(card):
    handles = [card.source] + [card.preprocessor] * bool(card.preprocessor)
    assert all(re.fullmatch(HANDLE, handle) for handle in handles)


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)
def test_names_say_hub_and_sizes_are_those_of_the_task(card):
    assert card.name.startswith("hub_")
    assert (card.task, card.preprocess) in (("image", "unit"), ("image", "tf"), ("text", "none"))
    assert card.input_size in ((0, 128) if card.task == "text" else range(128, 1024))


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)
def test_published_figures_have_a_reference(card):
    assert card.reference or (card.top1 is None and card.size_mb is None)


def test_encoders_that_need_tokens_name_their_preprocessor_and_output():
    with_preprocessor = {card.name for card in CARDS if card.preprocessor}
    assert with_preprocessor == {card.name for card in CARDS if card.family == "bert"}
    assert with_preprocessor == {card.name for card in CARDS if card.output_key == "pooled_output"}
