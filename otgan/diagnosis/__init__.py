"""Diagnose a run at a checkpoint: how exact a dual must be, what a batch does not see, how near to
stationary the generator is.
"""
