"""Run folders and sweeps as one HTML page that needs no network, or as plain numbers. No JAX.

read      folders to plain data, whatever state they are in      charts     plain data to plotly's figures
numbers   numbers of a run, means over seeds, JSON and CSV       pictures   samples as data URIs
ledger    a sweep's cells, and their combinations                page       all of it to HTML
grids     a sweep's figures                                      still      a sweep as a picture file
"""
