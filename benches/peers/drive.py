"""Starts proxies and upstreams, drives load at them, and reads what the kernel says that they spent."""

import json
import os
import pathlib
import re
import resource
import shutil
import socket
import subprocess
import time
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Callable, Iterator

from peers import FEATURE, Peer, Setting
from peers import resource as resource_of
from work import Work

HERE = pathlib.Path(__file__).parent
LISTEN, UPSTREAM = 18080, 18090
KEYS = [f"k{number:04d}-0123456789abcdefghijklmnop" for number in range(1000)]
PROXY, LOAD = "0", "1"


class Bench:
    """A directory with everything that a run needs: programs, a certificate, tokens."""

    def __init__(self, where: pathlib.Path, tokens: int, algorithms: set[str]):
        self.where = where
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        self.files = most
        for program in ("upstream", "grpc", "floor", "load"):
            subprocess.run(["cc", "-O2", "-o", where / program, HERE / f"{program}.c"], check=True)
        self.seed = seed_program() if shutil.which("cargo") or "SEED" in os.environ else None
        make_tls(where)
        for algorithm in sorted(algorithms):
            directory = where / algorithm
            directory.mkdir()
            subprocess.run([self.seed, "tokens", directory, algorithm, str(tokens)], check=True)
            openssl("pkey", "-inform", "DER", "-in", directory / "signer.der", "-pubout", "-out", directory / "signer.pub")

    def tokens(self, algorithm: str) -> list[str]:
        return (self.where / algorithm / "tokens").read_text().split()

    def fresh_directory(self, name: str, algorithm: str | None = None) -> pathlib.Path:
        directory = self.where / re.sub(r"\W+", "-", name)
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir()
        for path in self.where.glob("*.pem"):
            shutil.copy(path, directory)
        shutil.copy(self.where / "tls.key", directory)
        if algorithm:
            for path in ("jwks.json", "signer.pub"):
                shutil.copy(self.where / algorithm / path, directory)
        return directory

    @contextmanager
    def upstream(self, answer_bytes: int = 200, grpc: bool = False) -> Iterator[None]:
        log = self.where / "upstream.log"
        program = str(self.where / ("grpc" if grpc else "upstream"))
        with running([program, str(UPSTREAM), str(answer_bytes)], LOAD, UPSTREAM, log):
            yield

    @contextmanager
    def proxy(self, peer: Peer, setting: Setting, processors: str = PROXY) -> Iterator[subprocess.Popen]:
        with running(peer.command(setting), processors, LISTEN, setting.directory / "proxy.log") as process:
            yield process


def seed_program() -> str:
    """The program of benches/seed.rs, built as the gateway was."""
    if "SEED" in os.environ:
        return os.environ["SEED"]
    command = ["cargo", "build", "--quiet", "--release", "--bench", "seed", "--message-format", "json"]
    told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=HERE.parent.parent).stdout
    built = [json.loads(line) for line in told.splitlines() if '"executable":"' in line]
    return next(one["executable"] for one in built if one["target"]["name"] == "seed")


def openssl(*arguments: str | pathlib.Path) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


def make_tls(directory: pathlib.Path) -> None:
    openssl(
        *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"),
        *("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
        *("-keyout", directory / "tls.key", "-out", directory / "tls.pem"),
    )
    both = directory / "both.pem"
    both.write_bytes((directory / "tls.pem").read_bytes() + (directory / "tls.key").read_bytes())
    (directory / "tls.key").chmod(0o600)


@contextmanager
def running(command: list[str], processors: str, port: int, log: pathlib.Path) -> Iterator[subprocess.Popen]:
    if answers(port):
        raise SystemExit(f"something listens on {port} already")
    with open(log, "w", encoding="utf-8") as to:
        # Access logs are written and go nowhere: hundreds of megabytes on a disk would slow down what comes next.
        process = subprocess.Popen(["taskset", "-c", processors, *command], stdout=subprocess.DEVNULL, stderr=to)
    try:
        wait_for(port, process, log)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def wait_for(port: int, process: subprocess.Popen, log: pathlib.Path) -> None:
    until = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < until:
        if answers(port):
            return
        time.sleep(0.01)
    raise SystemExit(f"nothing listens on {port}:\n{log.read_text()[-2000:]}")


def threads(pid: int) -> list[pathlib.Path]:
    found = list(pathlib.Path(f"/proc/{pid}/task").glob("*"))
    for task in list(found):
        try:
            children = (task / "children").read_text().split()
        except OSError:
            continue
        for child in children:
            found += threads(int(child))
    return found


def spent_by(thread: pathlib.Path) -> float:
    """Seconds of processor time."""
    try:
        return int((thread / "schedstat").read_text().split()[0]) / 1e9
    except OSError:
        return 0.0


def processor_seconds(pid: int) -> float:
    """Of all threads, and of the children that a master has."""
    return sum(map(spent_by, threads(pid)))


def resident_kib(pid: int) -> int:
    pids = {thread.parent.parent.name for thread in threads(pid)}
    sizes = [re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{one}/status").read_text()) for one in pids]
    return sum(int(size.group(1)) for size in sizes if size)


@dataclass
class Load:
    """What the load's program saw."""

    answered: int
    wrong: int
    rate: float
    p50_us: float | None
    p99_us: float | None


def wrk(work: Work, directory: pathlib.Path, credential: str, seconds: float) -> Load:
    """Over TLS, for which load.c has no words; wrk counts in whole seconds."""
    lines = [f'wrk.headers["authorization"] = "Bearer {credential}"']
    if work.reconnect:
        lines += ['wrk.headers["connection"] = "close"']
    lines += [
        "done = function(summary, latency, requests)",
        "  local broken = summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout",
        '  print(string.format("DONE %d %d %f %f %f", summary.requests, summary.errors.status + broken,'
        " summary.duration / 1e6, latency:percentile(50), latency:percentile(99)))",
        "end",
    ]
    script = directory / "load.lua"
    script.write_text("\n".join(lines))
    command = ["taskset", "-c", LOAD, "wrk", "-t1", "-c64", f"-d{max(1, round(seconds))}s", "-s", str(script)]
    out = told_by([*command, f"https://127.0.0.1:{LISTEN}{work.path}"])
    told = re.search(r"^DONE (.*)$", out, re.M)
    if not told:
        raise SystemExit(f"wrk said nothing of use:\n{out}")
    requests, wrong, duration, p50, p99 = (float(number) for number in told.group(1).split())
    return Load(int(requests - wrong), int(wrong), requests / duration, p50, p99)


def told_by(command: list[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def h2load(bench: Bench, work: Work, credential: str, seconds: float, connections: int = 10) -> Load:
    # It counts in whole seconds, too; a short run is so many requests instead.
    length = f"-D{round(seconds)}" if seconds >= 1 else "-n2000"
    command = ["taskset", "-c", LOAD, "h2load", "-t1", f"-c{connections}", "-m32", length]
    command += ["-H", f"authorization: Bearer {credential}"]
    if work.grpc:
        message = bench.where / "message"
        message.write_bytes(b"\0" + (100).to_bytes(4, "big") + b"x" * 100)
        command += ["-H", "content-type: application/grpc", "-H", "te: trailers", "-d", str(message)]
    out = told_by([*command, f"http://127.0.0.1:{LISTEN}{work.path}"])
    good, redirected, refused, failed = (
        int(number) for number in re.search(r"(\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", out).groups()
    )
    rate = float(re.search(r"([\d.]+) req/s", out).group(1))
    return Load(good, redirected + refused + failed, rate, None, None)


def own_load(bench: Bench, credentials: list[str], path: str = "/score", *options: str | float) -> list[str]:
    """The command of load.c with these options."""
    file = bench.where / f"credentials-{len(credentials)}"
    file.write_text("".join(f"Bearer {credential}\n" for credential in credentials))
    command = ["taskset", "-c", LOAD, bench.where / "load", "-f", file, *options, LISTEN, path]
    return [str(word) for word in command]


def as_load(told: str) -> Load:
    seen = json.loads(told)
    rate = seen["answered"] / max(seen["seconds"], 1e-9)
    return Load(seen["answered"], seen["wrong"] + seen["reconnected"], rate, seen["p50_us"], seen["p99_us"])


def limited_access_token() -> str:
    """Lent by the first account to the one that the load calls as."""
    body = json.dumps({"targetAzureResourceId": resource_of(3), "featureFlags": [FEATURE]}).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{LISTEN}/sts/v1.0/issueLimitedAccessToken",
        body,
        {"authorization": f"Bearer {KEYS[0]}", "content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.read().decode()


def measure(bench: Bench, work: Work, peer: Peer, seconds: float) -> dict:
    """One round of one kind of work on one proxy."""
    directory = bench.fresh_directory(f"{peer.name} {work.name}", work.algorithm)
    setting = Setting(
        directory, KEYS, LISTEN, UPSTREAM, algorithm=work.algorithm, tls=work.tls, http2=work.http2, grpc=work.grpc
    )
    with bench.upstream(work.answer_bytes, work.grpc), bench.proxy(peer, setting) as proxy:
        time.sleep(0.2)
        started_with = resident_kib(proxy.pid)
        load = loader(bench, work, directory)
        load(min(0.3, seconds), True)
        before = processor_seconds(proxy.pid)
        seen = load(seconds, False)
        spent = processor_seconds(proxy.pid) - before
        return {
            "cpu_us": spent * 1e6 / max(1, seen.answered),
            "rate": seen.rate,
            "p50_us": seen.p50_us,
            "p99_us": seen.p99_us,
            "wrong": seen.wrong,
            "rss_start_kib": started_with,
            "rss_kib": resident_kib(proxy.pid),
        }


def loader(bench: Bench, work: Work, directory: pathlib.Path) -> Callable[[float, bool], Load]:
    if work.fresh:
        tokens = bench.tokens(work.algorithm)
        few, rest = tokens[:20], tokens[20:]
        return lambda seconds, warm: as_load(told_by(own_load(bench, few if warm else rest, work.path, "-s", 60, "-n", 0)))
    credential = KEYS[7]
    if work.denied:
        credential = "a-key-that-nobody-holds-0123456789"
    elif work.algorithm:
        credential = bench.tokens(work.algorithm)[0]
    if work.http2:
        return lambda seconds, warm: h2load(bench, work, credential, seconds)
    if work.tls:
        return lambda seconds, warm: wrk(work, directory, credential, seconds)
    options = ["-b", work.request_bytes, "-e", 401 if work.denied else 200]
    options += ["-c", 8 if max(work.request_bytes, work.answer_bytes) > 4096 else 64]
    options += ["-x", f"limitedaccesstoken: Bearer {limited_access_token()}"] if work.gated else []
    return lambda seconds, warm: as_load(told_by(own_load(bench, [credential], work.path, "-s", seconds, *options)))


def version_of(binary: str) -> str:
    for flag in ("--version", "-v"):
        done = subprocess.run([binary, flag], capture_output=True, text=True, check=False)
        if done.returncode == 0 and (found := re.search(r"\d+\.\d+\.\d+[^\s/]*", done.stdout + done.stderr)):
            return found.group()
    return "unknown"


def processor_model() -> str:
    found = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    return found.group(1) if found else "unknown"
