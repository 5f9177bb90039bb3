"""What a run came to: the one home of its state, its numbers and what of them may be compared.

No JAX.

quantity     what a number is: name, meaning, unit, which way is better, how it is written and
condensed quantities   the table of those that this package records judged       which measures a
sweep asks for of its cells, and which have been taken state        in which state a folder is, and
what every state is called ending       how an error that ends a run is recorded in its folder
scores       stored scores, and the rule of which may be compared run, sweep   folders to plain
data, whatever state they are in aggregate    numbers of several runs side by side, and means over
seeds

Console, sweeps, reports and scripts only render what is here.
"""
