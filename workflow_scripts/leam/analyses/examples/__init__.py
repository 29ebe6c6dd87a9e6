"""Maps and pixel sets drawn over faces (paper figures 3 to 7)."""
