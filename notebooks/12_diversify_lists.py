# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Diversity (Eq. 9)
#
# The paper claims 41 % more diversity from a term in the loss. Anybody can have diverse lists:
# random ones are the most diverse. So the question is what diversity costs in accuracy, and
# whether training for it is cheaper than choosing from a finished ranking.
#
# - The term, and what it does to the network's lists.
# - MMR and DPP, which a practitioner would use.
# - All of them in one figure, with the paper's gain marked.

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
encoder = "all-MiniLM-L6-v2"
without = []  # models to do without, such as the slow ["sasrec"]
protocol = "full-loo"  # or full-time, where there are timestamps
n_trials = 3  # of every model, in its tuning
normalise = "global"
n_weightings = 66
network_epochs = 40  # at most: training stops where held-out users gain nothing
diversity_weights = [0.0, 1.0, 10.0]  # λ of Eq. 9; 0 is always tried
trade_offs = [1.0, 0.9, 0.7]  # of MMR and DPP: 1 is the ranking as it is
k = 10
n_resamples = 2000

# %% tags=["hide-input"]
from IPython.display import Markdown, display

from reclib.data import load, prepare, split_by
from reclib.study import figures, tables
from reclib.study.diversity import PLAIN, paper_goal, price_said
from reclib.study.experiment import (
    evaluate_seeds,
    measure_lists,
    tuned_models,
)
from reclib.study.network import hybrids, reranked
from reclib.study.results import DIVERSITY_FILE, run_folder, write_measured
from reclib.study.spaces import spaces

figures.use_style()
marketplace = load(data, size=size, seed=seed)
display(Markdown(tables.origin_note(marketplace)))

# %% tags=["hide-input"]
settings = {
    "decay": decay,
    "history": history,
    "text": text,
    "review_text": review_text,
    "price_weight": price_weight,
    "context_weight": context_weight,
    "query_weight": query_weight,
    "encoder": encoder,
    "without": without,
}

# %% [markdown]
# ## The equation
#
# $$L = L_{\mathrm{main}} + \lambda \, L_{\mathrm{diversity}}, \qquad
# L_{\mathrm{diversity}} = \sum_{i \neq j} p_i \, p_j \cos(\mathbf{y}_i, \mathbf{y}_j)$$
#
# The paper does not say what the second term is. Ours is the expected similarity of two
# products that are shown with the probabilities $p$, the softmax of the scores of a user's
# candidates; it is differentiable, and zero if nothing resembles anything. The $\mathbf{y}$
# are the features of Eq. 3. What is measured afterwards, `ild`, lives in a part of that
# space: brands and categories.

# %%
split = split_by(prepare(marketplace), protocol)
fold = split.validation
fusions = tuned_models(
    spaces(**settings),
    fold,
    n_trials=n_trials,
    n_weightings=n_weightings,
    normalise=normalise,
    k=k,
    rng=seed,
).fusions

# %% [markdown]
# ## Training for diversity
#
# The same network with different λ, on validation.

# %%
trained = {
    f"hybrid:λ={weight:g}": hybrids(
        fusions, epochs=network_epochs, diversity=weight
    )["hybrid"]
    for weight in sorted({0.0, *diversity_weights})
}
outcomes = evaluate_seeds(trained, fold, k=k, rng=seed)

# %% [markdown]
# ## Choosing for diversity
#
# MMR (maximal marginal relevance) {cite:p}`carbonell1998use` and DPP (determinantal point
# process) {cite:p}`chen2018fast` take the finished ranking of the network without the term,
# and choose a list from its best products.

# %%
outcomes |= reranked(trained[PLAIN], fold, trade_offs=trade_offs, k=k, rng=seed)
measured = measure_lists(outcomes, fold, n_resamples=n_resamples, rng=seed).assign(
    data=marketplace.name
)
write_measured(measured, run_folder(data, size), DIVERSITY_FILE)
tables.metrics_table(measured, [f"ndcg@{k}", f"recall@{k}", f"ild@{k}"], mark=False)

# %% mystnb={"figure": {"caption": "What diversity costs, on validation: a line for each way to it, its settings beside the dots. Dashed: the paper's gain in diversity, from the network without the term.", "name": "fig-pareto"}, "image": {"alt": "Lines from high accuracy and low diversity to low accuracy and high diversity, one a method."}} tags=["hide-input"]
import matplotlib.pyplot as plt

figures.pareto_plot(
    measured, across=f"ild@{k}", up=f"ndcg@{k}", goal=paper_goal(measured, k=k)
)
plt.show()

# %% tags=["hide-input"]
display(Markdown(price_said(measured, k=k)))

# %% [markdown]
# ## Recap
#
# - Diversity by itself is no merit; what counts is its price in accuracy.
# - A term in the loss and a choice afterwards pay that price in different ways: the figure
#   says which is cheaper on these data.
#
# Next: [clicks](13_estimate_clicks).
