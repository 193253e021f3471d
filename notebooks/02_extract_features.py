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
# - How a product becomes a vector.
# - How a user becomes the mean of what they had.
# - What lies near what.

# %% tags=["parameters", "hide-cell"]
data = "simulated"  # a name in reclib.data.SOURCES, or a folder with your tables
size = "smoke"  # smoke | small | paper for simulated data, smoke | small | full for real
seed = 0

decay = 0.7  # each step back in a history multiplies the weight by this
history = 20  # newest products that count
price_weight = 0.02  # share of the squared length that the price takes

# %% tags=["hide-input"]
import numpy as np
import pandas as pd
from IPython.display import Markdown, display

from reclib.data import extract_features, leave_one_out, load, prepare
from reclib.study import figures, tables

figures.use_style()
marketplace = load(data, size=size, seed=seed)
display(Markdown(tables.origin_note(marketplace)))

# %% [markdown]
# ## Products (Eq. 3)
#
# $$\mathbf{y}_i = \mathrm{ExtractFeatures}(D_i)$$
#
# The text of a product (title, categories, brand, description) becomes a TF-IDF vector
# {cite}`salton1988term`: a word counts for more the rarer it is. The price's percentile is put
# on a quarter circle, so that the cosine of two prices falls with their distance. The whole
# vector has unit length.

# %%
split = leave_one_out(prepare(marketplace))
train = split.validation.train
features = extract_features(
    train, decay=decay, history=history, price_weight=price_weight
)

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
# The words with most weight say what a product is about:


# %%
def heaviest(row: np.ndarray, n: int = 6) -> str:
    return ", ".join(features.names[np.argsort(-row)[:n]])


shown = np.bincount(train.item, minlength=train.n_items).argsort()[::-1][:5]
pd.DataFrame(
    {
        "title": train.items.loc[shown, "title"].to_numpy(),
        "heaviest features": [
            heaviest(features.items[[item]].toarray()[0]) for item in shown
        ],
    }
)

# %% [markdown]
# ## Users (Eq. 2)
#
# $$\mathbf{x}_u = \frac{\sum_i w_{ui}\,\mathbf{y}_i}{\lVert\sum_i w_{ui}\,\mathbf{y}_i\rVert},
# \qquad w_{ui} \propto R_{ui} \cdot \text{decay}^{\text{age}}$$
#
# A user is the recency-weighted mean of the products in the training history. One user:

# %%
user = int(np.bincount(train.user).argmax())
events = train.user == user
bought = pd.DataFrame({"item_id": train.item_ids[train.item[events]]})[-5:]
tables.recommendation_table(train, bought)

# %% tags=["hide-input"]
words = heaviest(features.users[[user]].toarray()[0], 10)
display(Markdown(f"The heaviest features of this user: {words}."))

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
print("unit length:", np.allclose(length, 1, atol=1e-5))

# %% [markdown]
# ## Recap
#
# - A product is its words and its price, as a vector of unit length.
# - A user is the recency-weighted mean of the products they had.
# - Both are fitted on training data only; of the catalogue, all texts are known beforehand.
#
# Next: [content-based filtering](03_score_content).
