"""What happened over time?"""
