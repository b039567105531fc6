"""Several machines: who takes part, how they meet before TensorFlow starts, and how each learns that one went away."""

from tlkeras.cluster.addresses import Cluster, from_environment

__all__ = ["Cluster", "from_environment"]
