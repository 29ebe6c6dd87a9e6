"""Explanation methods: what a map shows, as the files and tables name it. Imports nothing heavy."""

POLARITIES = ("loss", "similarity")  # which is differentiated; the order of the first axis of maps and counts
