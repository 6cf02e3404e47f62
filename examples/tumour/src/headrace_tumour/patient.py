"""`python -m headrace_tumour.patient N`: the N-th patient's measurements as `name=value` pairs."""

import sys

from sklearn.datasets import load_breast_cancer

from headrace_tumour.project import COLUMNS


def pairs(number: int) -> list[str]:
    """Measurements of one patient, in column order."""
    return [f"{name}={value}" for name, value in zip(COLUMNS, load_breast_cancer().data[number], strict=True)]


if __name__ == "__main__":
    print(" ".join(pairs(int(sys.argv[1]) if len(sys.argv) > 1 else 0)))
