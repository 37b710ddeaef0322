"""The training function: model, loss, learning-rate schedule and update-to-data ratios, for many lanes at once.

Stands on torch, numpy and the standard library, and knows nothing of Ray, Optuna or MLflow.
"""

import os

# MKL picks its kernel by the alignment of each matrix, so the same lane gives other bits at another place in
# the stack. Its reproducible mode makes a product a function of its operands alone (measured: no cost).
# MKL reads this once, at its first product.
os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")
