"""Which groups of patients, in words a protocol can use?"""
