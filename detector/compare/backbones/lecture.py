"""The lecture's table of networks, unchanged, and the reasons why our figures differ."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

Span = tuple[Decimal, Decimal]


@dataclass(frozen=True)
class Row:
    """One family; numbers have the same decimals as in the lecture."""

    family: str
    year: int
    layers: Span
    idea: str
    authors: str
    top1: Decimal  # per cent
    parameters: Span  # millions


def _span(low: str, high: str | None = None) -> Span:
    return Decimal(low), Decimal(high or low)


LECTURE = (
    Row("AlexNet", 2012, _span("8"), "ReLU and LRN", "Krizhevsky et al.", Decimal("57.2"), _span("62")),
    Row(
        "VGGNet", 2014, _span("16", "19"), "3x3 filters", "Simonyan and Zisserman", Decimal("74.4"),
        _span("138", "144"),
    ),
    Row(
        "Inception", 2014, _span("22", "42"), "inception modules, auxiliary classifiers, batch norm", "Szegedy et al.",
        Decimal("74.8"), _span("4", "12"),
    ),
    Row("ResNet", 2015, _span("50", "152"), "residual connections", "He et al.", Decimal("75.3"), _span("25.6", "60")),
)  # fmt: skip

# Reasons by family, or by network if they concern one.
REASONS = {
    "AlexNet": "torchvision's AlexNet is the one of Krizhevsky 2014: one column, 64 filters first, no LRN, no groups.",
    "VGGNet": "74.4 % is the paper's own training (VGG-16, error 25.6 %), evaluated densely at 384 pixels; torchvision "
    "trained anew, and measures one crop of 224 pixels.",
    "Inception": "The lecture's row spans several networks: 22 layers are GoogLeNet's, 42 those that the paper of v3 "
    "counts, and 74.8 % is the one-crop figure of batch-normalised Inception (Szegedy et al. 2016, table 3). "
    "Parameters are those without auxiliary classifiers.",
    "googlenet": "torchvision's GoogLeNet has batch norm, and 3x3 filters where the paper has 5x5.",
    "inception_v3": "The paper says 42 layers; the longest way through the network as built has more.",
    "inception_v4": "It came after what the lecture's row describes.",
    "ResNet": "75.3 % is the authors' own ResNet-50 on one crop.",
    "resnet18": "The lecture's row begins with ResNet-50.",
}


def within(value: float, span: Span) -> bool:
    """Return whether a figure, rounded like the lecture's, lies in its span."""
    low, high = span
    return _rounded(value, low) >= low and _rounded(value, high) <= high


def _rounded(value: float, like: Decimal) -> Decimal:
    return Decimal(repr(value)).quantize(like)


def text(span: Span) -> str:
    """Return a span as text, such as `8` or `16–19`."""
    low, high = span
    return str(low) if low == high else f"{low}–{high}"
