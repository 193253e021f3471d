# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Clicks
#
# The paper's table has a click-through rate. It needs somebody who was shown something, and
# most data tell only what was bought. Here it is measured in the two ways that are left.
#
# - In the simulated shop, where the truth is known: which policy is clicked more, at which
#   place, and what happens when it learns from its own clicks.
# - From the log of another policy: how well a rate can be estimated, and when not to trust it.

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
n_rounds = 5  # in the simulated shop
campaign_items = 40  # products that share the places of the campaign
n_pages = 3000  # of a log
n_runs = 1000  # logs, to see bias and coverage
k = 10
n_resamples = 2000

# %% tags=["hide-input"]
from IPython.display import Markdown, display

from reclib.data import load, prepare, split_by
from reclib.data.simulate import MARKET_SIZES
from reclib.evaluation import tune
from reclib.study import figures, tables
from reclib.study.cards import present
from reclib.study.off_policy import (
    PUBLISHED,
    by_pair,
    compare_policies,
    estimate_campaign,
    make_campaign,
)
from reclib.study.online import (
    ONCE,
    YARDSTICKS,
    measure_rounds,
    serve_rounds,
    shop_policies,
)
from reclib.study.paper import TABLE_II
from reclib.study.results import CTR_FILE, run_folder, write_measured
from reclib.study.spaces import PARTS, spaces

# %% tags=["hide-input"]
figures.use_style()
# no real set tells what would have been clicked, so this page always has the simulated shop
shop_size = size if size in MARKET_SIZES else "small"
shop = load("simulated", size=shop_size, seed=seed)
display(Markdown(tables.origin_note(shop)))

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
# ## What would be clicked
#
# Four policies serve the same users, each in a copy of the shop. In a round every user is shown
# one list of products that are new to them. A place further down is looked at less often,
# and the chance of a click is known for every user, product and place. So the rate of a
# policy is not estimated from clicks but computed; its interval is over users. The models are
# those of Table II, with weights chosen on validation, and fitted on the whole log.

# %%
fold = split_by(prepare(shop), protocol).validation
places = spaces(**settings)
scorers = tune(
    {name: places[name] for name in (*YARDSTICKS, *PARTS)},
    fold,
    n_trials=n_trials,
    k=k,
    rng=seed,
).scorers
policies = shop_policies(
    scorers, fold, n_trials=n_weightings, normalise=normalise, k=k, rng=seed
)

# %% [markdown]
# Clicks are drawn with these chances and enter the policy's own log, which it is fitted on
# again before the next round. What that does is seen beside the same policy fitted only once
# (dashed); there, too, what was clicked is not shown again.

# %%
served = serve_rounds(shop, policies, n_rounds=n_rounds, k=k, rng=seed)
fixed = {name: policies[name] for name in policies if name != "random"}
once = serve_rounds(
    shop,
    fixed,
    n_rounds=n_rounds,
    k=k,
    learn=False,
    rng=seed,
)
served |= {name + ONCE: rounds for name, rounds in once.items()}
compared = {f"{one}-vs-{one}{ONCE}": (one, one + ONCE) for one in fixed}
compared["llm-fusion-vs-traditional"] = ("llm-fusion", "traditional")
rounds = measure_rounds(
    served, compared=compared, n_resamples=n_resamples, rng=seed
)
rounds["round"] = rounds["variant"].str.removeprefix("round=").astype(int)
lists = rounds[~rounds["model"].str.contains("-vs-")]

# %%
first = lists[(lists["round"] == 1) & lists["model"].isin(list(policies))]
tables.metrics_table(first, [f"ctr@{k}", "place_ctr@1", f"place_ctr@{k}"])

# %% tags=["hide-input"]
found = rounds.set_index(["round", "model", "metric"])
found = found[["value", "low", "high"]]
gain = found.loc[(1, "llm-fusion-vs-traditional", f"ctr@{k}")]
usual = found.loc[(1, "traditional", f"ctr@{k}")].value
before, after = TABLE_II["ctr"]
display(
    Markdown(
        "In the first round the model with the language model is "
        f"**{tables.verdict(*gain)}** the traditional one: "
        f"{gain.value:+.5f} [{gain.low:+.5f}, {gain.high:+.5f}], or "
        f"{gain.value / usual:+.1%}. The paper prints {before:.2f} and "
        f"{after:.2f}, {after / before - 1:+.1%}."
    )
)

# %% mystnb={"figure": {"caption": "Expected clicks per shown product at each place, in the first round; bands are 95 % intervals over users.", "name": "fig-ctr-places"}, "image": {"alt": "Falling lines, one a policy: the lower the place, the fewer clicks."}} tags=["hide-input"]
import matplotlib.pyplot as plt

by_place = first[first["metric"].str.startswith("place_ctr@")]
by_place = by_place.assign(
    place=by_place["metric"].str.removeprefix("place_ctr@").astype(int)
)
figures.series_plot(by_place, "place", label="clicks per shown product")
plt.show()

# %% [markdown]
# ## Rounds
#
# Does popularity feed on itself? `head_share` is the share of a list that belongs to the tenth
# of the products that most users had, in the policy's own log at the time. A rate may also
# fall because the users' best products are gone; the dashed lines have that effect alone.

# %% mystnb={"figure": {"caption": "Rounds in the simulated shop: expected clicks per shown product, and the share of the lists that goes to the popular tenth of the products. Dashed: fitted once.", "name": "fig-ctr-rounds"}, "image": {"alt": "Two panels of lines over the rounds, one line a policy, solid and dashed."}} tags=["hide-input"]
figure, panels = plt.subplots(2, 1, figsize=(figures.COLUMN, 6))
shown = (f"ctr@{k}", f"head_share@{k}")
for axes, metric in zip(panels, shown, strict=True):
    figures.series_plot(
        lists[lists["metric"] == metric], "round", label=metric, ax=axes
    )
panels[1].get_legend().remove()
plt.show()

# %% tags=["hide-input"]
lines = []
for name in ("traditional", "llm-fusion"):
    pair = f"{name}-vs-{name}{ONCE}"
    for metric in shown:
        value, low, high = found.loc[(n_rounds, pair, metric)]
        said = {True: "raises", False: "lowers"}[value > 0]
        if low <= 0 <= high:
            said = "does not clearly change"
        lines.append(
            f"- `{name}`: learning **{said}** its {metric}, {value:+.5f} "
            f"[{low:+.5f}, {high:+.5f}]."
        )
display(Markdown("In the last round:\n\n" + "\n".join(lines)))

# %% [markdown]
# ## From the log of another
#
# A shop that wants to know the rate of a new policy need not run it, if it knows with what
# probability the old one showed what it showed. With the click $r$, that probability $\pi_0$,
# the new policy's $\pi$, the weight $w = \pi / \pi_0$, and a model $\hat q$ of the clicks:
#
# $$\mathrm{IPS} = \frac{1}{n} \sum w r \qquad
# \mathrm{SNIPS} = \frac{\sum w r}{\sum w} \qquad
# \mathrm{DM} = \frac{1}{n} \sum \sum_a \pi(a) \hat q(a) \qquad
# \mathrm{DR} = \mathrm{DM} + \frac{1}{n} \sum w (r - \hat q)$$
#
# {cite:p}`horvitz1952generalization,swaminathan2015self,dudik2011doubly`. IPS needs the
# probabilities, DM a good model, DR one of the two. Each place of a page counts as an
# impression of its own {cite:p}`li2018offline`, and pages are resampled whole. The model
# is a logistic regression on place, visitor and product that never sees the clicks it predicts.
# The interval of DM knows nothing of the model's mistakes.
#
# First where the answer is known: a page of the simulated shop whose places are filled at
# random from its most popular products, by policies that like the products of a high score more.

# %%
prepared = prepare(shop)
for policy in fixed.values():
    policy.fit(prepared, rng=seed)
campaign = make_campaign(
    prepared,
    shop.truth,
    fixed,
    n_items=campaign_items,
)
estimated = estimate_campaign(
    campaign,
    [
        ("random", "popular"),
        ("random", "llm-fusion"),
        ("llm-fusion", "random"),
    ],
    n_pages=n_pages,
    n_runs=n_runs,
    n_resamples=n_resamples,
    rng=seed,
)

# %% tags=["hide-input"]
import pandas as pd

measured = pd.concat([rounds.drop(columns="round"), estimated.metrics])
measured = measured.assign(data=shop.name)
pairs = by_pair(estimated.metrics)
repeated = pairs["model"].str.contains(" runs")
tables.metrics_table(
    pairs[~repeated], ["ctr", "ips", "snips", "dm", "dr"], mark=False
)

# %% [markdown]
# `ctr` is the truth. One log may be lucky; many show whether an estimator is right on average
# (`bias`, relative to the truth) and how often its 95 % interval holds the truth (`coverage`).

# %% tags=["hide-input"]
estimators = ["ips", "snips", "dm", "dr"]
for what in ("bias", "coverage"):
    names = [f"{what}_{name}" for name in estimators]
    display(tables.metrics_table(pairs[repeated], names, mark=False))

# %% [markdown]
# The model was fitted once, on one log, so the bias of DM is the error of this fit: it passes
# into every estimate, and a narrow interval makes that no better. Another log would have given
# another error, and the model has no term for the match of a visitor and a product. DR has the
# same model and repairs it.
#
# ## When not to trust it
#
# Right probabilities give a mean weight near 1. And an estimate that rests on few impressions
# is a guess: the effective sample size says how many equally weighted ones it is worth.

# %% tags=["hide-input"]
tables.doubts_table(estimated.diagnosed)

# %% [markdown]
# ## Open Bandit
#
# Real impressions {cite:p}`saito2021open`: two policies ran side by side in a fashion shop, so
# each can be estimated from the other's log and compared with its own. `bts` learned
# while it ran; what is estimated is its average over the week.

# %% tags=["hide-input"]
if "open-bandit" in present():
    log = load("open-bandit", size="full")
    note = tables.origin_note(log).replace("this page", "this section")
    display(Markdown(note))
    bandit = compare_policies(
        log.impressions, log.items, n_resamples=n_resamples, rng=seed
    )
    measured = pd.concat([measured, bandit.metrics.assign(data=log.name)])
    pairs = by_pair(bandit.metrics)
    display(tables.metrics_table(pairs, ["ctr", *estimators], mark=False))
    display(tables.doubts_table(bandit.diagnosed))
else:
    display(Markdown("Not here; `reclib fetch open-bandit` brings it."))

# %% tags=["hide-input"]
# a run files what is measured on its own data, whichever other sets are there
own = measured[measured["data"] == data]
if len(own):
    write_measured(own, run_folder(data, size), CTR_FILE)

# %% [markdown]
# `ctr` is what the policy got in its own log. The relative error, as a mean over resamples of
# the log, beside the one that the authors of the data report for another campaign of the same
# small release, `bts` from `random`:

# %% tags=["hide-input"]
if "open-bandit" in present():
    theirs = pd.DataFrame(
        {
            "model": "published: all",
            "metric": [f"mean_error_{name}" for name in PUBLISHED],
            "value": PUBLISHED.values(),
        }
    )
    names = [f"mean_error_{name}" for name in estimators]
    beside = pd.concat([pairs, theirs])
    display(tables.metrics_table(beside, names, mark=False))

# %% [markdown]
# A log of this release has few clicks, so intervals are wide, and errors of this size are what
# they lead one to expect.
#
# ## Recap
#
# - A click-through rate is measured where somebody was shown something, or where the truth is
#   known. It is never a hit rate.
# - A policy that learns from its own clicks changes what is popular; how much, the rounds say.
# - From the log of another policy IPS and DR are right on average if the probabilities are,
#   and SNIPS comes near with the size of the log. The diagnostics say when a few impressions
#   decide.
#
# Next: [which protocol the paper used](14_match_protocols).
