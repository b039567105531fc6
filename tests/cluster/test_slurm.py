import pytest
import tensorflow as tf

from tlkeras.cluster import from_environment, slurm
from tlkeras.errors import TlkerasError


def step(nodes, tasks, rank, total, **more):
    names = ("SLURM_STEP_NODELIST", "SLURM_STEP_TASKS_PER_NODE", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS")
    return dict(zip(names, (nodes, tasks, str(rank), str(total)), strict=True)) | more


@pytest.mark.parametrize(
    "nodes, hosts",
    [
        ("n1", ["n1"]),
        ("node[01-03,07],gpu1", ["node01", "node02", "node03", "node07", "gpu1"]),
        ("n[9-11]", ["n9", "n10", "n11"]),
        ("r[1-2]n[1,3]", ["r1n1", "r1n3", "r2n1", "r2n3"]),
        ("a[1-2]-ib", ["a1-ib", "a2-ib"]),
    ],
)
def test_lists_of_nodes(nodes, hosts):
    assert slurm.expand(nodes) == hosts


def test_tasks_of_a_node_have_a_port_each():
    found = from_environment(step("node[01-03,07]", "2(x3),1", 4, 7))
    assert str(found) == "worker 4 of 7, chief no"
    assert found.addresses[:3] == ("node01:8888", "node01:8889", "node02:8888") and found.addresses[6] == "node07:8888"


def test_ports_that_slurm_reserved_are_taken():
    found = from_environment(step("n[1-2]", "2(x2)", 0, 4, SLURM_STEP_RESV_PORTS="12000,12005-12006"))
    assert found.addresses == ("n1:12000", "n1:12005", "n2:12000", "n2:12005")


@pytest.mark.parametrize(
    "nodes, tasks, total",
    [("n1,n2", "1(x2)", 2), ("node[01-03,07]", "2(x3),1", 7), ("a[1-2],b,c[3-4,6]", "1,3,2(x4)", 12)],
)
def test_the_addresses_are_those_of_tensorflow(monkeypatch, nodes, tasks, total):
    environment, resolvers = step(nodes, tasks, total - 1, total), tf.distribute.cluster_resolver
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    theirs = resolvers.SlurmClusterResolver(gpus_per_node=8, gpus_per_task=1, auto_set_gpu=False)
    ours = from_environment(environment)
    assert theirs.cluster_spec().as_dict() == {"worker": list(ours.addresses)}
    assert theirs.get_task_info() == ("worker", ours.index)
    monkeypatch.setenv("TF_CONFIG", ours.tf_config())
    assert resolvers.TFConfigClusterResolver().cluster_spec() == theirs.cluster_spec()
    assert resolvers.TFConfigClusterResolver().task_id == ours.index


def test_a_batch_script_without_srun_and_a_single_task_are_no_cluster():
    batch = {"SLURM_PROCID": "0", "SLURM_NTASKS": "4", "SLURM_JOB_NODELIST": "n[1-4]", "SLURM_TASKS_PER_NODE": "1(x4)"}
    assert from_environment(batch) is None
    assert from_environment(step("n1", "1", 0, 1)) is None


def test_tf_config_comes_first():
    environment = step("n[1-2]", "1(x2)", 0, 2)
    environment["TF_CONFIG"] = '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 0}}'
    assert from_environment(environment).addresses == ("a:1", "b:1")


@pytest.mark.parametrize(
    "environment, problem",
    [
        (step("n[1-", "1(x2)", 0, 2), "list of nodes cannot be read"),
        (step("n[1-x]", "1(x2)", 0, 2), "list of nodes cannot be read"),
        (step("n[1-999999999]", "1(x2)", 0, 2), "list of nodes cannot be read"),
        (step("n[1-2]", "1(y2)", 0, 2), "number of tasks per node cannot be read"),
        (step("n[1-2]", "1(x2)", "a", 2), "SLURM_PROCID cannot be read"),
        (step("n[1-2]", "1(x3)", 0, 3), "disagree"),
        (step("n[1-2]", "1(x2)", 2, 2), "disagree"),
        (step("n[1-2]", "1(x2)", 0, 4), "disagree"),
        (step("n[1-2]", "2(x2)", 1, 4, SLURM_NODEID="1"), "--distribution=block"),
    ],
)
def test_what_cannot_be_used_is_one_line(environment, problem):
    with pytest.raises(TlkerasError, match=problem) as raised:
        from_environment(environment)
    assert "\n" not in str(raised.value)
