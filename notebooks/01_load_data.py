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

from reclib.data import leave_one_out, load, prepare
from reclib.study import figures, tables

figures.use_style()

# %% [markdown]
# ## The tables
#
# One call loads any source: the simulated marketplace, a public data set, or a folder of
# your own tables. Every table is checked against its schema first.

# %%
marketplace = load(data, size=size, seed=seed)

# %% tags=["hide-input"]
display(Markdown(tables.origin_note(marketplace)))

# %%
marketplace.interactions.head()

# %%
marketplace.items.head()

# %% [markdown]
# ## Cleaning
#
# Texts lose HTML entities and markup, ids become dense integers, and users with fewer than
# three different products are left out: one product to learn from, one for validation and
# one for the test. Each step reports what it did.

# %%
prepared = prepare(marketplace)
prepared.steps.style.hide()

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
#
# Next: [features](02_extract_features).
