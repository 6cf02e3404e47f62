"""The model: gradient-boosted trees on the row as it is; categories by the signature's codes, missing as NaN."""

from sklearn.ensemble import HistGradientBoostingClassifier

from headrace.events.registry import Signature


def build(signature: Signature) -> HistGradientBoostingClassifier:
    """An unfitted classifier for rows of this signature."""
    categories = [place for place, column in enumerate(signature.columns) if column.vocabulary is not None]
    return HistGradientBoostingClassifier(
        learning_rate=0.08,
        max_iter=80,
        max_leaf_nodes=31,
        min_samples_leaf=100,
        l2_regularization=1.0,
        categorical_features=categories,
        early_stopping=False,  # 'auto' would split off rows at random above 10,000
        random_state=0,
    )
