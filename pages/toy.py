"""Toy SSL: does WERank keep the rank of a self-supervised encoder?"""

from pages.components.experiment_page import show_experiment
from werank_core.config import penalty_formula
from werank_core.experiments import experiment

SENTENCE = (
    f"Strength α of a penalty on every layer, by default ${penalty_formula('werank').latex}$ with a Gram matrix G of "
    "the weights, against effective rank, cluster variation, and what a linear probe can do with the representations."
)
HOW_TO_READ = """
**Each row is one quantity, each column one strength α.** The strip left of the axis break is α = 0: the same encoder
without the penalty. Lines are means over seeds, bands 95% Student-t intervals, faint points single runs.

**Effective rank** is the exponential of the entropy of the normalised singular values: how many directions the
representations really use. **Relative TCV** is the share of the variation that lies within classes.
**Accuracy** is that of a linear probe on held-out rows.

Runs of one seed share data, views and initialisation, so differences on the card are paired.
Higher rank is not better as such: compare the rows.
"""

show_experiment(experiment("toy_ssl"), "toy", SENTENCE, HOW_TO_READ)
