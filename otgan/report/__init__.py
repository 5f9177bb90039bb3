"""Run folders and sweeps as one HTML page that needs no network, or as plain numbers.

No JAX. What they came to, `otgan.results` knows.

numbers   JSON and CSV                                       room       how large a page may become
recipe    a run beside its named experiment                  pictures   samples as data URIs
charts    curves of runs as plotly's figures                 views      what a page says in words
grids     a sweep's figures                                  shown      a run, for its template
parallel  the same across all axes                           boards     a sweep, for its template
still     a sweep as a picture file                          page       all of it to HTML
"""
