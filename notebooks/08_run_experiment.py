# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # The experiment
#
# Section V of the paper: does the model with the LLM beat the traditional one? Everything
# was chosen on validation; here each model is fitted on all but the last product of every
# user, and the test is opened.
#
# - The machine (Table I).
# - Every model, and what the language model adds to the best without it.
# - Both models beside the paper's numbers (Table II), with intervals.
# - The same as a heatmap (Fig. 4) and as precision against recall (Fig. 5).

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
n_trials = 3  # of every model, in its tuning
normalise = "global"
n_weightings = 66
protocol = "full-loo"  # or full-time, where there are timestamps
direction_blind = False  # also models blind to which of two came first
negatives = 1  # sampled for each positive of the protocol pairs
n_seeds = 1  # of the models with a random fit
k = 10
n_resamples = 2000
text_signal = 0.5  # of simulated data: share of taste that only texts show
items_factor = 1.0  # of simulated data: times the products of the size
reviews_factor = 1.0  # of simulated data: times the reviews of the size

# %% tags=["hide-input"]
import pandas as pd
from IPython.display import Markdown, display

from reclib.data import load, prepare, split_by
from reclib.evaluation import tune
from reclib.study import figures, tables
from reclib.study.cold import measure_by_history
from reclib.study.costs import seconds_by_step
from reclib.study.doctor import machine
from reclib.study.experiment import LLM_PARTS, comparisons, run_experiment
from reclib.study.paper import TABLE_II
from reclib.study.results import run_folder, write_results
from reclib.study.spaces import spaces

figures.use_style()
marketplace = load(
    data,
    size=size,
    seed=seed,
    text_signal=text_signal,
    items_factor=items_factor,
    reviews_factor=reviews_factor,
)
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
# ## The machine (Table I)

# %% tags=["hide-input"]
pd.Series(machine()).map(str).to_frame("this run").style.set_table_attributes(
    'class="results"'
)

# %% [markdown]
# ## The run

# %%
split = split_by(prepare(marketplace), protocol)
variants = {"raw": True} | ({"direction-blind": False} if direction_blind else {})
experiments = {}
for variant, directed in variants.items():
    scorers = tune(
        spaces(directed=directed, **settings),
        split.validation,
        n_trials=n_trials,
        k=k,
        rng=seed,
    ).scorers
    experiments[variant] = run_experiment(
        split,
        scorers,
        variant=variant,
        truth=marketplace.truth,
        k=k,
        n_trials=n_weightings,
        normalise=normalise,
        negatives=negatives,
        n_seeds=n_seeds,
        n_resamples=n_resamples,
        seed=seed,
    )
experiment = experiments["raw"]

# %% [markdown]
# The lists are also measured separately for users with short and long histories. All values go to
# the result files.

# %%
by_history = pd.concat(
    measure_by_history(
        found.outcomes,
        split.test,
        variant=variant,
        compared=comparisons(list(found.outcomes), found.profile),
        n_resamples=n_resamples,
        rng=seed,
    )
    for variant, found in experiments.items()
).assign(data=marketplace.name)
metrics = pd.concat(
    [*(found.metrics for found in experiments.values()), by_history],
    ignore_index=True,
)
write_results(metrics, experiment.costs, run_folder(data, size))

# %% [markdown]
# ## Every model, ranked over the whole catalogue
#
# What each user met next, or, under a split by time, after the moment of the split, has to
# be found among all products that the user has not had.

# %%
ranked = metrics[(metrics["protocol"] == protocol) & (metrics["variant"] == "raw")]
lists = ranked[~ranked["model"].str.contains("-vs-")]
tables.metrics_table(lists, [f"ndcg@{k}", f"recall@{k}", f"mrr@{k}", f"ild@{k}"])

# %% mystnb={"figure": {"caption": "Accuracy of every model on the test products, full ranking.", "name": "fig-accuracy"}, "image": {"alt": "Bars with intervals: ndcg of every model on the test."}} tags=["hide-input"]
import matplotlib.pyplot as plt

axes = figures.interval_plot(lists, f"ndcg@{k}")
axes.figure.savefig(
    run_folder(data, size) / "headline.svg", metadata={"Date": None}
)
plt.show()

# %% [markdown]
# ## What the language model adds
#
# The paired difference between a fusion with the language model and other models, over the
# same users, with p-values after Holm's correction {cite:p}`holm1979simple` for the number
# of comparisons. Where p is .05 or more, no difference was found, even if an interval of
# its own leaves out zero.

# %% tags=["hide-input"]
paired = ranked[ranked["model"].str.contains("-vs-")]
tables.difference_table(paired, [f"ndcg@{k}", f"recall@{k}"])

# %% [markdown]
# The same by how many products the training history holds: the paper expects the language
# model to help most where there are few.

# %% tags=["hide-input"]
tables.history_table(metrics, "llm-fusion:all-vs-traditional:all", f"ndcg@{k}")

# %% tags=["hide-input"]
if direction_blind:
    blind = metrics[
        (metrics["protocol"] == protocol)
        & (metrics["variant"] == "direction-blind")
    ]
    display(
        Markdown(
            "Ties in time may be sorted by id in these data, so a model that sees which of two "
            "neighbours came first may gain from the sorting. The same models, blind to the "
            "direction:"
        ),
        tables.metrics_table(
            blind[~blind["model"].str.contains("-vs-")],
            [f"ndcg@{k}", f"recall@{k}", f"mrr@{k}", f"ild@{k}"],
        ),
        tables.difference_table(
            blind[blind["model"].str.contains("-vs-")], [f"ndcg@{k}", f"recall@{k}"]
        ),
    )

# %% [markdown]
# ## Table II
#
# The paper does not say how precision, recall and F1 were measured. Values of its size are
# out of reach for top-10 lists (with one product to find, precision is at most one tenth),
# so they are shown under the protocol `pairs`: each test product against sampled ones, with
# a threshold chosen on validation. Diversity and the click-through rate are of the lists.

# %% tags=["hide-input"]
tables.table_two(metrics, k=k, protocol=protocol)

# %% tags=["hide-input"]
yes = metrics[
    (metrics["protocol"] == "pairs")
    & (metrics["model"] == "always-yes")
    & (metrics["variant"] == f"r={negatives}")
]
yes = yes.set_index("metric")["value"]
clicks = (
    "The click-through rate is the expected one under the simulator's truth."
    if marketplace.simulated
    else "Nobody was shown these lists, so a click-through rate is not measurable."
)
display(
    Markdown(
        f'The constant answer "always yes" has precision {yes["precision"]:.2f}, recall '
        f"{yes['recall']:.2f} and F1 {yes['f1']:.2f} under this protocol. {clicks}"
    )
)

# %% [markdown]
# ## The heatmap (Fig. 4)

# %% mystnb={"figure": {"caption": "Table II as a heatmap, the paper's two models beside this run's.", "name": "fig-heatmap"}, "image": {"alt": "Heatmap of precision, recall, F1, click-through rate and diversity for four models."}} tags=["hide-input"]
figures.heatmap(
    tables.table_two_values(metrics, k=k, protocol=protocol), label="value"
)
plt.show()

# %% [markdown]
# ## Precision against recall (Fig. 5)

# %% mystnb={"figure": {"caption": "Precision against recall over the test pairs. Dots: the thresholds chosen on validation. Crosses: the paper's Table II.", "name": "fig-precision-recall"}, "image": {"alt": "Precision-recall curves of the traditional model and the model with the LLM, with the paper's two points."}} tags=["hide-input"]
figures.precision_recall_plot(
    {
        name: experiment.pair_scores[name]
        for name in ("content", "language", "traditional", "llm-fusion")
    },
    experiment.thresholds,
    {
        f"paper: {name}": (
            TABLE_II["recall"][column],
            TABLE_II["precision"][column],
        )
        for column, name in enumerate(("traditional", "LLM-based"))
    },
)
plt.show()

# %% [markdown]
# ## What it cost

# %% tags=["hide-input"]
costs = seconds_by_step(experiment.costs).reindex(lists["model"].unique())
costs = costs.rename_axis(index=None, columns=None)
costs.style.format("{:.1f} s").set_table_attributes('class="results"')

# %% [markdown]
# Seconds on this machine when a step was first computed; a fusion's include its parts'.
# The embeddings of the products are one file, and its seconds stand once with each reader.
#
# ## The answer of this run

# %% tags=["hide-input"]
name = metrics["data"].iloc[0]
answers = paired.set_index(["model", "metric"])
for first, second in (
    ("llm-fusion", "traditional"),
    ("llm-fusion:all", "traditional:all"),
):
    pair = f"{first}-vs-{second}"
    value, low, high, users = answers.loc[
        (pair, f"ndcg@{k}"), ["value", "low", "high", "users"]
    ]
    p = answers.loc[(pair, f"p_ndcg@{k}"), "value"]
    weights = experiment.fusions[first].weights
    weight = sum(weights.get(part, 0) for part in LLM_PARTS)
    display(
        Markdown(
            f"On **{name}**, `{first}` is **{tables.verdict(value, low, high, p)}** "
            f"`{second}`: paired difference in ndcg@{k} {value:+.4f} [{low:+.4f}, {high:+.4f}] "
            f"over {users:,.0f} users, corrected p {p:.3f}. The weight of the language model in it "
            f"is {weight:.2f}."
        )
    )

# %% [markdown]
# ## Recap
#
# - Every value comes from this run's result files, with a 95 % interval over users.
# - The model without the LLM reads the same texts and had the same tuning.
# - What cannot be measured is said to be so.
#
# Next: [new users and new products](09_start_cold).
