"""How much margin makes crops like the paper's?"""
