"""Download the official files of the public data sets (`reclib fetch`)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pooch

from reclib import cache, paths
from reclib.data._download import DownloadFailed, Patience, RemoteFile, download, forget, unlike
from reclib.errors import ReclibError, unknown
from reclib.locks import locked

Alternatives = tuple[RemoteFile, ...]  # the same content from several places, best first

LAB = "https://mcauleylab.ucsd.edu/public_datasets/data"
LAB_FORMER = "https://jmcauley.ucsd.edu/data"
SNAP = "http://snap.stanford.edu/data/amazon/productGraph/categoryFiles"  # its https breaks
HUB = "https://huggingface.co/datasets/McAuley-Lab/Amazon-Reviews-2023/resolve/main/raw"
UCI = "https://archive.ics.uci.edu"
OBP_COMMIT = "8cbd5fa4558b7ad2ba4781546d6604e4cc3e07c4"
OBP = f"https://raw.githubusercontent.com/st-tech/zr-obp/{OBP_COMMIT}/obd"

# Names as the releases spell them.
CATEGORIES: Mapping[str, tuple[str, ...]] = {
    release: tuple(names.split())
    for release, names in {
        "amazon-2014": """
            Amazon_Instant_Video Apps_for_Android Automotive Baby Beauty Books CDs_and_Vinyl
            Cell_Phones_and_Accessories Clothing_Shoes_and_Jewelry Digital_Music Electronics
            Grocery_and_Gourmet_Food Health_and_Personal_Care Home_and_Kitchen Kindle_Store
            Movies_and_TV Musical_Instruments Office_Products Patio_Lawn_and_Garden Pet_Supplies
            Sports_and_Outdoors Tools_and_Home_Improvement Toys_and_Games Video_Games
            """,
        "amazon-2018": """
            AMAZON_FASHION All_Beauty Appliances Arts_Crafts_and_Sewing Automotive Books
            CDs_and_Vinyl Cell_Phones_and_Accessories Clothing_Shoes_and_Jewelry Digital_Music
            Electronics Gift_Cards Grocery_and_Gourmet_Food Home_and_Kitchen
            Industrial_and_Scientific Kindle_Store Luxury_Beauty Magazine_Subscriptions
            Movies_and_TV Musical_Instruments Office_Products Patio_Lawn_and_Garden Pet_Supplies
            Prime_Pantry Software Sports_and_Outdoors Tools_and_Home_Improvement Toys_and_Games
            Video_Games
            """,
        "amazon-2023": """
            All_Beauty Amazon_Fashion Appliances Arts_Crafts_and_Sewing Automotive Baby_Products
            Beauty_and_Personal_Care Books CDs_and_Vinyl Cell_Phones_and_Accessories
            Clothing_Shoes_and_Jewelry Digital_Music Electronics Gift_Cards
            Grocery_and_Gourmet_Food Handmade_Products Health_and_Household
            Health_and_Personal_Care Home_and_Kitchen Industrial_and_Scientific Kindle_Store
            Magazine_Subscriptions Movies_and_TV Musical_Instruments Office_Products
            Patio_Lawn_and_Garden Pet_Supplies Software Sports_and_Outdoors Subscription_Boxes
            Tools_and_Home_Improvement Toys_and_Games Unknown Video_Games
            """,
    }.items()
}

# Put together from several repositories, so there is no address; the same shop as published.
OFFICIAL_FORM: Mapping[str, str] = {
    "amazon-beauty": "amazon-2014/Beauty",
    "amazon-office": "amazon-2014/Office_Products",
    "musical-instruments": "amazon-2014/Musical_Instruments",
}


@dataclass(frozen=True)
class Publication:
    """A data set, or a family of them, that its owner offers for download.

    Attributes
    ----------
    size
        In words.
    terms
        Licence, or what the owner says about use.
    homepage
        Of the owner.
    files
        From a category (empty where there are none) to its files.
    categories
        The members of a family.
    """

    size: str
    terms: str
    homepage: str
    files: Callable[[str], tuple[Alternatives, ...]]
    categories: tuple[str, ...] = ()


def _amazon_2014(category: str) -> tuple[Alternatives, ...]:
    names = (f"reviews_{category}_5.json.gz", f"meta_{category}.json.gz")
    places = (f"{LAB}/amazon/categoryFiles", SNAP)
    return tuple(tuple(RemoteFile(name, f"{at}/{name}") for at in places) for name in names)


def _amazon_2018(category: str) -> tuple[Alternatives, ...]:
    names = {
        f"{category}_5.json.gz": "categoryFilesSmall",
        f"meta_{category}.json.gz": "metaFiles2",
    }
    return tuple(
        tuple(RemoteFile(name, f"{at}/amazon_v2/{part}/{name}") for at in (LAB, LAB_FORMER))
        for name, part in names.items()
    )


def _amazon_2023(category: str) -> tuple[Alternatives, ...]:
    names = {f"{category}.jsonl": "review_categories", f"meta_{category}.jsonl": "meta_categories"}
    return tuple(
        (
            RemoteFile(f"{name}.gz", f"{LAB}/amazon_2023/raw/{part}/{name}.gz"),
            RemoteFile(name, f"{HUB}/{part}/{name}"),
        )
        for name, part in names.items()
    )


def _online_retail(_: str) -> tuple[Alternatives, ...]:
    return (
        (
            RemoteFile(
                "online+retail.zip",
                f"{UCI}/static/public/352/online+retail.zip",
                "f5385cbb54bbebf7196389109c6b0621faab0c304e3702548165e71c84aede8b",
                23_715_478,
            ),
            RemoteFile(
                "Online Retail.xlsx",
                f"{UCI}/ml/machine-learning-databases/00352/Online%20Retail.xlsx",
                "43465a06f2ccf7c8b5bd2892bc7defb52f97487934fe93b16ae4c3936424676d",
            ),
        ),
    )


# Of the files at OBP_COMMIT; their bytes are also those in the released package obp 0.5.6.
_OPEN_BANDIT = (
    ("bts/men/item_context.csv", 4_287,
     "3b411ed6b0471316321a6b93f4f756bb25888eac6218cd71d0b603d41d85732d"),
    ("bts/men/men.csv", 3_240_432,
     "db6d1f7ed2d591ba521533e45286d4c1fba7fe57a8ad2e80342210335f43c527"),
    ("bts/women/item_context.csv", 5_792,
     "a56295bad066a558eb783055afd9279f5f4e209a4776eafc22151c53f0ac89d4"),
    ("bts/women/women.csv", 3_722_697,
     "e5d1b49a39b608585a2f3014a3f54970430cd37a495c1b73fceb85cdf428a5b8"),
    ("random/men/item_context.csv", 4_287,
     "6d855c2b7e917d0448d71bbe62c023147495882c0fdc8c41e86fef86abf9fe09"),
    ("random/men/men.csv", 3_336_811,
     "ede6d08c6877f99cd3770f7d09e26c738e6aa6de4445ccccfb1356ba5d06b1eb"),
    ("random/women/item_context.csv", 5_792,
     "b1ca4905f97703d196004f2ad4552c1e90c2afad8b50688d333b0d2dc0b33147"),
    ("random/women/women.csv", 3_817_771,
     "e65f3bd3beb17664fa69cc129bf7bf852a775f8ffa630506e505fc905315bb34"),
)  # fmt: skip


def _open_bandit(_: str) -> tuple[Alternatives, ...]:
    return tuple(
        (RemoteFile(path, f"{OBP}/{path}", sha256, size),) for path, size, sha256 in _OPEN_BANDIT
    )


_RESEARCH = "no licence; offered by the McAuley Lab, UCSD, for research: do not pass it on; cite"
PUBLICATIONS: Mapping[str, Publication] = {
    "amazon-2014": Publication(
        "24 categories of 10 thousand to 9 million reviews (5-core)",
        f"{_RESEARCH} McAuley et al. 2015",
        "https://cseweb.ucsd.edu/~jmcauley/datasets/amazon/links.html",
        _amazon_2014,
        CATEGORIES["amazon-2014"],
    ),
    "amazon-2018": Publication(
        "29 categories of 2 thousand to 27 million reviews (5-core)",
        f"{_RESEARCH} Ni et al. 2019; the page asks users to fill in a form",
        "https://cseweb.ucsd.edu/~jmcauley/datasets/amazon_v2/",
        _amazon_2018,
        CATEGORIES["amazon-2018"],
    ),
    "amazon-2023": Publication(
        "34 categories of 16 thousand to 67 million reviews",
        f"{_RESEARCH} Hou et al. 2024",
        "https://amazon-reviews-2023.github.io/",
        _amazon_2023,
        CATEGORIES["amazon-2023"],
    ),
    "online-retail": Publication(
        "24 MB",
        "CC BY 4.0; cite Chen 2015, doi:10.24432/C5BW33",
        f"{UCI}/dataset/352/online+retail",
        _online_retail,
    ),
    "open-bandit": Publication(
        "14 MB",
        "CC BY 4.0 according to ZOZO, Inc.; cite Saito et al. 2020, arXiv 2008.07146",
        "https://research.zozo.com/data.html",
        _open_bandit,
    ),
}


def fetch(
    name: str,
    *,
    folder: Path | None = None,
    progress: bool | None = None,
    patience: Patience | None = None,
) -> Path:
    """Download the official files of a public data set.

    What is there and whole is left as it is. What a former call left unfinished is taken
    up again where the server allows it. A file whose SHA-256 is not known beforehand gets
    a file ``NAME.sha256`` beside it, which later calls compare with.

    Parameters
    ----------
    name
        One of `PUBLICATIONS`; for a family with a category, as ``"amazon-2023/Gift_Cards"``.
    folder
        Where the files go; by default the folder ``<name>`` of ``$RECLIB_DATA``.
    progress
        Show bars; by default as ``TQDM_DISABLE`` says, which is set while notebooks run.
    patience
        Time-outs and repetitions.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    ReclibError
        Unknown name or category; no address gives the file; a file that is there is another
        one; another process fetches into the folder; no space left.
    """
    published, category = _find(name)
    folder = folder or paths.data_dir() / name.partition("/")[0]
    print(f"{name}: {published.terms}\n{published.homepage}")
    missing = [
        alternatives
        for alternatives in published.files(category)
        if not any(_is_whole(file, folder / file.path) for file in alternatives)
    ]
    if missing:  # else nothing is written, and the folder may be one that only others may fill
        with locked(folder, "fetch", "wait for its end, and fetch again"):
            for alternatives in missing:
                _fetch_first(alternatives, folder, patience, progress)
    return folder


def _find(name: str) -> tuple[Publication, str]:
    family, _, category = name.partition("/")
    if name in OFFICIAL_FORM:
        raise ReclibError(
            f"{name} was put together from several repositories (see its page in the book), so "
            f"it cannot be fetched; its shop as published is {OFFICIAL_FORM[name]!r}"
        )
    if family not in PUBLICATIONS:
        raise unknown("data set to fetch", name, PUBLICATIONS)
    published = PUBLICATIONS[family]
    if category and not published.categories:
        raise ReclibError(f"{family} has no categories; fetch {family!r}")
    if published.categories and not category:
        raise ReclibError(
            f"{family} is fetched by category, as {family}/{published.categories[0]}; "
            f"there are: {', '.join(published.categories)}"
        )
    if category and category not in published.categories:
        raise unknown(f"category of {family}", category, published.categories)
    return published, category


def _is_whole(file: RemoteFile, target: Path) -> bool:
    """Tell whether `target` is there; raise if it is there and is another file."""
    if not target.is_file():
        return False
    with target.open("rb") as stream:
        wrong = unlike(file.path, stream.read(64))
    wanted = file.sha256 or _recorded(target)
    if not wrong and wanted and (found := pooch.file_hash(str(target))) != wanted:
        wrong = f"another file: its SHA-256 is {found}, not {wanted}"
    if wrong:
        raise ReclibError(f"{target} is {wrong}; move it away and fetch again")
    if wanted:
        print(f"{target} is there and whole")
    else:
        _record(target)
        print(f"{target} is there; there was no SHA-256 to compare with, so its own is kept")
    return True


def _fetch_first(
    alternatives: Alternatives, folder: Path, patience: Patience | None, progress: bool | None
) -> None:
    """Download from the first place that has the file."""
    targets = [folder / file.path for file in alternatives]
    # each place has a partial file of its own, so that a try elsewhere throws none away
    parts = [
        target.with_name(f"{target.name}{f'.{place + 1}' if place else ''}.part")
        for place, target in enumerate(targets)
    ]
    failures = []
    for file, target, part in zip(alternatives, targets, parts, strict=True):
        try:
            download(file, target, part=part, patience=patience, progress=progress)
        except DownloadFailed as failure:
            failures.append(f"- {file.address}\n  {failure}")
            continue
        for leftover in parts:
            forget(leftover)
        if not file.sha256:
            _record(target)
        print(f"{target}: {target.stat().st_size:,} bytes")
        return
    first = alternatives[0]
    raise ReclibError(
        f"{first.path} could not be fetched:\n" + "\n".join(failures) + "\nBy hand: open "
        f"{first.address} in a browser, save the file as {targets[0]}, and fetch again"
    )


def _recorded(target: Path) -> str | None:
    """Read the SHA-256 that a former call kept; None where there is none."""
    beside = target.with_name(f"{target.name}.sha256")
    return beside.read_text(encoding="utf-8").partition(" ")[0] if beside.is_file() else None


def _record(target: Path) -> None:
    """Keep the SHA-256 in the form that ``sha256sum --check`` reads."""
    line = f"{pooch.file_hash(str(target))}  {target.name}\n"
    beside = target.with_name(f"{target.name}.sha256")
    cache.atomic_write(beside, lambda new: new.write_text(line, encoding="utf-8"))
