"""`python -m headrace_inference`"""

import os

# NB: before numpy and scikit-learn are imported: with more threads, one row's p99 is hundreds of times its median.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from headrace.bus.runtime import main
from headrace_inference.app import build

raise SystemExit(main("inference", build))
