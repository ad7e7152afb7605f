"""What a program does, counted in its text: closed forms, on this machine's compiler."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import PartitionSpec

from signsal_jax import sharding
from signsal_jax.plan._hlo_cost import Collective, Cost, program_cost


def counted(function, *arguments):
    return program_cost(jax.jit(function).lower(*arguments).compile().as_text())


@pytest.mark.parametrize(
    ("equation", "shapes", "flops"),
    [
        ("ij,jk->ik", [(8, 16), (16, 4)], 2 * 8 * 16 * 4),
        ("ij,kj->ki", [(8, 16), (5, 16)], 2 * 8 * 16 * 5),
        ("bij,bjk->bik", [(3, 8, 16), (3, 16, 4)], 3 * 2 * 8 * 16 * 4),
        ("ijk,jkl->il", [(2, 3, 5), (3, 5, 7)], 2 * 2 * 15 * 7),
    ],
)
def test_a_matrix_product(equation, shapes, flops):
    arrays = [jnp.ones(shape) for shape in shapes]
    found = counted(lambda *xs: jnp.einsum(equation, *xs), *arrays)
    assert found == Cost(flops, flops, {})


def convolution(strides=1, padding=((0, 0), (0, 0)), **options):
    def apply(images, kernel):
        return jax.lax.conv_general_dilated(
            images, kernel, (strides, strides), padding,
            dimension_numbers=("NHWC", "HWIO", "NHWC"), **options,
        )  # fmt: skip

    return apply


def test_a_convolution():
    images, kernel = jnp.ones((2, 10, 12, 4)), jnp.ones((3, 5, 4, 7))
    assert counted(convolution(), images, kernel).flops == 2 * 2 * (8 * 8) * 7 * (3 * 5 * 4)


def test_padding_and_strides_do_no_work():
    images, kernel = jnp.ones((1, 9, 9, 2)), jnp.ones((3, 3, 2, 5))
    # Along an axis five outputs, of which the first and the last have a tap in the padding.
    found = counted(convolution(2, ((1, 1), (1, 1))), images, kernel)
    assert found.flops == 2 * (5 * 3 - 2) ** 2 * 2 * 5


def test_groups():
    images, kernel = jnp.ones((2, 8, 8, 6)), jnp.ones((3, 3, 2, 9))
    found = counted(convolution(feature_group_count=3), images, kernel)
    assert found.flops == 2 * 2 * 36 * 9 * (3 * 3 * 2)


def test_a_pullback_costs_what_the_convolution_does():
    """Its holes between the strides do no work."""
    forward = convolution(2, ((3, 3), (3, 3)))
    images, kernel = jnp.ones((2, 32, 32, 3)), jnp.ones((7, 7, 3, 8))

    def pullback(images, kernel, cotangent):
        return jax.vjp(lambda images: forward(images, kernel), images)[1](cotangent)

    found = counted(pullback, images, kernel, jnp.ones((2, 16, 16, 8)))
    assert found.flops == counted(forward, images, kernel).flops


def test_loops_are_multiplied_out():
    def nested(x, w):
        def outer(x, _):
            return jax.lax.scan(lambda x, _: (jnp.tanh(x @ w), None), x, None, length=5)[0], None

        return jax.lax.scan(outer, x @ w, None, length=3)[0]

    x, w = jnp.ones((8, 16)), jnp.ones((16, 16))
    assert counted(nested, x, w).flops == (1 + 3 * 5) * 2 * 8 * 16 * 16
    compiled = jax.jit(nested).lower(x, w).compile()
    assert compiled.cost_analysis()["flops"] < counted(nested, x, w).flops / 5


def test_the_dearest_branch_counts():
    def branches(x, w, choice):
        return jax.lax.switch(choice, [lambda: x, lambda: x @ w, lambda: x @ w @ w])

    found = counted(branches, jnp.ones((8, 16)), jnp.ones((16, 16)), 1)
    assert found.flops == 2 * 2 * 8 * 16 * 16


# As the TPU compiler writes it: no trip count, a batched product as a convolution.
TPU_LOOP = """HloModule jit_f

%body (p: (s32[], f32[8,16,16], f32[8,16,16])) -> (s32[], f32[8,16,16], f32[8,16,16]) {
  %one = s32[]{:T(128)} constant(1)
  %p = (s32[]{:T(128)}, f32[8,16,16]{2,1,0:T(8,128)S(1)}, f32[8,16,16]{2,1,0}) parameter(0)
  %i = s32[]{:T(128)} get-tuple-element(%p), index=0
  %next = s32[]{:T(128)} add(%i, %one), metadata={op_name="while/body (add)"}
  %x = f32[8,16,16]{2,1,0:T(8,128)S(1)} get-tuple-element(%p), index=1
  %w = f32[8,16,16]{2,1,0} get-tuple-element(%p), index=2
  %y = f32[8,16,16]{2,1,0:T(8,128)} convolution(%x, %w), window={size=8 stride=7 lhs_dilate=8}, \
dim_labels=0bf_0io->0bf, operand_precision={PRECISION}
  ROOT %t = (s32[]{:T(128)}, f32[8,16,16]{2,1,0}, /*index=2*/f32[8,16,16]{2,1,0}) \
tuple(%next, %y, %w)
}

%condition (p.1: (s32[], f32[8,16,16], f32[8,16,16])) -> pred[] {
  %stop = s32[]{:T(128)} constant(5)
  %p.1 = (s32[]{:T(128)}, f32[8,16,16]{2,1,0}, f32[8,16,16]{2,1,0}) parameter(0)
  %i.1 = s32[]{:T(128)} get-tuple-element(%p.1), index=0
  ROOT %lt = pred[]{:T(512)} compare(%i.1, %stop), direction=LT
}

%sum (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %add = f32[] add(%a, %b)
}

ENTRY %main (x.1: f32[8,16,16], w.1: f32[8,16,16]) -> f32[8,16,16] {
  %x.1 = f32[8,16,16]{2,1,0} parameter(0)
  %w.1 = f32[8,16,16]{2,1,0} parameter(1)
  %zero = s32[]{:T(128)} constant(0)
  %start = s32[]{:T(128)} copy(%zero)
  %t.1 = (s32[]{:T(128)}, f32[8,16,16]{2,1,0}, f32[8,16,16]{2,1,0}) tuple(%start, %x.1, %w.1)
  %loop = (s32[]{:T(128)}, f32[8,16,16]{2,1,0}, f32[8,16,16]{2,1,0}) while(%t.1), \
condition=%condition, body=%body
  %y.1 = f32[8,16,16]{2,1,0} get-tuple-element(%loop), index=1
  ROOT %r = f32[8,16,16]{2,1,0} all-reduce(%y.1), replica_groups={{0,1}}, to_apply=%sum
}
"""


@pytest.mark.parametrize(("precision", "passes"), [("highest", 6), ("high", 3), ("default", 1)])
def test_the_text_of_the_tpu_compiler(precision, passes):
    found = program_cost(TPU_LOOP.replace("PRECISION", f"{precision},{precision}"))
    flops, size = 5 * 2 * 8 * 16**3, 4 * 8 * 16 * 16
    assert found == Cost(flops, passes * flops, {"all-reduce": Collective(1, size, size)})


def test_a_loop_of_unknown_length_is_an_error():
    with pytest.raises(ValueError, match="expected a constant"):
        program_cost(TPU_LOOP.replace("constant(5)", "parameter(5)"))
    with pytest.raises(ValueError, match="ENTRY"):
        program_cost("nothing")


# Collectives.


def test_collectives_in_loops_are_multiplied_out():
    mesh = sharding.make_mesh(jax.devices()[:4], class_devices=2)

    def local(x):
        def body(total, _):
            return total + jax.lax.psum(x * total, "class"), None

        return jax.lax.scan(body, x, None, length=7)[0], jax.lax.all_gather(x, "data")

    spec = PartitionSpec("data")
    mapped = jax.shard_map(
        local, mesh=mesh, in_specs=spec, out_specs=(spec, PartitionSpec(None, "data")),
        check_vma=False,
    )  # fmt: skip
    collectives = counted(mapped, jnp.ones((6, 5))).collectives
    assert collectives["all-reduce"] == Collective(7, 7 * 60, 60)
    assert collectives["all-gather"].largest_bytes == 120
