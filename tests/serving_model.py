"""A SavedModel as TensorFlow Serving answers with it: what of a request is refused, and with which words."""

from pathlib import Path

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

_PREDICT, _CLASSIFY = "tensorflow/serving/predict", "tensorflow/serving/classify"


class Status(Exception):
    """A status other than OK; `code` is a name of gRPC's status codes."""

    def __init__(self, code: str, message: str):
        super().__init__(message)
        self.code, self.message = code, message


class Servable:
    """One version. `signatures` are its `SignatureDef`s, without TensorFlow's own for initialisation."""

    def __init__(self, path: Path):
        self._loaded = tf.saved_model.load(str(path))
        saved = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
        found = saved.meta_graphs[0].signature_def
        self.signatures = {name: found[name] for name in found if not name.startswith("__")}

    def signature(self, name: str):
        name = name or "serving_default"
        if name not in self.signatures:
            raise Status("INVALID_ARGUMENT", f'Serving signature name: "{name}" not found in signature def')
        return self.signatures[name]

    def predict(self, name: str, inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        signature = self.signature(name)
        if signature.method_name not in (_PREDICT, _CLASSIFY):
            raise Status("INVALID_ARGUMENT", f"Expected prediction signature method_name to be {_PREDICT}")
        if set(inputs) != set(signature.inputs):
            missing = ", ".join(sorted(set(signature.inputs) - set(inputs)))
            raise Status("INVALID_ARGUMENT", f"input size does not match signature: missing inputs: {missing}")
        return self._run(name, inputs)

    def classify(self, name: str, examples: list[bytes]) -> list[list[tuple[str, float]]]:
        signature = self.signature(name)
        if signature.method_name != _CLASSIFY:
            told = f"Expected classification signature method_name to be {_CLASSIFY}. Was: {signature.method_name}"
            raise Status("INVALID_ARGUMENT", told)
        if not examples:
            raise Status("INVALID_ARGUMENT", "Input is empty.")
        answer = self._run(name, {"inputs": tf.constant(examples, tf.string)})
        rows = zip(answer["classes"].numpy().tolist(), answer["scores"].numpy().tolist(), strict=True)
        return [[(label.decode(), score) for label, score in zip(*row, strict=True)] for row in rows]

    def _run(self, name: str, inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        run = self._loaded.signatures[name or "serving_default"]
        for key, value in inputs.items():
            wanted = tf.dtypes.as_dtype(self.signature(name).inputs[key].dtype)
            if value.dtype != wanted:
                raise Status(
                    "INVALID_ARGUMENT", f"Expects arg[0] to be {wanted.name} but {value.dtype.name} is provided"
                )
        try:
            return run(**inputs)
        except (tf.errors.InvalidArgumentError, TypeError) as error:
            raise Status("INVALID_ARGUMENT", getattr(error, "message", str(error))) from error
