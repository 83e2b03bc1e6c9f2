"""How values are written for people: numbers short, names of methods and data sets as their authors spell them."""

from collections.abc import Iterable
from typing import Any

# What the identifier of a choice does not tell; of the others underscores become spaces. Catalogues add their titles.
SPELLED = {
    "adam": "Adam", "adamw": "AdamW", "amazon_computers": "Amazon Computers", "amazon_photo": "Amazon Photo",
    "cifar10": "CIFAR-10", "citeseer": "CiteSeer",
    "cnn": "CNN", "coauthor_cs": "Coauthor CS", "coauthor_physics": "Coauthor Physics", "cora": "Cora",
    "fashion_mnist": "Fashion-MNIST", "gaussian": "Gaussian", "gelu": "GELU", "he": "He",
    "karate_club": "Karate club", "kmeans": "k-means", "mlp": "MLP", "mnist": "MNIST",
    "ogbn_arxiv": "ogbn-arxiv", "one_vs_rest": "one-vs-rest", "pubmed": "PubMed", "relu": "ReLU", "resnet": "ResNet",
    "sgd": "SGD", "srip": "SRIP", "werank": "WERank", "wikics": "WikiCS",
}  # fmt: skip


def spelled(value: Any) -> str:
    """A value as it is usually written."""
    if isinstance(value, (list, tuple)):
        return ", ".join(map(spelled, value))
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        return f"{value:g}"
    text = str(value)
    return SPELLED.get(text, text.replace("_", " "))


def meant(text: str, choices: Iterable[str]) -> str:
    """The choice that a person means who types how it is written, in small or large letters; else the text itself."""
    said = text.strip().casefold()
    return next((choice for choice in choices if said in (choice.casefold(), spelled(choice).casefold())), text)
