"""Activated pixels by facial region (paper RQ1, RQ2)."""
