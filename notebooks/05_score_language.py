# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # The language model (Eq. 6)
#
# A pretrained transformer reads each product's text once and gives it a vector. Products
# that mean the same should be near each other, even where they share no word.
#
# - What the encoder is, and what encoding costs.
# - What it finds near, beside TF-IDF.
# - How well it ranks, on validation.

# %% tags=["parameters", "hide-cell"]
data = "simulated"  # a name in reclib.data.SOURCES, or a folder with your tables
size = "smoke"  # smoke | small | paper for simulated data, smoke | small | full for real
seed = 0

decay = 0.7
history = 20
encoder = "all-MiniLM-L6-v2"  # or a model of the Hugging Face hub, as name@revision
k = 10

# %% tags=["hide-input"]
import numpy as np
import pandas as pd
from IPython.display import Markdown, display

from reclib.data import leave_one_out, load, prepare
from reclib.models import Content, Language
from reclib.study import figures, tables
from reclib.study.experiment import evaluate_seeds, measure_lists

figures.use_style()
marketplace = load(data, size=size, seed=seed)
display(Markdown(tables.origin_note(marketplace)))

# %% [markdown]
# ## The equation
#
# $$\mathrm{LLMScore}(\mathbf{x}_u, \mathbf{y}_i) = \cos\bigl(\mathbf{h}_u, \mathbf{h}_i\bigr)$$
#
# $\mathbf{h}_i$ is the encoder's mean-pooled vector of the product's text, less the mean of
# the catalogue; $\mathbf{h}_u$ is the recency-weighted mean over the user's history. The
# encoder is frozen: nothing in it was fitted to this shop. (The default encoder's own
# training list names questions and answers from Amazon, so that kind of text is not new to
# it.)

# %%
split = leave_one_out(prepare(marketplace))
fold = split.validation
language = Language(encoder=encoder, decay=decay, history=history).fit(
    fold.train, rng=seed
)

# %% tags=["hide-input"]
made = language.embeddings
display(
    Markdown(
        f"{made.texts:,} distinct texts became vectors of {made.vectors.shape[1]} dimensions in "
        f"{made.seconds:.0f} s when they were first read ({made.texts / made.seconds:.0f} texts "
        f"a second, {made.precision} on {made.device}). They are kept on disk; no later step "
        "reads a text again."
    )
)

# %% [markdown]
# ## What it finds near
#
# The neighbours of the same product, by its words and by the encoder:

# %%
train = fold.train
product = int(np.bincount(train.item, minlength=train.n_items).argmax())
vectors = made.vectors - made.vectors.mean(axis=0)
vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
words = Content().fit(train).features.items
similar = {
    "by words": (words @ words[[product]].T).toarray()[:, 0],
    "by the encoder": vectors @ vectors[product],
}
pd.DataFrame(
    {
        name: train.items["title"].to_numpy()[
            np.argsort(-cosine, kind="stable")[:6]
        ]
        for name, cosine in similar.items()
    }
)

# %% [markdown]
# ## How well it ranks
#
# TF-IDF of the same texts stands beside it. A language model helps only if it does better
# than words that are merely counted. How its vectors are used matters, too:
#
# - `language:none` takes them as they are; `language` takes the catalogue's mean off;
#   `language:whiten` also evens out how much each direction varies
#   {cite:p}`su2021whitening`.
# - `language:cls`, whitened too, takes the first token's vector in place of the mean over
#   tokens.
# - `language:text`, whitened too, lets the encoder read the user, as a text made of the
#   newest products' titles, in place of averaging the products' vectors.

# %%
profile = {"encoder": encoder, "decay": decay, "history": history}
scorers = {
    "content": Content(decay=decay, history=history),
    "language": language,
    "language:none": Language(whitening="none", **profile),
    "language:whiten": Language(whitening="whiten", **profile),
    "language:cls": Language(pooling="cls", whitening="whiten", **profile),
    "language:text": Language(profile="text", whitening="whiten", **profile),
}
outcomes = evaluate_seeds(scorers, fold, k=k, rng=seed)
measured = measure_lists(outcomes, fold, rng=seed)
tables.metrics_table(measured, [f"ndcg@{k}", f"recall@{k}", f"mrr@{k}", f"ild@{k}"])

# %% mystnb={"figure": {"caption": "The same texts, counted (content) and read (language), on validation.", "name": "fig-language"}, "image": {"alt": "Bars with intervals: ndcg of TF-IDF and of the ways to use the frozen encoder."}} tags=["hide-input"]
import matplotlib.pyplot as plt

figures.interval_plot(measured, f"ndcg@{k}")
plt.show()

# %% [markdown]
# ## Recap
#
# - The encoder reads every text once; all later scores are dot products.
# - It is judged against TF-IDF of the same text, not against nothing.
#
# Next: [baselines](06_tune_baselines).
