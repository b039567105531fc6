"""The JSON of TensorFlow Serving's REST interface: rows and columns in, base64 where bytes are meant, and back."""

import base64
import binascii
import json

import tensorflow as tf
from google.protobuf.json_format import MessageToJson
from serving_model import Servable, Status
from tensorflow_serving.apis import get_model_metadata_pb2

# Protobuf's fields are all printed, those with their default too.
ALL = {"always_print_fields_with_no_presence": True}


def error(message: str) -> str:
    return json.dumps({"error": message})


def of_metadata(reply: get_model_metadata_pb2.GetModelMetadataResponse) -> str:
    found = get_model_metadata_pb2.SignatureDefMap()
    reply.metadata["signature_def"].Unpack(found)
    spec, signatures = (
        MessageToJson(one, preserving_proto_field_name=True, **ALL) for one in (reply.model_spec, found)
    )
    return f'{{\n"model_spec":{spec},\n"metadata": {{"signature_def": {signatures}}}\n}}\n'


def read_predict(body: bytes, servable: Servable) -> tuple[str, dict[str, tf.Tensor], bool]:
    """Gives the name of the signature, the inputs, and whether they came as rows."""
    asked = _object(body)
    name = asked.get("signature_name", "")
    if not isinstance(name, str):
        raise Status("INVALID_ARGUMENT", "'signature_name' key must be a string value.")
    infos = servable.signature(name).inputs
    if ("instances" in asked) == ("inputs" in asked):
        told = "Missing 'inputs' or 'instances' key"
        if "inputs" in asked:
            told = "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist "
        raise Status("INVALID_ARGUMENT", told)
    if "instances" in asked:
        return name, _rows(asked["instances"], infos), True
    return name, _columns(asked["inputs"], infos), False


def read_examples(body: bytes) -> tuple[str, list[bytes]]:
    asked = _object(body)
    if not isinstance(asked.get("examples"), list):
        raise Status("INVALID_ARGUMENT", "When method is classify, key 'examples' is expected and was not found")
    return asked.get("signature_name", ""), [_example(one) for one in asked["examples"]]


def of_tensors(outputs: dict[str, tf.Tensor], is_row: bool) -> str:
    """Gives rows or columns; an output that is alone is not named."""
    columns = {name: _plain(value.numpy().tolist(), name.endswith("_bytes")) for name, value in outputs.items()}
    if len(columns) == 1:
        (alone,) = columns.values()
        return json.dumps({"predictions" if is_row else "outputs": alone}, indent=4)
    if not is_row:
        return json.dumps({"outputs": columns}, indent=4)
    if len({len(column) for column in columns.values()}) != 1:
        raise Status("INVALID_ARGUMENT", "Tensor name: has inconsistent batch size")
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return json.dumps({"predictions": rows}, indent=4)


def of_classes(rows: list[list[tuple[str, float]]]) -> str:
    return json.dumps({"results": rows}, indent=4)


def _object(body: bytes) -> dict:
    try:
        asked = json.loads(body)
    except ValueError as wrong:
        raise Status("INVALID_ARGUMENT", f"JSON Parse error: {wrong}") from wrong
    if not isinstance(asked, dict):
        raise Status("INVALID_ARGUMENT", f"JSON Value: {json.dumps(asked)[:80]} Is not object")
    return asked


def _rows(instances, infos) -> dict[str, tf.Tensor]:
    if not isinstance(instances, list) or not instances:
        raise Status("INVALID_ARGUMENT", "No values in 'instances' array")
    named = [isinstance(one, dict) and not _is_base64(one) for one in instances]
    if any(named) != all(named) or (not any(named) and len(infos) > 1):
        raise Status("INVALID_ARGUMENT", "Expecting object but got list, or the reverse, in 'instances' list")
    if not any(named):
        return {name: _tensor(instances, info) for name, info in infos.items()}
    for number, one in enumerate(instances):
        if set(one) != set(infos):
            told = f"Failed to process element: {number} of 'instances' list. keys must be equal to: {','.join(infos)}"
            raise Status("INVALID_ARGUMENT", told)
    return {name: _tensor([one[name] for one in instances], info) for name, info in infos.items()}


def _columns(inputs, infos) -> dict[str, tf.Tensor]:
    if not isinstance(inputs, dict) or _is_base64(inputs):
        if len(infos) > 1:
            raise Status("INVALID_ARGUMENT", "inputs is a plain value/list, but expecting an object")
        return {name: _tensor(inputs, info) for name, info in infos.items()}
    for name in infos:
        if name not in inputs:
            raise Status("INVALID_ARGUMENT", f"Missing named input: {name} in 'inputs' object.")
    return {name: _tensor(inputs[name], info) for name, info in infos.items()}


def _tensor(value, info) -> tf.Tensor:
    kind = tf.dtypes.as_dtype(info.dtype)
    try:
        return tf.constant(_decoded(value, kind), kind)
    except (ValueError, TypeError) as wrong:
        raise Status("INVALID_ARGUMENT", f"JSON Value is not of expected type: {kind.name}") from wrong


def _is_base64(value) -> bool:
    return isinstance(value, dict) and list(value) == ["b64"] and isinstance(value["b64"], str)


def _decoded(value, kind: tf.DType):
    if isinstance(value, list):
        return [_decoded(one, kind) for one in value]
    if not isinstance(value, dict):
        if (kind == tf.string) != isinstance(value, str):
            raise TypeError(value)
        return value
    if kind != tf.string or not _is_base64(value):
        raise Status("INVALID_ARGUMENT", f"JSON Value: {value} not formatted correctly for base64 data")
    try:
        return base64.b64decode(value["b64"], validate=True)
    except binascii.Error as wrong:
        raise Status("INVALID_ARGUMENT", "Unable to base64 decode") from wrong


def _plain(value, is_bytes: bool):
    if isinstance(value, list):
        return [_plain(one, is_bytes) for one in value]
    if isinstance(value, bytes):
        return {"b64": base64.b64encode(value).decode()} if is_bytes else value.decode()
    return value


def _example(features: dict) -> bytes:
    if not isinstance(features, dict):
        raise Status("INVALID_ARGUMENT", "Example must be JSON object")
    example = tf.train.Example()
    for name, value in features.items():
        values = _decoded(value if isinstance(value, list) else [value], tf.string)
        values = [one.encode() if isinstance(one, str) else one for one in values]
        example.features.feature[name].bytes_list.value.extend(values)
    return example.SerializeToString()
