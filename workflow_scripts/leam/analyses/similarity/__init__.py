"""How alike are two images' maps, of the same person and of different people? (paper RQ3)"""
