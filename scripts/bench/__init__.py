"""Benchmarks: the gradient of a Sinkhorn loss beside other libraries', networks and whole steps
beside PyTorch's.

Each command writes what it measured to a JSON file and goes on where that ends; `page` makes the
documentation's tables of such files.
"""
