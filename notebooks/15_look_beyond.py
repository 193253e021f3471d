# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Beyond accuracy
#
# Two models may be right equally often and still show different shops: one the same twenty
# best-sellers to everybody, the other a long tail. The paper measures one such thing,
# diversity. Here are the others that the field looks at, and who is shown what.
#
# - How much of the catalogue is shown, and how evenly.
# - How popular what is shown is, beside what users had.
# - Whether lists keep to each user's own mix of categories.
# - The same for users with short, middling and long histories.

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
k = 10
n_resamples = 2000

# %% tags=["hide-input"]
import matplotlib.pyplot as plt
from IPython.display import Markdown, display

from reclib.data import load, prepare, split_by
from reclib.study import figures, tables
from reclib.study.beyond import measure_beyond, user_groups
from reclib.study.experiment import (
    evaluate_seeds,
    tuned_models,
)
from reclib.study.results import BEYOND_FILE, run_folder, write_measured
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
# ## The lists
#
# Of the test, from the models as they were tuned on the pages before.

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
alone = (
    "random",
    "popular",
    "content",
    "content:tuned",
    tuned.profile,
    "language",
    "language:tuned",
)
models = {name: one for name, one in tuned.scorers.items() if name in alone}
models |= tuned.fusions
outcomes = evaluate_seeds(models, split.test, k=k, rng=seed)

# %%
measured = measure_beyond(
    outcomes,
    split.test,
    compared={
        "llm-fusion-vs-traditional": ("llm-fusion", "traditional"),
        "llm-fusion:all-vs-traditional:all": ("llm-fusion:all", "traditional:all"),
    },
    n_resamples=n_resamples,
    rng=seed,
).assign(data=marketplace.name)
write_measured(measured, run_folder(data, size), BEYOND_FILE)

# %% [markdown]
# ## What the catalogue gets
#
# `coverage` is the share of the products that anybody is shown, `gini` how unevenly they are
# shown, from 0 to nearly 1. `tail` is the share of a list outside the most popular fifth.

# %% tags=["hide-input"]
raw = measured[measured["variant"] == "raw"]
lists = raw[~raw["model"].str.contains("-vs-")]
tables.metrics_table(lists, [f"coverage@{k}", f"gini@{k}", f"tail@{k}"], mark=False)

# %% [markdown]
# ## What users get
#
# `novelty` is the surprise of a product in bits: one bit more means that half as many had it.
# `popularity_lift` compares the list with the user's own history: 1 is twice as popular.
# `miscalibration` is the distance between the categories of the list and the user's own mix,
# and `category_entropy` how mixed the list is.

# %% tags=["hide-input"]
names = ("novelty", "popularity_lift", "miscalibration", "category_entropy")
tables.metrics_table(lists, [f"{name}@{k}" for name in names], mark=False)

# %% [markdown]
# ## What the language model changes

# %% tags=["hide-input"]
paired = raw[raw["model"].str.contains("-vs-")]
tables.metrics_table(
    paired, [f"{name}@{k}" for name in ("tail", *names)], mark=False
)

# %% [markdown]
# ## By how much users had
#
# Thirds of the users by the number of products in training.

# %% mystnb={"figure": {"caption": "How much more popular lists are than what users had before, by thirds of the users; 0 is as popular.", "name": "fig-lift"}, "image": {"alt": "Points with intervals: popularity lift of several models for light, medium and heavy users."}} tags=["hide-input"]
shown = ("content", "language", *tuned.fusions)
figures.group_plot(measured, f"popularity_lift@{k}", models=shown)
plt.show()

# %% tags=["hide-input"]
sizes = {
    name: int(inside.sum()) for name, inside in user_groups(split.test).items()
}
pair = "llm-fusion:all-vs-traditional:all"
lines = []
for group, n in sizes.items():
    part = measured[measured["variant"] == f"raw, {group} users"]
    part = part[part["model"] == pair].set_index("metric")
    value, low, high = part.loc[f"tail@{k}", ["value", "low", "high"]]
    found = (
        "more" if low > 0 else "less" if high < 0 else "not clearly more or less"
    )
    lines.append(
        f"- To {n:,} {group} users the fusion with the language model shows **{found}** of the "
        f"long tail: {value:+.3f} [{low:+.3f}, {high:+.3f}] of a list."
    )
display(Markdown("\n".join(lines)))

# %% [markdown]
# ## Recap
#
# - Accuracy alone does not tell which products a shop will show.
# - Few of these measures are good or bad by themselves: a list of the least popular products
#   is all tail, and random lists cover everything.
#
# Next: [what the order of ties gives away](16_probe_order).
