"""How good a recipe's step credit is, against step values that are exact.

`worlds` are small enough to be solved (`exact`); `sample` and `trees` draw
trajectories from them, `evidence` gives what recipes read, `study` asks every
recipe for its advantages and `measure` compares them; `figure` draws it.
"""
