"""What a gRPC server answers that is none of ours, in real messages."""

import pytest
import tensorflow as tf
from tensorflow.core.framework.tensor_pb2 import TensorProto

from tlkeras.client.rpc import _listed


def tensor(dtype: tf.DType, *sizes: int, **values) -> TensorProto:
    made = TensorProto(dtype=dtype.as_datatype_enum, **values)
    for size in sizes:
        made.tensor_shape.dim.add(size=size)
    return made


def test_tensors_become_lists():
    assert _listed(tensor(tf.string, 1, 2, string_val=[b"a", b"\xff"]), 2) == [["a", "\ufffd"]]
    assert _listed(tensor(tf.float32, 2, 1, float_val=[0.5]), 2) == [[0.5], [0.5]]


@pytest.mark.parametrize("sizes", [(1, 2**26), (2**40, 0), (2**25, 0), (3, 1)])
def test_few_bytes_take_no_more_memory_than_an_answer(sizes):
    with pytest.raises(ValueError, match="a tensor has more values than an answer"):
        _listed(tensor(tf.float32, *sizes, float_val=[1]), 2)
