"""The compiled programs of the learner, each for one shape.

`score` says what old policy, reference and value think of a micro-batch;
`observe` lets the recipe's providers learn and fill columns of the step table;
`estimate` turns the table into an advantage a token; `weigh` fixes the
weights of an update; `accumulate` adds the gradient of one micro-batch; `apply`
clips it and takes the step.

A micro-batch comes as `view`: arrays, and their static `shape`. Rows of the batch
as they are come as their numbers, and a length; packs as a `Pack`, and its
`Shape`: see `rlx.packing`.
"""
