"""Single-operator .tflite files, converted once and kept by operator key.

Conversion runs in worker processes (``python -m archsearch.latency.conversion``): litert-torch takes seconds to
import and writes to stdout and stderr as it likes, and its memory goes back when a worker ends.  Workers run before
anything is measured, never beside it.
"""

from __future__ import annotations

import hashlib
import json
import os
import selectors
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

from archsearch.cost.block import Workload, parse_workload
from archsearch.errors import LatencyError, MissingExtraError
from archsearch.latency.check import allowed_transposes

RECIPE = 1  # raise it when operators are built or converted otherwise
BATCH_OPS = 24
BATCH_BYTES = 256_000_000


class OpModel(NamedTuple):
    """A converted operator: its file, the nodes in it, and how many of them are TRANSPOSE."""

    key: str
    path: Path
    graph: str
    transposes: int


class Failure(NamedTuple):
    """An operator that could not be converted, and why."""

    key: str
    why: str


def cache_folder() -> Path:
    """``$ARCHSEARCH_CACHE``, else ``~/.cache/archsearch/litert``."""
    chosen = os.environ.get("ARCHSEARCH_CACHE")
    return Path(chosen) if chosen else Path.home() / ".cache" / "archsearch" / "litert"


def converter_version() -> str:
    """Version of litert-torch.

    Raises:
        MissingExtraError: the extra ``litert`` is not installed.
    """
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("litert-torch")
    except PackageNotFoundError as error:
        raise MissingExtraError(
            "measuring needs litert-torch and ai-edge-litert", next_step='pip install "archsearch[litert]"'
        ) from error


def model_path(op: Workload, cache: Path) -> Path:
    """Where the converted operator lies."""
    salt = f"{op.key}|litert-torch {converter_version()}|recipe {RECIPE}"
    return cache / f"{op.kind}-{hashlib.sha256(salt.encode()).hexdigest()[:20]}.tflite"


def cached(op: Workload, cache: Path) -> OpModel | None:
    """The converted operator, if the cache holds it whole."""
    path = model_path(op, cache)
    try:
        note = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        if note["key"] == op.key and path.stat().st_size == note["bytes"]:
            return OpModel(op.key, path, str(note["graph"]), int(note["transposes"]))
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return None


def convert_ops(
    ops: Sequence[Workload], cache: Path, workers: int | None = None, done: Callable[[int], None] = lambda n: None
) -> tuple[dict[str, OpModel], dict[str, str]]:
    """Models of ``ops`` by key, from the cache or converted now, and why those that failed did.

    Raises:
        MissingExtraError: the extra ``litert`` is not installed.
        LatencyError: the cache cannot be written.
    """
    models = {op.key: found for op in ops if (found := cached(op, cache))}
    todo = [op for op in dict.fromkeys(ops) if op.key not in models]
    failures: dict[str, str] = {}
    if todo:
        converter_version()
        try:
            cache.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LatencyError(f"cannot create the cache ({error.strerror})", where=str(cache),
                               next_step="set ARCHSEARCH_CACHE to a folder") from error  # fmt: skip
        shares = _shares(todo, workers or min(os.cpu_count() or 1, 4))
        running = [_Worker(share, cache) for share in shares]
        try:
            for result in _results(running):
                done(1)
                if isinstance(result, Failure):
                    failures[result.key] = result.why
                else:
                    models[result.key] = result
        finally:
            for worker in running:
                worker.stop()
    return models, failures


def _shares(ops: Sequence[Workload], workers: int) -> list[list[Workload]]:
    """Operators dealt out so that each worker has whole batches of similar weight."""
    count = max(1, min(workers, -(-len(ops) // BATCH_OPS)))
    return [list(ops[i::count]) for i in range(count)]


def _results(workers: Sequence[_Worker]) -> Iterator[OpModel | Failure]:
    """Answers of all workers as they come; an operator that a worker leaves unanswered has failed."""
    with selectors.DefaultSelector() as selector:
        for worker in workers:
            selector.register(worker.answers, selectors.EVENT_READ, worker)
        while selector.get_map():
            for ready, _ in selector.select():
                worker = ready.data
                data = os.read(worker.answers, 65536)
                if not data:
                    selector.unregister(worker.answers)
                yield from worker.feed(data) if data else worker.finish()


class _Worker:
    """A conversion process at work on its share."""

    def __init__(self, ops: Sequence[Workload], cache: Path) -> None:
        self._waiting = dict.fromkeys(op.key for op in ops)
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        self._partial = b""
        self.answers, answers = os.pipe()
        os.set_inheritable(answers, True)
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "2", "PYTHONUNBUFFERED": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "archsearch.latency.conversion", str(answers), str(cache)],
            stdin=subprocess.PIPE, stdout=self._log, stderr=self._log, pass_fds=(answers,), env=environment,
        )  # fmt: skip
        os.close(answers)
        assert self._process.stdin is not None
        self._process.stdin.write("".join(f"{op.key}\n" for op in ops).encode())
        self._process.stdin.close()

    def feed(self, data: bytes) -> Iterator[OpModel | Failure]:
        """Take bytes that the worker wrote."""
        *lines, self._partial = (self._partial + data).split(b"\n")
        for line in lines:
            record = json.loads(line)
            self._waiting.pop(record["key"], None)
            if "error" in record:
                yield Failure(record["key"], record["error"])
            else:
                yield OpModel(record["key"], Path(record["path"]), record["graph"], record["transposes"])

    def finish(self) -> Iterator[Failure]:
        """The worker has closed its pipe: what it owes has failed."""
        code = self._process.wait()
        for key in self._waiting:
            yield Failure(key, f"the converter ended with code {code}: {self._last_words()}")

    def _last_words(self) -> str:
        self._log.seek(0)
        lines = self._log.read().decode("utf-8", "replace").strip().splitlines()
        return lines[-1][:300] if lines else "no output"

    def stop(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        os.close(self.answers)
        self._log.close()


def batches(ops: Sequence[Workload]) -> Iterator[list[Workload]]:
    """Operators that are traced together: few enough, and with few enough bytes of weights."""
    batch: list[Workload] = []
    weight = 0
    for op in ops:
        if batch and (len(batch) == BATCH_OPS or weight + 4 * op.params > BATCH_BYTES):
            yield batch
            batch, weight = [], 0
        batch.append(op)
        weight += 4 * op.params
    if batch:
        yield batch


def convert_batch(ops: Sequence[Workload], cache: Path) -> Iterator[OpModel | Failure]:
    """Convert together; where that fails, one by one."""
    from archsearch.latency.modules import op_module
    from archsearch.models.litert import Converted, Job, convert_job, convert_many

    jobs = []
    for op in ops:
        try:
            made = op_module(op)
            jobs.append((op, Job(made.module, made.inputs, model_path(op, cache), made.images, made.image_output)))
        except LatencyError as error:
            yield Failure(op.key, str(error))
    converted: list[Converted | str]
    try:
        converted = list(convert_many([job for _, job in jobs])) if jobs else []
    except ValueError:
        converted = []
        for _, job in jobs:
            try:
                converted.append(convert_job(job))
            except ValueError as error:
                converted.append(str(error))
    for (op, _), result in zip(jobs, converted, strict=True):
        yield Failure(op.key, result) if isinstance(result, str) else _keep(op, result.path, result)


def _keep(op: Workload, path: Path, result: object) -> OpModel | Failure:
    from archsearch.latency.write import replace
    from archsearch.models.litert import Converted

    assert isinstance(result, Converted)
    allowed = allowed_transposes(op)
    if result.transposes > allowed:
        return Failure(op.key, f"{result.transposes} TRANSPOSE in the single-operator model, of which a whole model "
                               f"holds {allowed}: not the layout that it runs in ({result.graph})")  # fmt: skip
    note = {"key": op.key, "bytes": path.stat().st_size, "graph": result.graph, "transposes": result.transposes}
    replace(path.with_suffix(".json"), json.dumps(note).encode())
    return OpModel(op.key, path, result.graph, result.transposes)


def _work(answers: IO[str], cache: Path) -> None:
    import torch

    torch.set_num_threads(1)
    ops = [parse_workload(line.strip()) for line in sys.stdin if line.strip()]
    for batch in batches(ops):
        for result in convert_batch(batch, cache):
            record: dict[str, object]
            if isinstance(result, Failure):
                record = {"key": result.key, "error": " ".join(result.why.split())[:500]}
            else:
                record = {**result._asdict(), "path": str(result.path)}
            answers.write(json.dumps(record) + "\n")
            answers.flush()


if __name__ == "__main__":
    with os.fdopen(int(sys.argv[1]), "w", encoding="utf-8") as stream:
        _work(stream, Path(sys.argv[2]))
