"""What an embedding knows of classes that it was never told: nearest neighbours, and a linear model."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from echoform_train.depth.baselines import standardised

NEIGHBOURS = (1, 5, 15)
PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""C of scikit-learn, smaller is stronger."""


@dataclass(frozen=True)
class Embedded:
    """Embeddings and classes of one part of the split."""

    embeddings: np.ndarray
    """float32 [N, D]."""
    labels: np.ndarray
    """int64 [N]."""


@dataclass(frozen=True)
class Probe:
    """How a probe did on the test part."""

    hits: np.ndarray
    """bool [N]."""
    chosen: str
    """What was chosen on the validation part."""


def knn_probe(train: Embedded, validation: Embedded, test: Embedded) -> Probe:
    """Majority of the nearest training images; number of neighbours and distance are chosen on the validation part.

    Distances are Euclidean ones of the embeddings as they are, or angles after the mean of training is taken off.
    """
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
    return Probe(model.predict(test.embeddings - offset) == test.labels, chosen)


def linear_probe(train: Embedded, validation: Embedded, test: Embedded) -> Probe:
    """Multinomial logistic regression on standardised embeddings; the penalty is chosen on the validation part.

    Embeddings that are longer than there are training images are first turned into the span of those, which changes
    no result of a model with a squared penalty.
    """
    parts = standardised(train.embeddings, validation.embeddings, test.embeddings)
    if parts[0].shape[1] > len(parts[0]):
        basis = np.linalg.qr(parts[0].T)[0]
        parts = [part @ basis for part in parts]
    best = None
    for penalty in PENALTIES:
        with warnings.catch_warnings():
            # Unfinished optimisation of a weak penalty is a form of a stronger one; validation decides between them.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model = LogisticRegression(C=penalty, max_iter=200).fit(parts[0], train.labels)
        score = _score(model, parts[1], validation.labels)
        if best is None or score > best[0]:
            best = (score, model, f"C {penalty:g}")
    assert best is not None
    return Probe(best[1].predict(parts[2]) == test.labels, best[2])


def _score(model: KNeighborsClassifier | LogisticRegression, embeddings: np.ndarray, labels: np.ndarray) -> float:
    return float(np.mean(model.predict(embeddings) == labels))
