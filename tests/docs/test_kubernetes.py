"""docs/kubernetes by the rules of the Training Operator v1, and run in real processes; there is no cluster here."""

import copy
import json
import re
import signal
import subprocess
import sys

import pytest
import workers
import yaml
from helpers import REPOSITORY
from kubernetes_types import check

from tlkeras.cli.train import command
from tlkeras.cluster import from_environment
from tlkeras.errors import TlkerasError

FOLDER = REPOSITORY / "docs" / "kubernetes"
ENTRYPOINT = str(FOLDER / "entrypoint.sh")
JOB, CLAIM = yaml.safe_load_all((FOLDER / "tfjob.yaml").read_text())
WORKER = JOB["spec"]["tfReplicaSpecs"]["Worker"]
(CONTAINER,) = WORKER["template"]["spec"]["containers"]


def with_change(change):
    job = copy.deepcopy(JOB)
    change(job["spec"], job["spec"]["tfReplicaSpecs"]["Worker"])
    return job


def test_the_manifest_is_one_that_the_operator_knows():
    constants = pytest.importorskip("kubeflow.training", reason="needs kubeflow-training, of the extra test").constants
    assert (JOB["apiVersion"], JOB["kind"]) == (constants.API_VERSION, constants.TFJOB_KIND)
    assert CONTAINER["name"] == constants.TFJOB_CONTAINER
    check(JOB, constants.TFJOB_MODEL, "TFJob")
    check(CLAIM, "V1PersistentVolumeClaim", "claim")


@pytest.mark.parametrize(
    "change",
    [
        lambda spec, worker: worker.update(restartPolcy="ExitCode"),
        lambda spec, worker: worker.update(replicas="2"),
        lambda spec, worker: spec["runPolicy"].update(backoffLimit=True),
        lambda spec, worker: worker["template"]["spec"].update(containers=CONTAINER),
        lambda spec, worker: worker["template"]["spec"]["containers"][0].pop("name"),
        lambda spec, worker: worker["template"]["spec"]["containers"][0]["resources"]["limits"].update(memory=8),
    ],
)
def test_a_mistake_in_a_manifest_is_found(change):
    pytest.importorskip("kubeflow.training", reason="needs kubeflow-training, of the extra test")
    with pytest.raises((AssertionError, ValueError)):
        check(with_change(change), "KubeflowOrgV1TFJob", "TFJob")


def test_names_and_volumes_fit():
    spec = WORKER["template"]["spec"]
    # What the operator names otherwise, it does not see: it takes port 2222 then, or restarts what it should not.
    assert [port["name"] for port in CONTAINER["ports"]] == ["tfjob-port"]
    assert WORKER["restartPolicy"] == "ExitCode" and JOB["spec"]["successPolicy"] == "AllWorkers"
    assert spec["volumes"][0]["persistentVolumeClaim"]["claimName"] == CLAIM["metadata"]["name"]
    assert CONTAINER["volumeMounts"][0]["name"] == spec["volumes"][0]["name"]
    assert CLAIM["spec"]["accessModes"] == ["ReadWriteMany"]
    recipe = (FOLDER / "Dockerfile").read_text()
    mount = CONTAINER["volumeMounts"][0]["mountPath"]
    assert f"WORKDIR {mount}\n" in recipe and f"TLKERAS_HOME={mount}/cache" in recipe
    assert f"USER {spec['securityContext']['runAsUser']}:{spec['securityContext']['fsGroup']}\n" in recipe
    copied = [name for line in re.findall(r"COPY (.*) \S+\n", recipe) for name in line.split()]
    assert len(copied) == 8 and all((REPOSITORY / name).exists() for name in copied)


def test_the_command_is_one_of_tlkeras():
    program, name, *arguments = CONTAINER["args"]
    assert (program, name) == ("tlkeras", command.name)
    given = command.make_context(name, arguments).params
    assert given["resume"] and given["cluster_timeout"] == 900 and given["output"] and given["data"]


def tf_config(kinds, kind, index, port=CONTAINER["ports"][0]["containerPort"]):
    """Writes TF_CONFIG as version 1.9 of the operator does for `kinds` of replicas; see genTFConfigJSONStr there."""
    job = JOB["metadata"]["name"]
    cluster = {each: [f"{job}-{each}-{n}.default.svc:{port}" for n in range(kinds[each])] for each in sorted(kinds)}
    config = {"cluster": cluster, "task": {"type": kind, "index": index}, "environment": "cloud"}
    return json.dumps(config, separators=(",", ":"))


def test_workers_find_themselves_in_what_the_operator_writes():
    count = WORKER["replicas"]
    places = tuple(f"flowers-worker-{index}.default.svc:2222" for index in range(count))
    for index in range(count):
        found = from_environment({"TF_CONFIG": tf_config({"worker": count}, "worker", index)})
        assert (found.addresses, found.index) == (places, index)


def test_a_chief_of_its_own_is_found_as_well():
    text = (
        '{"cluster":{"chief":["flowers-chief-0.default.svc:2222"],"worker":["flowers-worker-0.default.svc:2222"]},'
        '"task":{"type":"worker","index":0},"environment":"cloud"}'
    )
    assert text == tf_config({"worker": 1, "chief": 1}, "worker", 0)
    found = from_environment({"TF_CONFIG": text})
    assert str(found) == "worker 1 of 2, chief no" and found.addresses[0] == "flowers-chief-0.default.svc:2222"


def test_dynamic_workers_are_refused():
    text = '{"sparseCluster":{"worker":{"0":"a-worker-0.b.svc:2222"},"ps":[]},"task":{"type":"worker","index":0}}'
    with pytest.raises(TlkerasError, match="needs `cluster` and `task`"):
        from_environment({"TF_CONFIG": text})


@pytest.mark.parametrize(("code", "left"), [(0, 0), (1, 1), (2, 2), (75, 203), (203, 203)])
def test_the_entry_point_makes_75_one_that_is_started_again(code, left):
    assert subprocess.run([ENTRYPOINT, "sh", "-c", f"exit {code}"], check=False).returncode == left


def test_the_entry_point_tells_who_was_killed():
    assert subprocess.run([ENTRYPOINT, "sh", "-c", "kill -9 $$"], check=False).returncode == 128 + signal.SIGKILL


def test_the_entry_point_passes_sigterm_on_and_waits():
    leaving = "import signal, sys, time\nfrom tlkeras import leaving\nwith leaving.on_sigterm() as told:\n"
    leaving += " print('on', flush=True)\n while not told.is_asked: time.sleep(0.01)\n time.sleep(0.5)\nsys.exit(75)"
    started = subprocess.Popen([ENTRYPOINT, sys.executable, "-c", leaving], stdout=subprocess.PIPE, text=True)
    assert started.stdout.readline() == "on\n"
    started.terminate()
    assert started.wait(60) == 203
    started.stdout.close()


def train(folder, *more):
    """Runs the manifest's command as the operator starts it, at addresses of this machine; gives what each wrote."""
    count = WORKER["replicas"]
    main = [sys.executable, "-c", "from tlkeras.cli import main; main()"]
    places, started = [f"localhost:{port}" for port in workers.free_ports(count)], []
    for index in range(count):
        config = json.loads(tf_config({"worker": count}, "worker", index))
        config["cluster"]["worker"] = places
        ours = workers.environments(1)[0] | {"TF_CONFIG": json.dumps(config)}
        line = [ENTRYPOINT, *main, *CONTAINER["args"][1:], *more]
        started.append(subprocess.Popen(line, env=ours, cwd=folder, stdout=-1, stderr=subprocess.STDOUT, text=True))
    outputs = [one.communicate(timeout=600)[0] for one in started]
    assert [one.returncode for one in started] == [0] * count, outputs
    return outputs


@pytest.mark.slow
def test_the_command_trains_where_no_run_is_and_goes_on_where_one_is(photo_folder, tmp_path):
    (tmp_path / "photos").symlink_to(photo_folder)
    small = ["--weights=random", "--image-size=32", "--epochs=1", "--fine-tune-epochs=1"]
    outputs = train(tmp_path, *small)
    assert "test accuracy" in outputs[0] and outputs[1].startswith("worker 1 of 2, chief no")
    assert (tmp_path / "runs" / "flowers" / "export" / "1" / "saved_model.pb").is_file()
    assert "is trained already" in train(tmp_path, *small)[0]
