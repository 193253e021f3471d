# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # What the order of ids gives away
#
# In the public Amazon files purchases of one day are sorted by product id. Whoever is asked
# for the last purchase of such a day is asked for the largest id. A model that sees the
# direction of time can learn that without knowing anything about customers. This probe
# measures how much there is to learn.
#
# - The share of users whose last product has a larger id than the one before.
# - Models of steps as they are, and blind to the direction.
# - The same models with all later ids raised: pure leakage.
#
# The simulated shop has no such order, so there the probe has to find nothing.

# %% tags=["parameters", "hide-cell"]
data = "simulated"  # a name in reclib.data.SOURCES, or a folder with your tables
size = "smoke"  # smoke | small | paper for simulated data, smoke | small | full for real
seed = 0

boost = 2.0  # of the scores of products with a later id
k = 10
n_resamples = 2000

# %% tags=["hide-input"]
import matplotlib.pyplot as plt
from IPython.display import Markdown, display

from reclib.data import leave_one_out, load, prepare
from reclib.study import figures, tables
from reclib.study.order import RIGHT, probe_order, raised_said, shares_said
from reclib.study.results import ORDER_FILE, run_folder, write_measured

figures.use_style()
marketplace = load(data, size=size, seed=seed)
display(Markdown(tables.origin_note(marketplace)))

# %% [markdown]
# ## The artefact
#
# Each user's last product is to be found. If ids told nothing, it would have a larger id than
# the one before for about half of the users.
#
# Products may have other ids since the file was sorted. So a second question does without
# them: an order of the products is learned from half of the users, by the mean place of each
# in a history, and the others are asked whether their last two products are in that order.
# True times give about a half, and more as products come into fashion and go out of it.

# %%
fold = leave_one_out(prepare(marketplace)).test
measured = probe_order(fold, k=k, boost=boost, n_resamples=n_resamples, rng=seed)
measured = measured.assign(data=marketplace.name)
write_measured(measured, run_folder(data, size), ORDER_FILE)

# %% tags=["hide-input"]
display(Markdown("\n".join(f"- {line}" for line in shares_said(measured))))

# %% [markdown]
# ## The probe
#
# Three models that count steps, with the settings they have before any tuning. *Blind* models
# count a step and its reverse alike. *Later ids* are the models themselves, but the scores of
# all products with a larger id than the user's newest are doubled, or as `boost` says.

# %% tags=["hide-input"]
usual = measured[(measured["variant"] == "raw") & (measured["metric"] != RIGHT)]
singles = ~usual["model"].str.contains("-vs-")
tables.metrics_table(usual[singles], [f"ndcg@{k}"], mark=False)

# %% tags=["hide-input"]
tables.difference_table(usual[~singles], [f"ndcg@{k}"])

# %% [markdown]
# If raising later ids helps, ids give the answer away.
#
# ## Whose lists gain
#
# If a model gains by the sorting, it gains on users whose last product has a larger id than
# the one before (*ascending*), and pays for it on the others.

# %% mystnb={"figure": {"caption": "A model of steps as it is, blind to the direction, and with later ids raised, for users whose last two products are in the order of their ids and for the others.", "name": "fig-order-groups"}, "image": {"alt": "For ascending and descending users the accuracy of three forms of one model, with intervals."}} tags=["hide-input"]
shown = ["pctm", "pctm:blind", "pctm:later-ids"]
figures.group_plot(measured, f"ndcg@{k}", models=shown)
plt.show()

# %% tags=["hide-input"]
said = raised_said(measured, f"ndcg@{k}")
display(Markdown("\n".join(f"- {line}" for line in said)))

# %% [markdown]
# ## Recap
#
# - Sorted ties are an answer key for whoever sees the direction of time.
# - Raising later ids shows that the key is there; a direction-blind model can
#   only use which products stand side by side.
# - The recorded runs of Amazon Beauty and Office have every directed model in both forms.
#
# Next: [the shop](17_open_shop).
