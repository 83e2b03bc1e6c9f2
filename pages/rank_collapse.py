"""Rank collapse: how far do weight decay and cluster variation decide the rank of a classifier?"""

from pages.components.collapse_panels import (
    image_data_is_there,
    show_both_knobs,
    show_certificate,
    show_closed_form,
    show_compression,
    show_ranks,
)
from pages.components.experiment_page import show_experiment
from werank_core.experiments import experiment

SENTENCE = (
    "Weight decay λ against the rank of every layer, the variation within classes, and accuracy, with a certificate "
    "that bounds the distance to rank K at every recorded step."
)
HOW_TO_READ = """
**Certificate.** For a loss with $\\frac{\\lambda}{2}\\sum_l\\lVert W_l\\rVert_F^2$, at any point of training and for
any network, $\\mathrm{dist}_K(W_l) \\le (\\lVert g_l\\rVert_F + \\lVert r_l\\rVert_F)/\\lambda$, where $g_l$ is the
part of the gradient that comes from variation within classes and $r_l = \\lambda W_l + \\nabla L_0$ the stationarity
residual. Both can be measured, so the bound has no unknown constant.

**Eigenvalue-equation cosine** says how near to stationary a layer is: below 0.99 the asymptotic theory does not apply
yet, while the certificate still does. At λ = 0 the certificate is undefined and not drawn.

At small λ, ranks reflect how far decay has come in the given number of steps, not the stationary theory.

**Numerical rank** depends on a tolerance: change it under *Ranks*, nothing is trained again.
"""

show_experiment(
    experiment("rank_collapse"),
    "collapse",
    SENTENCE,
    HOW_TO_READ,
    panels={
        "Ranks": show_ranks,
        "Certificate": show_certificate,
        "Closed form": show_closed_form,
        "Both knobs": show_both_knobs,
        "Compression": show_compression,
    },
    data_check=image_data_is_there,
)
