# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Collaborative filtering (Eq. 5)
#
# Recommend what users like this one had. It reads no text at all when a user is described
# by their interactions, and as much as Eq. 4 when by the paper's features.
#
# - Eq. 5 against its double loop.
# - Two readings of "users like this one".
# - Which of them ranks better, on validation.

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
neighbours = 100  # of user-knn
k = 10

# %% tags=["hide-input"]
import numpy as np
from IPython.display import Markdown, display

from reclib.data import leave_one_out, load, prepare
from reclib.models import Collaborative
from reclib.study import figures, tables
from reclib.study.experiment import evaluate_seeds, measure_lists

figures.use_style()
marketplace = load(data, size=size, seed=seed)
display(Markdown(tables.origin_note(marketplace)))

# %% [markdown]
# ## The equation
#
# $$\mathrm{CF}(\mathbf{x}_u, i) = \sum_{v} \cos(\mathbf{x}_u, \mathbf{x}_v) \cdot R_{vi}$$
#
# Written out, every user is compared with every other: at a million users that is a
# trillion cosines. With the unit vectors as rows of $X$, all scores together are
# $S = (X X^\top) R$, and a matrix product may be grouped the other way:
# $S = X (X^\top R)$. These are the same numbers, without a matrix of users × users.

# %% tags=["nbval-check-output"]
rng = np.random.default_rng(seed)
X = rng.random((30, 8))
X /= np.linalg.norm(X, axis=1, keepdims=True)
R = (rng.random((30, 12)) < 0.2).astype(float)

loop = np.zeros((30, 12))
for u in range(30):
    for v in range(30):
        loop[u] += (X[u] @ X[v]) * R[v]

print("the same numbers:", np.allclose(loop, X @ (X.T @ R)))

# %% [markdown]
# ## Two readings
#
# The paper's $\mathbf{x}_u$ holds the features of Eq. 2. Classic user-based filtering
# compares what users had, their rows of $R$. Both are here, by a parameter. The paper sums
# over all users; the textbook {cite:p}`resnick1994grouplens` only over the nearest, which
# is a third row, `user-knn`.

# %%
split = leave_one_out(prepare(marketplace))
fold = split.validation
scorers = {
    "collaborative": Collaborative(
        decay=decay,
        history=history,
        text=text,
        review_text=review_text,
        price_weight=price_weight,
        context_weight=context_weight,
        query_weight=query_weight,
    ),
    "collaborative:interactions": Collaborative(profile="interactions"),
    "user-knn": Collaborative(profile="interactions", neighbours=neighbours),
}

# %% [markdown]
# ## How well they rank

# %%
outcomes = evaluate_seeds(scorers, fold, k=k, rng=seed)
measured = measure_lists(outcomes, fold, rng=seed)
tables.metrics_table(measured, [f"ndcg@{k}", f"recall@{k}", f"mrr@{k}", f"ild@{k}"])

# %% mystnb={"figure": {"caption": "The readings of Eq. 5 on validation.", "name": "fig-collaborative"}, "image": {"alt": "Bars with intervals: ndcg of the readings of collaborative filtering."}} tags=["hide-input"]
import matplotlib.pyplot as plt

figures.interval_plot(measured, f"ndcg@{k}")
plt.show()

# %% tags=["hide-input"]
ndcg = measured[measured["metric"] == f"ndcg@{k}"].set_index("model")["value"]
ndcg = ndcg.drop("user-knn")
display(
    Markdown(
        f"On validation **{ndcg.idxmax()}** ranks better here, with ndcg@{k} "
        f"{ndcg.max():.4f} against {ndcg.min():.4f}. The fusion takes the one that is better "
        "once both are tuned."
    )
)

# %% [markdown]
# ## Recap
#
# - Eq. 5 is exact and needs no matrix of users × users.
# - What a user is compared by is our choice, not the paper's; validation decides.
#
# Next: [the language model](05_score_language).
