# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Features
#
# Eq. 2 and Eq. 3 turn data into vectors: $\mathbf{x}_u$ for a user, $\mathbf{y}_i$ for a
# product. The paper leaves open how. Here both lie in one space, so that the cosine of
# Eq. 4 is defined.
#
# - How a product becomes a vector of three parts: text, price, context.
# - How a user becomes the mean of what their events brought.
# - What each part adds, and how to switch it off.
# - What lies near what.

# %% tags=["parameters", "hide-cell"]
data = "simulated"  # a name in reclib.data.SOURCES, or a folder with your tables
size = "smoke"  # smoke | small | paper for simulated data, smoke | small | full for real
seed = 0

decay = 0.7  # each step back in a history multiplies the weight by this
history = 20  # newest products that count
text = True  # words of the products; False: off, and the queries with them
review_text = False  # add the words of the reviews written in training
price_weight = 0.02  # share of the price beside the text; 0: off
context_weight = 1.0  # weight of device, season and the like; 0: off
query_weight = 2.0  # weight of the words typed beside the product found; 0: off
k = 10

# %% tags=["hide-input"]
import numpy as np
import pandas as pd
from IPython.display import Markdown, display

from reclib.data import extract_features, leave_one_out, load, prepare
from reclib.models import Content
from reclib.study import figures, tables
from reclib.study.experiment import evaluate_seeds, measure_lists

figures.use_style()
marketplace = load(data, size=size, seed=seed)
display(Markdown(tables.origin_note(marketplace)))

# %% [markdown]
# ## Products (Eq. 3)
#
# $$\mathbf{y}_i = \mathrm{ExtractFeatures}(D_i)
# \propto \bigl(\sqrt{1-p}\;\mathbf{t}_i,\;\; \sqrt{p}\;\mathbf{q}_i,\;\;
# \sqrt{c}\;\mathbf{h}_i\bigr)$$
#
# Three parts stand side by side, and the whole is scaled to unit length.
#
# - $\mathbf{t}_i$, the text: title, categories, brand and description as a TF-IDF vector
#   {cite}`salton1988term`. A word counts for more the rarer it is.
# - $\mathbf{q}_i$, the price: its percentile in its currency, put on a quarter circle. The
#   cosine of two prices falls with their distance.
# - $\mathbf{h}_i$, the context: in which situations the product is met.
#
# $p$ and $c$ are the weights of price and context.

# %%
fold = leave_one_out(prepare(marketplace)).validation
settings = {
    "decay": decay,
    "history": history,
    "text": text,
    "review_text": review_text,
    "price_weight": price_weight,
    "context_weight": context_weight,
    "query_weight": query_weight,
}
features = extract_features(fold.train, **settings)

# %% tags=["hide-input"]
n_items, n_features = features.items.shape
per_item = features.items.nnz / n_items
display(
    Markdown(
        f"{n_items:,} products in {n_features:,} dimensions; a product uses {per_item:.0f} of "
        "them, so the matrix is kept sparse."
    )
)

# %% [markdown]
# How much of the squared length each part takes shows how much it can move a cosine:

# %%
names = pd.Series(features.names)
part = names.str.split(":").str[0].where(names.str.contains(":"), "text")
squared = pd.Series(features.items.power(2).sum(axis=0))
parts = pd.DataFrame(
    {
        "columns": part.groupby(part, sort=False).size(),
        "share": squared.groupby(part, sort=False).sum() / squared.sum(),
    }
).rename_axis("part")
parts.style.format({"columns": "{:,}", "share": "{:.2%}"})

# %% [markdown]
# ### Text
#
# The features with most weight say what a product is about:


# %%
def heaviest(row: np.ndarray, n: int = 6) -> str:
    return ", ".join(features.names[np.argsort(-row)[:n]])


train = fold.train
shown = np.bincount(train.item, minlength=train.n_items).argsort()[::-1][:5]
rows = features.items[shown].toarray()
pd.DataFrame(
    {
        "item_id": train.item_ids[shown],
        "title": train.items["title"].to_numpy()[shown],
        "heaviest features": [heaviest(row) for row in rows],
    }
)

# %% [markdown]
# ### Context
#
# For every level $l$ of a kind of context, such as winter of the seasons,
#
# $$h_{il} = \sqrt{s_{il}} - \sqrt{\bar s_l},$$
#
# where $s_{il}$ is the level's share among the events of the product and $\bar s_l$ that
# among all events. A product that is met in no special situation gets zeros. A few average
# events are added to those of each product, so that one event says little.
#
# For each level, the product that leans to it most; the strongest twelve:

# %%
situations = np.flatnonzero(~part.isin(["text", "price"]))
columns = features.items[:, situations].tocsc()
leaning = columns.argmax(axis=0)
most = pd.DataFrame(
    {
        "situation": features.names[situations],
        "item_id": train.item_ids[leaning],
        "title": train.items["title"].to_numpy()[leaning],
        "leaning": columns.max(axis=0).toarray(),
    }
).nlargest(12, "leaning")

# %% tags=["hide-input"]
unknown = Markdown("> These data tell no situation, so this part is empty here.")
display(most if len(most) else unknown)

# %% [markdown]
# ## Users (Eq. 2)
#
# $$\mathbf{x}_u \propto \sum_{e \in D_u} w_e \,\bigl(\mathbf{y}_{i(e)}
# + q\,\mathbf{t}_{s(e)}\bigr) + \sqrt{c}\;\mathbf{h}_u,
# \qquad w_e \propto R_e \cdot \text{decay}^{\text{age}(e)}$$
#
# Each event $e$ of the training history brings its product $i(e)$ and, with the weight $q$,
# the words of the search $s(e)$ that led to it. $\mathbf{h}_u$ are the situations in which
# the user acts, counted as for a product. One user:

# %%
user = int(np.bincount(train.user).argmax())
last = np.flatnonzero(train.user == user)[-5:]
queries = np.array([*train.queries, ""], dtype=object)  # the last one is for −1
bought = pd.DataFrame(
    {
        "item_id": train.item_ids[train.item[last]],
        "search": queries[train.query[last]],
    }
)
tables.recommendation_table(train, bought)

# %% tags=["hide-input"]
words = heaviest(features.users[[user]].toarray()[0], 10)
display(Markdown(f"The heaviest features of this user: {words}."))

# %% [markdown]
# ## What each part adds
#
# Each part is switched off in turn, by its parameter. Content-based filtering (Eq. 4) then
# looks for the second-last product of every user, on validation. A part that these data
# lack has no row.

# %%
switches = {
    "text": {"text": False},
    "price": {"price_weight": 0.0},
    "context": {"context_weight": 0.0},
    "queries": {"query_weight": 0.0},
}
there = {
    "text": text and len(parts) > 1,
    "price": "price" in parts.index and len(parts) > 1,
    "context": len(situations) > 0,
    "queries": text and query_weight > 0 and (train.query >= 0).any(),
}
variants = {"all parts": Content(**settings)} | {
    f"without {name}": Content(**settings | change)
    for name, change in switches.items()
    if there[name]
}

# %% tags=["hide-input"]
outcomes = evaluate_seeds(variants, fold, k=k, rng=seed)
measured = measure_lists(outcomes, fold, rng=seed)
tables.metrics_table(measured, [f"ndcg@{k}", f"recall@{k}", f"ild@{k}"])

# %% [markdown]
# A word of caution, for data with searches. Where the asked product came out of the same search as
# the event before it, the words, typed beforehand, point straight at it. That is fair in a
# shop that recommends during a visit. In a split by time most such pairs are cut apart, and
# little of the gain is left.

# %% [markdown]
# ## What lies near
#
# Products that share rare words are near each other. The nearest of the most popular
# product:

# %%
similarity = (features.items @ features.items[[shown[0]]].T).toarray()[:, 0]
nearest = np.argsort(-similarity, kind="stable")[:6]
tables.recommendation_table(
    train,
    pd.DataFrame(
        {"item_id": train.item_ids[nearest], "cosine": similarity[nearest]}
    ),
)

# %% tags=["nbval-check-output"]
length = np.sqrt(features.items.power(2).sum(axis=1))
print("unit length:", np.allclose(length[length > 0], 1, atol=1e-5))

# %% [markdown]
# ## Recap
#
# - A product is its words, its price and the situations it is met in, as a vector of unit
#   length.
# - A user is the recency-weighted mean of the products they had and the words they typed,
#   beside the situations they act in.
# - All is fitted on training data only; of the catalogue, texts and prices are known
#   beforehand.
#
# Next: [content-based filtering](03_score_content).
