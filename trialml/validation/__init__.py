"""How good is the model on patients it has not seen?"""
