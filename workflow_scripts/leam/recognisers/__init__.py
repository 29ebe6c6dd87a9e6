"""Recognisers: what each is, how its network is built, and how it is made ready for many backwards."""
