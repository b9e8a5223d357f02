"""How many words the answer shares with the label."""

from __future__ import annotations

import re
import string
from collections import Counter
from statistics import fmean
from typing import Any

from evaluators.metrics.metric import LabelMetric, Names
from evaluators.metrics.text import text_of

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def f1(field: Names = None, column: Names = None) -> LabelMetric:
    """The harmonic mean of word precision and recall, averaged over the fields.

    Words as in SQuAD's evaluation (Rajpurkar et al., 2016, arXiv 1606.05250): lower case, no
    punctuation, no articles. An empty answer to an empty label scores 1.

    Fields and columns are chosen as for `exact_match`.
    """
    return LabelMetric.of("f1", compare, field, column, combine=fmean)


def compare(label: Any, answer: Any) -> float:
    """F1 in [0, 1] for one label and answer."""
    wanted, given = _words(label), _words(answer)
    if not wanted or not given:
        return float(wanted == given)
    shared = (wanted & given).total()
    return 2.0 * shared / (wanted.total() + given.total())


def _words(value: Any) -> Counter[str]:
    text = text_of(value).lower().translate(_NO_PUNCTUATION)
    return Counter(_ARTICLES.sub(" ", text).split())
