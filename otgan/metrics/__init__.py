"""From arrays to numbers that judge a generator."""
