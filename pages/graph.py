"""Graphs: does WERank help self-supervised learning on graphs?"""

from pages.components.data_sets import checked_data, show_own_graph
from pages.components.details import Panel
from pages.components.experiment_page import show_experiment
from pages.components.graph_panels import show_embeddings, show_grams, show_probe_curves, show_schedules
from werank_core.config import penalty_formula
from werank_core.experiments import experiment

SENTENCE = (
    f"BGRL with a penalty on every graph convolution, by default $\\alpha\\,{penalty_formula('werank').latex}$ with a "
    "Gram matrix G of the weights: rank, cluster variation, and a probe on frozen representations."
)
HOW_TO_READ = """
**Each row is one quantity, each column one strength α**; the strip left of the axis break is plain BGRL (α = 0). Every
line is one scale of the augmentation: 1 uses the full drop rates of edges and features, 0.25 a quarter of them.

**Accuracy** is the mean test accuracy of logistic regression on L2-normalised, frozen representations over 20 random
splits, or over the graph's own. Its protocol matters: *holdout* fits on 10% of the nodes and chooses C on another 10%;
*BGRL*, as in the code of BGRL's authors, chooses C by five random halvings of 20% and fits again on all of it, which on
Cora is 1 point more for a trained encoder and 5 for an untrained one. Published presets use *BGRL* with one-vs-rest.
Accuracy **before training** is always recorded beside it: on many graphs an untrained encoder is a strong baseline.

All strengths of one seed see the same augmented views, so differences are paired. The WERank paper claims higher rank
and modest gains, largest under weak augmentation; what you see here is what was measured.
"""

show_experiment(
    experiment("graph"),
    "graph",
    SENTENCE,
    HOW_TO_READ,
    panels={
        "Embedding": Panel(show_embeddings, at_one_second=True),
        "Layer schedules": Panel(show_schedules),
        "Gram matrices": Panel(show_grams),
        "C of the probe": Panel(show_probe_curves, at_one_second=True),
    },
    data_check=checked_data,
    footer=show_own_graph,
)
