"""TensorFlow Serving's gRPC interface, by its own protocol messages. These bring TensorFlow along."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence

import grpc
import tensorflow as tf
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from tlkeras.client import transport
from tlkeras.client.address import Address
from tlkeras.client.layout import MOST_CLASSES, OUTPUTS
from tlkeras.client.transport import Patience
from tlkeras.errors import TlkerasError

_OPTIONS = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", transport.MOST_BYTES),
    # By itself gRPC waits a second and more before it looks again for a server that was not there.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
)
_CODE = grpc.StatusCode
_REFUSED = {
    *(_CODE.INVALID_ARGUMENT, _CODE.FAILED_PRECONDITION, _CODE.OUT_OF_RANGE, _CODE.RESOURCE_EXHAUSTED),
    *(_CODE.INTERNAL, _CODE.DATA_LOSS),
}
# How gRPC begins to tell of a connection; what else is UNAVAILABLE is so by the word of the server.
_NO_CONNECTION = ("failed to connect", "dns resolution failed", "name resolution", "socket closed", "connection")
_NO_NAME = ("domain name not found", "errors resolving")
_NO_HTTP2 = ("http1.x server", "parsing HTTP/2")


class Rpc:
    """Speaks to a server through gRPC; requests of several threads go side by side.

    Args:
        address: Where the model is.
        patience: How long to wait, and how often to try.
    """

    def __init__(self, address: Address, patience: Patience):
        self.address = address
        self._patience = patience
        channel = grpc.insecure_channel(address.place, _OPTIONS)
        self._predictions = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        self._models = model_service_pb2_grpc.ModelServiceStub(channel)

    def signatures(self) -> Mapping[str, Mapping]:
        """As in `tlkeras.client.transport.Transport`."""
        request = get_model_metadata_pb2.GetModelMetadataRequest(
            model_spec=self._spec(), metadata_field=["signature_def"]
        )
        reply = self._call(self._predictions.GetModelMetadata, request)
        found = get_model_metadata_pb2.SignatureDefMap()
        try:
            has_signatures = reply.metadata["signature_def"].Unpack(found)
        except DecodeError:
            has_signatures = False
        if not has_signatures:
            raise transport.no_serving(self.address, "its metadata have no signatures")
        return MessageToDict(found, preserving_proto_field_name=True).get("signature_def", {})

    def predict(self, takes: str, strings: Sequence[bytes]) -> Mapping[str, list]:
        """As in `tlkeras.client.transport.Transport`."""
        request = predict_pb2.PredictRequest(model_spec=self._spec())
        request.model_spec.signature_name = "serving_default"
        sent = request.inputs[takes]
        sent.dtype = tf.string.as_datatype_enum
        sent.tensor_shape.dim.add(size=len(strings))
        sent.string_val.extend(strings)
        reply = self._call(self._predictions.Predict, request, may_refuse=True)
        try:
            outputs = {name: reply.outputs[name] for name in OUTPUTS if name in reply.outputs}
            return {name: _listed(tensor, MOST_CLASSES * len(strings)) for name, tensor in outputs.items()}
        except transport.FOREIGN as error:
            raise transport.unfit(self.address, str(error)) from error

    def _spec(self) -> model_pb2.ModelSpec:
        spec = model_pb2.ModelSpec(name=self.address.name)
        if self.address.version is not None:
            spec.version.value = self.address.version
        if self.address.label is not None:
            spec.version_label = self.address.label
        return spec

    def _call(self, method: Callable, request: object, may_refuse: bool = False) -> object:
        pauses = self._patience.pauses()
        while True:
            try:
                return method(request, timeout=self._patience.timeout)
            except grpc.RpcError as error:
                if may_refuse and error.code() in _REFUSED:
                    raise transport.refusal(error.details() or "") from error
                failure = self._worded(error)
            pause = next(pauses)
            if pause is None or not isinstance(failure, transport.TryAgain):
                raise failure
            time.sleep(pause)

    def _worded(self, error: grpc.RpcError) -> TlkerasError:
        told = error.details() or error.code().name
        if error.code() is _CODE.DEADLINE_EXCEEDED:
            return transport.too_slow(self.address, self._patience)
        if error.code() is _CODE.UNAVAILABLE and any(words in told for words in _NO_HTTP2):
            return transport.no_serving(self.address, "what it says is no gRPC")
        if error.code() is _CODE.UNAVAILABLE:
            lower = told.lower()
            is_away = lower.startswith(_NO_CONNECTION) or any(words in lower for words in _NO_NAME)
            words = transport.no_server if is_away else transport.busy
            return words(self.address, told.rpartition(": ")[2] if is_away else told, self._patience.tries)
        if error.code() is _CODE.NOT_FOUND:
            return transport.not_there(self.address, told, self._states())
        if error.code() is _CODE.UNIMPLEMENTED:
            return transport.no_serving(self.address, told)
        return transport.refused(self.address, told)

    def _states(self) -> dict[str, str] | None:
        request = get_model_status_pb2.GetModelStatusRequest(model_spec=model_pb2.ModelSpec(name=self.address.name))
        try:
            reply = self._models.GetModelStatus(request, timeout=self._patience.timeout)
        except grpc.RpcError:
            return None
        names = {number: name for name, number in get_model_status_pb2.ModelVersionStatus.State.items()}
        return {str(one.version): names.get(one.state, str(one.state)) for one in reply.model_version_status}


def _listed(tensor, most: int) -> list:
    """Gives a tensor of up to so many values as nested lists, and bytes as text."""
    if math.prod(max(dim.size, 1) for dim in tensor.tensor_shape.dim) > most:
        # One value may stand for all of them, and rows may be empty, so that few bytes could ask for much memory.
        raise ValueError("a tensor has more values than an answer")
    array = tf.make_ndarray(tensor)
    if array.dtype != object:
        return array.tolist()
    # Class names and sentences; what else a model has is none of ours.
    flat = [value.decode("utf-8", "replace") for value in array.ravel()]
    array.flat = flat
    return array.tolist()
