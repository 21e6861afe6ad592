"""What did the treatment do, on average and by subgroup?"""
