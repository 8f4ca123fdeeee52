import pytest

from ggufctl.core.ggml import ops


def t(*ne, type_="f32"):
    return ops.new_tensor(type_, *ne)


@pytest.mark.parametrize(
    ("result", "shape"),
    [
        (ops.mul_mat(t(64, 32), t(64, 7)), (32, 7, 1, 1)),
        (ops.mul_mat_id(t(64, 32, 8), t(64, 1, 7), t(2, 7, type_="i32")), (32, 2, 7, 1)),
        (ops.get_rows(t(64, 100), t(7, type_="i32")), (64, 7, 1, 1)),
        (ops.glu(t(64, 7), "swiglu"), (32, 7, 1, 1)),
        (ops.concat(t(8, 3), t(8, 4), 1), (8, 7, 1, 1)),
        (ops.permute(t(2, 3, 5, 7), 0, 2, 1, 3), (2, 5, 3, 7)),
        (ops.transpose(t(2, 3)), (3, 2, 1, 1)),
        (ops.pad(t(5, 3), 3), (8, 3, 1, 1)),
        (ops.sum_rows(t(5, 3)), (1, 3, 1, 1)),
        (ops.ssm_conv(t(10, 16, 2), t(4, 16)), (16, 7, 2, 1)),
        (ops.flash_attn_ext(t(64, 7, 8), t(64, 256, 2), t(64, 256, 2), None), (64, 8, 7, 1)),
        (ops.argsort_top_k(t(64, 7), 4), (4, 7, 1, 1)),
    ],
)
def test_results_have_ggml_shapes(result, shape):
    assert result.ne == shape


def test_a_view_of_a_view_points_at_the_root():
    root = t(16, 4)
    inner = ops.view(root, (8, 4), (root.nb[1],), 32)
    outer = ops.view(inner, (4, 4), (root.nb[1],), 16)

    assert outer.view_src is root
    assert outer.view_offs == 48


def test_bytes_follow_the_strides():
    rows = ops.view(t(16, 4), (8, 4), (64,))

    assert rows.n_bytes == 3 * 64 + 8 * 4
    assert not rows.is_contiguous()
    assert rows.has_contiguous_rows


def test_a_tensor_without_elements_has_no_bytes():
    assert t(0, 4).n_bytes == 0


def test_a_cast_lists_itself_as_its_destination():
    cast = ops.cast(t(4), "f16")

    assert cast.src[1] is cast
