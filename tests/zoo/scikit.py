"""Forty estimators and pipelines of scikit-learn, as their makers save them."""

from collections.abc import Callable

import numpy as np
from sklearn import (
    compose,
    decomposition,
    discriminant_analysis,
    ensemble,
    feature_selection,
    gaussian_process,
    linear_model,
    model_selection,
    multiclass,
    multioutput,
    naive_bayes,
    neighbors,
    neural_network,
    svm,
    tree,
)
from sklearn.calibration import CalibratedClassifierCV
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    KBinsDiscretizer,
    OneHotEncoder,
    OrdinalEncoder,
    SplineTransformer,
    StandardScaler,
    TargetEncoder,
)
from tests.zoo.exhibits import Exhibit, Table, bundled, by_frame, by_matrix, fare, voyage

Builder = Callable[[str], Exhibit]


def _fitted(model: object, which: Callable[[], Table]) -> Builder:
    """A model that is fitted on an array."""

    def build(name: str) -> Exhibit:
        table = which()
        return by_matrix(name, model.fit(table.matrix, table.labels), table)

    return build


def _framed(model: object, which: Callable[[], Table]) -> Builder:
    """A model that is fitted on a frame with names and words."""

    def build(name: str) -> Exhibit:
        table = which()
        return by_frame(name, model.fit(table.frame, table.labels), table)

    return build


def _iris() -> Table:
    return bundled("iris", named=True)


def _wine() -> Table:
    return bundled("wine")


def _cancer() -> Table:
    return bundled("cancer", 10, named=True)


def _digits() -> Table:
    return bundled("digits")


def _diabetes() -> Table:
    return bundled("diabetes")


def _holed() -> Table:
    return bundled("wine").with_holes()


def _guests() -> Table:
    return voyage()


def _holed_guests() -> Table:
    return voyage().with_holes()


def _fares() -> Table:
    table = voyage()
    return Table(table.frame, fare(table), table.inputs, table.words)


def _thick() -> Table:
    """Labels of shape (n, 1)."""
    table = bundled("diabetes")
    return Table(table.frame, table.labels.reshape(-1, 1), table.inputs)


def _two_targets() -> Table:
    table = bundled("iris")
    return Table(table.frame, np.column_stack([table.labels > 0, table.labels > 1]), table.inputs)


def _holed_diabetes() -> Table:
    return bundled("diabetes").with_holes()


NUMBERS, TEXTS = ["age", "month"], ["port", "cabin"]


def _mixed(words: object, model: object, numbers: object | None = None) -> object:
    """Numbers and words are transformed separately, and found by their names."""
    parts = [("numbers", numbers or StandardScaler(), NUMBERS), ("words", words, TEXTS)]
    return make_pipeline(compose.ColumnTransformer(parts), model)


def _months(name: str) -> Exhibit:
    """An encoder that knows only whole months, and raises for all other values."""
    table = voyage()
    months = Table(table.frame[["month"]], table.labels, [found for found in table.inputs if found.name == "month"])
    return by_matrix(
        name, make_pipeline(OneHotEncoder(), LogisticRegression()).fit(months.matrix, months.labels), months
    )


def _coded_trees(name: str) -> Exhibit:
    """Trees with a declaration of the columns that hold codes of words, and with gaps."""
    table = voyage().with_holes()
    model = ensemble.HistGradientBoostingClassifier(max_iter=20, categorical_features=[2, 3])
    return by_matrix(name, model.fit(table.matrix, table.labels), table)


def _bayes_of_words() -> object:
    return compose.ColumnTransformer([("text", CountVectorizer(), "cabin")], remainder="drop")


FOREST = ensemble.RandomForestClassifier(10, random_state=0)
KEPT: dict[str, Builder] = {
    "logistic": _fitted(LogisticRegression(max_iter=1000), _iris),
    "scaled-logistic": _fitted(make_pipeline(StandardScaler(), LogisticRegression()), _cancer),
    "forest": _fitted(FOREST, _wine),
    "boosted": _fitted(ensemble.GradientBoostingClassifier(n_estimators=20), _cancer),
    "hist-boosted-holes": _fitted(ensemble.HistGradientBoostingClassifier(max_iter=20), _holed),
    "hist-boosted-codes": _coded_trees,
    "adaboost": _fitted(ensemble.AdaBoostClassifier(n_estimators=10), _cancer),
    "tree": _fitted(tree.DecisionTreeClassifier(max_depth=4, random_state=0), _wine),
    "gaussian-bayes": _fitted(naive_bayes.GaussianNB(), _iris),
    "multinomial-bayes": _fitted(naive_bayes.MultinomialNB(), _digits),
    "quadratic-discriminant": _fitted(discriminant_analysis.QuadraticDiscriminantAnalysis(), _iris),
    "neighbours": _fitted(neighbors.KNeighborsClassifier(), _iris),
    "svc-probability": _fitted(make_pipeline(StandardScaler(), svm.SVC(probability=True, random_state=0)), _iris),
    "network": _fitted(neural_network.MLPClassifier((16,), max_iter=30, random_state=0), _digits),
    "calibrated-sigmoid": _fitted(CalibratedClassifierCV(make_pipeline(StandardScaler(), svm.LinearSVC())), _cancer),
    "calibrated-isotonic": _fitted(CalibratedClassifierCV(FOREST, method="isotonic"), _cancer),
    "voting": _fitted(
        ensemble.VotingClassifier([("forest", FOREST), ("bayes", naive_bayes.GaussianNB())], voting="soft"), _iris
    ),
    "stacking": _fitted(
        ensemble.StackingClassifier([("forest", FOREST), ("bayes", naive_bayes.GaussianNB())]), _cancer
    ),
    "one-vs-rest": _fitted(multiclass.OneVsRestClassifier(LogisticRegression(max_iter=1000)), _wine),
    "sgd": _fitted(
        make_pipeline(StandardScaler(), linear_model.SGDClassifier(loss="log_loss", random_state=0)), _cancer
    ),
    "grid-search": _fitted(
        model_selection.GridSearchCV(LogisticRegression(max_iter=1000), {"C": [0.1, 1.0]}, cv=2), _iris
    ),
    "pca": _fitted(make_pipeline(StandardScaler(), decomposition.PCA(5), LogisticRegression()), _digits),
    "select-k-best": _fitted(
        make_pipeline(feature_selection.SelectKBest(k=3), LogisticRegression(max_iter=5000)), _cancer
    ),
    "splines": _fitted(make_pipeline(SplineTransformer(n_knots=4), LogisticRegression(max_iter=2000)), _iris),
    "bins": _fitted(
        make_pipeline(KBinsDiscretizer(4, quantile_method="averaged_inverted_cdf"), LogisticRegression()), _iris
    ),
    "gaussian-process": _fitted(gaussian_process.GaussianProcessClassifier(), _iris),
    "imputed": _fitted(make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression()), _holed),
    "months": _months,
    "mixed-logistic": _framed(_mixed(OneHotEncoder(handle_unknown="ignore"), LogisticRegression()), _guests),
    "mixed-imputed": _framed(
        _mixed(
            make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore")),
            FOREST,
            SimpleImputer(),
        ),
        _holed_guests,
    ),
    "mixed-ordinal": _framed(
        _mixed(
            OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1),
            ensemble.HistGradientBoostingClassifier(max_iter=20),
            "passthrough",
        ),
        _holed_guests,
    ),
    "mixed-target": _framed(_mixed(TargetEncoder(cv=3), LogisticRegression()), _guests),
    "counted-words": _framed(make_pipeline(_bayes_of_words(), naive_bayes.MultinomialNB()), _guests),
    "linear": _fitted(linear_model.LinearRegression(), _thick),
    "hist-boosted-number": _fitted(ensemble.HistGradientBoostingRegressor(max_iter=20), _holed_diabetes),
    "mixed-fare": _framed(_mixed(OneHotEncoder(handle_unknown="ignore"), linear_model.Ridge()), _fares),
    "margins": _fitted(make_pipeline(StandardScaler(), svm.LinearSVC()), _cancer),
    "two-targets": _fitted(multioutput.MultiOutputClassifier(LogisticRegression(max_iter=1000)), _two_targets),
    "forest-number": _fitted(ensemble.RandomForestRegressor(10, random_state=0), _diabetes),
    "logged-target": _fitted(
        compose.TransformedTargetRegressor(linear_model.Ridge(), func=np.log1p, inverse_func=np.expm1), _diabetes
    ),
}
