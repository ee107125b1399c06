"""Returns that flow only through steps that are linked."""

import jax.numpy as jnp

from rlx.credit import chains, estimator, kernels


def linked_returns(
  discount: float = 0.5, link: str = "matched"
) -> estimator.Estimator:
  """Discounted sums of the signal, over neighbours that are both linked.

      y[t] = x[t] + discount * m[t] * m[t + 1] * y[t + 1],  m the column `link`

  A step with m = 0 neither receives from the future nor passes back. With m = 1
  everywhere these are `returns`. Padding costs no discount.

  Source: UI-S1, arXiv:2509.11543 [code]; that both ends must be linked is the
  code's.

  Raises:
    ValueError: discount is not between 0 and 1.
  """
  if not 0.0 <= discount <= 1.0:
    raise ValueError(f"discount={discount} is not between 0 and 1")

  def f(signal, steps):
    own = estimator.column(steps, link).astype(signal.dtype)
    both = own * chains.following(own, steps)
    c = chains.continuation(steps, discount)
    c = jnp.where(steps.weight > 0, c * both, c)
    return kernels.propagate(signal, c.astype(signal.dtype))

  return estimator.stateless(f)
