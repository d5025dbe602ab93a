#!/usr/bin/env python3
"""What a request costs in scoregate, and in what one would pick instead: side by side, in one run, on the same work.

usage: benches/peers/run.py [--only NAME,...] [--work NAME,...] [--rounds N] [--seconds S] [--json FILE] [--svg FILE] [--smoke] [--strict]

Each proxy has one worker on processor 0; the upstream and the load share processor 1. The figure that counts is the
processor time of the proxy, all its threads, for each request that was answered as it should be: it drifts less than
rates do. Rounds are interleaved, so that whatever else the machine does hits all alike; the median is told. Figures
are to be compared within one run only.

--smoke takes a second for each and asserts no figure: it shows that everything still runs. --strict fails where a peer
that was asked for is missing, or an answer was not as it should be.
"""

import argparse
import base64
import json
import os
import pathlib
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import chart  # noqa: E402
from peers import PEERS, Peer, Setting  # noqa: E402

HERE = pathlib.Path(__file__).parent
LISTEN, UPSTREAM = 18080, 18090
KEYS = 1000


@dataclass
class Work:
    """Something that every proxy is asked to do."""

    name: str
    what: str
    request_bytes: int = 0
    answer_bytes: int = 200
    tokens: bool = False
    fresh: bool = False
    denied: bool = False
    tls: bool = False
    http2: bool = False
    reconnect: bool = False

    def can(self, peer: Peer) -> bool:
        return (
            (peer.authenticates or not self.denied)
            and (peer.verifies or not self.tokens)
            and (peer.speaks_http2 or not self.http2)
            and (peer.ends_tls or not self.tls)
        )


WORK = [
    Work("key-get", "key, GET, answer of 200 B"),
    Work("key-post", "key, POST of 1 KiB, answer of 200 B", request_bytes=1024),
    Work("denied", "wrong key, GET", denied=True),
    Work("jwt", "RS256 token, the same again, GET", tokens=True),
    Work("jwt-fresh", "RS256 token, 2,000 in turn, GET", tokens=True, fresh=True),
    Work("down-64k", "key, GET, answer of 64 KiB", answer_bytes=64 * 1024),
    Work("up-64k", "key, POST of 64 KiB", request_bytes=64 * 1024),
    Work("down-1m", "key, GET, answer of 1 MiB", answer_bytes=1024 * 1024),
    Work("up-1m", "key, POST of 1 MiB", request_bytes=1024 * 1024),
    Work("h2", "key, GET over HTTP/2, 10 connections of 32 streams", http2=True),
    Work("tls", "key, GET over TLS 1.3, connections kept", tls=True),
    Work("tls-new", "key, GET over TLS 1.3, a connection each", tls=True, reconnect=True),
]


def openssl(*arguments: str | pathlib.Path, data: bytes | None = None) -> bytes:
    return subprocess.run(["openssl", *arguments], input=data, check=True, capture_output=True).stdout


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Signer:
    """Makes tokens as an issuer would."""

    def __init__(self, directory: pathlib.Path):
        self.key = directory / "signer.pem"
        openssl("genrsa", "-out", self.key, "2048")
        openssl("rsa", "-in", self.key, "-pubout", "-out", directory / "signer.pub")
        modulus = openssl("rsa", "-in", self.key, "-noout", "-modulus").decode().strip().partition("=")[2]
        key = {"kty": "RSA", "kid": "bench", "alg": "RS256", "use": "sig", "e": "AQAB", "n": base64url(bytes.fromhex(modulus))}
        (directory / "jwks.json").write_text(json.dumps({"keys": [key]}))

    def token(self, number: int) -> str:
        now = int(time.time())
        head = {"alg": "RS256", "typ": "JWT", "kid": "bench"}
        claims = {"iss": "bench", "aud": "svc", "sub": f"caller-{number}", "iat": now, "exp": now + 3000}
        text = ".".join(base64url(json.dumps(part).encode()) for part in (head, claims))
        return f"{text}.{base64url(openssl('dgst', '-sha256', '-sign', self.key, data=text.encode()))}"


def make_tls(directory: pathlib.Path) -> None:
    openssl(
        *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"),
        *("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
        *("-keyout", directory / "tls.key", "-out", directory / "tls.pem"),
    )
    both = directory / "both.pem"
    both.write_bytes((directory / "tls.pem").read_bytes() + (directory / "tls.key").read_bytes())
    (directory / "tls.key").chmod(0o600)


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


def processor_seconds(pid: int) -> float:
    """Of all threads, and of the children that a master has."""
    spent = 0
    for thread in threads(pid):
        try:
            spent += int((thread / "schedstat").read_text().split()[0])
        except OSError:
            pass
    return spent / 1e9


def resident_kib(pid: int) -> int:
    pids = {thread.parent.parent.name for thread in threads(pid)}
    sizes = [re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{one}/status").read_text()) for one in pids]
    return sum(int(size.group(1)) for size in sizes if size)


def wait_for(port: int, process: subprocess.Popen, log: pathlib.Path) -> None:
    for _ in range(300):
        if process.poll() is not None:
            break
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise SystemExit(f"nothing listens on {port}:\n{log.read_text()[-2000:]}")


def pinned(processor: int, command: list[str], log: pathlib.Path) -> subprocess.Popen:
    with open(log, "w", encoding="utf-8") as to:
        return subprocess.Popen(["taskset", "-c", str(processor), *command], stdout=to, stderr=subprocess.STDOUT)


def stop(process: subprocess.Popen) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@dataclass
class Load:
    """What the load's program saw."""

    answered: int
    wrong: int
    rate: float
    p50_us: float | None
    p99_us: float | None


def microseconds(text: str) -> float:
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s|m)", text).groups()
    return float(number) * {"us": 1, "ms": 1e3, "s": 1e6, "m": 6e7}[unit]


def wrk(work: Work, directory: pathlib.Path, credentials: list[str], seconds: float) -> Load:
    lines = ["local credentials, at = {}, 0"]
    lines += [f'credentials[{number + 1}] = "Bearer {credential}"' for number, credential in enumerate(credentials)]
    if work.request_bytes:
        lines += ['wrk.method = "POST"', f'wrk.body = string.rep("x", {work.request_bytes})']
        lines += ['wrk.headers["content-type"] = "application/json"']
    if work.reconnect:
        lines += ['wrk.headers["connection"] = "close"']
    if len(credentials) == 1:
        lines += ['wrk.headers["authorization"] = credentials[1]']
    else:
        lines += [
            "request = function()",
            "  at = at % #credentials + 1",
            '  return wrk.format(nil, nil, {["authorization"] = credentials[at]}, nil)',
            "end",
        ]
    lines += [
        "done = function(summary, latency, requests)",
        "  local wrong = summary.errors.status",
        "  local broken = summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout",
        '  print(string.format("DONE %d %d %d %f %f %f", summary.requests, wrong, broken, summary.duration / 1e6,'
        " latency:percentile(50), latency:percentile(99)))",
        "end",
    ]
    script = directory / "load.lua"
    script.write_text("\n".join(lines))
    scheme = "https" if work.tls else "http"
    connections = "8" if max(work.request_bytes, work.answer_bytes) > 4096 else "64"
    command = ["taskset", "-c", "1", "wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "-s", str(script)]
    out = subprocess.run([*command, f"{scheme}://127.0.0.1:{LISTEN}/score"], check=True, capture_output=True, text=True).stdout
    told = re.search(r"^DONE (.*)$", out, re.M)
    if not told:
        raise SystemExit(f"wrk said nothing of use:\n{out}")
    requests, refused, broken, duration, p50, p99 = (float(number) for number in told.group(1).split())
    as_wanted = refused if work.denied else requests - refused
    return Load(int(as_wanted), int(requests - as_wanted + broken), requests / duration, p50, p99)


def h2load(work: Work, credential: str, seconds: float) -> Load:
    command = ["taskset", "-c", "1", "h2load", "-t1", "-c10", "-m32", f"-D{max(1, round(seconds))}"]
    command += ["-H", f"authorization: Bearer {credential}", f"http://127.0.0.1:{LISTEN}/score"]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    good, redirected, refused, failed = (
        int(number) for number in re.search(r"(\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", out).groups()
    )
    rate = float(re.search(r"([\d.]+) req/s", out).group(1))
    mean = re.search(r"time for request:\s+\S+\s+\S+\s+(\S+)", out)
    return Load(good, redirected + refused + failed, rate, microseconds(mean.group(1)) if mean else None, None)


def measure(work: Work, peer: Peer, where: pathlib.Path, given: dict, seconds: float) -> dict:
    directory = where / re.sub(r"\W+", "-", f"{peer.name} {work.name}")
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    for name in ("jwks.json", "signer.pub", "tls.pem", "tls.key", "both.pem"):
        shutil.copy(where / name, directory / name)
    setting = Setting(directory, given["keys"], work.tokens, LISTEN, UPSTREAM, work.tls)
    upstream = pinned(1, [str(where / "upstream"), str(UPSTREAM), str(work.answer_bytes)], directory / "upstream.log")
    proxy = None
    try:
        wait_for(UPSTREAM, upstream, directory / "upstream.log")
        proxy = pinned(0, peer.command(setting), directory / "proxy.log")
        wait_for(LISTEN, proxy, directory / "proxy.log")
        time.sleep(0.3)
        started_with = resident_kib(proxy.pid)
        if work.denied:
            credentials = ["a-key-that-nobody-holds-0123456789"]
        elif work.tokens:
            credentials = given["tokens"] if work.fresh else given["tokens"][:1]
        else:
            credentials = [given["keys"][7]]
        load = (lambda s: h2load(work, credentials[0], s)) if work.http2 else (lambda s: wrk(work, directory, credentials, s))
        load(min(1.0, seconds))
        before = processor_seconds(proxy.pid)
        seen = load(seconds)
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
    finally:
        if proxy:
            stop(proxy)
        stop(upstream)


def median(rounds: list[dict], what: str) -> float | None:
    values = [one[what] for one in rounds if one[what] is not None]
    return statistics.median(values) if values else None


def version_of(binary: str) -> str:
    for flag in ("--version", "-v"):
        done = subprocess.run([binary, flag], capture_output=True, text=True, check=False)
        if done.returncode == 0 and (lines := (done.stdout + done.stderr).strip().splitlines()):
            return lines[0].strip()
    return "unknown"


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="peers, comma-separated; default: all that are installed")
    parser.add_argument("--work", help="kinds of work, comma-separated; default: all")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--json", type=pathlib.Path, help="where the figures go")
    parser.add_argument("--svg", type=pathlib.Path, help="where the plot goes")
    parser.add_argument("--smoke", action="store_true", help="one short round of each, no figure asserted")
    parser.add_argument("--strict", action="store_true", help="fail where a peer is missing or an answer is wrong")
    parser.add_argument("--list", action="store_true", help="print peers and kinds of work")
    return parser.parse_args()


def chosen(asked: str | None, all_: list, kind: str) -> list:
    if not asked:
        return all_
    by_name = {one.name: one for one in all_}
    unknown = [name for name in asked.split(",") if name not in by_name]
    if unknown:
        raise SystemExit(f"no {kind} is called {unknown[0]!r}; want one of {', '.join(by_name)}")
    return [by_name[name] for name in asked.split(",")]


def show(figures: dict) -> None:
    print(f"\n{'work':10} {'proxy':20} {'cpu us':>8} {'/haproxy':>9} {'/floor':>7} {'req/s':>9} {'p99 us':>8} {'wrong':>6} {'MiB':>6}")
    for name, row in figures["work"].items():
        cost = {peer: one["cpu_us"] for peer, one in row.items()}
        for peer, one in row.items():
            ratio = [f"{cost[peer] / cost[to]:.2f}" if cost.get(to) else "" for to in ("haproxy", "floor")]
            p99 = f"{one['p99_us']:.0f}" if one["p99_us"] else ""
            print(
                f"{name:10} {peer:20} {one['cpu_us']:8.2f} {ratio[0]:>9} {ratio[1]:>7} {one['rate']:9.0f} "
                f"{p99:>8} {one['wrong']:6.0f} {one['rss_kib'] / 1024:6.1f}"
            )


def main() -> None:
    asked = options()
    if asked.list:
        for one in [*PEERS, *WORK]:
            print(f"{one.name:20} {getattr(one, 'what', '')}")
        return
    rounds, seconds = (1, 1.0) if asked.smoke else (asked.rounds, asked.seconds)
    peers, missing = [], []
    for peer in chosen(asked.only, PEERS, "peer"):
        (peers if peer.path() else missing).append(peer)
    for peer in missing:
        print(f"left out: {peer.name}, there is no {peer.binary} here", file=sys.stderr)
    if asked.strict and missing:
        raise SystemExit(1)
    with tempfile.TemporaryDirectory(prefix="peers-") as temporary:
        where = pathlib.Path(temporary)
        for program in ("upstream", "floor"):
            subprocess.run(["cc", "-O2", "-o", where / program, HERE / f"{program}.c"], check=True)
        make_tls(where)
        signer = Signer(where)
        work_chosen = chosen(asked.work, WORK, "work")
        tokens = 2000 if any(work.fresh for work in work_chosen) and not asked.smoke else 20
        given = {
            "keys": [f"k{number:04d}-0123456789abcdefghijklmnop" for number in range(KEYS)],
            "tokens": [signer.token(number) for number in range(tokens if any(w.tokens for w in work_chosen) else 0)],
        }
        collected: dict = {work.name: {} for work in work_chosen}
        for _ in range(rounds):
            for work in work_chosen:
                for peer in filter(work.can, peers):
                    collected[work.name].setdefault(peer.name, []).append(measure(work, peer, where, given, seconds))
    figures = {
        "taken": time.strftime("%Y-%m-%d"),
        "machine": {"kernel": os.uname().release, "processors": os.cpu_count(), "model": processor_model()},
        "versions": {peer.name: version_of(peer.path()) for peer in peers if peer.name != "floor"},
        "rounds": rounds,
        "seconds": seconds,
        "work": {
            name: {peer: {what: median(list_, what) for what in list_[0]} for peer, list_ in row.items()}
            for name, row in collected.items()
        },
    }
    show(figures)
    wrong = [f"{name}, {peer}" for name, row in figures["work"].items() for peer, one in row.items() if one["wrong"]]
    if asked.strict and wrong:
        raise SystemExit(f"not every answer was as it should be: {'; '.join(wrong)}")
    if asked.json:
        asked.json.write_text(json.dumps(figures, indent=2) + "\n")
    if asked.svg:
        asked.svg.write_text(chart.draw(figures))


def processor_model() -> str:
    found = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    return found.group(1) if found else "unknown"


if __name__ == "__main__":
    main()
