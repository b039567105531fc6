import json

import pytest

from tlkeras.cluster import Cluster, from_environment
from tlkeras.errors import TlkerasError


def config(cluster, kind="worker", index=0, **more):
    return {"TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}, **more})}


def test_the_workers_of_tf_config():
    found = from_environment(config({"worker": ["a:1", "b:2", "[::1]:3"]}, index=1))
    assert found == Cluster(("a:1", "b:2", "[::1]:3"), 1)
    assert (str(found), found.is_chief, found.place(2)) == ("worker 1 of 3, chief no", False, ("::1", 3))
    assert found.name(1) == "worker 1 (b:2)"


def test_a_chief_is_worker_0():
    jobs = {"worker": ["b:1", "c:1"], "chief": ["a:1"]}
    assert from_environment(config(jobs, "chief", environment="cloud")) == Cluster(("a:1", "b:1", "c:1"), 0)
    assert str(from_environment(config(jobs, "worker", "1"))) == "worker 2 of 3, chief no"


def test_what_is_given_to_tensorflow_is_read_again():
    cluster = Cluster(("a:1", "b:2"), 1)
    assert from_environment({"TF_CONFIG": cluster.tf_config()}) == cluster


@pytest.mark.parametrize("environment", [{}, {"TF_CONFIG": " "}, {"TF_CONFIG": "{}"}, config({"worker": ["a:1"]})])
def test_one_process_is_no_cluster(environment):
    assert from_environment(environment) is None


@pytest.mark.parametrize(
    "environment, problem",
    [
        ({"TF_CONFIG": "{'cluster'"}, "it is no JSON"),
        ({"TF_CONFIG": "[]"}, "it needs `cluster` and `task`"),
        ({"TF_CONFIG": '{"cluster": {"worker": ["a:1", "b:1"]}}'}, "it needs `cluster` and `task`"),
        (config({"worker": "a:1,b:1"}), "no lists"),
        (config({"worker": {"0": "a:1"}}), "no lists"),
        (config({"worker": [1, 2]}), "no lists"),
        (config({"master": ["a:1"], "worker": ["b:1"]}), "the job 'master'"),
        (config({"chief": ["a:1", "b:1"]}), "more than one chief"),
        (config({"worker": ["a:1", "b:1"]}, index=2), "it has no worker 2"),
        (config({"worker": ["a:1", "b:1"]}, index=-1), "no type `worker` or `chief` with an index"),
        (config({"worker": ["a:1", "b:1"]}, index=True), "no type `worker` or `chief` with an index"),
        (config({"worker": ["a:1", "b:1"]}, kind=None), "no type `worker` or `chief` with an index"),
    ],
)
def test_a_malformed_tf_config_is_one_line_with_what_is_legal(environment, problem):
    with pytest.raises(TlkerasError) as raised:
        from_environment(environment)
    message = str(raised.value)
    assert problem in message and 'legal is {"cluster"' in message and "Received: " in message and "\n" not in message


@pytest.mark.parametrize("jobs, kind", [({"ps": ["p:1"]}, "worker"), ({}, "evaluator"), ({"ps": ["p:1"]}, "ps")])
def test_parameter_servers_and_evaluators_are_refused(jobs, kind):
    with pytest.raises(TlkerasError, match="workers alone"):
        from_environment(config({"worker": ["a:1", "b:1"], **jobs}, kind))


@pytest.mark.parametrize("wrong", ["a", "a:", ":1", "a:0", "a:65536", "a:b", "::1:5", "http://a:1", "a b:1"])
def test_an_address_is_host_and_port(wrong):
    with pytest.raises(TlkerasError, match="host:port"):
        from_environment(config({"worker": ["a:1", wrong]}))


def test_two_workers_at_one_address_are_refused():
    with pytest.raises(TlkerasError, match="a port of its own"):
        from_environment(config({"worker": ["a:1", "a:1"]}))
