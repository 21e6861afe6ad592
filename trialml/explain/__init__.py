"""Why does the model say so?"""
