"""The embedded sample: rendered people whose truth is known, and the recognisers trained on them."""
