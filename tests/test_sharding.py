"""One mesh, one rules table: every placement, and every refusal."""

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from rlx import sharding
from tests import tiny

MESH = sharding.MeshConfig(data=2, fsdp=2, tensor=2)


@pytest.mark.parametrize(
  "sizes, want",
  [
    ({}, (8, 1, 1, 1, 1)),
    ({"fsdp": 4}, (2, 4, 1, 1, 1)),
    ({"data": 2, "fsdp": -1, "tensor": 2}, (2, 2, 2, 1, 1)),
    ({"data": 1, "expert": 8}, (1, 1, 1, 1, 8)),
  ],
)
def test_a_mesh_has_the_five_axes_and_the_sizes_asked_for(sizes, want):
  mesh = sharding.make_mesh(sharding.MeshConfig(**sizes))
  assert mesh.axis_names == ("data", "fsdp", "tensor", "context", "expert")
  assert mesh.devices.shape == want
  assert set(mesh.axis_types) == {AxisType.Auto}


def test_a_mesh_may_be_of_some_devices_only():
  mesh = sharding.make_mesh(sharding.MeshConfig(), jax.devices()[2:4])
  assert mesh.shape["data"] == 2
  assert set(mesh.devices.flat) == set(jax.devices()[2:4])


@pytest.mark.parametrize(
  "sizes, message",
  [
    ({"data": 3}, r"'data': 3.*needs 3 devices, but there are 8"),
    ({"tensor": 3}, "needs a multiple of 3 devices, but there are 8"),
    ({"data": 0}, "mesh.data=0: an axis is a positive number"),
    ({"fsdp": -2}, "mesh.fsdp=-2"),
    ({"fsdp": -1}, "several mesh axes are -1"),
  ],
)
def test_a_mesh_that_the_devices_cannot_make_is_refused(sizes, message):
  with pytest.raises(ValueError, match=message):
    sharding.make_mesh(sharding.MeshConfig(**sizes))


def test_logical_axes_follow_the_rules_table():
  spec = sharding.spec(("vocab", None, "embed", "norm", "unheard of"))
  assert spec == PartitionSpec("tensor", None, "fsdp", None, None)
  assert sharding.spec(("batch", "length")) == PartitionSpec(
    ("data", "fsdp"), None
  )
  assert sharding.spec(("vocab",), {"vocab": "data"}) == PartitionSpec("data")


def test_two_axes_over_one_mesh_axis_are_refused_by_name():
  with pytest.raises(ValueError, match=r"\('heads', 'mlp'\).*'tensor' twice"):
    sharding.spec(("heads", "mlp"))


def test_a_tree_of_axes_becomes_a_tree_of_placements():
  mesh = sharding.make_mesh(MESH)
  found = sharding.shardings(
    {"a": ("vocab", "embed"), "b": [("norm",), ()]}, mesh
  )
  assert found["a"] == NamedSharding(mesh, PartitionSpec("tensor", "fsdp"))
  assert found["b"][1] == NamedSharding(mesh, PartitionSpec())


def test_rows_are_split_over_data_and_fsdp():
  mesh = sharding.make_mesh(MESH)
  x = jax.device_put(
    np.arange(16.0).reshape(8, 2), sharding.batch_sharding(mesh)
  )
  assert {shard.data.shape for shard in x.addressable_shards} == {(2, 2)}
  assert sharding.batch_devices(mesh) == 4
  whole = jax.device_put(np.zeros(3), sharding.replicated(mesh))
  assert {shard.data.shape for shard in whole.addressable_shards} == {(3,)}


@pytest.mark.parametrize(
  "rows, nearest", [(9, "8 or 12"), (3, "4"), (13, "12 or 16")]
)
def test_rows_that_do_not_divide_are_refused_with_the_nearest(rows, nearest):
  mesh = sharding.make_mesh(MESH)
  message = f"batch_size={rows} does not divide .* 4 devices.*: {nearest}$"
  with pytest.raises(ValueError, match=message):
    sharding.check_divides("batch_size", rows, mesh)
  sharding.check_divides("batch_size", 8, mesh)


def test_every_parameter_of_a_decoder_has_a_placement_that_fits():
  mesh, model = sharding.make_mesh(MESH), tiny.decoder()
  shapes = jax.eval_shape(model.init, jax.random.key(0))
  sharding.check_params(model.axes, shapes, mesh)
  places = sharding.shardings(model.axes, mesh)
  split = [not place.is_fully_replicated for place in jax.tree.leaves(places)]
  # All but the scales of norms.
  assert split == [len(x.shape) > 1 for x in jax.tree.leaves(shapes)]


def test_a_parameter_that_does_not_divide_is_refused_by_name():
  mesh, model = sharding.make_mesh(MESH), tiny.decoder(vocab_size=7)
  shapes = jax.eval_shape(model.init, jax.random.key(0))
  message = r"\['embed'\]: axis 'vocab' of size 7 .*'tensor'.* of size 2"
  with pytest.raises(ValueError, match=message):
    sharding.check_params(model.axes, shapes, mesh)
