"""What should the next trial look like?"""
