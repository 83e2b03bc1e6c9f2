"""What every recorded metric is called, measured in and defined by."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Metric:
    """One quantity as axes, tooltips and tables name it.

    `formula` is the text that the docstring of the defining function has, too (a test reads both); `note` says of what
    it is, within which bounds, how to read it. `span` is the closed range of possible values, None where a side is
    open. `of_rows` says that the number is computed on rows of the data, so that its key names a split; the others are
    of weights, of the clock or of the run.
    """

    name: str
    label: str
    formula: str
    source: str
    note: str = ""
    unit: str = ""
    span: tuple[float | None, float | None] = (None, None)
    log: bool = False
    per_layer: bool = False
    of_rows: bool = True

    @property
    def axis_title(self) -> str:
        """Label with its unit, as an axis shows it."""
        return f"{self.label} ({self.unit})" if self.unit else self.label

    @property
    def tooltip(self) -> str:
        """Definition and source in one line."""
        told = "; ".join(filter(None, [self.formula, self.note]))
        return f"{self.label}: {told}." + f" Source: {self.source}." * bool(self.source)


ROY = "Roy & Vetterli 2007"
PAPYAN = "Papyan, Han & Donoho 2020"
OURS = "this project"
_BY_CLASS = "every class weighing the same, m̄ the mean of the class means"
_BY_SAMPLE = "every sample weighing the same"
_L0 = "L₀ the loss without weight decay"
_RESIDUAL = f"rₗ = λWₗ + ∇L₀ the stationarity residual, {_L0}"
_EXACT = "Zangrando et al. 2024, made exact: ours"
_TCV, _RELATIVE = "TCV = (1/N) Σₖ Σ_{i∈k} ‖zᵢ − mₖ‖²", "TCV / ((1/N) Σ ‖zᵢ − m‖²)"
_ENTROPY = "exp(−Σ pᵢ log pᵢ), pᵢ = sᵢ/Σs"
# what no rank of such a matrix exceeds
_ROWS, _CENTRED, _WEIGHTS = "min(rows, dimensions)", "min(rows − 1, dimensions)", "min(d_out, d_in)"
_SHARE = (0.0, 1.0)
_SIZE = (0.0, None)


def _size_of_layer(name: str, label: str, formula: str, source: str, note: str = "", *, of_rows: bool = True) -> Metric:
    """A length or a square of one, per layer."""
    return Metric(name, label, formula, source, note, span=_SIZE, log=True, per_layer=True, of_rows=of_rows)


def _rank(
    name: str, label: str, formula: str, source: str, of: str = "", most: str = _ROWS, *, least: float = 1.0
) -> Metric:
    """A rank of what `of` says; with `most` of a weight, per layer and of no rows."""
    note, of_weights = "; ".join(filter(None, [of, f"at most {most}"])), most == _WEIGHTS
    return Metric(name, label, formula, source, note, span=(least, None), per_layer=of_weights, of_rows=not of_weights)


def _share_of_layer(
    name: str, label: str, formula: str, source: str, note: str = "", *, of_rows: bool = True
) -> Metric:
    """A share of 1, per layer."""
    return Metric(name, label, formula, source, note, span=_SHARE, per_layer=True, of_rows=of_rows)


_METRICS = (
    # what training minimises
    Metric("loss", "loss", "objective + Σ αₗ · penalty(Wₗ) + weight decay, as training minimises it", OURS),
    Metric("objective", "objective", "loss without penalties", OURS),
    Metric("penalty", "penalty", "Σ wₗ · penalty(Wₗ), before the strength", OURS, span=_SIZE, of_rows=False),
    # rank of the representations
    _rank("effective_rank", "effective rank", _ENTROPY, ROY, "of the representations"),
    _rank("rankme", "RankMe", _ENTROPY + " + 1e-7", "Garrido et al. 2023", "uncentred representations"),
    _rank(
        "covariance_effective_rank",
        "covariance effective rank",
        "exp(−Σ pᵢ log pᵢ), pᵢ = sᵢ²/Σs²",
        ROY + ", on the covariance spectrum",
        "centred representations",
        _CENTRED,
    ),
    _rank(
        "participation_ratio",
        "participation ratio",
        "(Σs²)²/Σs⁴",
        "Gao et al. 2017",
        "centred representations",
        _CENTRED,
    ),
    _rank("stable_rank", "stable rank", "Σs²/s₁²", "Rudelson & Vershynin 2007"),
    _rank("numerical_rank", "numerical rank", "#{sᵢ > 0.01 · s₁}", OURS + " (tolerance)", least=0.0),
    Metric(
        "alpha_req",
        "α-ReQ",
        "−slope of log sⱼ² on log j, weights 1/j",
        "Agrawal et al. 2022",
        "centred representations",
    ),
    _rank("embedding_effective_rank", "effective rank of the embeddings", _ENTROPY, ROY, "of the head's output"),
    _rank(
        "embedding_rankme",
        "RankMe of the embeddings",
        _ENTROPY + " + 1e-7",
        "Garrido et al. 2023",
        "of the head's output",
    ),
    Metric("measured_rows", "rows measured", "N, rows that rank metrics are computed on", OURS, span=_SIZE),
    Metric("representation_width", "dimensions", "D, columns of the representations", OURS, span=_SIZE),
    Metric("embedding_width", "dimensions of the embeddings", "D, columns of the head's output", OURS, span=_SIZE),
    # collapse
    Metric(
        "total_cluster_variation",
        "total cluster variation",
        _TCV,
        "Zangrando et al. 2024; normalisation is ours",
        _BY_SAMPLE,
        span=_SIZE,
    ),
    Metric(
        "relative_tcv",
        "relative TCV",
        _RELATIVE,
        "Zangrando et al. 2024; normalisation is ours",
        f"{_TCV}, {_BY_SAMPLE}: 0 is collapsed onto class means, 1 is no class structure",
        span=_SHARE,
    ),
    Metric("nc1", "NC1", "tr(S_W pinv(S_B))/K", PAPYAN, _BY_CLASS, span=_SIZE, log=True),
    Metric("nc1_quotient", "NC1 quotient", "tr S_W / tr S_B", "Tirer et al. 2023", _BY_CLASS, span=_SIZE, log=True),
    Metric(
        "cdnv",
        "CDNV",
        "mean over class pairs of (v_a + v_b)/(2‖m_a − m_b‖²)",
        "Galanti et al. 2021",
        "every pair weighing the same",
        span=_SIZE,
        log=True,
    ),
    Metric("nc2_equinorm", "NC2 equinorm", "std/mean of the norms ‖mₖ − m̄‖", PAPYAN, _BY_CLASS, span=_SIZE),
    Metric("nc2_equiangular", "NC2 equiangular", "mean |cos + 1/(K−1)| of pairs mₖ − m̄", PAPYAN, _BY_CLASS, span=_SIZE),
    Metric(
        "nc3_self_duality",
        "NC3 self-duality",
        "‖W/‖W‖ − M/‖M‖‖_F, M of mₖ − m̄",
        PAPYAN,
        _BY_CLASS,
        span=(0, 2),
    ),
    Metric(
        "nc4_agreement",
        "NC4 agreement",
        "share of samples where classifier and nearest class mean agree",
        PAPYAN,
        _BY_SAMPLE,
        span=_SHARE,
    ),
    # accuracy
    Metric(
        "accuracy",
        "accuracy",
        "share of correct predictions on held-out samples",
        "",
        "of a linear probe or the network's own classifier",
        span=_SHARE,
    ),
    Metric("macro_f1", "macro-F1", "mean over classes of F1 = 2 TP/(predicted + true)", "", span=_SHARE),
    Metric(
        "untrained_accuracy", "accuracy before training", "the same probe on the untrained encoder", OURS, span=_SHARE
    ),
    # weights and response
    _rank("weight_effective_rank", "effective rank of the weights", _ENTROPY, ROY, "s of Wₗ", _WEIGHTS),
    _rank(
        "weight_stable_rank",
        "stable rank of the weights",
        "Σs²/s₁²",
        "Rudelson & Vershynin 2007",
        "s of Wₗ",
        _WEIGHTS,
    ),
    _rank(
        "weight_numerical_rank",
        "numerical rank of the weights",
        "#{sᵢ > 0.01 · s₁}",
        OURS + " (tolerance)",
        "s of Wₗ",
        _WEIGHTS,
        least=0.0,
    ),
    _share_of_layer(
        "layer_alignment",
        "layer alignment",
        "mean diagonal of |Vₗ₊₁ᵀ Uₗ|",
        "Jing et al. 2022; the mean is ours",
        of_rows=False,
    ),
    Metric(
        "product_of_spectral_norms",
        "product of spectral norms",
        "Πₗ σ₁(Wₗ)",
        "Bartlett et al. 2017",
        span=_SIZE,
        log=True,
        of_rows=False,
    ),
    Metric(
        "response_sensitivity",
        "response sensitivity",
        "mean over rows of ‖f(x+e) − f(x)‖/‖e‖",
        OURS,
        "e normal with standard deviation 0.1",
        span=_SIZE,
    ),
    Metric(
        "feature_sensitivity",
        "feature sensitivity",
        "‖f(X+E, A) − f(X, A)‖_F/‖E‖_F",
        OURS,
        "E normal, a tenth of the features' size",
        span=_SIZE,
    ),
    Metric(
        "edge_sensitivity",
        "edge sensitivity",
        "mean over nodes of ‖f(X, A') − f(X, A)‖/‖f(X, A)‖",
        OURS,
        "A' without 10% of the edges",
        span=_SIZE,
    ),
    Metric(
        "dirichlet_energy",
        "Dirichlet energy",
        "½ Σ_{ij} ‖zᵢ/√(1+dᵢ) − zⱼ/√(1+dⱼ)‖² / N",
        "Cai & Wang 2020",
        span=_SIZE,
        log=True,
    ),
    Metric(
        "penalty_cost",
        "cost of the penalty",
        "step time with the penalty over step time without",
        OURS,
        span=_SIZE,
        of_rows=False,
    ),
    Metric("step_seconds", "time per step", "seconds per run and step", OURS, unit="s", span=_SIZE, of_rows=False),
    # neural rank collapse
    _share_of_layer(
        "layer_tcv",
        "relative TCV of the layer's input",
        _RELATIVE,
        "Zangrando et al. 2024; normalisation is ours",
        f"{_TCV}, z the input of layer l, {_BY_SAMPLE}",
    ),
    _size_of_layer(
        "layer_absolute_tcv", "TCV of the layer's input", _TCV, "Zangrando et al. 2024", "z the input of layer l"
    ),
    _size_of_layer(
        "distance_to_rank",
        "distance to rank K",
        "√(Σ_{j>K} sⱼ²)",
        "Eckart & Young 1936",
        "sⱼ the singular values of Wₗ, K the number of classes or clusters",
        of_rows=False,
    ),
    _size_of_layer(
        "certificate_bound",
        "certificate",
        "(‖gₗ‖_F + ‖rₗ‖_F)/λ ≥ distance to rank K",
        _EXACT,
        f"gₗ the part of the gradient from variation within classes, {_RESIDUAL}; informative below ‖Wₗ‖_F",
    ),
    _share_of_layer(
        "certificate_tightness",
        "tightness",
        "distance to rank K / certificate",
        OURS,
        "near 0, the bound says little",
    ),
    _size_of_layer("weight_norm", "norm of the weights", "‖Wₗ‖_F", OURS, of_rows=False),
    _size_of_layer(
        "tcv_bound",
        "TCV bound",
        "(RMS‖dᵢ‖·√TCVₗ + ‖rₗ‖_F)/λ ≥ certificate",
        _EXACT,
        "dᵢ the gradient of sample i's loss at the layer's output, TCVₗ the total cluster variation of its input, "
        + _RESIDUAL,
    ),
    _size_of_layer("residual_norm", "stationarity residual", "‖λWₗ + ∇L₀‖_F", "Zangrando et al. 2024", _L0),
    Metric(
        "eigenvalue_cosine",
        "eigenvalue-equation cosine",
        "cos(Wₗ, −∇L₀)",
        "Zangrando et al. 2024",
        f"{_L0}: 1 where the layer is stationary",
        span=(-1.0, 1.0),
        per_layer=True,
    ),
    Metric(
        "eigenvalue_ratio",
        "eigenvalue-equation ratio",
        "⟨Wₗ, −∇L₀⟩/‖Wₗ‖²",
        "Zangrando et al. 2024",
        f"{_L0}: λ at a stationary point",
        per_layer=True,
    ),
    Metric(
        "gradient_rank",
        "rank of a batch gradient",
        "#{σᵢ > 1e-5 · σ₁}",
        OURS + " (tolerance)",
        "of ∇L on one batch",
        span=_SIZE,
        per_layer=True,
    ),
    Metric(
        "gradient_alignment",
        "gradient alignment",
        "cos between the gradients of two batches",
        OURS,
        span=(-1.0, 1.0),
        per_layer=True,
    ),
    Metric(
        "truncated_accuracy",
        "accuracy after truncation",
        "test accuracy with every layer cut to its numerical rank",
        OURS,
        span=_SHARE,
    ),
    Metric(
        "kept_parameters",
        "kept parameters",
        "Σ min(r(d_out+d_in), d_out·d_in) / Σ d_out·d_in",
        OURS,
        span=_SHARE,
        of_rows=False,
    ),
    Metric(
        "centroid_distance",
        "distance to the centroid minimiser",
        "‖W − W_c‖_F/‖W_c‖_F over all layers",
        OURS,
        span=_SIZE,
        of_rows=False,
    ),
    Metric(
        "product_rank",
        "rank of the product",
        "#{σⱼ(W_L···W₁) > 0.01 · σ₁(Y)}, Y the target",
        OURS + " (tolerance)",
        span=_SIZE,
        of_rows=False,
    ),
    Metric(
        "product_singular_value", "singular value of the product", "σⱼ of W_L ··· W₁", OURS, span=_SIZE, of_rows=False
    ),
    Metric(
        "closed_form_error",
        "distance to the closed form",
        "max |sⱼ − ŝⱼ|/ŝⱼ over the singular values of W_L···W₁ (over yⱼ where ŝⱼ = 0)",
        OURS,
        "of deep linear networks on white inputs, ŝ the optimum for their width",
        span=_SIZE,
        log=True,
        of_rows=False,
    ),
    _size_of_layer(
        "expected_layer_tcv",
        "expected TCV of the layer's input",
        "σ² ‖W_{l−1}···W₁‖_F² (1 − K/N), σ² d (1 − K/N) at the input",
        OURS,
        "linear layers only",
    ),
    Metric(
        "stationary_at",
        "stationary from step",
        "first recorded step where every layer's cos(Wₗ, −∇L₀) exceeds the threshold",
        OURS,
        unit="steps",
        span=_SIZE,
        of_rows=False,
    ),
)

KMEANS = "kmeans_"
"""Before the name of a cluster metric: its clusters are those of k-means on the inputs, not the labels."""

VARIATION_METRICS = ("total_cluster_variation", "relative_tcv", "layer_tcv", "layer_absolute_tcv")
CLUSTER_METRICS = (*VARIATION_METRICS, "nc1", "nc1_quotient", "cdnv", "nc2_equinorm", "nc2_equiangular")
"""What can be measured against clusters that are no labels."""
PROBE_METRICS = ("accuracy", "macro_f1")


def _of_kmeans(known: Metric) -> Metric:
    note = "; ".join(filter(None, [known.note, "classes: k-means clusters of the inputs"]))
    return replace(known, name=KMEANS + known.name, label=f"{known.label}, k-means clusters", note=note)


METRICS: dict[str, Metric] = {known.name: known for known in _METRICS}
METRICS |= {KMEANS + name: _of_kmeans(METRICS[name]) for name in CLUSTER_METRICS}


def metric(name: str) -> Metric:
    """The metric of that name; a name nobody registered is shown as itself."""
    return METRICS.get(name, Metric(name, name.replace("_", " "), "no definition registered", ""))
