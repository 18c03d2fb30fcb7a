"""The floor: scikit-learn's logistic regression, C by cross-validation, on the frozen backbone's features."""

from __future__ import annotations

from collections.abc import Sequence

from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def fitted_floor(features: object, labels: Sequence[str], seed: int) -> GridSearchCV:
    """Fitted on the training samples alone."""
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(max_iter=5000))
    folds = StratifiedKFold(3, shuffle=True, random_state=seed)
    return GridSearchCV(pipeline, {"logisticregression__C": (0.01, 0.1, 1.0, 10.0)}, cv=folds).fit(features, labels)
