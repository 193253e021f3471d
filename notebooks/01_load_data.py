# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # The data
#
# Section III-B of the paper names three kinds of data: what users do, what products are,
# and the context. It publishes none of them. This page loads the data of this run, says
# what cleaning did to them, and holds out what the models will have to find.
#
# - Which tables there are, and what is in them.
# - What was cleaned away, and why.
# - What a model may see, and what it is asked.

# %% tags=["parameters", "hide-cell"]
data = "simulated"  # a name in reclib.data.SOURCES, or a folder with your tables
size = "smoke"  # smoke | small | paper for simulated data, smoke | small | full for real
seed = 0

# %% tags=["hide-input"]
from IPython.display import Markdown, display

from reclib.data import check_texts, leave_one_out, load, prepare
from reclib.study import figures, tables

figures.use_style()

# %% [markdown]
# ## The tables
#
# One call loads any source: the simulated marketplace, a public data set, or a folder of
# your own tables. Every table is checked against its schema first; the
# [data dictionary](../data/dictionary) lists the columns, and each source has
# [a page of its own](../data/index).

# %%
marketplace = load(data, size=size, seed=seed)

# %% tags=["hide-input"]
display(Markdown(tables.origin_note(marketplace)))

# %% [markdown]
# What users did. A search has words and no product; what came out of it carries the words,
# too.

# %%
marketplace.interactions.head()

# %% [markdown]
# What there is to buy.

# %%
marketplace.items.head()

# %% [markdown]
# What users wrote, where the source has it.

# %%
if marketplace.reviews is not None:
    display(marketplace.reviews.head())

# %% [markdown]
# ## Cleaning
#
# Cleaning is a chain of small steps. Public files bring their own faults, such as cancelled
# invoices or prices that are a scrap of a web page; then every source loses searches
# (their words stay), dates that cannot be, repeats, machines, and users with fewer than
# three different products: one to learn from, one for validation and one for the test.
# Each step reports what it did. Data without any histories, or without any texts, are
# refused here, since the next pages need both.

# %%
prepared = prepare(marketplace)
check_texts(prepared)
prepared.steps.style.hide().format(thousands=",")

# %% [markdown]
# Texts lose HTML entities and markup. Prices become percentiles within their currency, so
# that no exchange rate is needed, and events become the strengths $R_{ui}$ of Eq. 5: a
# click counts 1, a product put into the cart 2, a purchase 3.

# %% tags=["hide-input"]
density = prepared.matrix.nnz / (prepared.n_users * prepared.n_items)
display(
    Markdown(
        f"After cleaning: **{prepared.n_users:,} users, {prepared.n_items:,} products and "
        f"{prepared.n_events:,} events**; {density:.2%} of all pairs of a user and a product "
        "ever met."
    )
)

# %% [markdown]
# Few users and few products have many events. This skew is why popularity alone is a model
# to be beaten, and why a metric must say what it averages over.

# %% mystnb={"figure": {"caption": "Events of a user (left) and of a product (right). Both scales are logarithmic.", "name": "fig-activity"}, "image": {"alt": "Two histograms with long tails: events per user and events per product."}} tags=["hide-input"]
import matplotlib.pyplot as plt
import numpy as np

_, (left, right) = plt.subplots(1, 2, figsize=(figures.COLUMN, 2.8))
figures.distribution_plot(
    np.bincount(prepared.user), label="events of a user", ax=left
)
left.set_ylabel("users")
per_item = np.bincount(prepared.item, minlength=prepared.n_items)
figures.distribution_plot(
    per_item[per_item > 0], label="events of a product", ax=right
)
right.set_ylabel("products")
plt.show()

# %% [markdown]
# ## What is held out
#
# Leave-one-out: the last new product of each user is the test, the one before is the
# validation. Models are chosen on validation; then each is fitted anew on all but the last.

# %%
split = leave_one_out(prepared)

# %% tags=["nbval-check-output"]
for fold in (split.validation, split.test):
    asked = fold.relevant.sum(axis=1).max()
    seen = fold.train.matrix.multiply(fold.relevant).nnz
    print(
        f"{fold.name}: {asked} product asked of each user, {seen} of them seen in training"
    )

# %% [markdown]
# Other questions need other splits. One moment for the whole shop is the realistic one;
# users and products that training never saw are the hard ones; products drawn at random
# are there only to show what they leak.

# %%
import pandas as pd

from reclib.data import (
    cold_items,
    cold_users,
    describe_split,
    global_time,
    random_split,
)
from reclib.errors import ReclibError

described, impossible = [describe_split(split, prepared)], {}
for protocol, make in {
    "random": lambda: random_split(prepared, rng=seed),
    "cold-users": lambda: cold_users(prepared, rng=seed),
    "cold-items": lambda: cold_items(prepared, rng=seed),
    "full-time": lambda: global_time(prepared),
}.items():
    try:
        described.append(describe_split(make(), prepared))
    except ReclibError as error:  # these are only shown; the reason is enough
        impossible[protocol], *_ = str(error).split(";")

# %% tags=["hide-input"]
display(tables.split_table(pd.concat(described)))
for protocol, reason in impossible.items():
    display(Markdown(f"These data cannot be split as `{protocol}` ({reason})."))

# %% [markdown]
# The last columns are the leak. *Own future*: in a random split the model has seen what the
# same user did after the product that it is asked for. *Anybody's future*: leave-one-out
# is free of the first, but it still trains on events of other users that came later than
# the question. Only the split by time knows nothing of the future, and it asks for products
# that training has never seen.

# %% [markdown]
# A trap to know about: in the public Amazon files events of one day are sorted by product
# id. A model that sees the direction between neighbouring events can use that. The share
# of users whose last product has a larger id than the one before shows it; without the
# artefact it is near one half.

# %% tags=["hide-input"]
last, previous = split.test.relevant.indices, split.validation.relevant.indices
display(Markdown(f"Here it is **{(last > previous).mean():.1%}** of the users."))

# %% [markdown]
# ## Recap
#
# - One call loads and checks any source.
# - Cleaning is counted, step by step.
# - The last product of each user is the test, and no model is chosen on it.
# - A split decides what a number means: this study names it with every number.
#
# Next: [features](02_extract_features).
