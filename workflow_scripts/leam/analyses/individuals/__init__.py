"""Do people differ, and how much do a person's own images? (paper RQ4)"""
