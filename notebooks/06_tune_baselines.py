# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Baselines, tuned
#
# A gain over a weak baseline means nothing. So before anything is mixed, every model of the
# study, and the strongest simple ones of the literature, get the same number of trials on
# validation.
#
# - Which models there are, and what each believes.
# - What equal tuning gives each of them, and what it costs.
# - How well the tuned ones rank, on validation.

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
n_trials = 3  # of every model, the first with the values before any search
k = 10

# %% tags=["hide-input"]
from IPython.display import Markdown, display

from reclib.data import load, prepare, split_by
from reclib.evaluation import tune
from reclib.study import figures, tables
from reclib.study.experiment import evaluate_seeds, measure_lists
from reclib.study.results import run_folder, write_trials
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
# ## The models
#
# `random`, `popular`
# : Chance, and the same best-sellers for everybody.
#
# `content`, `collaborative`, `language`
# : Eq. 4, 5 and 6, from the last three pages.
#
# `language:tuned`
# : Eq. 6 with towers that are trained on what users bought: the encoder's embedding is turned
#   so that what is bought together comes together. It knows products by their texts alone.
#
# `content:tuned`
# : Its control: the same towers, trained in the same way, over counted words in place of the
#   embeddings. What `language:tuned` is better by does not come from the training alone.
#
# `item-knn`, `user-knn`
# : Neighbours {cite:p}`sarwar2001item`: products that the same users had, and users who had
#   the same products. The second is Eq. 5 over the nearest users only.
#
# `ease`
# : A linear autoencoder with a closed form {cite:p}`steck2019embarrassingly`: neighbours whose weights
#   are fitted together.
#
# `ease:content`, `ease:language`
# : The same, which also has to rebuild what is known of the products
#   {cite:p}`jeunen2020closed`: the words counted for Eq. 4, or the embeddings of Eq. 6.
#
# `als`, `bpr`
# : Matrix factorisation, by weighted least squares {cite:p}`hu2008collaborative` and by
#   comparing pairs {cite:p}`rendle2009bpr`.
#
# `markov`, `seqrules`, `pctm`, `transitions`
# : Counts of which product follows which. $C_d(i, j)$ is how often $j$ came $d$ places after
#   $i$. `markov` looks at the last product and $d = 1$; `seqrules` and `pctm`
#   {cite:p}`petrov2026sequential` look at ten places and at more of the history, with the past
#   fading; `transitions` has all of their settings to choose from.
#
# `sasrec`
# : A small transformer over the history {cite:p}`kang2018self`, trained with a softmax over
#   products, which matters more than its architecture {cite:p}`klenitskiy2023turning`.
#
# Where some take too long, `without` names those to do without, here and on all later
# pages; the parts of Table II have to stay.
#
# ## Equal tuning
#
# The first trial has the published or usual values. The others are chosen by Optuna
# {cite:p}`akiba2019optuna`, all on validation. Every trial is logged as it ends, so an
# interrupted search goes on.

# %%
split = split_by(prepare(marketplace), protocol)
fold = split.validation
tuning = tune(
    spaces(**settings),
    fold,
    n_trials=n_trials,
    k=k,
    rng=seed,
)
write_trials(tuning.trials, run_folder(data, size))
tables.trials_table(tuning.trials)

# %% mystnb={"figure": {"caption": "Every trial of every model on validation: rings are the values before any search, dots the others, the last one is best.", "name": "fig-trials"}, "image": {"alt": "One row of dots for each model: ndcg of its trials."}} tags=["hide-input"]
import matplotlib.pyplot as plt

figures.trials_plot(tuning.trials)
plt.show()

# %% tags=["hide-input"]
metric = f"ndcg@{k}"
first = tuning.trials[tuning.trials["trial"] == 0].set_index("model")["value"]
best = tuning.trials.groupby("model")["value"].max()
gain = (best / first - 1).dropna()
display(
    Markdown(
        f"Tuning raised **{gain.idxmax()}** most, by {gain.max():.0%}. The best single model "
        f"here is **{best.idxmax()}**, with {metric} {best.max():.4f} on validation; all "
        f"trials together took {tuning.trials['seconds'].sum() / 60:.1f} minutes.\n\n"
        + tables.left_out_note(tuning.left_out)
    )
)

# %% [markdown]
# ## How well they rank
#
# The best setting of each, on the same validation products. It was chosen on them, so the
# numbers flatter; the test comes [later](08_run_experiment).

# %%
outcomes = evaluate_seeds(tuning.scorers, fold, k=k, rng=seed)
measured = measure_lists(outcomes, fold, rng=seed)
tables.metrics_table(measured, [f"ndcg@{k}", f"recall@{k}", f"mrr@{k}", f"ild@{k}"])

# %% mystnb={"figure": {"caption": "The tuned models on validation.", "name": "fig-tuned"}, "image": {"alt": "Bars with intervals: ndcg of every tuned model."}} tags=["hide-input"]
figures.interval_plot(measured, metric)
plt.show()

# %% [markdown]
# ## Recap
#
# - Every model had the same number of trials, but for those that the table shows with fewer,
#   whose fit takes minutes.
# - Simple models, tuned, are hard to beat. They are what a language model has to add to.
#
# Next: [the fusion](07_fuse_scores).
