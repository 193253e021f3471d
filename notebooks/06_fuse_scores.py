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
# nor the scale of the parts. Here each part is scaled per user, and the weights are chosen
# on validation, with as many trials for the traditional model as for the one with the LLM.
#
# - Why the parts must be scaled first.
# - Which weights are best, and how flat the optimum is.
# - What the best fusion gains over its parts, on validation.

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
normalise = "minmax"  # minmax | zscore | percentile
n_trials = 66
k = 10

# %% tags=["hide-input"]
import pandas as pd
from IPython.display import Markdown, display

from reclib.data import leave_one_out, load, prepare
from reclib.evaluation import choose_weights, evaluate, sample_pairs
from reclib.study import figures, tables
from reclib.study.experiment import (
    choose_profile,
    fusions,
    measure_lists,
    single_scorers,
)

figures.use_style()
marketplace = load(data, size=size, seed=seed)
display(Markdown(tables.origin_note(marketplace)))

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
# user by user, over the products that the user has not had.

# %%
split = leave_one_out(prepare(marketplace))
fold = split.validation
scorers = single_scorers(
    decay=decay,
    history=history,
    text=text,
    review_text=review_text,
    price_weight=price_weight,
    context_weight=context_weight,
    query_weight=query_weight,
    encoder=encoder,
)
pairs = sample_pairs(fold, rng=seed)
collaborative = choose_profile(scorers, fold, pairs=pairs, k=k, rng=seed)
parts = {
    "content": scorers["content"],
    "collaborative": scorers[collaborative],
    "language": scorers["language"],
}

# %% [markdown]
# ## The weights
#
# Every point of a regular grid is tried on validation. Each part is scored once; a trial
# only adds them up anew.

# %%
trials = choose_weights(
    parts, fold, n_trials=n_trials, normalise=normalise, k=k, rng=seed
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
# ## What it gains
#
# The traditional model is the best α·CBF + β·CF, the other adds γ·LLM. Both had the same
# number of trials.

# %%
fused = fusions(
    scorers,
    collaborative,
    fold,
    n_trials=n_trials,
    normalise=normalise,
    k=k,
    rng=seed,
)
weights = pd.DataFrame({name: model.weights for name, model in fused.items()}).T
weights.style.format(precision=2, na_rep="–").set_table_attributes(
    'class="results"'
)

# %%
outcomes = evaluate({**parts, **fused}, fold, k=k, pairs=pairs, rng=seed)
measured = measure_lists(outcomes, fold, rng=seed)
tables.metrics_table(measured, [f"ndcg@{k}", f"recall@{k}", f"mrr@{k}", f"ild@{k}"])

# %% mystnb={"figure": {"caption": "The parts of Eq. 7 and both fusions on validation, where their weights were chosen.", "name": "fig-fusion"}, "image": {"alt": "Bars with intervals: ndcg of the three parts and of both fusions."}} tags=["hide-input"]
figures.interval_plot(measured, f"ndcg@{k}")
plt.show()

# %% [markdown]
# ## Recap
#
# - Parts are scaled per user before they are added.
# - Both models of Table II had equal tuning.
# - These numbers are of the validation that the weights were chosen on, so they flatter;
#   the test decides.
#
# Next: [the experiment](07_run_experiment).
