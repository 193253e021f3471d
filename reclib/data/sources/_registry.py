"""The data sets that the study knows by name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from reclib.data.fetch import PUBLICATIONS, Publication
from reclib.data.schema import Marketplace
from reclib.data.sources import amazon, folder, online_retail, open_bandit

Groups = tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Source:
    """A data set that the study knows by name.

    Attributes
    ----------
    name
        As given to `load`; the folder of ``$RECLIB_DATA`` is its part before a slash.
    title, licence, homepage
        What it is, what its owner says about use, and where.
    files
        Patterns of the files in that folder that `read` may open; of each group at least
        one file must be there.
    read
        From that folder to the tables; None for the simulator.
    category
        Of a family; empty for a set of its own.
    """

    name: str
    title: str
    licence: str
    homepage: str
    files: Groups = ()
    read: Callable[[Path], Marketplace] | None = None
    category: str = ""

    @property
    def can_be_fetched(self) -> bool:
        """Whether its owner offers it for download."""
        return self.name.partition("/")[0] in PUBLICATIONS


def _single(
    name: str,
    title: str,
    published: Publication,
    files: Groups,
    read: Callable[[Path], Marketplace],
) -> Source:
    return Source(name, title, published.terms, published.homepage, files, read)


def _family(name: str, release: amazon.Release, read: Callable[..., Marketplace]) -> list[Source]:
    """Make a source of every category of an Amazon release."""
    published = PUBLICATIONS[name]
    return [
        Source(
            name=f"{name}/{category}",
            title=f"Amazon {category.replace('_', ' ')}, {release.year}",
            licence=published.terms,
            homepage=published.homepage,
            files=tuple(
                tuple(form.format(category) + end for form in forms for end in (".gz", ""))
                for forms in (release.files, (release.products,))
            ),
            read=partial(read, category=category),
            category=category,
        )
        for category in published.categories
    ]


_AMAZON = PUBLICATIONS["amazon-2014"]  # from which the three prepared sets were made
_KNOWN = (
    Source("simulated", "made by the study; needs no download", "as the study", ""),
    _single("amazon-beauty", "Amazon Beauty, 2014 5-core", _AMAZON, (folder.FILES,), folder.read),
    _single(
        "amazon-office",
        "Amazon Office Products, 2014 5-core",
        _AMAZON,
        (folder.FILES,),
        folder.read,
    ),
    _single(
        "online-retail",
        "UCI Online Retail",
        PUBLICATIONS["online-retail"],
        (online_retail.FILES,),
        online_retail.read,
    ),
    _single(
        "musical-instruments",
        "Amazon Musical Instruments, 2014 5-core reviews",
        _AMAZON,
        (("reviews.csv.gz",),),
        amazon.read_reviews,
    ),
    _single(
        "open-bandit",
        "Open Bandit, small version",
        PUBLICATIONS["open-bandit"],
        (("*/*/*.csv.gz", "*/*/*.csv"),),
        open_bandit.read,
    ),
    *_family("amazon-2014", amazon.RELEASE_2014, amazon.read_2014),
    *_family("amazon-2018", amazon.RELEASE_2018, amazon.read_2018),
    *_family("amazon-2023", amazon.RELEASE_2023, amazon.read_2023),
)
SOURCES: Mapping[str, Source] = {source.name: source for source in _KNOWN}
