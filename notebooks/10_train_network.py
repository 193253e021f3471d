# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # The hybrid network (Eq. 8)
#
# Eq. 7 adds scores up, with the same weights for every product. The paper's other model lets
# a network look at both sides at once. Here it is built after Fig. 3 of the paper and
# measured beside the weighted sum of the same parts.
#
# - What the network sees, and what it learns from.
# - How its training goes.
# - Whether it beats the weighted sum, and what each half adds.

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
network_seeds = 1  # of the network and of parts with a random fit
k = 10
n_resamples = 2000

# %% tags=["hide-input"]
from IPython.display import Markdown, display

from reclib.data import load, prepare, split_by
from reclib.study import figures, tables
from reclib.study.experiment import (
    evaluate_seeds,
    measure_lists,
    tuned_models,
)
from reclib.study.network import hybrids
from reclib.study.results import NETWORK_FILE, run_folder, write_measured
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
# $$R(u, i) = f_{\mathrm{out}}\big(\mathrm{Concat}(h_{\mathrm{LLM}}(\mathbf{x}_u, \mathbf{y}_i),
# h_{\mathrm{trad}}(\mathbf{x}_u, \mathbf{y}_i))\big)$$
#
# $h_{\mathrm{trad}}$ is a layer over the scores of all models without a language model, the
# place of the product in each of their lists, its popularity and the length of the history.
# $h_{\mathrm{LLM}}$ is a layer over the same of the language model's scores, and over the
# interaction of the two embeddings in their main directions: in all of them a network
# learns its users by heart. $f_{\mathrm{out}}$ is a small network with a straight path
# beside it, so that Eq. 7 is the special case in which the network is silent: with the
# weights that were chosen for it, training starts there. It ranks the union of all parts'
# best products.
#
# Scores on what the parts have learned by heart teach nothing. So the parts are fitted without
# each user's last training product, the network learns to find it, and then the parts are
# fitted on everything. The network does not learn from the validation; the parts' tuning, the
# weights that it starts from and the number of main directions were chosen on it.

# %%
split = split_by(prepare(marketplace), protocol)
fold = split.validation
tuned = tuned_models(
    spaces(**settings),
    fold,
    n_trials=n_trials,
    n_weightings=n_weightings,
    normalise=normalise,
    k=k,
    rng=seed,
)

# %% [markdown]
# ## Training

# %%
networks = hybrids(tuned.fusions, epochs=network_epochs)
for network in networks.values():
    network.fit(split.test.train, rng=seed)

# %% mystnb={"figure": {"caption": "Training on the test's training data: the loss of the users learned from, and of a tenth that is held out. Dots: the epochs that were kept.", "name": "fig-training"}, "image": {"alt": "Two panels of curves: loss by epoch, learned from and held out."}} tags=["hide-input"]
import matplotlib.pyplot as plt

figures.training_plot({name: network.history for name, network in networks.items()})
plt.show()

# %% tags=["hide-input"]
network = networks["hybrid"]
took = network.history
display(
    Markdown(
        f"The held-out product was among the candidates of {network.candidate_recall:.0%} of the "
        f"users: no ranking of them can find more. Training took {took.seconds:.0f} s on "
        f"{took.device} in {took.precision}, {took.examples_per_second:,.0f} users a second."
    )
)

# %% [markdown]
# ## Beside the weighted sum
#
# The test, once for every seed; `no-vectors` sees the scores of the language model but not its
# embeddings, `no-trad` sees nothing but the language model, though its candidates are the same,
# and `no-llm` never sees it.

# %%
models = {
    "traditional:all": tuned.fusions["traditional:all"],
    "llm-fusion:all": tuned.fusions["llm-fusion:all"],
    **networks,
}
outcomes = evaluate_seeds(
    models,
    split.test,
    k=k,
    n_seeds=network_seeds,
    rng=seed,
)
others = [name for name in models if name != "hybrid"]
measured = measure_lists(
    outcomes,
    split.test,
    compared={f"hybrid-vs-{name}": ("hybrid", name) for name in others},
    n_resamples=n_resamples,
    rng=seed,
).assign(data=marketplace.name)
write_measured(measured, run_folder(data, size), NETWORK_FILE)

# %%
lists = measured[~measured["model"].str.contains("-vs-")]
tables.metrics_table(lists, [f"ndcg@{k}", f"recall@{k}", f"mrr@{k}", f"ild@{k}"])

# %% tags=["hide-input"]
differences = measured[measured["model"].str.contains("-vs-")]
tables.difference_table(differences, [f"ndcg@{k}", f"recall@{k}"])

# %% tags=["hide-input"]
found = differences.set_index(["model", "metric"])
rows = []
for other, what in (
    ("llm-fusion:all", "the weighted sum of the same parts"),
    ("hybrid:no-vectors", "itself without the embeddings"),
    ("hybrid:no-llm", "itself without the language model"),
):
    pair = f"hybrid-vs-{other}"
    value, low, high = found.loc[(pair, f"ndcg@{k}"), ["value", "low", "high"]]
    said = tables.verdict(
        value, low, high, found.loc[(pair, f"p_ndcg@{k}"), "value"]
    )
    rows.append(
        f"- The network is **{said}** {what}: {value:+.4f} [{low:+.4f}, {high:+.4f}]."
    )
display(Markdown("\n".join(rows)))

# %% [markdown]
# ## Recap
#
# - The network has the weighted sum within it, and the same parts.
# - It can trust each part where that part is right; whether that gains anything, the list
#   above says.
# - What the language model adds is the difference to the network without it.
#
# Next: [several tasks at once](11_train_tasks).
