# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # The shop (Fig. 1)
#
# The paper's first figure is a workflow: somebody comes, logs in or not, gets products, and
# what they think of them is saved and used. Here it runs, from the first visit to the fit of
# the next night.
#
# - What a visitor, a newcomer and a customer see, and the reasons they are told.
# - How a list moves from what is popular to what is personal.
# - What is searched for, what is stored, and what the next fit learns from it.
# - At the end the shop itself, to try.

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
n_customers = 40  # who are followed from their first click on
n_clicks = 8  # of each of them
k = 10
n_resamples = 2000

# %% tags=["hide-input"]
from IPython.display import HTML, Markdown, display

from reclib.data import load, prepare, split_by
from reclib.evaluation import tune
from reclib.study import figures, tables
from reclib.study.newcomers import OWN, follow_newcomers
from reclib.study.online import YARDSTICKS, shop_policies
from reclib.study.spaces import PARTS, spaces

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
}

# %% [markdown]
# ## Opening
#
# The model is the α·CBF + β·CF + γ·LLM of Table II, with weights chosen on validation, and
# fitted on everything that is known. The store is one file.

# %%
prepared = prepare(marketplace)
fold = split_by(prepared, protocol).validation
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
fusion = policies["llm-fusion"].fit(prepared, rng=seed)

# %%
from pathlib import Path
from tempfile import TemporaryDirectory

from reclib.serving import Shop, ShopPage, Store

folder = TemporaryDirectory()
store = Store(Path(folder.name) / "shop.db")
shop = Shop(store, fusion)
page = ShopPage(shop, customers=prepared.user_ids[:20], k=5)

# %% [markdown]
# ## A visitor
#
# Whoever is not logged in gets what most customers had, or the whole catalogue in pages. The
# pictures show what stands on the page. Under each product is a bar with a piece for every
# part of the score, and under the list the share of each part.

# %% tags=["hide-input"]
display(HTML(page.picture()))

# %% [markdown]
# ## A newcomer
#
# Registered, and nothing known: the same list. Then a product is opened and gets the most
# stars, and another one is opened. After each of these the list is chosen again; what was not
# in it before is marked.

# %%
page.name.value = "Ann"
page.register.click()
page.rows[1][1].click()
page.stars[-1].click()
page.rows[2][1].click()
ann = page.customer.value

# %% tags=["hide-input"]
display(HTML(page.picture()))

# %% [markdown]
# Reasons are drawn from the part that adds most to a product's score, and from the product of
# the history that adds most to that part. Where a part cannot name one, nothing is made up.
#
# ## A customer
#
# Somebody whose history the model was fitted on gets a personal list at once, and sees
# nothing of what anybody else did.

# %% tags=["hide-input"]
page.customer.value = prepared.user_ids[0]
display(HTML(page.picture()))

# %% [markdown]
# ## From popular to personal
#
# No newcomer starts with a personal list: popularity keeps a part of the score, which shrinks
# with each of the first products. To see what that does to lists, newcomers click, one by one,
# what customers of the data had. Each list is compared with what a visitor gets, and with the
# list of the customer who is followed.

# %%
import numpy as np

most = int(np.diff(prepared.matrix.indptr).max())
n_clicks = min(n_clicks, most)  # nobody may have so many products
path = follow_newcomers(
    fusion,
    n_customers=n_customers,
    n_clicks=n_clicks,
    k=k,
    n_resamples=n_resamples,
    rng=seed,
)

# %% mystnb={"figure": {"caption": "Share of a newcomer's list in common with the popular products and with the personal list of the customer whose products they click; bands are 95 % intervals over customers.", "name": "fig-newcomers"}, "image": {"alt": "Two lines over the number of clicks: what is in common with popular products falls from one, what is in common with the customer's own list rises."}} tags=["hide-input"]
import matplotlib.pyplot as plt

common = path[path["metric"] == "common"]
figures.series_plot(common, "clicks", label="share of the list in common with")
plt.show()

# %% tags=["hide-input"]
personal = path[path["metric"] == "personal"].set_index("clicks")["value"]
shares = common.pivot(index="clicks", columns="model", values="value")
table = shares.rename(
    columns={"popular": "in common: popular", OWN: "in common: theirs"}
)
table.insert(0, "personal part of the score", personal)
table = table.rename_axis(columns=None).reset_index()
table.style.hide().format("{:.0%}", subset=list(table)[1:]).set_table_attributes(
    'class="results"'
)

# %% tags=["hide-input"]
theirs = shares[OWN]
found = (theirs.iloc[-1] - theirs[0]) / max(1 - theirs[0], 1e-9)
display(
    Markdown(
        f"The lists of those who are followed have **{theirs[0]:.0%}** in "
        "common with what is popular anyway. Of the rest, which is theirs "
        f"alone, {n_clicks} clicks find **{found:.0%}**."
    )
)

# %% [markdown]
# ## A search
#
# Products with the words come first, and of those that match alike the ones this customer
# would like. Ann looks for what is searched for most, and opens the first product.

# %%
asked = np.bincount(prepared.query[prepared.query >= 0], minlength=1)
query = prepared.queries[asked.argmax()] if prepared.queries else ""
page.customer.value = ann
page.query.value = query or prepared.items["title"][0][:60]
page.rows[0][1].click()

# %% tags=["hide-input"]
display(HTML(page.picture()))

# %% [markdown]
# ## What is stored
#
# Every evaluation is on the disk before the next list is made, with the search that led to it;
# every list is logged with places and probabilities, so that
# [another policy can be judged from it](13_estimate_clicks). Names and comments are kept as
# they were typed and shown as text, whatever is in them.

# %%
columns = ["item_id", "kind", "rating", "comment", "query"]
evaluations = store.evaluations().select(columns).to_pandas()
evaluations.style.hide().format(precision=0, na_rep="")

# %%
columns = ["item_id", "rank", "click", "propensity", "policy"]
impressions = store.impressions().filter(user_id=ann).select(columns)
impressions.tail(2 * page.k).to_pandas().style.hide().format(precision=2)

# %% [markdown]
# ## The next night
#
# The same model is fitted on the data and on all that was saved since. Until then the shop
# folds new products into a fitted model; now they teach it, and the words that were searched
# for become part of $x_u$ (Eq. 2).

# %%
before = [one.item_id for one in shop.recommend(ann, k)]
shop.refit(marketplace, rng=seed)
after = [one.item_id for one in shop.recommend(ann, k)]

# %% tags=["hide-input"]
kept = len(set(before) & set(after))
display(
    Markdown(
        f"**{kept} of {len(after)}** products of Ann's list stay: most of the "
        "list was there before the night."
        if kept > len(after) / 2
        else f"Only **{kept} of {len(after)}** products of Ann's list stay."
    )
)

# %% [markdown]
# ## Try it
#
# In JupyterLab (`make lab`) the next cell is the shop itself: choose a customer or register,
# search, open a product, give stars, write a comment, and watch the list. In the book it is a
# picture, for a page has no model behind it.

# %%
page.customer.value = prepared.user_ids[1]
page.rows[0][1].click()
page

# %% [markdown]
# ## Recap
#
# - A visitor gets popular products, a newcomer moves to a personal list within a few clicks,
#   and each evaluation counts in the next list.
# - Every product comes with the part of the score that speaks for it most and, where there
#   is one, the product of the history behind it.
# - Searches, evaluations and lists are stored, and the next fit learns from them.
#
# Next: [turn the weights yourself](18_explore_fusion).
