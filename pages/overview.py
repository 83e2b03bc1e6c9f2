"""Overview: what the two papers claim, what was trained last, and where to start."""

from pages.components import cached
from pages.components.layout import explained_errors, show_heading
from pages.components.overview_parts import show_claims, show_machine, show_starts, show_sweep_cards

HOW_TO_READ = """
**Effective rank** counts the directions that a matrix really uses: $\\exp(-\\sum_i p_i \\log p_i)$ with
$p_i = s_i / \\sum_j s_j$ over its singular values. **Relative TCV** is the share of the variation of the
representations that lies within classes: 0 is fully collapsed.

Neither is good or bad as such. The pages here draw both beside accuracy, so that you can see what they are worth.
"""

with explained_errors():
    show_heading(
        "Does my network lose rank, and does it matter?",
        "Train many runs in the background, and see in linked curves what regularization does to rank and accuracy.",
        HOW_TO_READ,
    )
    show_claims()
    show_starts()
    show_sweep_cards(cached.sweeps())
    show_machine()
