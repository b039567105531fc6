"""A TensorFlow Serving of the tests: a real SavedModel behind the REST and gRPC interfaces of the protocol messages.

The rules, status codes and messages are those of tensorflow_serving's http_rest_api_handler.cc, json_tensor.cc and
prediction_service_impl.cc. It can be told to be busy, slow, or to drop connections, as servers are now and then.
"""

import contextlib
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import grpc
import serving_json
import tensorflow as tf
from google.protobuf.json_format import MessageToJson
from serving_model import Servable, Status
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

_ASKED = re.compile(
    r"/v1/models/([^/:]+)(?:/versions/(\d+)|/labels/([^/:]+))?(?::(classify|predict))?(/metadata)?", re.IGNORECASE
)
_HTTP = {"OK": 200, "INVALID_ARGUMENT": 400, "NOT_FOUND": 404, "UNAVAILABLE": 503, "DEADLINE_EXCEEDED": 504}
_HTTP |= {"RESOURCE_EXHAUSTED": 429, "FAILED_PRECONDITION": 400, "INTERNAL": 500, "PERMISSION_DENIED": 403}


class Server:
    """Serves the versions of an export folder under one name, on loopback with free ports.

    Attributes:
        failures: What the next requests get in place of an answer, an entry each: a `Status`, "drop", seconds to wait
            as a number, or a page as bytes (REST alone).
        largest: Inputs in a request at most; more are refused as a whole.
        states: Of the versions, by number, where one is not AVAILABLE.
        requests: What was asked for: the method, or the line of HTTP.
        sizes: Inputs of each request that was answered.
    """

    def __init__(self, folder: Path, name: str = "tiny"):
        self.name, self.failures, self.largest, self.states = name, [], None, {}
        self.requests, self.sizes = [], []
        self.changed = lambda outputs: outputs
        self.versions = {int(path.name): Servable(path) for path in folder.iterdir() if path.name.isdecimal()}
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._http.daemon_threads, self._http.serving = True, self
        self._http.handle_error = lambda *_: None
        threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()
        self._grpc = grpc.server(ThreadPoolExecutor(4), options=[("grpc.max_receive_message_length", -1)])
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(_Predictions(self), self._grpc)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(_Models(self), self._grpc)
        self.grpc_port = self._grpc.add_insecure_port("127.0.0.1:0")
        self._grpc.start()

    @property
    def rest(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}/v1/models/{self.name}"

    @property
    def grpc(self) -> str:
        return f"grpc://127.0.0.1:{self.grpc_port}/v1/models/{self.name}"

    def stop(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._grpc.stop(None).wait()

    def find(self, name: str, version: int | None = None, label: str | None = None) -> tuple[int, Servable]:
        wanted = f"Specific({name}, {version})" if version is not None else f"Latest({name})"
        if label:
            raise Status("FAILED_PRECONDITION", f"Unrecognized servable version label: {label}")
        ready = {number: one for number, one in self.versions.items() if number not in self.states}
        number = max(ready, default=None) if version is None else version
        if name != self.name or number not in ready:
            raise Status("NOT_FOUND", f"Servable not found for request: {wanted}")
        return number, ready[number]

    def status(self, name: str, version: int | None = None) -> get_model_status_pb2.GetModelStatusResponse:
        numbers = sorted(self.versions, reverse=True) if version is None else [version]
        if name != self.name or not set(numbers) <= set(self.versions):
            which = f" with version {version}" if version is not None else ""
            raise Status("NOT_FOUND", f"Could not find any versions of model {name}{which}")
        reply = get_model_status_pb2.GetModelStatusResponse()
        for number in numbers:
            one = reply.model_version_status.add(version=number)
            one.state = get_model_status_pb2.ModelVersionStatus.State.Value(self.states.get(number, "AVAILABLE"))
            one.status.error_code = 0
        return reply

    def metadata(self, name, version=None, label=None) -> get_model_metadata_pb2.GetModelMetadataResponse:
        number, servable = self.find(name, version, label)
        reply = get_model_metadata_pb2.GetModelMetadataResponse()
        reply.model_spec.name, reply.model_spec.version.value = name, number
        found = get_model_metadata_pb2.SignatureDefMap(signature_def=servable.signatures)
        reply.metadata["signature_def"].Pack(found)
        return reply

    def predict(self, spec, signature: str, inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        servable = self.find(*spec)[1]
        counts = [value.shape[0] for value in inputs.values() if value.shape.rank]
        if self.largest is not None and max(counts, default=0) > self.largest:
            raise Status(
                "INVALID_ARGUMENT", f"Task size {counts[0]} is larger than maximum input batch size {self.largest}"
            )
        outputs = servable.predict(signature, inputs)
        self.sizes += counts
        return self.changed(outputs)

    def fail(self):
        """Does what is asked for in place of an answer, and gives what only HTTP can do."""
        failure = self.failures.pop(0) if self.failures else None
        if isinstance(failure, Status):
            raise failure
        if isinstance(failure, (int, float)):
            time.sleep(failure)
            return None
        return failure


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self._reply(b"")

    def do_POST(self):
        self._reply(self.rfile.read(int(self.headers["Content-Length"])))

    def _reply(self, body: bytes):
        serving = self.server.serving
        serving.requests.append(f"{self.command} {self.path}")
        status, kind = 200, "application/json"
        try:
            failure = serving.fail()
            if failure == "drop":
                self.close_connection = True
                self.connection.close()
                return
            if failure is not None:
                text, kind = failure, "text/html"
            else:
                text = self._answer(serving, body).encode()
        except Status as error:
            status, text = _HTTP[error.code], serving_json.error(error.message).encode()
        with contextlib.suppress(OSError):
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

    def _answer(self, serving: Server, body: bytes) -> str:
        found = _ASKED.fullmatch(self.path)
        if not found or (self.command == "POST") != bool(found[4]):
            raise Status("INVALID_ARGUMENT", f"Malformed request: {self.command} {self.path}")
        spec = (unquote(found[1]), found[2] and int(found[2]), found[3] and unquote(found[3]))
        if found[5]:
            return serving_json.of_metadata(serving.metadata(*spec))
        if not found[4]:
            return MessageToJson(serving.status(*spec[:2]), preserving_proto_field_name=True, **serving_json.ALL)
        if found[4] == "classify":
            signature, examples = serving_json.read_examples(body)
            return serving_json.of_classes(serving.find(*spec)[1].classify(signature, examples))
        servable = serving.find(*spec)[1]
        signature, inputs, is_row = serving_json.read_predict(body, servable)
        return serving_json.of_tensors(serving.predict(spec, signature, inputs), is_row)

    def log_message(self, *_):
        pass


def _spec_of(request) -> tuple:
    spec = request.model_spec
    return spec.name, spec.version.value if spec.HasField("version") else None, spec.version_label or None


class _Service:
    """What both services do before and after a call."""

    def __init__(self, serving: Server):
        self.serving = serving

    @contextlib.contextmanager
    def called(self, method: str, context):
        self.serving.requests.append(method)
        try:
            if self.serving.fail() == "drop":
                raise Status("UNAVAILABLE", "Socket closed")
            yield
        except Status as error:
            context.abort(getattr(grpc.StatusCode, error.code), error.message)


class _Predictions(_Service, prediction_service_pb2_grpc.PredictionServiceServicer):
    def Predict(self, request, context):
        with self.called("Predict", context):
            inputs = {name: tf.constant(tf.make_ndarray(value)) for name, value in request.inputs.items()}
            outputs = self.serving.predict(_spec_of(request), request.model_spec.signature_name, inputs)
            reply = predict_pb2.PredictResponse(model_spec=request.model_spec)
            for name, value in outputs.items():
                reply.outputs[name].CopyFrom(tf.make_tensor_proto(value))
            return reply

    def Classify(self, request, context):
        with self.called("Classify", context):
            examples = [one.SerializeToString() for one in request.input.example_list.examples]
            rows = self.serving.find(*_spec_of(request))[1].classify(request.model_spec.signature_name, examples)
            reply = classification_pb2.ClassificationResponse(model_spec=request.model_spec)
            for row in rows:
                one = reply.result.classifications.add()
                for label, score in row:
                    one.classes.add(label=label, score=score)
            return reply

    def GetModelMetadata(self, request, context):
        with self.called("GetModelMetadata", context):
            if list(request.metadata_field) != ["signature_def"]:
                raise Status("INVALID_ARGUMENT", "GetModelMetadataRequest must specify at least one metadata_field")
            return self.serving.metadata(*_spec_of(request))


class _Models(_Service, model_service_pb2_grpc.ModelServiceServicer):
    def GetModelStatus(self, request, context):
        with self.called("GetModelStatus", context):
            return self.serving.status(*_spec_of(request)[:2])
