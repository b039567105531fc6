import base64
import csv
import http.server
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import threading
from pathlib import Path

import pytest
import yaml
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2
from helpers import write_photo
from kubernetes_types import check
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from tlkeras.errors import TlkerasError
from tlkeras.export import batching, serving_files

LATENCIES = {1: 0.01, 2: 0.012, 4: 0.016, 8: 0.024, 16: 0.05, 32: 0.11}
# Of tensorflow_serving/servables/tensorflow/session_bundle_config.proto, which no package brings along. The numbers of
# those that are not among its oldest are not the real ones; the text has names alone.
FIELDS = {
    "max_batch_size": "Int64Value",
    "batch_timeout_micros": "Int64Value",
    "max_enqueued_batches": "Int64Value",
    "num_batch_threads": "Int64Value",
    "thread_pool_name": "StringValue",
    "allowed_batch_sizes": "int64",
    "pad_variable_length_inputs": "bool",
    "enable_large_batch_splitting": "BoolValue",
    "max_execution_batch_size": "Int64Value",
}


@pytest.fixture
def version(tmp_path) -> Path:
    path = tmp_path / "my, runs" / "it's" / "export" / "3"
    (path / "assets.extra").mkdir(parents=True)
    about = {"versions": {"tensorflow": "2.21.3"}, "serving": {"max_pixels": 64_000_000}}
    (path / "assets.extra" / "model.json").write_text(json.dumps(about))
    return path


@pytest.fixture
def photo(tmp_path) -> Path:
    """Of more bytes than an argument of a command may have, with a name that a shell would take apart."""
    path = write_photo(tmp_path / "it's a $HOME photo.bmp", 0, (300, 200))
    assert path.stat().st_size > 2**17
    return path


def batching_parameters(text: str):
    file = descriptor_pb2.FileDescriptorProto(name="batching.proto", package="tensorflow.serving", syntax="proto3")
    file.dependency.append(wrappers_pb2.DESCRIPTOR.name)
    message, field = file.message_type.add(name="BatchingParameters"), descriptor_pb2.FieldDescriptorProto
    for number, (name, kind) in enumerate(FIELDS.items(), start=1):
        made = message.field.add(name=name, number=number, label=field.LABEL_OPTIONAL)
        if kind.endswith("Value"):
            made.type, made.type_name = field.TYPE_MESSAGE, f".google.protobuf.{kind}"
        else:
            made.type = field.TYPE_INT64 if kind == "int64" else field.TYPE_BOOL
            made.label = field.LABEL_REPEATED if kind == "int64" else field.LABEL_OPTIONAL
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    parsed = message_factory.GetMessageClass(pool.FindMessageTypeByName("tensorflow.serving.BatchingParameters"))()
    return text_format.Parse(text, parsed)


def test_the_configurations_are_the_servers_messages(version, photo):
    made = serving_files.files(version, photo, "Flowers & Zürich", LATENCIES)
    (config,) = text_format.Parse(made["models.config"], ModelServerConfig()).model_config_list.config
    assert (config.name, config.base_path) == ("flowers-zurich", "/models/flowers-zurich")
    assert config.model_platform == "tensorflow" and config.model_version_policy.latest.num_versions == 1
    fitted = batching.fit(LATENCIES)
    parsed = batching_parameters(made["batching.config"])
    assert parsed.max_execution_batch_size.value == fitted.rows == 8
    assert parsed.batch_timeout_micros.value == 5000
    assert parsed.enable_large_batch_splitting.value and not parsed.pad_variable_length_inputs
    # The warm-up file has requests of 32 rows: were they refused, no version would be served.
    assert parsed.max_batch_size.value >= 32 and not parsed.allowed_batch_sizes
    assert parsed.max_batch_size.value <= parsed.max_enqueued_batches.value * fitted.rows


def test_the_measured_numbers_stand_in_the_file(version, photo):
    text = serving_files.files(version, photo, "flowers", LATENCIES)["batching.config"]
    assert re.search(r"# +batch of  8: +24\.00 ms, +333\.3 a second", text) and "this machine" in text


def test_the_objects_of_kubernetes_fit_together(version, photo):
    pytest.importorskip("kubernetes", reason="needs kubeflow-training, of the extra test")
    made = serving_files.files(version, photo, "flowers", LATENCIES)
    claim, config, deployment, service = objects = list(yaml.safe_load_all(made["kubernetes.yaml"]))
    for one in objects:
        check(one, f"V1{one['kind']}", one["kind"])
    assert all(one["metadata"]["name"].startswith("flowers") for one in objects)
    pod = deployment["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    assert deployment["spec"]["selector"]["matchLabels"] == service["spec"]["selector"] == pod["metadata"]["labels"]
    assert {port["targetPort"] for port in service["spec"]["ports"]} == {port["name"] for port in container["ports"]}
    volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert volumes["export"]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    assert volumes["config"]["configMap"]["name"] == config["metadata"]["name"]
    for name, text in config["data"].items():
        assert text.strip() == made[name].strip()
        assert any(arg.endswith(f"={mounts['config']}/{name}") for arg in container["args"])
    assert f'base_path: "{mounts["export"]}"' in config["data"]["models.config"]
    assert container["readinessProbe"]["httpGet"]["path"] == "/v1/models/flowers"
    assert container["image"] == "tensorflow/serving:2.21.0" and container["image"] in made["docker run"]


@pytest.mark.parametrize("name", [b"a\n- b: c", b"\xff", b"\x1b[31m"])
def test_the_name_of_a_folder_is_no_yaml(version, photo, tmp_path, name):
    moved = tmp_path / os.fsdecode(name) / "1"
    moved.parent.mkdir()
    version.rename(moved)
    text = serving_files.files(moved, photo, "flowers", LATENCIES)["kubernetes.yaml"]
    assert [one["kind"] for one in yaml.safe_load_all(text)] == [
        "PersistentVolumeClaim",
        "ConfigMap",
        "Deployment",
        "Service",
    ]


def test_docker_gets_the_paths_as_they_are(version, photo, tmp_path):
    line = serving_files.files(version, photo, "flowers", LATENCIES)["docker run"]
    (tmp_path / "docker").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    (tmp_path / "docker").chmod(0o755)
    done = subprocess.run(["bash", "-c", line], env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, capture_output=True)
    arguments = done.stdout.decode().splitlines()
    assert f'type=bind,"source={version.parent}",target=/models/flowers,readonly' in arguments
    assert arguments[arguments.index("tensorflow/serving:2.21.0") + 1 :] == [
        *("--model_config_file=/config/models.config", "--enable_batching=true"),
        "--batching_parameters_file=/config/batching.config",
    ]


@pytest.mark.parametrize("name", ["plain", "line\nbreak", 'a,"b"'])
def test_docker_reads_a_mount_as_one_line_of_csv(name):
    (word,) = shlex.split(serving_files._mount(Path(name), "/m"))
    assert list(csv.reader(io.StringIO(word, newline=""))) == [["type=bind", f"source={name}", "target=/m", "readonly"]]


@pytest.fixture
def received():
    """The address of a server on this machine, and what it was sent."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            asked.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"127.0.0.1:{server.server_port}", asked
        server.shutdown()


@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")
@pytest.mark.parametrize("text", ["", 'it\'s "so" good, \u00fcber $HOME\n'])
def test_the_request_sends_the_example(version, photo, received, text):
    address, asked = received
    line = serving_files.files(version, text or photo, "flowers", LATENCIES)["curl"]
    subprocess.run(["bash", "-euo", "pipefail", "-c", line.replace("localhost:8501", address)], check=True)
    ((path, body),) = asked
    assert path == "/v1/models/flowers:predict"
    (instance,) = json.loads(body)["instances"]
    assert text == instance if text else base64.b64decode(instance["b64"], validate=True) == photo.read_bytes()


def test_all_is_one_text_with_a_line_before_each_file(version, photo):
    text = serving_files.render(version, photo, "flowers", LATENCIES)
    titles = ["models.config", "batching.config", "docker run", "kubernetes.yaml", "curl"]
    assert [line[2:] for line in text.splitlines() if line[2:] in titles] == titles
    parts = re.split("^# (?:docker run|kubernetes.yaml|curl)\n", text, flags=re.MULTILINE)
    for script in (parts[1], parts[3]):
        subprocess.run(["bash", "-n", "-c", script], check=True)


@pytest.mark.parametrize(
    ("name", "safe"),
    [("flowers", "flowers"), ("My Run_2", "my-run-2"), ("12", "model-12"), ("花", "model"), ("a" * 80, "a" * 50)],
)
def test_names_are_made_safe(name, safe):
    assert serving_files.safe_name(name) == safe


def test_a_version_that_another_export_removed_is_told(version, photo):
    with pytest.raises(TlkerasError, match="is damaged"):
        serving_files.render(version, photo, "a")
    version.rename(version.with_name("removed"))
    with pytest.raises(
        TlkerasError, match="3 was removed before it could be measured, as by another export with --keep"
    ):
        serving_files.render(version, photo, "a")


def test_what_is_no_version_is_refused(tmp_path, photo):
    with pytest.raises(TlkerasError, match="give a version of an export"):
        serving_files.files(tmp_path, photo, "flowers", LATENCIES)
