"""Words of the simulated marketplace, and how they are put together.

No content word occurs in two phrases of `ASPECTS`, nor elsewhere in a product's texts (a
test checks it). Two products with the same aspect therefore share a word only if they drew
the same phrase; that the phrases mean the same is left to a reader or an encoder to see.
"""

from collections.abc import Mapping
from itertools import product

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

# department > category > kinds of product; the plural of every kind ends in "s"
TREE: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "Home": {
        "Kitchen": ("Kettle", "Saucepan", "Chopping Board"),
        "Bedroom": ("Pillow", "Blanket", "Bedside Lamp"),
        "Bathroom": ("Towel", "Bath Mat", "Soap Dispenser"),
    },
    "Garden": {
        "Planting": ("Flower Pot", "Seed Tray", "Raised Bed"),
        "Outdoor Living": ("Deck Chair", "Lantern", "Hammock"),
        "Watering": ("Watering Can", "Sprinkler", "Water Butt"),
    },
    "Sports": {
        "Cycling": ("Bicycle Helmet", "Saddle Bag", "Bell"),
        "Camping": ("Tent", "Sleeping Bag", "Camping Stove"),
        "Fitness": ("Yoga Mat", "Dumbbell", "Skipping Rope"),
    },
    "Electronics": {
        "Audio": ("Headphone", "Loudspeaker", "Microphone"),
        "Computing": ("Keyboard", "Monitor", "Webcam"),
        "Photography": ("Camera", "Tripod", "Lens Filter"),
    },
    "Office": {
        "Writing": ("Fountain Pen", "Pencil Case", "Notebook"),
        "Furniture": ("Desk Chair", "Bookcase", "Filing Cabinet"),
        "Filing": ("Ring Binder", "Letter Rack", "Stapler"),
    },
    "Fashion": {
        "Clothing": ("Jumper", "Raincoat", "Glove"),
        "Footwear": ("Boot", "Sandal", "Slipper"),
        "Accessories": ("Umbrella", "Wallet", "Belt"),
    },
    "Toys": {
        "Games": ("Jigsaw", "Board Game", "Spinning Top"),
        "Building": ("Brick Set", "Marble Maze", "Train Track"),
        "Pretend Play": ("Doll", "Puppet", "Toy Kitchen"),
    },
    "Pets": {
        "Dogs": ("Dog Lead", "Dog Basket", "Dog Bowl"),
        "Cats": ("Cat Tree", "Cat Flap", "Scratching Post"),
        "Cages": ("Hutch", "Bird Feeder", "Fish Tank"),
    },
}

KINDS = tuple(
    (department, category, kind)
    for department, categories in TREE.items()
    for category, kinds in categories.items()
    for kind in kinds
)

_OPENINGS = (
    "Al Bel Cor Dan El Fen Gar Hol Il Jor Kel Lum Mar Nor Or Pel Quin Ros Sel Tam Ul Ver Wil"
)
_ENDINGS = (
    "ado beck cott dine edo fell gran haus ista jon kin lund mere nova oni pont quist rell sby"
)
BRANDS = tuple(map("".join, product(_OPENINGS.split(), _ENDINGS.split())))

# hidden attribute -> five ways of saying it
ASPECTS: Mapping[str, tuple[str, ...]] = {
    "quiet": (
        "Runs almost silently.",
        "Makes barely any noise.",
        "At whisper level, just a hum.",
        "Hushed enough for a slumbering household.",
        "No rattle and no clatter.",
    ),
    "lightweight": (
        "Weighs next to nothing.",
        "Feather-light to lift.",
        "You can hold it all day without tired arms.",
        "Very low mass, thanks to hollow magnesium.",
        "Only a few grams on the scales.",
    ),
    "durable": (
        "Built to last for decades.",
        "Shrugs off knocks and drops.",
        "Rugged and hard-wearing.",
        "Reinforced against breakage.",
        "Survives rough treatment for ages.",
    ),
    "compact": (
        "Folds away into a drawer.",
        "Takes up hardly any room.",
        "A small footprint for tight corners.",
        "Pocket-sized.",
        "With a space-saving shape.",
    ),
    "washable": (
        "Wipes clean in moments.",
        "Machine washable.",
        "Dirt rinses off under the tap.",
        "Stain-resistant finish.",
        "Hygienic and simple to sanitise.",
    ),
    "sustainable": (
        "Made from recycled materials.",
        "Kind to the planet.",
        "Carbon-neutral throughout.",
        "Biodegradable, with zero plastic.",
        "Sourced with respect for nature.",
    ),
    "handmade": (
        "Crafted by hand in a tiny workshop.",
        "Each piece is formed by skilled artisans.",
        "No two are alike, for a maker fashioned each individually.",
        "Worked manually rather than on a production line.",
        "Bears the signature of its creator.",
    ),
    "vintage": (
        "Looks like a find from the fifties.",
        "Retro styling.",
        "Nostalgic, grandmother-approved charm.",
        "Inspired by antiques.",
        "With the vintage flair of another era.",
    ),
    "colourful": (
        "In bright, cheerful shades.",
        "A rainbow of tones.",
        "Vivid dyes that pop.",
        "Bold hues that catch the eye.",
        "Has a multicoloured pattern.",
    ),
    "minimalist": (
        "Understated and uncluttered.",
        "Pared back to the essentials.",
        "Sober Scandinavian restraint.",
        "No ornament, no logo, nothing extra.",
        "Minimalist by conviction.",
    ),
    "gift": (
        "A lovely present for a birthday.",
        "Arrives beautifully wrapped.",
        "Tied with a ribbon and a greeting card.",
        "Sure to delight someone dear at Christmas.",
        "The gift that friends remember.",
    ),
    "waterproof": (
        "Keeps out the rain.",
        "Sealed against moisture.",
        "Can be submerged without worry.",
        "Splashes and puddles do no harm.",
        "Fully waterproof.",
    ),
    "beginner": (
        "Ready in minutes, no manual needed.",
        "Ideal for novices.",
        "Straightforward for first-timers.",
        "Anyone can learn it in an afternoon.",
        "An easy entry for beginners.",
    ),
    "child-safe": (
        "Safe around toddlers.",
        "Rounded edges protect little fingers.",
        "Tested as harmless for kids.",
        "Non-toxic even when chewed.",
        "Parents trust it near a baby.",
    ),
    "soft": (
        "Wonderfully soft to touch.",
        "Plush as a cloud.",
        "Has a velvety surface.",
        "Cushioned for comfort.",
        "Gentle on the skin.",
    ),
    "luxurious": (
        "Sheer opulence.",
        "Premium down to the smallest detail.",
        "A five-star indulgence.",
        "Lavish and exclusive.",
        "Fit for a palace.",
    ),
}

# sentences that say nothing about the product
OPENERS = (
    "A regular model of our range.",
    "Part of the current collection.",
    "New on our shelves.",
    "Updated for this season.",
    "Chosen by our buyers.",
    "A familiar sight in our catalogue.",
)
CLOSERS = (
    "Delivered within three working days.",
    "Two-year warranty included.",
    "Returns accepted for a month.",
    "Instructions in four languages.",
    "See the photographs for dimensions.",
    "Our service team answers questions.",
)

# stars -> headlines and sentences of reviews
SUMMARIES: Mapping[int, tuple[str, ...]] = {
    1: ("Terrible", "Waste of money", "Broken on arrival", "Avoid", "Awful quality"),
    2: ("Disappointing", "Not worth it", "Expected better", "Below par", "Rather poor"),
    3: ("It is okay", "Average", "Does the job", "Mixed feelings", "So-so"),
    4: ("Good buy", "Quite happy", "Works well", "Nice, small flaws", "Pleased overall"),
    5: ("Excellent", "Love it", "Perfect", "Highly recommended", "Could not be happier"),
}
SENTENCES: Mapping[int, tuple[str, ...]] = {
    1: (
        "It stopped working after a week and support was useless.",
        "This is the worst purchase that I have made in years.",
        "I sent it back at once and want a refund.",
        "The quality is awful and it looks nothing like the picture.",
        "It fell apart the first time I used it.",
    ),
    2: (
        "It feels cheap and I regret the price.",
        "Sadly it did not do what the page promises.",
        "I had hoped for more and would not buy it again.",
        "Poor finish, and one part was missing.",
        "It works only now and then, which is annoying.",
    ),
    3: (
        "It is neither good nor bad.",
        "Some things are fine, others could be better.",
        "It does what it should and no more.",
        "Acceptable for the price.",
        "I am in two minds about keeping it.",
    ),
    4: (
        "I like it and would buy it again.",
        "Good value, with one or two small flaws.",
        "It works well and arrived on time.",
        "A solid choice that I use often.",
        "Nearly perfect, I take off one star for the packaging.",
    ),
    5: (
        "I love it and use it every day.",
        "Excellent quality, better than I had hoped.",
        "It is perfect and I recommend it to everyone.",
        "The best one that I have ever owned.",
        "Fantastic, I have already ordered another for my sister.",
    ),
}


def entitle(brands: NDArray[np.object_], kind: NDArray[np.int64], rng: Generator) -> list[str]:
    """Title each product by its brand, its kind and a model number that means nothing."""
    letters = rng.integers(ord("A"), ord("Z") + 1, (len(kind), 2)).tolist()
    numbers = rng.integers(100, 1000, len(kind)).tolist()
    return [
        f"{brand} {KINDS[row][2]} {chr(one)}{chr(other)}-{number}"
        for brand, row, (one, other), number in zip(brands, kind, letters, numbers, strict=True)
    ]


def describe(
    n_items: int, commonness: tuple[float, float], rng: Generator
) -> tuple[NDArray[np.bool_], list[str]]:
    """Draw hidden aspects, and say each of them in one of its ways, in any order.

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
    ways = list(ASPECTS.values())
    shape = (n_items, len(ways))
    aspects = rng.random(shape) < rng.uniform(*commonness, len(ways))
    way = rng.integers(len(ways[0]), size=shape)
    order = np.argsort(rng.random(shape), axis=1)
    opener = rng.integers(len(OPENERS), size=n_items)
    closer = rng.integers(len(CLOSERS), size=n_items)
    texts = []
    for row in range(n_items):
        said = [ways[k][way[row, k]] for k in order[row] if aspects[row, k]]
        texts.append(" ".join([OPENERS[opener[row]], *said, CLOSERS[closer[row]]]))
    return aspects, texts


def comment(stars: NDArray[np.int64], rng: Generator) -> tuple[list[str], list[str]]:
    """Write a summary and a text for each rating; a fifth are a star warmer or cooler."""
    tone = np.clip(stars + rng.choice([-1, 0, 1], len(stars), p=[0.1, 0.8, 0.1]), 1, 5)
    drawn = rng.integers(len(SENTENCES[1]), size=(len(stars), 3))
    summaries, texts = [], []
    for star, (headline, one, other) in zip(tone.tolist(), drawn.tolist(), strict=True):
        summaries.append(SUMMARIES[star][headline])
        texts.append(" ".join(dict.fromkeys([SENTENCES[star][one], SENTENCES[star][other]])))
    return summaries, texts
