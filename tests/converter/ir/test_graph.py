"""What is asked of a tensor or node is there, or the error names it."""

import numpy as np
import pytest
from bitlite import GraphError
from bitlite.converter.ir import Node, Tensor

_F32 = np.dtype(np.float32)


def test_a_static_shape_is_given_as_numbers():
    x = Tensor("x", _F32, (2, 3))
    assert x.static_shape == (2, 3)
    assert x.known_rank == 2
    assert x.size(-1) == 3
    assert Tensor("y", _F32, (None, 2, 3, None)).sizes(1, -1) == [2, 3]
    assert Tensor("scalar", _F32, ()).static_shape == ()


@pytest.mark.parametrize("ask", ["static_shape", "known_shape", "known_rank", "value", "qparams"])
def test_what_a_tensor_does_not_have_is_an_error_that_names_it(ask):
    with pytest.raises(GraphError, match="'x'"):
        getattr(Tensor("x", _F32), ask)


@pytest.mark.parametrize("axis", [0, 2, -3])
def test_the_size_of_a_missing_or_unknown_axis_is_an_error(axis):
    with pytest.raises(GraphError, match=f"axis {axis} of .*'x'"):
        Tensor("x", _F32, (None, 3)).size(axis)


def test_an_open_axis_is_known_by_rank_alone():
    x = Tensor("x", _F32, (None, 3))
    assert (x.known_shape, x.known_rank) == ((None, 3), 2)
    with pytest.raises(GraphError, match="'x' has a size that is not known"):
        _ = x.static_shape


def test_an_absent_input_is_named_by_node_and_index():
    x = Tensor("x", _F32, (1,))
    node = Node("Conv", "conv1", [x, None], [])
    assert node.required(0) is x
    assert node.operands(1) == [x]
    with pytest.raises(GraphError, match=r"conv1 \(Conv\): input 1 is missing"):
        node.operands()
    with pytest.raises(GraphError, match="input 2 is missing"):
        node.required(2)
