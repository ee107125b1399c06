"""The bias ledger: what each recipe's gradient is on average, exactly.

On decision processes so small that every batch can be listed, the expected
policy gradient of a recipe is a finite sum. It is compared with the gradient
of the expected return. `mdps` has the processes, `evidence` what recipes are
told about them, `expected` the sum, `verdicts` the comparison, `report` the
tables and the figure, `stored` what was found when it was last saved.
"""
