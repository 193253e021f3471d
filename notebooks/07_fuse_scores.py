# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # The fusion (Eq. 7)
#
# The paper adds up the three scores with weights α, β and γ. It gives neither the weights
# nor the scale of the parts. Here the parts are brought to one scale, and the weights are chosen
# on validation, with as many trials for the traditional model as for the one with the LLM.
#
# - Why the parts must be scaled first.
# - Which weights are best, and how flat the optimum is.
# - The fusion of everything, with weights that depend on the history.
# - What each part adds, on validation.

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
normalise = "global"  # global | minmax | zscore | percentile
n_weightings = 66
k = 10

# %% tags=["hide-input"]
import numpy as np
import pandas as pd
from IPython.display import Markdown, display

from reclib.data import load, prepare, split_by
from reclib.evaluation import choose_weights, tune
from reclib.study import figures, tables
from reclib.study.experiment import (
    choose_profile,
    evaluate_seeds,
    fusion_parts,
    measure_lists,
    tuned_fusions,
)
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
# $$R(u, i) = \alpha \cdot \mathrm{CBF}(\mathbf{x}_u, \mathbf{y}_i)
# + \beta \cdot \mathrm{CF}(\mathbf{x}_u, i)
# + \gamma \cdot \mathrm{LLMScore}(\mathbf{x}_u, \mathbf{y}_i),
# \qquad \alpha + \beta + \gamma = 1$$
#
# A cosine lies between −1 and 1, while the sum of Eq. 5 grows with the number of users.
# Added as they are, Eq. 5 would drown the rest. So each part is brought to a common scale,
# over the products that the user has not had: either on a scale of each user's own
# (min–max, z-score, percentile), or on one scale for all users (`global`), so that a part
# says more where it is surer. The parts are the models as the [last page](06_tune_baselines)
# tuned them.

# %%
split = split_by(prepare(marketplace), protocol)
fold = split.validation
scorers = tune(
    spaces(**settings),
    fold,
    n_trials=n_trials,
    k=k,
    rng=seed,
).scorers
collaborative = choose_profile(scorers, fold, k=k, rng=seed)
parts = fusion_parts(scorers, collaborative)

# %% [markdown]
# ## The weights
#
# Every point of a regular grid is tried on validation. Each part is scored once; a trial
# only adds them up anew.

# %%
trials = choose_weights(
    parts["llm-fusion"],
    fold,
    n_trials=n_weightings,
    normalise=normalise,
    k=k,
    rng=seed,
)
trials.head().style.format(precision=4).hide().set_table_attributes(
    'class="results"'
)

# %% mystnb={"figure": {"caption": "Validation ndcg@10 of every weighting of Eq. 7: the corners are the parts alone, the ring is the best.", "name": "fig-simplex"}, "image": {"alt": "Triangle of dots coloured by ndcg: the best weighting lies between the corners."}} tags=["hide-input"]
import matplotlib.pyplot as plt

figures.simplex_plot(trials, f"ndcg@{k}")
plt.show()

# %% tags=["hide-input"]
metric = f"ndcg@{k}"
near = (trials[metric] > 0.98 * trials[metric].max()).mean()
display(
    Markdown(
        f"{near:.0%} of the weightings come within two per cent of the best: the sharper the "
        "optimum, the more the choice of the weights decides."
    )
)

# %% [markdown]
# ## All fusions
#
# `traditional` is the best α·CBF + β·CF, and `llm-fusion` adds γ·LLM: the two models of the
# paper. `content-count` adds counts of transitions to the content, without any language
# model. The last two mix everything there is, without and with the language model. Models
# that are compared had the same number of trials.

# %%
fused = tuned_fusions(
    scorers,
    collaborative,
    fold,
    n_trials=n_weightings,
    normalise=normalise,
    k=k,
    rng=seed,
)
weights = pd.DataFrame({name: model.weights for name, model in fused.items()})
weights.style.format(precision=2, na_rep="–").set_table_attributes(
    'class="results"'
)

# %% [markdown]
# ## Short and long histories
#
# The paper expects a language model to help most where little is known of a user. So the
# weights of the last two fusions may depend on the number $n$ of products in the history:
# $w(n) = (1 - t)\, w_0 + t\, w_\infty$ with $t = n / (n + h)$, where $w_0$, $w_\infty$ and $h$
# are chosen on validation. Above are the $w_\infty$. If the search found nothing better than
# weights that are the same for all, the areas below are flat.

# %% mystnb={"figure": {"caption": "Weights of the fusion of everything, by the length of the history.", "name": "fig-history-weights"}, "image": {"alt": "Stacked areas: the share of each part from short to long histories."}} tags=["hide-input"]
import matplotlib.pyplot as plt

products = np.arange(1, 31)
whole = fused["llm-fusion:all"]
shape = (
    len(products),
    len(whole.parts),
)  # one row where the weights are the same for all
by_history = pd.DataFrame(
    np.broadcast_to(whole.weights_of(products), shape),
    index=products,
    columns=list(whole.parts),
)
figures.history_plot(by_history)
plt.show()

# %% [markdown]
# ## What each part adds
#
# Each part in turn is taken out of the fusion of everything, the other weights staying in
# proportion. The difference is what the part adds that no other part knows.

# %%
without = {
    f"without {part}": whole.without(part)
    for part, weight in whole.weights.items()
    if weight >= 0.005
}
outcomes = evaluate_seeds({"llm-fusion:all": whole, **without}, fold, k=k, rng=seed)
compared = {
    name.removeprefix("without "): ("llm-fusion:all", name) for name in without
}
added = measure_lists(outcomes, fold, compared=compared, rng=seed)
added = added[added["model"].isin(compared)]
tables.metrics_table(added, [f"ndcg@{k}", f"recall@{k}", f"ild@{k}"], mark=False)

# %% [markdown]
# ## What fusion gains

# %%
outcomes = evaluate_seeds({**parts["llm-fusion"], **fused}, fold, k=k, rng=seed)
measured = measure_lists(outcomes, fold, rng=seed)
tables.metrics_table(measured, [f"ndcg@{k}", f"recall@{k}", f"mrr@{k}", f"ild@{k}"])

# %% mystnb={"figure": {"caption": "The parts of Eq. 7 and all fusions on validation, where their weights were chosen.", "name": "fig-fusion"}, "image": {"alt": "Bars with intervals: ndcg of the three parts and of the fusions."}} tags=["hide-input"]
figures.interval_plot(measured, f"ndcg@{k}")
plt.show()

# %% [markdown]
# ## Recap
#
# - Parts are scaled before they are added.
# - Models that are compared had equal tuning.
# - These numbers are of the validation that the weights were chosen on, so they flatter;
#   the test decides.
#
# Next: [the experiment](08_run_experiment).
