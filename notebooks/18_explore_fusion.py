# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Turn the weights yourself
#
# Eq. 7 has three weights, and whoever re-ranks for diversity has a fourth number to choose.
# What do they do to a customer's list, and to the numbers that papers print? Move them and
# see. The figure computes everything in your browser; it needs no kernel and no network.
#
# - The lists of some customers, product by product.
# - Precision, recall, NDCG and diversity on a sample of users.
# - The weights that were chosen on validation, and what the paper claims.

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
protocol = "full-loo"  # or full-time, where there are timestamps
n_trials = 3  # of every model, in its tuning
normalise = "global"
n_weightings = 66
n_users = 150  # in the figure, which carries what it needs of each
depth = 15  # best products of each part that a list is chosen from
trade_off = 0.9  # λ of MMR in the shop
k = 10

# %% tags=["hide-input"]
from IPython.display import Markdown, display

from reclib.data import load, prepare, split_by
from reclib.evaluation import choose_weights, evaluate, tune
from reclib.study import explorable, tables
from reclib.study.experiment import choose_profile, fusion_parts, tuned_fusion
from reclib.study.paper import TABLE_II
from reclib.study.spaces import PARTS, spaces

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
}

# %% [markdown]
# ## What is in the figure
#
# The parts are those of [the fusion](07_fuse_scores), tuned as there. Whoever turns weights
# while looking at numbers is tuning, so the users are those of **validation**; the test stays
# closed.

# %%
split = split_by(prepare(marketplace), protocol)
fold = split.validation
scorers = tune(
    {name: space for name, space in spaces(**settings).items() if name in PARTS},
    fold,
    n_trials=n_trials,
    k=k,
    rng=seed,
).scorers
parts = fusion_parts(scorers, choose_profile(scorers, fold, k=k, rng=seed))

# %%
how = {"n_trials": n_weightings, "normalise": normalise, "k": k, "rng": seed}
trials = choose_weights(parts["llm-fusion"], fold, **how)
fused, plain = (
    tuned_fusion(name, parts[name], fold, **how)
    for name in ("llm-fusion", "traditional")
)
sample = explorable.draw_sample(
    fused, fold, n_users=n_users, depth=depth, k=k, rng=seed
)
marked = {
    "tuned": explorable.Setting(fused.weights),
    "traditional": explorable.Setting(plain.weights),
    "tuned, re-ranked": explorable.Setting(fused.weights, trade_off),
}

# %% tags=["hide-input"]
whole = evaluate({"llm-fusion": fused}, fold, k=k, rng=seed)["llm-fusion"].top
lists = sample.lists(marked["tuned"])
same = [
    len(set(one) & set(other))
    for one, other in zip(lists, whole[sample.users], strict=True)
]
display(
    Markdown(
        f"It has {len(sample.users):,} users, drawn evenly, and of each the {depth} best "
        f"products of every part. A list is chosen from these. With the tuned weights "
        f"{sum(same) / lists.size:.1%} of its places hold what a ranking of the whole "
        "catalogue would put into the list."
    )
)

# %% [markdown]
# ## Turn them
#
# α, β and γ are divided by their sum; the corners of the triangle show the shares. λ belongs
# to MMR {cite:p}`carbonell1998use`: at 1 the list is ranked by its scores alone, and the
# lower it is, the more a product loses for being like one that is in the list already. Likeness
# is by the features of Eq. 3, while `ild` looks at brands and categories, so a lower λ need not
# raise it. The sliders listen to the arrow keys. A button goes back to one of the settings
# that are marked.

# %% tags=["hide-input"]
explorable.framed(
    explorable.explorable(sample, marked, trials=trials),
    title="Turn the weights yourself",
)

# %% [markdown]
# ### How to read it
#
# **The list.** A bar is a product's score, and its colours are what each part adds. ✓ and
# green mark what the customer took next. The customers to choose from are the first of the
# sample for whom that product is among the candidates at all: otherwise there would be nothing
# to move. So they are luckier than most. The numbers are of the whole sample.
#
# **The triangle.** A dot is a weighting that was tried, coloured by its value over all users
# of validation; rings are the settings that the buttons lead to, the cross is you.
#
# **The numbers.** The dot is you, the ticks are the settings. In brackets is the difference
# from the tuned setting, with its 95 % interval over the users of the sample; the line through
# the dot shows the same. While it reaches the tuned tick, the sample cannot tell the two apart.

# %% tags=["hide-input"]
gains = ", ".join(
    f"{metric} {after / before - 1:+.0%}"
    for metric, (before, after) in TABLE_II.items()
    if metric in ("precision", "recall", "diversity")
)
display(
    Markdown(
        "**The paper** gives no weights, so there is no point of its own to mark among them. "
        f"It claims gains of the model with the LLM over the traditional one: {gains}. The "
        "grey tick is where such a gain leads from the traditional tick; it is left out where "
        "that is beyond 1, and NDCG has none, for the paper does not report it. The paper's "
        "own numbers come from another protocol and would be off the scale "
        "([here is why](14_match_protocols))."
    )
)

# %% [markdown]
# ## What to try
#
# - γ to 0 and back, with α and β as they are: is what the language model adds larger than
#   its interval?
# - λ from 1 down: what does it do to diversity, and what does that cost in accuracy?
# - Any setting that beats the tuned one here. It was chosen over all users of validation, and
#   this is a sample of them: picking what looks best on a few users is how numbers that
#   cannot be repeated come about.

# %% [markdown]
# ## Recap
#
# - Whoever turns weights by looking at numbers is tuning. That is what validation is for.
# - A difference without its interval is no finding.
# - How much diversity costs over all users is on [its own page](12_diversify_lists).
#
# Next: [how we measure](../measure).
