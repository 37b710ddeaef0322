"""Freeze and thaw over trunks: which piece of training is worth its cost next. Knows no Optuna, no Ray and no torch."""
