"""Which nodes of a converted model its delegate took, and in how many pieces.

Every border between a delegate's partition and a node left outside costs a copy and a layout, so a graph in one
partition is faster than the sum of its nodes in many.  The runtime keeps the original nodes and appends one DELEGATE
node a partition; which nodes that one replaced follows from its inputs and outputs.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from archsearch.errors import LatencyError, MissingExtraError

DELEGATE = re.compile(r"DELEGATE|\w*Delegate\w*")  # how runtimes name the node: LiteRT and TFLite 2.14


class Partitions(NamedTuple):
    """``delegated`` nodes run in ``partitions`` pieces; ``outside`` are the nodes left to the runtime, by name."""

    delegated: int
    partitions: int
    outside: Mapping[str, int]

    @property
    def num_outside(self) -> int:
        """How many nodes the delegate left."""
        return sum(self.outside.values())


class Node(NamedTuple):
    """A node of a graph: its name and the numbers of the tensors that it reads and writes."""

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def partitions(path: Path, python: str = sys.executable) -> Partitions:
    """What XNNPACK takes of a model, in the runtime that a Python has (LiteRT, else tflite-runtime).

    It is asked in a process of its own, which a model may take down.

    Raises:
        MissingExtraError: that Python has neither runtime.
        LatencyError: the runtime cannot load the model.
    """
    root = str(Path(__file__).resolve().parents[2])
    environment = {**os.environ, "PYTHONPATH": root, "TF_CPP_MIN_LOG_LEVEL": "2"}
    done = subprocess.run([python, "-m", "archsearch.latency.partitions", str(path)], capture_output=True, text=True,
                          env=environment, check=False)  # fmt: skip
    words = (done.stderr.strip().splitlines() or ["no output"])[-1]
    if done.returncode and "ModuleNotFoundError" in words:
        raise MissingExtraError("looking into a model needs ai-edge-litert", got=words,
                                next_step='pip install "archsearch[litert]"')  # fmt: skip
    if done.returncode:
        raise LatencyError("the runtime cannot load the model", where=str(path), got=words)
    found = json.loads(done.stdout.splitlines()[-1])
    return Partitions(found["delegated"], found["partitions"], found["outside"])


def nodes_of(model: Any) -> list[Node]:
    """The nodes of an interpreter whose tensors are allocated, those of the delegate last."""
    return [
        Node(str(op["op_name"]), tuple(map(int, op["inputs"])), tuple(map(int, op["outputs"])))
        for op in model._get_ops_details()
    ]


def count(nodes: Sequence[Node]) -> Partitions:
    """Partitions of a list of original nodes followed by the delegate's."""
    original = [node for node in nodes if not DELEGATE.fullmatch(node.name)]
    pieces = [node for node in nodes if DELEGATE.fullmatch(node.name)]
    writer = {tensor: i for i, node in enumerate(original) for tensor in node.outputs}
    taken: set[int] = set()
    for piece in pieces:
        given = set(piece.inputs)
        wanted = [tensor for tensor in piece.outputs if tensor in writer]
        while wanted:
            number = writer[wanted.pop()]
            if number in taken:
                continue
            taken.add(number)
            wanted += [tensor for tensor in original[number].inputs if tensor not in given and tensor in writer]
    outside = Counter(node.name for i, node in enumerate(original) if i not in taken)
    return Partitions(len(taken), len(pieces), dict(sorted(outside.items())))


def main() -> None:
    """Print the partitions of the model named on the command line as JSON."""
    from archsearch.latency.runner import load_runtime

    model = load_runtime()[2].Interpreter(model_path=sys.argv[1], num_threads=1)
    model.allocate_tensors()
    print(json.dumps(count(nodes_of(model))._asdict()))


if __name__ == "__main__":
    main()
