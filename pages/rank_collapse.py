"""Rank collapse: how far do weight decay and cluster variation decide the rank of a classifier?"""

from pages.components.collapse_panels import (
    show_both_knobs,
    show_certificate,
    show_closed_form,
    show_compression,
    show_ranks,
    show_theory_range,
)
from pages.components.data_sets import checked_data, show_own_images
from pages.components.details import Panel
from pages.components.experiment_page import show_experiment
from werank_core.experiments import experiment

SENTENCE = (
    "Weight decay λ against the rank of every layer, the variation within classes, and accuracy, with a certificate "
    "that bounds the distance to rank K, and how tight it is."
)
HOW_TO_READ = """
**Certificate.** $\\mathrm{dist}_K(W_l) \\le (\\lVert g_l\\rVert_F + \\lVert r_l\\rVert_F)/\\lambda$, where $g_l$ is the
part of the gradient that comes from variation within classes and $r_l = \\lambda W_l + \\nabla L_0$ the stationarity
residual. Both can be measured, so the bound has no unknown constant. It is the triangle inequality and holds for any
matrices, at any point of training: that it is never exceeded is no evidence for the theory or for the code. What says
something is whether it is **informative**, below $\\lVert W_l\\rVert_F$, which bounds the distance anyway, and its
**tightness**, distance over certificate. Just below that norm it is tight without saying much: the gradient is all but
0 there, and the residual all of $\\lambda W_l$. At λ = 0 it is undefined and not drawn.

**AdamW** decays the weights apart from the loss. The certificate holds there too, but $r_l$ does not go to 0, because
training has other fixed points; the same is true with WERank in the loss.

**Eigenvalue-equation cosine** says how near to stationary a layer is: below 0.99 the asymptotic theory does not apply
yet.

At small λ, ranks reflect how far decay has come in the given number of steps, not the stationary theory.

**Numerical rank** depends on a tolerance: change it under *Rank at a tolerance*, nothing is trained again.
"""

show_experiment(
    experiment("rank_collapse"),
    "collapse",
    SENTENCE,
    HOW_TO_READ,
    panels={
        "Rank at a tolerance": Panel(show_ranks, at_one_second=True),
        "Certificate": Panel(show_certificate, at_one_second=True),
        "Closed form": Panel(show_closed_form, at_one_second=True),
        "Both knobs": Panel(show_both_knobs),
        "Compression": Panel(show_compression, at_one_second=True),
    },
    remarks=show_theory_range,
    data_check=checked_data,
    footer=show_own_images,
)
