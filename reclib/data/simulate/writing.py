"""Texts of the simulated marketplace: titles, descriptions, queries and reviews.

Texts are drawn as rows of a bank of ready sentences, all at once, and then joined.
"""

from itertools import pairwise

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from reclib.data.simulate.vocabulary import (
    ASPECTS,
    FILLERS,
    KINDS,
    OPINIONS,
    QUERIES,
    SENTENCES,
    SHOP_LINES,
    STORIES,
    SUMMARIES,
    SUMMARY_TAILS,
    TITLE_EXTRAS,
    VOICES,
)

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Texts = NDArray[np.object_]

# words of a title beyond brand, kind and model: 10.9 words in all on Amazon Beauty and Office
MEAN_EXTRAS = 3.6
# words of a description, log-normal: median 65, quartiles 35 and 138 on Amazon Office; the shop's
# lines run out at some 400 words, which a tenth of the descriptions there exceed
DESCRIPTION_WORDS, DESCRIPTION_SPREAD, DESCRIPTION_LIMITS = 65, 1.1, (0, 1200)
# words of a review by stars, log-normal: medians of Amazon Musical Instruments, and the spread
# that gives its quartiles (31, 104) and mean (90) although the shortest cannot be shorter
REVIEW_WORDS, REVIEW_SPREAD, REVIEW_LIMITS = (73, 69, 67, 60, 50), 1.0, (10, 1200)
LONGER_SUMMARY = 0.5  # P(a headline has a tail): 4.4 words there
MENTIONED = 0.45  # P(a review speaks of an aspect that the product has)
SECOND_THOUGHT = 45  # words from which on a review repeats its verdict
HAPPY = 4  # stars from which on a review is one of a happy user


def _lengths(sentences: Texts) -> Ints:
    return np.array([len(sentence.split()) for sentence in sentences], np.int64)


def _bank(sentences: list[str]) -> tuple[Texts, Ints]:
    """Sentences to draw by row, and their numbers of words."""
    bank = np.array(sentences, dtype=object)
    return bank, _lengths(bank)


_PAGES, _PAGE_WORDS = _bank(
    list(SHOP_LINES)
    + [sentence for voice in VOICES for sentence in FILLERS[voice]]
    + [way for aspect in ASPECTS.values() for ways in aspect.said for way in ways]
)
_FILLERS = np.array([len(FILLERS[voice]) for voice in VOICES])
_FIRST_FILLER = len(SHOP_LINES) + np.cumsum(_FILLERS) - _FILLERS  # of each voice
_FIRST_WAY = len(SHOP_LINES) + _FILLERS.sum()

_OPINIONS = [OPINIONS[wanted, happy] for wanted in (False, True) for happy in (False, True)]
_COMMENTS, _COMMENT_WORDS = _bank(
    [sentence for star in sorted(SENTENCES) for sentence in SENTENCES[star]]
    + [
        frame.format(noun)
        for aspect in ASPECTS.values()
        for frames in _OPINIONS
        for frame in frames
        for noun in aspect.noticed
    ]
    + list(STORIES)
)
_MOODS = len(SENTENCES[1])  # sentences for each number of stars
_FRAMES, _NOUNS = len(_OPINIONS[0]), 3
_FIRST_OPINION = _MOODS * len(SENTENCES)
_FIRST_STORY = len(_COMMENTS) - len(STORIES)


def _join(text: Ints, sentence: Ints, order: Floats, bank: Texts, n_texts: int) -> list[str]:
    """Put the sentences (rows of `bank`) of each text together, in the order given."""
    said = bank[sentence[np.lexsort((order, text))]].tolist()
    ends = np.cumsum(np.bincount(text, minlength=n_texts)).tolist()
    return [" ".join(said[start:end]) for start, end in pairwise([0, *ends])]


def _words_wanted(
    median: float | Ints, spread: float, limits: tuple[int, int], n: int, rng: Generator
) -> Floats:
    """Draw log-normal lengths of texts."""
    words: Floats = np.clip(median * np.exp(rng.normal(0, spread, n)), *limits)
    return words


def entitle(brand: Texts, kind: Ints, rng: Generator) -> list[str]:
    """Title each product by brand, kind, a model number and extras that mean nothing."""
    n = len(kind)
    letters = rng.integers(ord("A"), ord("Z") + 1, (n, 2)).tolist()
    numbers = rng.integers(100, 1000, n).tolist()
    extras = np.argsort(rng.random((n, len(TITLE_EXTRAS))), axis=1).tolist()
    many = (1 + rng.poisson(MEAN_EXTRAS - 1, n)).tolist()
    return [
        " ".join(
            [name, KINDS[row][2], f"{chr(one)}{chr(other)}-{number}"]
            + [TITLE_EXTRAS[extra] for extra in drawn[:count]]
        )
        for name, row, (one, other), number, drawn, count in zip(
            brand, kind, letters, numbers, extras, many, strict=True
        )
    ]


def describe(
    n_items: int, commonness: tuple[float, float], rng: Generator
) -> tuple[Bools, list[str]]:
    """Draw hidden aspects, and let sellers say each of them, in their voice.

    Parameters
    ----------
    n_items
        Number of products.
    commonness
        Share of products that the rarest and the commonest aspect may have.
    rng
        Where the draws come from.

    Returns
    -------
    aspects
        bool, shape (n_items, n_aspects).
    descriptions
        One text a product; it depends on the aspects and on chance alone.
    """
    aspects = rng.random((n_items, len(ASPECTS))) < rng.uniform(*commonness, len(ASPECTS))
    voice = rng.choice(len(VOICES), n_items, p=list(VOICES.values()))
    words = _words_wanted(DESCRIPTION_WORDS, DESCRIPTION_SPREAD, DESCRIPTION_LIMITS, n_items, rng)
    long = words > DESCRIPTION_WORDS
    ways = np.stack([aspects, aspects & long[:, None]], axis=2)  # a long text says it twice
    item, aspect, nth = np.nonzero(ways)
    way = (nth + rng.integers(2, size=aspects.shape)[item, aspect]) % 2
    way += _FIRST_WAY + (aspect * len(VOICES) + voice[item]) * 2
    filled = np.repeat(np.arange(n_items), 1 + long)
    own = (rng.random(len(filled)) * _FILLERS[voice[filled]]).astype(np.int64)
    seller = np.concatenate([item, filled])
    sentence = np.concatenate([way, _FIRST_FILLER[voice[filled]] + own])
    # the shop adds as many of its lines, in any order, as make up the length
    words -= np.bincount(seller, _PAGE_WORDS[sentence], n_items)
    lines = np.argsort(rng.random((n_items, len(SHOP_LINES))), axis=1)
    added = np.cumsum(_PAGE_WORDS[lines], axis=1) <= words[:, None]
    text = np.concatenate([seller, np.nonzero(added)[0]])
    sentence = np.concatenate([sentence, lines[added]])
    order = rng.random(len(text))
    order[len(seller) :] += 1
    return aspects, _join(text, sentence, order, _PAGES, n_items)


def ask(kind: Ints, brand: Texts, aspect: Ints, rng: Generator) -> list[str]:
    """Write queries.

    Parameters
    ----------
    kind
        Row of `KINDS` of each query.
    brand
        Name of each query's brand, or None.
    aspect
        Row of `ASPECTS` that is asked for, or -1.
    rng
        Where the draws come from.

    Returns
    -------
    list of str
        Small letters, as users type.
    """
    forms = [QUERIES, *(words.asked for words in ASPECTS.values())]
    drawn = rng.random(len(kind)).tolist()
    texts = []
    for row, name, asked, share in zip(kind, brand, aspect.tolist(), drawn, strict=True):
        form = forms[asked + 1][int(share * len(forms[asked + 1]))]
        noun = KINDS[row][2] if name is None else f"{name} {KINDS[row][2]}"
        texts.append(form.format(noun).lower())
    return texts


def comment(
    stars: Ints, aspects: Bools, wanted: Bools, rng: Generator, *, sincere: float
) -> tuple[list[str], list[str]]:
    """Write a summary and a text for each rating.

    Parameters
    ----------
    stars
        1 to 5, shape (n,). The tone is a star warmer or cooler in a fifth of the reviews.
    aspects, wanted
        What the product has and what the user wants, shape (n, n_aspects). Some of the
        product's aspects are spoken of: with praise where they are wanted, else with a
        shrug or a complaint, and differently by happy and by unhappy users.
    rng
        Where the draws come from.
    sincere
        P(what is said of an aspect is what the user thinks of it); else it is said at random.
    """
    n = len(stars)
    tone = np.clip(stars + rng.choice([-1, 0, 1], n, p=[0.1, 0.8, 0.1]), 1, 5)
    mood, other = rng.integers(_MOODS, size=n), rng.integers(1, _MOODS, size=n)
    first = (tone - 1) * _MOODS + mood
    second = (tone - 1) * _MOODS + (mood + other) % _MOODS
    review, aspect = np.nonzero(aspects & (rng.random(aspects.shape) < MENTIONED))
    meant = rng.random(len(review)) < sincere
    praised = np.where(meant, wanted[review, aspect], rng.random(len(review)) < wanted.mean())
    view = 2 * praised + (stars[review] >= HAPPY)
    drawn = rng.integers(_FRAMES * _NOUNS, size=len(review))
    opinion = _FIRST_OPINION + (aspect * len(_OPINIONS) + view) * _FRAMES * _NOUNS + drawn
    length = _words_wanted(np.array(REVIEW_WORDS)[stars - 1], REVIEW_SPREAD, REVIEW_LIMITS, n, rng)
    again = np.flatnonzero(length > SECOND_THOUGHT)
    length[again] -= _COMMENT_WORDS[second[again]]
    length -= np.bincount(review, _COMMENT_WORDS[opinion], n)
    length -= _COMMENT_WORDS[first]
    told = np.maximum(np.rint(length / _COMMENT_WORDS[_FIRST_STORY:].mean()), 0).astype(np.int64)
    stories = np.repeat(np.arange(n), told)
    text = np.concatenate([np.arange(n), again, review, stories])
    story = rng.integers(_FIRST_STORY, len(_COMMENTS), len(stories))
    sentence = np.concatenate([first, second[again], opinion, story])
    order = rng.random(len(text))
    order[:n] = -1  # a review opens with its verdict
    return _headlines(tone, rng), _join(text, sentence, order, _COMMENTS, n)


def _headlines(tone: Ints, rng: Generator) -> list[str]:
    """Write one summary for each tone."""
    heads = rng.integers(len(SUMMARIES[1]), size=len(tone))
    tails = rng.integers(len(SUMMARY_TAILS), size=len(tone))
    tailed = rng.random(len(tone)) < LONGER_SUMMARY
    return [
        f"{SUMMARIES[star][head]}, {SUMMARY_TAILS[tail]}" if longer else SUMMARIES[star][head]
        for star, head, tail, longer in zip(
            tone.tolist(), heads.tolist(), tails.tolist(), tailed.tolist(), strict=True
        )
    ]
