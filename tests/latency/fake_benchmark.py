"""A ``benchmark_model`` that runs nothing: flags in, the tool's output and result files out.

Its times follow from the model's size; ``$NOW`` says what goes wrong with this run.
"""

import os
import struct
import sys

ROOT = sys.argv[1]
HELP = """ERROR: usage: benchmark_model <flags>
Flags:
\t--num_runs=50                     \tint32\toptional\texpected number of runs, see also min_secs, max_secs
\t--min_secs=1                      \tfloat\toptional\tminimum number of seconds to rerun for
\t--graph=                          \tstring\toptional\tgraph file name
\t--num_threads=-1                  \tint32\toptional\tnumber of threads
\t--result_file_path=               \tstring\toptional\tPath to save the benchmark result
\t--op_profiling_output_mode=stdout \tstring\toptional\tOutput mode for op profiling results.
\t--use_xnnpack=false               \tbool\toptional\texplicitly apply the XNNPACK delegate.
\t--xnnpack_force_fp16=false        \tbool\toptional\tenforce float16 inference.
\t--use_gpu=false                   \tbool\toptional\tuse gpu
\t--gpu_precision_loss_allowed=true \tbool\toptional\tAllow to process computation in lower precision
"""


def varint(value: int) -> bytes:
    found = b""
    while value > 127:
        found += bytes([value & 127 | 128])
        value >>= 7
    return found + bytes([value])


def field(number: int, data: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(data)) + data


def number(number: int, value: int) -> bytes:
    return varint(number << 3) + varint(value)


def real(number: int, value: float) -> bytes:
    return varint(number << 3 | 5) + struct.pack("<f", value)


def read(name: str) -> bytes:
    """A file, empty if there is none."""
    try:
        with open(name, "rb") as file:  # noqa: PTH123
            return file.read()
    except OSError:
        return b""


def write(name: str, data: bytes, mode: str = "wb") -> None:
    with open(name, mode) as file:  # noqa: PTH123
        file.write(data)


def main(words: list) -> int:
    now = os.environ.get("NOW", "")
    if "--help" in words:
        if now == "unlinkable":
            print("CANNOT LINK EXECUTABLE: library libOpenCL.so not found", file=sys.stderr)
            return 1
        hidden = read(f"{ROOT}/hidden_flags").decode().split()
        lines = [line for line in HELP.splitlines() if not any(f"--{name}=" in line for name in hidden)]
        print("\n".join(lines), file=sys.stderr)
        return 1
    flags = dict(word[2:].split("=", 1) for word in words)
    write(f"{ROOT}/runs", " ".join([*words, f"affinity={sorted(os.sched_getaffinity(0))}\n"]).encode(), "ab")
    print("INFO: STARTING!")
    graph = flags["graph"]
    model = read(graph)
    if model[4:8] != b"TFL3":
        print(f"ERROR: Failed to load model {graph}\nERROR: Benchmarking failed.", file=sys.stderr)
        return 1
    if now == "garbage":
        print("\x00\x07 so long, and thanks")
        return 0
    if now == "crash":
        print("Segmentation fault")
        return 139
    if now == "full":
        print("ERROR: Failed to save benchmark result: No space left on device", file=sys.stderr)
        return 1
    delegate = "XNNPACK" if flags.get("use_xnnpack") == "true" else "GPU" if flags.get("use_gpu") == "true" else ""
    no_gpu = delegate == "GPU" and now == "no gpu"
    taken = bool(delegate) and now != "undelegated" and not no_gpu
    if no_gpu:
        print("WARN: GPU acceleration is unsupported on this platform.")
    if taken:
        print(f"INFO: Explicitly applied {delegate} delegate, and the model graph will be completely executed by it.")
    us = 200 if graph.endswith("/reference.tflite") else 50 + len(model) // 10
    if now == "slow":
        us *= 3
    runs = max(int(flags["num_runs"]), 20)
    low, high = round(us * 0.99), round(us * 1.01)
    print(f"INFO: count=4 first={us} curr={us} min={us} max={us} avg={us} std=0 p5={us} median={us} p95={us}\n")
    print(
        f"INFO: count={runs} first={us} curr={us} min={low} max={high} avg={us}.2 std=1 p5={low} median={us} p95={high}"
    )
    print(
        f"INFO: Inference timings in us: Init: 1000, First inference: {us}, Warmup (avg): {us}, Inference (avg): {us}"
    )
    if "result_file_path" in flags:
        latency = real(1, us / 1e3) + real(5, us / 1e3) + real(6, low / 1e3) + real(7, high / 1e3)
        write(flags["result_file_path"], field(2, latency) + field(4, number(2, runs)))
    if flags.get("op_profiling_output_mode") == "proto":
        name = f"Tflite{delegate}Delegate" if taken else "CONV_2D"
        write(flags["op_profiling_output_file"], field(3, field(1, field(3, field(1, name.encode())))))
    return 0


sys.exit(main(sys.argv[2:]))
