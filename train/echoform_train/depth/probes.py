"""Recognition of classes from embeddings of a model that was trained without them: k-NN and a linear model."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from echoform_train.depth.baselines import standardise
from echoform_train.engine.extras import needs_extra

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier

NEIGHBOURS = (1, 5, 15)
INVERSE_PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Values of C that are tried in scikit-learn's logistic regression; a smaller C is a stronger penalty."""


@dataclass(frozen=True)
class LabelledEmbeddings:
    """Embeddings and classes of one part of the split."""

    embeddings: np.ndarray
    """float32 [N, D]."""
    labels: np.ndarray
    """int64 [N]."""


@dataclass(frozen=True)
class ProbeResult:
    """Result of a probe on the test part."""

    correct: np.ndarray
    """Whether the class of each test image was recognised, bool [N]."""
    chosen: str
    """The settings that were best on the validation part, in words."""


def knn_probe(train: LabelledEmbeddings, validation: LabelledEmbeddings, test: LabelledEmbeddings) -> ProbeResult:
    """Recognise a class by the majority of the nearest training images.

    The number of neighbours and the distance are chosen on the validation part. The distance is either the Euclidean
    distance or, after subtracting the mean of the training embeddings, the angle.
    """
    with needs_extra("depth", "a probe of embeddings"):
        from sklearn.neighbors import KNeighborsClassifier
    centre = train.embeddings.mean(0)
    best = None
    for metric in ("euclidean", "cosine"):
        offset = centre if metric == "cosine" else 0.0
        for count in NEIGHBOURS:
            if count > len(train.labels):
                continue
            model = KNeighborsClassifier(count, metric=metric).fit(train.embeddings - offset, train.labels)
            score = _score(model, validation.embeddings - offset, validation.labels)
            if best is None or score > best[0]:
                best = (score, model, offset, f"{count} {'neighbour' if count == 1 else 'neighbours'}, {metric}")
    assert best is not None
    _, model, offset, chosen = best
    return ProbeResult(model.predict(test.embeddings - offset) == test.labels, chosen)


def linear_probe(train: LabelledEmbeddings, validation: LabelledEmbeddings, test: LabelledEmbeddings) -> ProbeResult:
    """Recognise a class by multinomial logistic regression on standardised embeddings.

    The penalty is chosen on the validation part. If embeddings have more dimensions than there are training images,
    they are first projected to the span of the training embeddings, which is faster and, with a squared penalty, gives
    the same result.
    """
    with needs_extra("depth", "a probe of embeddings"):
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression
    parts = standardise(train.embeddings, validation.embeddings, test.embeddings)
    if parts[0].shape[1] > len(parts[0]):
        basis = np.linalg.qr(parts[0].T)[0]
        parts = [part @ basis for part in parts]
    best = None
    for inverse_penalty in INVERSE_PENALTIES:
        with warnings.catch_warnings():
            # With a weak penalty the optimisation may stop early, which acts like a stronger penalty: no warning.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model = LogisticRegression(C=inverse_penalty, max_iter=200).fit(parts[0], train.labels)
        score = _score(model, parts[1], validation.labels)
        if best is None or score > best[0]:
            best = (score, model, f"C {inverse_penalty:g}")
    assert best is not None
    return ProbeResult(best[1].predict(parts[2]) == test.labels, best[2])


def _score(model: KNeighborsClassifier | LogisticRegression, embeddings: np.ndarray, labels: np.ndarray) -> float:
    return float(np.mean(model.predict(embeddings) == labels))
