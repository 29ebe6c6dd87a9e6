"""Do recognisers treat groups of people differently? (paper RQ7)"""
