"""Charts in two pure steps: tidy frame -> summary frame -> Plotly figure, each total on empty frames."""

from werank_core.figures.comparisons import Association as Association
from werank_core.figures.comparisons import Difference as Difference
from werank_core.figures.comparisons import compare_by_seed as compare_by_seed
from werank_core.figures.comparisons import holm as holm
from werank_core.figures.comparisons import paired_difference as paired_difference
from werank_core.figures.comparisons import spearman_with_interval as spearman_with_interval
from werank_core.figures.comparisons import strength_differences as strength_differences
from werank_core.figures.comparisons import values_by_seed as values_by_seed
from werank_core.figures.spectrum_summaries import summarize_spectra as summarize_spectra
from werank_core.figures.strength import plot_layers_strength as plot_layers_strength
from werank_core.figures.strength import plot_sparkline as plot_sparkline
from werank_core.figures.strength import plot_strength as plot_strength
from werank_core.figures.strength import strength_caption as strength_caption
from werank_core.figures.strength import strength_height as strength_height
from werank_core.figures.style import Theme as Theme
from werank_core.figures.style import empty_figure as empty_figure
from werank_core.figures.style import format_difference as format_difference
from werank_core.figures.style import format_interval as format_interval
from werank_core.figures.style import format_strength as format_strength
from werank_core.figures.style import format_value as format_value
from werank_core.figures.style import strength_colors as strength_colors
from werank_core.figures.summaries import summarize_grid as summarize_grid
from werank_core.figures.summaries import summarize_history as summarize_history
from werank_core.figures.summaries import summarize_strength as summarize_strength
