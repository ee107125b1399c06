"""One published method per file: credit, objective and what it needs.

`ALL` has each method as a function whose keyword arguments are its
hyper-parameters; called without any it returns the published method.
"""

from collections.abc import Callable

from rlx.recipes.cispo import cispo
from rlx.recipes.dapo import dapo
from rlx.recipes.dr_grpo import dr_grpo
from rlx.recipes.dr_mas import dr_mas
from rlx.recipes.dual_clip import dual_clip
from rlx.recipes.gigpo import gigpo
from rlx.recipes.gpg import gpg
from rlx.recipes.graft import graft
from rlx.recipes.grpo import grpo
from rlx.recipes.gspo import gspo
from rlx.recipes.hgpo import hgpo
from rlx.recipes.hi_agent import hi_agent
from rlx.recipes.mis_po import mis_po
from rlx.recipes.opo import opo
from rlx.recipes.pacore import pacore
from rlx.recipes.par import par
from rlx.recipes.pass_at_k import pass_at_k
from rlx.recipes.ppo import ppo
from rlx.recipes.prime_gate import prime_gate
from rlx.recipes.recipe import Recipe, describe, summary
from rlx.recipes.reinforce import reinforce
from rlx.recipes.reinforce_plus_plus import reinforce_plus_plus
from rlx.recipes.reinforce_plus_plus_baseline import (
  reinforce_plus_plus_baseline,
)
from rlx.recipes.rloo import rloo
from rlx.recipes.rtmc import rtmc
from rlx.recipes.salt import salt
from rlx.recipes.sapo import sapo
from rlx.recipes.self_grpo import self_grpo
from rlx.recipes.sharp import sharp
from rlx.recipes.srgpo import srgpo
from rlx.recipes.step_grpo import step_grpo
from rlx.recipes.step_gui import step_gui

ALL: tuple[Callable[..., Recipe], ...] = (
  reinforce,
  rloo,
  grpo,
  dr_grpo,
  reinforce_plus_plus,
  ppo,
  reinforce_plus_plus_baseline,
  dapo,
  gspo,
  cispo,
  sapo,
  opo,
  dual_clip,
  gpg,
  pass_at_k,
  mis_po,
  pacore,
  gigpo,
  hgpo,
  salt,
  graft,
  rtmc,
  srgpo,
  step_grpo,
  self_grpo,
  prime_gate,
  par,
  sharp,
  dr_mas,
  hi_agent,
  step_gui,
)

__all__ = [
  "ALL",
  "Recipe",
  "cispo",
  "dapo",
  "describe",
  "dr_grpo",
  "dr_mas",
  "dual_clip",
  "gigpo",
  "gpg",
  "graft",
  "grpo",
  "gspo",
  "hgpo",
  "hi_agent",
  "mis_po",
  "opo",
  "pacore",
  "par",
  "pass_at_k",
  "ppo",
  "prime_gate",
  "reinforce",
  "reinforce_plus_plus",
  "reinforce_plus_plus_baseline",
  "rloo",
  "rtmc",
  "salt",
  "sapo",
  "self_grpo",
  "sharp",
  "srgpo",
  "step_grpo",
  "step_gui",
  "summary",
]
