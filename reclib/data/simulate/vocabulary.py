"""Words of the simulated marketplace; `reclib.data.simulate.writing` puts them together.

No content word of a way of saying an aspect occurs in another way, nor elsewhere in a
product's texts (a test checks it). Two products with the same aspect therefore share a word
only if they drew the same phrase; that the phrases mean the same is left to a reader or an
encoder to see. What customers type and write is freer, but never uses a word of another
aspect.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

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

DEPARTMENTS = tuple(sorted(TREE))

_OPENINGS = (
    "Al Bel Cor Dan El Fen Gar Hol Il Jor Kel Lum Mar Nor Or Pel Quin Ros Sel Tam Ul Ver Wil"
)
_ENDINGS = (
    "ado beck cott dine edo fell gran haus ista jon kin lund mere nova oni pont quist rell sby"
)
BRANDS = tuple(map("".join, product(_OPENINGS.split(), _ENDINGS.split())))

# registers of marketing, and other languages -> their share of the products
VOICES: Mapping[str, float] = {
    "plain": 0.40,
    "technical": 0.25,
    "playful": 0.15,
    "premium": 0.14,
    "German": 0.02,
    "French": 0.02,
    "Spanish": 0.02,
}


@dataclass(frozen=True)
class Aspect:
    """A hidden attribute of products, and the words for it."""

    said: tuple[tuple[str, str], ...]  # in descriptions: two ways for each of VOICES
    asked: tuple[str, str, str]  # in queries, {} is the product
    noticed: tuple[str, str, str]  # in reviews, after "What I like best is"


ASPECTS: Mapping[str, Aspect] = {
    "quiet": Aspect(
        said=(
            ("Runs almost silently.", "Makes barely any noise."),
            ("Acoustic output below 25 decibels.", "Vibration and rattle are damped."),
            ("At whisper level, just a hum.", "Shhh, can you hear it? Neither can we."),
            ("Hushed enough for a slumbering household.", "A serene calm surrounds it."),
            ("Flüsterleise im Betrieb.", "Kaum ein Geräusch zu hören."),
            ("Fonctionne sans bruit.", "Un silence absolu."),
            ("Apenas se oye.", "Funcionamiento silencioso."),
        ),
        asked=("quiet {}", "{} without noise", "noiseless {}"),
        noticed=("how quiet it is", "the silence", "the noiselessness"),
    ),
    "lightweight": Aspect(
        said=(
            ("Weighs next to nothing.", "You can hold it all day without tired arms."),
            ("Very low mass, thanks to hollow magnesium.", "Only a few grams on the scales."),
            ("Feather-light to lift.", "Careful, a breeze might carry it off."),
            ("An ethereal, airy build.", "It seems to float."),
            ("Wiegt fast nichts.", "Ein echtes Leichtgewicht."),
            ("Léger comme une plume.", "Son poids se fait oublier."),
            ("Pesa muy poco.", "Ligero como el aire."),
        ),
        asked=("lightweight {}", "{} not heavy", "light {}"),
        noticed=("how light it is", "the lack of weight", "its lightness"),
    ),
    "durable": Aspect(
        said=(
            ("Built to last for decades.", "Survives rough treatment for ages."),
            ("Reinforced against breakage.", "Endures 50,000 load cycles."),
            ("Shrugs off knocks and drops.", "Your clumsiest uncle could not wreck it."),
            ("Rugged and hard-wearing.", "An heirloom for generations to come."),
            ("Hält ein Leben lang.", "Äußerst stabil und bruchfest."),
            ("Conçu pour durer.", "Résiste aux chocs."),
            ("Aguanta golpes y caídas.", "Para toda la vida."),
        ),
        asked=("sturdy {}", "{} to last", "unbreakable {}"),
        noticed=("how sturdy it is", "the rugged frame", "its toughness"),
    ),
    "compact": Aspect(
        said=(
            ("Folds away into a drawer.", "Takes up hardly any room."),
            ("A small footprint for tight corners.", "Stowed volume under one litre."),
            ("Pocket-sized.", "Hides in a shoebox when guests call."),
            ("With a space-saving shape.", "Discreet proportions, slim silhouette."),
            ("Platzsparend verstaut.", "Passt in jede Schublade."),
            ("Rangement aisé.", "Peu encombrant."),
            ("Cabe en cualquier cajón.", "Tamaño reducido."),
        ),
        asked=("compact {}", "small {}", "foldable {}"),
        noticed=("how small it is", "the compact size", "the way it folds up"),
    ),
    "washable": Aspect(
        said=(
            ("Wipes clean in moments.", "Machine washable."),
            ("Stain-resistant finish.", "Detergent at 60 degrees does no damage."),
            ("Jam, ketchup, mud: gone with a swipe.", "Dirt rinses off under the tap."),
            ("Hygienic and simple to sanitise.", "Immaculate again within seconds."),
            ("Im Nu gereinigt.", "Waschbar bei dreißig Grad."),
            ("Se nettoie facilement.", "Passe au lave-linge."),
            ("Se limpia con un paño.", "Lavable a máquina."),
        ),
        asked=("washable {}", "{} to wipe down", "dishwasher proof {}"),
        noticed=("the rinsing off", "how well it wipes clean", "the washable finish"),
    ),
    "sustainable": Aspect(
        said=(
            ("Made from recycled materials.", "Kind to the planet."),
            ("Carbon-neutral throughout.", "Biodegradable, with zero plastic."),
            ("Hedgehogs and bees approve.", "Earth says cheers."),
            ("Sourced with respect for nature.", "Ethically grown, responsibly harvested."),
            ("Umweltfreundlich hergestellt.", "Aus nachwachsenden Rohstoffen."),
            ("Respectueux de l'environnement.", "À partir de matières recyclées."),
            ("Con materiales reciclados.", "Cuida el medio ambiente."),
        ),
        asked=("sustainable {}", "eco {}", "{} recycled"),
        noticed=("the recycled stuff", "its green credentials", "the thought for nature"),
    ),
    "handmade": Aspect(
        said=(
            ("Crafted by hand in a tiny workshop.", "Each piece is formed by skilled artisans."),
            ("Worked manually, not on a production line.", "Joined with traditional dovetails."),
            ("Somebody had very busy thumbs.", "Not a robot in sight."),
            ("Bears the signature of its creator.", "A maker fashioned each individually."),
            ("In Handarbeit gefertigt.", "Jedes Stück ein Unikat."),
            ("Façonné par un artisan.", "Ouvrage d'une artisane."),
            ("Hecho a mano.", "Obra de un taller familiar."),
        ),
        asked=("handmade {}", "artisan {}", "hand crafted {}"),
        noticed=("the handiwork", "the craftsmanship", "the handmade character"),
    ),
    "vintage": Aspect(
        said=(
            ("Could be a find from the fifties.", "Retro styling."),
            ("Period-correct copy of 1930s drawings.", "Patinated, aged artificially."),
            ("Nostalgic, grandmother-approved charm.", "Straight out of an old film."),
            ("Inspired by antiques.", "With the vintage flair of another era."),
            ("Im Stil der Fünfzigerjahre.", "Wie aus Omas Zeiten."),
            ("Un air d'autrefois.", "Esprit brocante."),
            ("Un toque de antaño.", "Inspirado en los años cincuenta."),
        ),
        asked=("vintage {}", "retro {}", "{} antique look"),
        noticed=("the vintage look", "the nostalgic look", "the old charm"),
    ),
    "colourful": Aspect(
        said=(
            ("In bright, cheerful shades.", "Has a multicoloured pattern."),
            ("Pigments of high saturation.", "Printed in twelve inks."),
            ("A rainbow of tones.", "Vivid dyes that pop."),
            ("Bold hues that catch the eye.", "A jewelled palette."),
            ("In leuchtenden Farben.", "Kunterbunt gemustert."),
            ("Des couleurs vives.", "Motif bariolé."),
            ("En colores alegres.", "Lleno de tonos intensos."),
        ),
        asked=("colourful {}", "bright {}", "{} many colours"),
        noticed=("the bright colours", "the vivid pattern", "the cheerful palette"),
    ),
    "minimalist": Aspect(
        said=(
            ("Pared back to the essentials.", "No ornament, no logo, nothing extra."),
            ("Reduced geometry, flush joints.", "Monochrome, free of seams."),
            ("Minimalist by conviction.", "Boring? That is called zen."),
            ("Understated and uncluttered.", "Sober Scandinavian restraint."),
            ("Schlicht und ohne Schnörkel.", "Auf das Wesentliche beschränkt."),
            ("Lignes épurées.", "D'une grande sobriété."),
            ("Líneas sencillas.", "Carente de adornos."),
        ),
        asked=("minimalist {}", "unadorned {}", "{} scandinavian"),
        noticed=("the uncluttered lines", "the sober restraint", "the plainness"),
    ),
    "gift": Aspect(
        said=(
            ("A lovely present for a birthday.", "Arrives beautifully wrapped."),
            ("Tied with a ribbon and a greeting card.", "Supplied in a presentation carton."),
            ("Prepare for squeals at the unwrapping.", "Sure to delight someone dear."),
            ("The souvenir that friends remember.", "A gesture for weddings and anniversaries."),
            ("Ein ideales Geschenk.", "Hübsch verpackt."),
            ("Un joli cadeau.", "À glisser sous le sapin."),
            ("Un regalo precioso.", "Perfecto para cumpleaños."),
        ),
        asked=("{} gift", "{} birthday present", "{} for christmas"),
        noticed=("the gift wrapping", "the ribbon and the card", "the pretty carton"),
    ),
    "waterproof": Aspect(
        said=(
            ("Keeps out the rain.", "Fully waterproof."),
            ("Sealed against moisture.", "Ingress protection IP67."),
            ("Splashes and puddles do no harm.", "Ducks would be jealous."),
            ("Can be submerged without worry.", "Weathers monsoons with poise."),
            ("Wasserdicht.", "Trotzt jedem Regen."),
            ("Résistant à l'eau.", "Imperméable."),
            ("Impermeable.", "Soporta la lluvia."),
        ),
        asked=("waterproof {}", "{} for rain", "weatherproof {}"),
        noticed=("how it copes with rain", "the waterproof seal", "its resistance to wet"),
    ),
    "beginner": Aspect(
        said=(
            ("Ready in minutes, no manual needed.", "An easy entry for beginners."),
            ("Guided three-step setup.", "Straightforward for first-timers."),
            ("Anyone can learn it in an afternoon.", "If Grandad manages, so will you."),
            ("Ideal for novices.", "Effortless from the outset."),
            ("Für Einsteiger geeignet.", "Sofort zu bedienen."),
            ("Idéal pour débuter.", "Mode d'emploi superflu."),
            ("Fácil para principiantes.", "Listo al instante."),
        ),
        asked=("{} for beginners", "easy {}", "starter {}"),
        noticed=("how easy it is to learn", "the quick setup", "the guided start"),
    ),
    "child-safe": Aspect(
        said=(
            ("Safe around toddlers.", "Parents trust it near a baby."),
            ("Tested as harmless for kids.", "Non-toxic even when chewed."),
            ("Rounded edges protect little fingers.", "Nursery crew certified."),
            ("Peace of mind for young families.", "Nothing sharp, nothing to swallow."),
            ("Unbedenklich für Kinder.", "Ohne scharfe Kanten."),
            ("Sans danger pour les enfants.", "Bords arrondis."),
            ("Seguro para niños.", "Apto para bebés."),
        ),
        asked=("child safe {}", "{} for toddlers", "kids {}"),
        noticed=("how safe it is for kids", "the rounded edges", "the toddler safety"),
    ),
    "soft": Aspect(
        said=(
            ("Wonderfully soft to touch.", "Gentle on the skin."),
            ("Cushioned for comfort.", "Pile height 18 mm, brushed."),
            ("Plush as a cloud.", "Hug it as you would a marshmallow."),
            ("Has a velvety surface.", "The caress of cashmere."),
            ("Kuschelig weich.", "Sanft zur Haut."),
            ("Tout doux au toucher.", "Moelleux à souhait."),
            ("Suave al tacto.", "Mullido y agradable."),
        ),
        asked=("soft {}", "cosy {}", "cuddly {}"),
        noticed=("how soft it feels", "the velvety skin", "the cushioning"),
    ),
    "luxurious": Aspect(
        said=(
            ("Premium down to the smallest detail.", "A treat above the ordinary."),
            ("Grade-A gilded fittings.", "Limited run with a numbered plate."),
            ("Fit for a palace.", "Pass the champagne."),
            ("Sheer opulence.", "Lavish and exclusive."),
            ("Purer Luxus.", "Edel verarbeitet."),
            ("Un luxe raffiné.", "Finitions nobles."),
            ("Lujo sin límites.", "Acabados exquisitos."),
        ),
        asked=("luxury {}", "premium {}", "{} deluxe"),
        noticed=("the luxury of it", "the premium fittings", "how exclusive it is"),
    ),
}


def _sentences(*parts: str) -> tuple[str, ...]:
    """Every sentence that takes one choice of each part; choices are parted by a bar."""
    return tuple(map(" ".join, product(*(part.split("|") for part in parts))))


# sentences that say nothing about the product, for each of VOICES
FILLERS: Mapping[str, tuple[str, ...]] = {
    "plain": _sentences(
        "This article|The model shown|This product|The version on this page|What you see"
        "|This item|Our offer|The article in the picture",
        "belongs to|is part of|was added to|comes from|has a place in|appears in|was chosen for"
        "|is listed in",
        "our current range.|the spring catalogue.|the autumn catalogue.|our regular stock."
        "|the main collection.|our online shop.|the list of our buyers.|this year's selection.",
    ),
    "technical": _sentences(
        "All measurements|The declared values|Figures and tolerances|The listed parameters"
        "|Rated values|Standard specifications|Nominal quantities|The stated data",
        "refer to|follow|are given according to|can be checked against|correspond to"
        "|are subject to|agree with|derive from",
        "the manufacturer's data sheet.|the applicable European norm."
        "|revision four of the documentation.|the conditions of the laboratory."
        "|the latest audit report.|the reference unit of the batch.|the usual practice."
        "|the declaration of the supplier.",
    ),
    "playful": _sentences(
        "Go on,|Psst,|Hello there,|Ta-da,|Hey you,|Guess what,|Drum roll please,|Admit it,",
        "this one has been waiting for|here comes a new favourite for|it is about time for"
        "|there is a spot reserved for|the basket is ringing for|we have been thinking of"
        "|we saved the last biscuit for|we did a happy dance for",
        "you.|your weekend.|the whole gang.|your Monday mood.|the neighbours."
        "|your inner explorer.|everyone at your place.|your wish list.",
    ),
    "premium": _sentences(
        "Our house|The maison|This creation|The collection|Our atelier|The brand|Each season"
        "|A long history",
        "stands for|is devoted to|invites you to discover|pays tribute to|has always pursued"
        "|speaks of|celebrates|remains faithful to",
        "the art of living.|a singular vision.|timeless values.|the taste of those who know."
        "|hours worth keeping.|the pleasure of choosing well.|a distinguished way of life."
        "|the poetry of everyday things.",
    ),
    "German": _sentences(
        "Dieser Artikel|Das gezeigte Modell|Unser Angebot|Dieses Produkt|Die Ausführung im Bild",
        "gehört zu|stammt aus|kommt aus|zählt zu",
        "unserem Sortiment.|der laufenden Kollektion.|dem Katalog für das Frühjahr."
        "|der Auswahl unserer Einkäufer.|dem ständigen Bestand.",
    ),
    "French": _sentences(
        "Cet article|Le modèle présenté|Notre offre|Ce produit|La version en photo",
        "appartient à|provient de|s'inscrit dans|complète",
        "notre assortiment.|cette collection.|notre catalogue de printemps."
        "|la sélection de nos acheteurs.|notre stock permanent.",
    ),
    "Spanish": _sentences(
        "Este artículo|El modelo mostrado|Nuestra oferta|Este producto|La versión de la foto",
        "pertenece a|procede de|forma parte de|viene de",
        "nuestro surtido.|la colección actual.|nuestro catálogo de primavera."
        "|la selección de nuestros compradores.|nuestras existencias.",
    ),
}

# lines that the shop adds to the seller's words; they say nothing about the product either
SHOP_LINES = (
    "Delivered within three working days to any address on the mainland.",
    "Orders placed before two o'clock leave our warehouse on the same date.",
    "A two-year warranty is included with this order.",
    "Returns are accepted for a month, and the postage is on us.",
    "Please keep the receipt, since it is your proof of purchase.",
    "Instructions are enclosed in four languages and can be downloaded as well.",
    "Photographs may differ from the delivered article in minor respects.",
    "Our service team answers questions from Monday to Friday between nine and five.",
    "Accessories shown in the pictures are sold separately unless stated otherwise.",
    "The price includes value added tax, and shipping is shown at the checkout.",
    "We ship to most European countries; delivery times vary with the destination.",
    "Payment is possible by credit transfer, voucher or on account.",
    "Collect your parcel at one of our branches at no further cost.",
    "If the item is out of stock, we will inform you by email.",
    "Availability is updated several times each week.",
    "You will find related articles at the bottom of this page.",
    "Other versions may be available, so have a look at the menu above.",
    "Write a review and tell other customers what you think.",
    "Subscribe to our newsletter and never miss an offer again.",
    "Business customers receive an invoice with the tax shown separately.",
    "Large quantities are available on request from our sales department.",
    "This page was last revised by our editors in the current year.",
    "The manufacturer may change the article without prior notice.",
    "Names of other companies are trade marks of their respective owners.",
    "All information has been compiled with diligence but without liability.",
    "Customers from abroad should consider customs duties before ordering.",
    "Your statutory rights are not affected by these terms.",
    "Read the frequently asked questions for further information on orders and refunds.",
    "Points of the loyalty scheme are credited two weeks after delivery.",
    "Only one voucher can be redeemed with each order.",
    "Data about your order are stored as described in our privacy notice.",
    "Spare parts can be ordered for at least five years.",
)

# endings of a title that say nothing about what users like
TITLE_EXTRAS = tuple(
    (
        "Set of 2|Set of 4|Pack of 10|Black|White|Grey|Navy|Silver|30 cm|45 x 60 cm|1.5 L"
        "|Size M|Size XL|with Accessories|with Storage Case|2023 Edition|Series 3|Type B"
        "|for Home and Travel|Standard Version|UK Model|incl. Batteries|Stainless Steel|Bamboo"
        "|Cotton|Mark II"
    ).split("|")
)

# what users type; {} is the product
QUERIES = ("{}", "{}s", "buy {}", "{} online", "best {}", "{} offers")

# stars -> headlines and sentences of reviews
SUMMARIES: Mapping[int, tuple[str, ...]] = {
    1: tuple(
        "Terrible|Money thrown away|Broken on arrival|Avoid|Awful quality|Never again".split("|")
    ),
    2: tuple(
        "Disappointing|Not worth it|Expected better|Below par|Rather poor|A regret".split("|")
    ),
    3: tuple("It is okay|Average|Does the job|Mixed feelings|So-so|Fine, no more".split("|")),
    4: tuple("Good buy|Quite happy|Works well|Nice, some flaws|Pleased overall|Decent".split("|")),
    5: tuple("Excellent|Love it|Perfect|Highly recommended|Could not be happier|Best".split("|")),
}
SUMMARY_TAILS = (
    "so far",
    "after three weeks",
    "in my opinion",
    "and I have had a few of them",
    "if you ask me",
    "my view after a month of use",
)
SENTENCES: Mapping[int, tuple[str, ...]] = {
    1: (
        "It stopped working after a week and support was useless.",
        "This is the worst purchase that I have made in years.",
        "I sent it back at once and want a refund.",
        "The quality is awful and it looks wrong from every side.",
        "It fell apart the first time I used it.",
        "Do not throw your money away on this.",
        "Total rubbish, I am angry.",
        "It arrived damaged, and so did the replacement.",
    ),
    2: (
        "It feels cheap and I regret the price.",
        "Sadly it did not do what the page promises.",
        "I had hoped for more and would not buy it again.",
        "Poor work, and one part was missing.",
        "It works only now and then, which is tiresome.",
        "A let-down after all that I had read.",
        "The faults outweigh the good sides.",
        "I would choose another one next time.",
    ),
    3: (
        "It is neither good nor bad.",
        "Some things are fine, others could be better.",
        "It does what it should and no more.",
        "Acceptable for the price.",
        "I am in two minds about keeping it.",
        "Middling, as one could expect.",
        "There are better ones and worse ones.",
        "Fine for now, I may replace it later.",
    ),
    4: (
        "I like it and would buy it again.",
        "Good value, with one or two flaws.",
        "It works well and arrived on time.",
        "A sound choice that I use often.",
        "Nearly perfect, I take off one star for the packaging.",
        "I am pleased with it on the whole.",
        "It did more than I had asked for.",
        "A good one, though not the very best.",
    ),
    5: (
        "I love it and use it every day.",
        "Excellent quality, better than I had hoped.",
        "It is perfect and I recommend it to everyone.",
        "The best one that I have ever owned.",
        "Fantastic, I have already ordered another.",
        "Five stars without a second thought.",
        "I could not be happier with it.",
        "Brilliant from the first moment.",
    ),
}
# what reviews say of an aspect, by (wanted by this user, happy with the product)
OPINIONS: Mapping[tuple[bool, bool], tuple[str, ...]] = {
    (False, False): (
        "I have no use for {}.",
        "I am annoyed by {}.",
        "They boast of {}, which is lost on me.",
        "Who needs {}?",
    ),
    (False, True): (
        "I would not have needed {}, but never mind.",
        "I do not care much about {}.",
        "I could live without {}.",
        "For me they could have spared themselves {}.",
    ),
    (True, False): (
        "At least {} is as I hoped.",
        "Only {} speaks for it.",
        "The one good thing is {}.",
        "A pity, because I do like {}.",
    ),
    (True, True): (
        "What I like best is {}.",
        "I bought it for {}, and rightly so.",
        "Full marks for {}.",
        "I am thrilled with {}.",
    ),
}
# sentences of reviews that say nothing about the product
STORIES = _sentences(
    "I ordered it|We picked it|My sister found it|I had it sent|A friend of mine chose it"
    "|We came across it|I put it on my list|My brother needed one, so we got it",
    "in spring|last month|after a long search|on a Sunday|before we moved house"
    "|when the previous one was gone|between two trips|without much thought",
    "to go with the things that I already have.|for the new flat.|because a colleague has one."
    "|as it was on offer that week.|and it came with the post two days later."
    "|after reading about it for an hour.|since my husband kept asking.|to see what it is like.",
)
