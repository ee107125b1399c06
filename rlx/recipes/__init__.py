"""One published method per file: credit, objective and what it needs.

`ALL` has each method as a function whose keyword arguments are its
hyper-parameters; called without any it returns the published method.
"""

from collections.abc import Callable

from rlx.recipes.branch_grpo import branch_grpo
from rlx.recipes.cispo import cispo
from rlx.recipes.dapo import dapo
from rlx.recipes.dr_grpo import dr_grpo
from rlx.recipes.dr_mas import dr_mas
from rlx.recipes.dual_clip import dual_clip
from rlx.recipes.erl import erl
from rlx.recipes.fedmoa import fedmoa
from rlx.recipes.gigpo import gigpo
from rlx.recipes.gpg import gpg
from rlx.recipes.graft import graft
from rlx.recipes.grpo import grpo
from rlx.recipes.gspo import gspo
from rlx.recipes.hgpo import hgpo
from rlx.recipes.hi_agent import hi_agent
from rlx.recipes.mis_po import mis_po
from rlx.recipes.opo import opo
from rlx.recipes.oprl import oprl
from rlx.recipes.pacore import pacore
from rlx.recipes.par import par
from rlx.recipes.pass_at_k import pass_at_k
from rlx.recipes.pav import pav
from rlx.recipes.portool import portool
from rlx.recipes.ppo import ppo
from rlx.recipes.prime_gate import prime_gate
from rlx.recipes.rapo import rapo
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
from rlx.recipes.spa_rl import spa_rl
from rlx.recipes.spo_chain import spo_chain
from rlx.recipes.spo_tree import spo_tree
from rlx.recipes.srgpo import srgpo
from rlx.recipes.step_grpo import step_grpo
from rlx.recipes.step_gui import step_gui
from rlx.recipes.stepsearch import stepsearch
from rlx.recipes.tree_grpo import tree_grpo
from rlx.recipes.ui_s1 import ui_s1
from rlx.recipes.verl import verl
from rlx.recipes.vsrm import vsrm

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
  stepsearch,
  erl,
  ui_s1,
  oprl,
  spa_rl,
  rapo,
  verl,
  fedmoa,
  spo_chain,
  spo_tree,
  pav,
  portool,
  vsrm,
  branch_grpo,
  tree_grpo,
)

__all__ = [
  "ALL",
  "Recipe",
  "branch_grpo",
  "cispo",
  "dapo",
  "describe",
  "dr_grpo",
  "dr_mas",
  "dual_clip",
  "erl",
  "fedmoa",
  "gigpo",
  "gpg",
  "graft",
  "grpo",
  "gspo",
  "hgpo",
  "hi_agent",
  "mis_po",
  "opo",
  "oprl",
  "pacore",
  "par",
  "pass_at_k",
  "pav",
  "portool",
  "ppo",
  "prime_gate",
  "rapo",
  "reinforce",
  "reinforce_plus_plus",
  "reinforce_plus_plus_baseline",
  "rloo",
  "rtmc",
  "salt",
  "sapo",
  "self_grpo",
  "sharp",
  "spa_rl",
  "spo_chain",
  "spo_tree",
  "srgpo",
  "step_grpo",
  "step_gui",
  "stepsearch",
  "summary",
  "tree_grpo",
  "ui_s1",
  "verl",
  "vsrm",
]
