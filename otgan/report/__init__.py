"""Run folders and sweeps as one HTML page that needs no network, or as plain numbers.

No JAX. What they came to, `otgan.results` knows.

numbers   JSON and CSV                                       pictures   samples as data URIs
recipe    a run beside its named experiment                  views      what a page says in words
charts    curves of runs as plotly's figures                 page       all of it to HTML
grids     a sweep's figures                                  still      a sweep as a picture file
"""
