# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Content-based filtering (Eq. 4)
#
# Recommend what is like what the user had. This is the first half of the paper's
# traditional model, and it reads the same texts as the language model will.
#
# - Eq. 4 on three products, by hand.
# - What one user is recommended.
# - How well it ranks, on validation.

# %% tags=["parameters", "hide-cell"]
data = "simulated"  # a name in reclib.data.SOURCES, or a folder with your tables
size = "smoke"  # smoke | small | paper for simulated data, smoke | small | full for real
seed = 0

decay = 0.7
history = 20
text = True
review_text = False
price_weight = 0.02
context_weight = 1.0
query_weight = 2.0
k = 10

# %% tags=["hide-input"]
import numpy as np
import pandas as pd
from IPython.display import Markdown, display

from reclib.data import leave_one_out, load, prepare
from reclib.evaluation import sample_pairs
from reclib.models import Content
from reclib.study import figures, tables
from reclib.study.experiment import evaluate_seeds, measure_lists

figures.use_style()
marketplace = load(data, size=size, seed=seed)
display(Markdown(tables.origin_note(marketplace)))

# %% [markdown]
# ## The equation
#
# $$\mathrm{CBF}(\mathbf{x}_u, \mathbf{y}_i) = \cos(\mathbf{x}_u, \mathbf{y}_i)
# = \frac{\mathbf{x}_u \cdot \mathbf{y}_i}{\lVert\mathbf{x}_u\rVert\,\lVert\mathbf{y}_i\rVert}$$
#
# Both vectors have unit length, so the cosine is a sparse dot product. A user at
# $(0.6, 0.8)$ and three products:

# %% tags=["nbval-check-output"]
x = np.array([0.6, 0.8])
y = np.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
print((y @ x).round(2))

# %% [markdown]
# The third product points the same way as the user and gets 1.
#
# ## One user
#
# The newest products of a user's history, and what Eq. 4 puts beside them:

# %%
split = leave_one_out(prepare(marketplace))
fold = split.validation
content = Content(
    decay=decay,
    history=history,
    text=text,
    review_text=review_text,
    price_weight=price_weight,
    context_weight=context_weight,
    query_weight=query_weight,
)
content.fit(fold.train, rng=seed)

# %% tags=["hide-input"]
user = int(np.bincount(fold.train.user).argmax())
newest = fold.train.item[fold.train.user == user][-3:]
tables.recommendation_table(
    fold.train, pd.DataFrame({"item_id": fold.train.item_ids[newest]})
)

# %%
tables.recommendation_table(
    fold.train, content.recommend([fold.train.user_ids[user]], k=5)
)

# %% [markdown]
# ## How well it ranks
#
# Each user's second-last product has to be found among the whole catalogue, less what the
# user had before. The test stays closed until the [experiment](08_run_experiment). Beside
# TF-IDF stands BM25 {cite:p}`robertson2009probabilistic`, in which a repeated word counts
# ever less and long texts do not count for more.

# %%
pairs = sample_pairs(fold, rng=seed)
scorers = {
    "content": content,
    "content:bm25": Content(**content.config() | {"weighting": "bm25"}),
}
outcomes = evaluate_seeds(scorers, fold, k=k, pairs=pairs, rng=seed)
measured = measure_lists(outcomes, fold, rng=seed)
tables.metrics_table(measured, [f"ndcg@{k}", f"recall@{k}", f"mrr@{k}", f"ild@{k}"])

# %% mystnb={"figure": {"caption": "Where Eq. 4 puts the held-out product: the share of the catalogue that scores lower. Chance would be flat.", "name": "fig-content-share"}, "image": {"alt": "Histogram of the share of the catalogue that scores lower than the held-out product."}} tags=["hide-input"]
import matplotlib.pyplot as plt

_, ax = plt.subplots(figsize=(figures.COLUMN, 2.6))
shares = outcomes["content"][0].pair_scores[:, 0]
figures.distribution_plot(
    shares,
    label="share of the catalogue below the held-out product",
    ax=ax,
    log=False,
)
ax.set_ylabel("users")
plt.show()

# %% [markdown]
# ## Recap
#
# - Eq. 4 is a cosine, exact and sparse.
# - Lists are near copies of the history: accurate where users stay on a subject, and little
#   diverse.
#
# Next: [collaborative filtering](04_score_collaborative).
