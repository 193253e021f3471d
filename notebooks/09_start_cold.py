# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # New users, new products
#
# The paper promises most where collaborative filtering knows least: the cold start. Here
# every model meets users and products that training hardly shows, or not at all.
#
# - Users with no product, one, or two.
# - Products that nobody had yet.
# - What the language model adds in each case.

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
share = 0.1  # of the users, or products, that are new
k = 10
n_resamples = 2000

text_signal = 0.5  # of simulated data: share of taste that only texts show
items_factor = 1.0  # of simulated data: times the products of the size
reviews_factor = 1.0  # of simulated data: times the reviews of the size

# %% tags=["hide-input"]
from IPython.display import Markdown, display

from reclib.data import load, prepare, split_by
from reclib.evaluation import tune
from reclib.study import figures, tables
from reclib.study.cold import GIVEN, measure_cold
from reclib.study.results import COLD_FILE, run_folder, write_measured
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
# ## The protocols
#
# `cold-users`
# : A `share` of the users is kept out of training, but for their first products: none, one or
#   two (`given`). What they met later has to be found.
#
# `cold-items`
# : A `share` of the products is kept out of training. Users have to find those they met. All
#   that is known of such a product is its text and price, so models that only count what
#   was had together have nothing to go by.
#
# As many other users, or products, serve as validation for the weights of the fusions. The
# hyper-parameters are those of the [tuning](06_tune_baselines), whose validation knows the
# ordinary histories of all users; that can flatter every model a little, and all alike.

# %%
prepared = prepare(marketplace)
scorers = tune(
    spaces(**settings),
    split_by(prepared, protocol).validation,
    n_trials=n_trials,
    k=k,
    rng=seed,
).scorers

# %%
measured = measure_cold(
    prepared,
    scorers,
    share=share,
    k=k,
    n_trials=n_weightings,
    normalise=normalise,
    n_resamples=n_resamples,
    seed=seed,
)
write_measured(measured, run_folder(data, size), COLD_FILE)

# %% [markdown]
# ## New users

# %%
users = measured[measured["protocol"] == "cold-users"]
tables.variants_table(
    users[~users["model"].str.contains("-vs-")],
    f"ndcg@{k}",
    [f"given={n}" for n in GIVEN],
)

# %% [markdown]
# 0 with an interval of 0 means that the model has nothing to show: without a history there is
# no profile, and only the popular products, or chance, are left.
#
# ## New products

# %%
items = measured[measured["protocol"] == "cold-items"]
tables.metrics_table(
    items[~items["model"].str.contains("-vs-")],
    [f"ndcg@{k}", f"recall@{k}", f"mrr@{k}", f"ild@{k}"],
)

# %% [markdown]
# ## What the language model adds
#
# The fusion of everything, with the language model and without, over the same users:

# %% tags=["hide-input"]
tables.cold_table(measured, "llm-fusion:all-vs-traditional:all", f"ndcg@{k}")

# %% [markdown]
# ## Recap
#
# - Nothing of a cold user or product is in training but what the protocol gives, and the
#   weights of the fusions are chosen on other cold users or products.
# - Text is the only thing known of a new product, counted or read by a language model. The
#   table above says which reading is worth more.
#
# Next: [the hybrid network](10_train_network).
