#!/usr/bin/env python3
"""Where a request with a key goes: system calls, and instructions by part of the program. Prints two tables in Markdown.

usage: benches/peers/profile.py [--requests N]

Needs strace and valgrind, and a gateway with symbols; does not need an idle machine, for it counts and measures no time. The
gateway is run twice under either, once with few requests and once with many: what it does besides drops out.
"""

import argparse
import collections
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from drive import KEYS, LISTEN, PROXY, UPSTREAM, Bench, own_load, running, told_by  # noqa: E402
from growth import GATEWAY  # noqa: E402
from peers import Setting  # noqa: E402

# A function belongs to the first part whose pattern its name has.
PARTS = [
    ("the server's HTTP/1.1, ours", r"scoregate::(server|http1)"),
    ("the request to the upstream and its answer", r"scoregate::upstream"),
    ("match, key, grant, admission, headers", r"scoregate::(pipeline|snapshot|model|tokens)"),
    ("record, metrics, access log", r"scoregate::observe|prometheus"),
    ("the server's HTTP, hyper's", r"hyper|httparse|h2::"),
    ("the map of headers", r"^http::|<http::|http::header"),
    ("the digest of the key", r"sha256|SHA256|aws_lc"),
    ("the runtime", r"tokio|mio::|<core::.*task|futures"),
    ("memory that is taken and given back", r"malloc|free|realloc|calloc|_int_|__rust_|alloc::"),
    ("memory that is copied and compared", r"mem(cpy|move|set|cmp|chr)|bytes::"),
    ("hashes of tables", r"core::hash|hashbrown"),
    ("the C library's way into the kernel", r"epoll|recv|send|write|read|syscall|clock_gettime|__vdso"),
]


def run_under(bench: Bench, tool: list[str], requests: int) -> None:
    given = Setting(bench.fresh_directory(f"profile {requests}"), KEYS, LISTEN, UPSTREAM)
    command = [*tool, *GATEWAY.command(given)]
    with bench.upstream(), running(command, PROXY, LISTEN, given.directory / "proxy.log") as process:
        told_by(own_load(bench, [KEYS[7]], "/score", "-s", 300, "-n", requests, "-c", 16))
        # strace has the gateway as a child, and would let go of it; valgrind is the gateway.
        for pid in pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split() or [process.pid]:
            os.kill(int(pid), signal.SIGTERM)
        process.wait(60)


def for_each(bench: Bench, requests: int, counted) -> dict[str, float]:
    """The difference of what two runs count, for each request."""
    few, many = counted(bench, 200), counted(bench, 200 + requests)
    each = {name: (count - few.get(name, 0)) / requests for name, count in many.items()}
    return {name: count for name, count in each.items() if count > 0}


def system_calls(bench: Bench, requests: int) -> dict[str, int]:
    out = bench.where / "strace"
    run_under(bench, ["strace", "-f", "-c", "-U", "calls,name", "-o", str(out)], requests)
    rows = re.findall(r"^\s*(\d+)\s+(\w+)$", out.read_text(), re.M)
    return {name: int(calls) for calls, name in rows if name != "total"}


def instructions(bench: Bench, requests: int) -> dict[str, int]:
    out = bench.where / f"callgrind-{requests}"
    run_under(bench, ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}"], requests)
    # Arguments of the annotator that differ between versions are avoided: one line a function, with its own cost.
    told = subprocess.run(["callgrind_annotate", "--threshold=100", "--auto=no", out], check=True, capture_output=True, text=True)
    counts: collections.Counter = collections.Counter()
    for count, name in re.findall(r"^\s*([\d,]+)\s+\([^)]*\)\s+(.*)$", told.stdout, re.M):
        name = re.sub(r"^[^:]*:(?!:)| \[[^]]*\]$", "", name)
        counts[name] += int(count.replace(",", ""))
    return counts


def part_of(name: str) -> str:
    return next((part for part, pattern in PARTS if re.search(pattern, name)), "everything else")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=3000)
    parser.add_argument("--functions", type=int, default=0, help="so many functions of each part, too")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="profile-") as temporary:
        bench = Bench(pathlib.Path(temporary), 0, set())
        print("| system call | a request |\n|---|---|")
        for name, count in sorted(for_each(bench, asked.requests, system_calls).items(), key=lambda one: -one[1]):
            if count >= 0.005:
                print(f"| `{name}` | {count:.2f} |")
        parts: dict[str, dict[str, float]] = collections.defaultdict(dict)
        for name, count in for_each(bench, asked.requests, instructions).items():
            if not name.startswith("PROGRAM TOTALS"):
                parts[part_of(name)][name] = count
        print("\n| part | instructions a request |\n|---|---|")
        for part, functions in sorted(parts.items(), key=lambda one: -sum(one[1].values())):
            print(f"| {part} | {sum(functions.values()):,.0f} |")
            for name, count in sorted(functions.items(), key=lambda one: -one[1])[: asked.functions]:
                print(f"|   {name[:120]} | {count:,.0f} |")
        print(f"| all | {sum(sum(functions.values()) for functions in parts.values()):,.0f} |")


if __name__ == "__main__":
    main()
