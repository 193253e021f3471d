# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Several tasks at once (IV-B)
#
# The paper trains one model for three tasks, with shared parameters: recommendation, what the
# user is after, and how a review is meant. The hope is that what one task learns helps the
# others. Here each task is also learned alone, with the same settings, and by simple models.
#
# - What the two other tasks ask, and of whom.
# - Whether they gain from being learned together.
# - Whether the ranking does.

# %% tags=["parameters", "hide-cell"]
data = "simulated"  # a name in reclib.data.SOURCES, or a folder with your tables
size = "smoke"  # smoke | small | paper for simulated data, smoke | small | full for real
seed = 0

decay = 0.7
history = 20
encoder = "all-MiniLM-L6-v2"
protocol = "full-loo"  # or full-time, where there are timestamps
tuning = "adapter"  # what is trained: adapter, last-k, lora or full
task_epochs = 6
task_seeds = 1
k = 10
n_resamples = 2000

# %% tags=["hide-input"]
import pandas as pd
from IPython.display import Markdown, display

from reclib.data import load, prepare, split_by
from reclib.models import Language
from reclib.study import figures, tables
from reclib.study.experiment import evaluate_seeds, measure_lists
from reclib.study.results import TASKS_FILE, run_folder, write_measured
from reclib.study.tasks import answers, ask, measure_answers, models_of_tasks

figures.use_style()
marketplace = load(data, size=size, seed=seed)
display(Markdown(tables.origin_note(marketplace)))

# %% [markdown]
# ## The tasks
#
# Recommendation
# : The next product, as on the pages before.
#
# Intent
# : The category of the next product. Nobody but the user can say what they are after; what
#   they turn to next is what a shop can see of it.
#
# Sentiment
# : Whether a review has more or fewer than three stars, from its text. Those with three say
#   neither.
#
# All three read the same vectors. A product's is $\mathbf{y}_i \propto (I + A)\,\mathbf{v}_i$
# with $\mathbf{v}_i$ the encoder's embedding of its text, a review's is made by the same $A$,
# and a user's is $\mathbf{x}_u \propto (I + B)\,\bar{\mathbf{y}}_u$. The ranking is their
# cosine; intent and sentiment have one linear layer each. The losses are added,
#
# $$L = \sum_t w_t L_t ,$$
#
# with equal weights, or with weights that are learned with the rest
# {cite:p}`kendall2018multi`. Most reviews praise, so both kinds of them weigh the same.

# %%
prepared = prepare(marketplace)
fold = split_by(prepared, protocol).test
questions, reasons = ask(prepared, fold)
tasks = ["recommendation", *questions]

# %% tags=["hide-input"]
lines = [
    f"- {task.capitalize()}: {len(asked.actual):,} examples of "
    f"{len(set(asked.users.tolist())):,} users that no model has seen, "
    f"{len(asked.names)} classes ({', '.join(asked.names)}); the most common is "
    f"{pd.Series(asked.actual).value_counts(normalize=True).iloc[0]:.0%} of them."
    for task, asked in questions.items()
]
lines += [
    f"- {task.capitalize()} is left out. {why}" for task, why in reasons.items()
]
display(Markdown("\n".join(lines)))

# %% [markdown]
# ## Training
#
# `multi-task` learns the weights, `multi-task:equal` has equal ones, and `single-task` is a
# model for each task. The settings are the same, and nothing is tuned for any of them.

# %%
models = models_of_tasks(
    tasks,
    encoder=encoder,
    decay=decay,
    history=history,
    tuning=tuning,
    epochs=task_epochs,
)
compared = {
    "multi-task-vs-single-task": ("multi-task", "single-task"),
    "multi-task:equal-vs-single-task": ("multi-task:equal", "single-task"),
}

# %% [markdown]
# ## What users are after, and how they liked it
#
# `logistic:…` are logistic regressions, balanced and with a strength chosen by
# cross-validation: on the frozen embeddings; for the intent also on the categories of the
# history, beside `last`, the category of the newest product; for the sentiment also on words
# and pairs of words. Chance has a balanced accuracy of one over the number of classes.
#
# The network balances the classes of the sentiment, too, but not those of the intent: there
# its loss favours accuracy, and that of the regressions the balanced one. Read both.

# %%
measured = []
for asked in questions.values():
    said = answers(models, asked, encoder=encoder, n_seeds=task_seeds, rng=seed)
    rivals = [name for name in said if name.startswith("logistic")]
    pairs = {f"multi-task-vs-{name}": ("multi-task", name) for name in rivals}
    measured.append(
        measure_answers(
            said,
            asked,
            compared=compared | pairs,
            n_resamples=n_resamples,
            rng=seed,
        )
    )

# %% tags=["hide-input"]
for task, values in zip(questions, measured, strict=True):
    display(Markdown(f"**{task.capitalize()}**"))
    lists = values[~values["model"].str.contains("-vs-")]
    display(
        tables.metrics_table(lists, ["balanced_accuracy", "macro_f1", "accuracy"])
    )
    differences = values[values["model"].str.contains("-vs-")]
    display(tables.difference_table(differences, ["balanced_accuracy", "accuracy"]))

# %% [markdown]
# ## The ranking
#
# By the same cosine, with and without the other tasks; `language` is the frozen encoder, whitened.

# %%
rankers = {name: by_task["recommendation"] for name, by_task in models.items()}
rankers["language"] = Language(
    encoder=encoder, whitening="whiten", decay=decay, history=history
)
outcomes = evaluate_seeds(rankers, fold, k=k, n_seeds=task_seeds, rng=seed)
pairs = {"multi-task-vs-language": ("multi-task", "language")}
ranked = measure_lists(
    outcomes, fold, compared=compared | pairs, n_resamples=n_resamples, rng=seed
)
measured.append(ranked)
written = pd.concat(measured, ignore_index=True).assign(data=marketplace.name)
write_measured(written, run_folder(data, size), TASKS_FILE)

# %% tags=["hide-input"]
lists = ranked[~ranked["model"].str.contains("-vs-")]
display(tables.metrics_table(lists, [f"ndcg@{k}", f"recall@{k}", f"mrr@{k}"]))
differences = ranked[ranked["model"].str.contains("-vs-")]
display(tables.difference_table(differences, [f"ndcg@{k}", f"recall@{k}"]))

# %% tags=["hide-input"]
main = {"intent": "balanced_accuracy", "sentiment": "balanced_accuracy"}
found = written.set_index(["protocol", "model", "metric"])
lines = []
for place in dict.fromkeys(written["protocol"]):
    metric = main.get(place, f"ndcg@{k}")
    pair = (place, "multi-task-vs-single-task")
    value, low, high = found.loc[(*pair, metric), ["value", "low", "high"]]
    p = found["value"].get((*pair, f"p_{metric}"), float("nan"))
    said = tables.verdict(value, low, high, p)
    what = place if place in main else "recommendation"
    lines.append(
        f"- {what.capitalize()}: learning all tasks together is **{said}** learning this one "
        f"alone, {metric} {value:+.4f} [{low:+.4f}, {high:+.4f}]."
    )
display(Markdown("\n".join(lines)))

# %% [markdown]
# ## Recap
#
# - One set of vectors serves three tasks; each has its own small layer, and its own loss.
# - Whether sharing helps is an empirical question, and the last list answers it for these data.
# - A linear model on words, or on the history, is the least that any of this has to beat.
#
# Next: [diversity](12_diversify_lists).
