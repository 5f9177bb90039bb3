"""A local Ray cluster of two nodes' worth of processes, a sweep on it, and one node killed in the
middle, or the head, after which another cluster goes on.

Prints what happened as a line of JSON. A process of its own, since Ray leaves threads, warnings and
signal handlers behind.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

from ray.cluster_utils import Cluster  # pyright: ignore[reportMissingImports]

from otgan.sweep.folder import SweepFolder


def main():
    lost, out, *words = sys.argv[1:]
    cluster = started()
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    cluster.wait_for_nodes()
    root = SweepFolder(Path(out))
    sweep = begin(cluster, out, words)
    reached = wait_for_checkpoints(root, sweep, 2)
    facts = {"nodes": [str(node.node_ip_address) for node in nodes], "interrupted_at": reached}
    if lost == "node":
        cluster.remove_node(nodes[0], allow_graceful=False)
    else:
        cluster.head_node.kill_gcs_server(check_alive=False)
    said = [told(sweep)]
    if lost == "head":
        cluster.shutdown()
        cluster = started()
        cluster.add_node(num_cpus=2)
        cluster.wait_for_nodes()
        said.append(told(begin(cluster, out, words)))
    cluster.shutdown()
    sys.stdout.write("\n" + json.dumps({**facts, "sweeps": said}) + "\n")


def started():
    return Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})


def begin(cluster, out, words):
    command = [sys.executable, "-m", "otgan", "sweep", *words, "--out", out]
    command += ["--engine", "ray", "--address", cluster.address]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def told(sweep):
    """What a sweep has printed when it ends, behind its exit code."""
    output, _ = sweep.communicate()
    return sweep.returncode, output


def wait_for_checkpoints(root, sweep, cells):
    """Until so many cells are at work and have a checkpoint each; the smallest of their steps."""
    end = time.monotonic() + 600
    while time.monotonic() < end and sweep.poll() is None:
        working = [folder for folder in map(root.folder, root.cells()) if folder.at_work]
        kept = [
            [int(p.name) for p in f.checkpoints.glob("*") if p.name.isdecimal()] for f in working
        ]
        if len(kept) == cells and all(kept):
            return min(map(max, kept))
        time.sleep(0.1)
    return 0


main()
