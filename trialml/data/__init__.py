"""Who was in the trial, what was measured, can it be trusted?"""
