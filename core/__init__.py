"""The training engine: models, losses, learning-rate schedules and update-to-data ratios, for many lanes at once.

It imports torch, numpy and the standard library, and never Ray, Optuna or MLflow.
"""

import os

# MKL picks its kernel by the alignment of each matrix, so a lane's bits would depend on its row in the stack.
# In its reproducible mode a product depends on its operands alone (measured: no cost).
# MKL reads this once, at its first product.
os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")
