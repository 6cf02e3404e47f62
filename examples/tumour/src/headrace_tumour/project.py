"""Is this tumour malignant? A model registered by hand, and nothing else: no pipelines, no features, no training."""

from sklearn.datasets import load_breast_cancer

from headrace.project import Deployment, Number, Project

COLUMNS = [str(name).replace(" ", "_") for name in load_breast_cancer().feature_names]

tumour = Deployment("tumour", unit="patient", inputs=[Number(column, 0) for column in COLUMNS])
project = Project("tumour", deployments=[tumour])
