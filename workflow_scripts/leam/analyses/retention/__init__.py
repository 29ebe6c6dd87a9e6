"""Which images were kept, and why others were not (paper 3.2)."""
