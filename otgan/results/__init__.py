"""What a run came to: the one home of its state, its numbers and what of them may be compared. No JAX.

state        in which state a folder is, and what every state is called
ending       how an error that ends a run is recorded in its folder
quantity     what a number is: name, meaning, unit, which way is better, how it is written and condensed
quantities   the table of those that this package records
"""
