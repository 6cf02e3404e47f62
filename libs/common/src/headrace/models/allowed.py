"""The types that a skops file may hold beyond those that skops trusts itself. Each was reviewed, with the reason for
it.

skops makes an object without its constructor and sets its attributes. A function is looked up by name, and is only
called by an object that calls it. So a type may be listed when building it runs no code of its choosing, and when its
arrays are either read by checked code, or checked by `headrace.models.trees` and `headrace.models.bounds` before the
first prediction.
"""

_PLAIN = (
    "functools.partial",  # for check_array, inside HistGradientBoosting's preprocessor
    "numpy.dtype",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.multiclass._ConstantPredictor",  # a class that one-against-rest never saw
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
    "sklearn.utils._bunch.Bunch",
    "sklearn.utils.validation.check_array",
    # Imputation by models: named tuples of a column, its neighbours and an estimator.
    "sklearn.impute._iterative.IterativeImputer",
    "sklearn.impute._iterative._ImputerTriplet",
    # Losses of generalised linear models: a power, and the compiled loss that skops trusts.
    "sklearn._loss.loss.HalfTweedieLoss",
    "sklearn._loss.loss.HalfTweedieLossIdentity",
    # Gaussian processes: kernels are numbers and formulas in Python.
    "sklearn.gaussian_process._gpc._BinaryGaussianProcessClassifierLaplace",
    "sklearn.gaussian_process.kernels.CompoundKernel",
    "sklearn.gaussian_process.kernels.ConstantKernel",
    "sklearn.gaussian_process.kernels.DotProduct",
    "sklearn.gaussian_process.kernels.ExpSineSquared",
    "sklearn.gaussian_process.kernels.Exponentiation",
    "sklearn.gaussian_process.kernels.Matern",
    "sklearn.gaussian_process.kernels.Product",
    "sklearn.gaussian_process.kernels.RBF",
    "sklearn.gaussian_process.kernels.RationalQuadratic",
    "sklearn.gaussian_process.kernels.Sum",
    "sklearn.gaussian_process.kernels.WhiteKernel",
)

# Compiled code walks their arrays without checks, so they are checked before they are used.
_CHECKED = (
    "sklearn.tree._tree.Tree",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.neighbors._kd_tree.KDTree",
    "sklearn.neighbors._ball_tree.BallTree",
    # Distances whose numbers (a power, weights) are not read.
    "sklearn.metrics._dist_metrics.ChebyshevDistance64",
    "sklearn.metrics._dist_metrics.EuclideanDistance64",
    "sklearn.metrics._dist_metrics.ManhattanDistance64",
    "scipy.interpolate._bsplines.BSpline",
    "scipy._lib.array_api_compat.numpy._aliases.asarray",  # by which a spline makes arrays
)

# What searches keep of their search. predict never calls it.
_SEARCHES = (
    "sklearn.metrics._scorer._CurveScorer",
    "sklearn.metrics._scorer._PassthroughScorer",
    "sklearn.metrics._scorer._Scorer",
    "sklearn.model_selection._split.GroupKFold",
    "sklearn.model_selection._split.KFold",
    "sklearn.model_selection._split.RepeatedStratifiedKFold",
    "sklearn.model_selection._split.ShuffleSplit",
    "sklearn.model_selection._split.StratifiedKFold",
    "sklearn.model_selection._split.StratifiedShuffleSplit",
    "sklearn.model_selection._split.TimeSeriesSplit",
    "sklearn.utils._metadata_requests.MetadataRequest",
    "sklearn.utils._metadata_requests.MethodMetadataRequest",
)

# Functions of arrays that only return numbers: of scorers, of selections by a test, of pooling.
_FUNCTIONS = (
    "numpy.mean",
    "numpy.median",
    "sklearn.feature_selection._mutual_info.mutual_info_classif",
    "sklearn.feature_selection._mutual_info.mutual_info_regression",
    "sklearn.feature_selection._univariate_selection.chi2",
    "sklearn.feature_selection._univariate_selection.f_classif",
    "sklearn.feature_selection._univariate_selection.f_regression",
    "sklearn.feature_selection._univariate_selection.r_regression",
    "sklearn.metrics._classification.accuracy_score",
    "sklearn.metrics._classification.balanced_accuracy_score",
    "sklearn.metrics._classification.brier_score_loss",
    "sklearn.metrics._classification.f1_score",
    "sklearn.metrics._classification.log_loss",
    "sklearn.metrics._classification.precision_score",
    "sklearn.metrics._classification.recall_score",
    "sklearn.metrics._ranking.average_precision_score",
    "sklearn.metrics._ranking.roc_auc_score",
    "sklearn.metrics._regression.max_error",
    "sklearn.metrics._regression.mean_absolute_error",
    "sklearn.metrics._regression.mean_absolute_percentage_error",
    "sklearn.metrics._regression.mean_squared_error",
    "sklearn.metrics._regression.median_absolute_error",
    "sklearn.metrics._regression.r2_score",
    "sklearn.metrics._regression.root_mean_squared_error",
)

ALLOWED_TYPES = (*_PLAIN, *_CHECKED, *_SEARCHES, *_FUNCTIONS)


def why_strange(strangers: tuple[str, ...]) -> str:
    """Why a file with these types is not loaded, and the way out.

    >>> why_strange(("xgboost.sklearn.XGBClassifier",)).partition(": ")[0]
    'artifact holds types that are not on the allow-list'
    """
    return f"artifact holds types that are not on the allow-list: {', '.join(strangers)}; {_way_out(strangers)}"


def _way_out(strangers: tuple[str, ...]) -> str:
    rooms = {name.partition(".")[0] for name in strangers}
    if rooms & {"xgboost", "lightgbm"}:
        return (
            "save the booster alone, in its library's own format (.ubj, .json, .txt), if nothing precedes it in the pipeline"
            " (a step that scales or encodes its columns would be lost silently), or save the whole as ONNX"
        )
    search = "of a search, save `best_estimator_` alone: it leaves scorer and splitter behind"
    if rooms <= {"numpy", "scipy", "sklearn"}:
        onnx = "otherwise, save the model as ONNX (skl2onnx), or have the type reviewed and listed with its reason in headrace.models.allowed"
        return f"{search}; {onnx}"
    return (
        f"your own code is never loaded: compute it before the request, or save the model as ONNX (skl2onnx); {search}"
    )
