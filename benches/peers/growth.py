"""What does not fit into processor time for each request: memory, growth, reloads, the tail of the latency, workers."""

import json
import os
import pathlib
import signal
import socket
import statistics
import subprocess
import time
import urllib.request
from dataclasses import dataclass, replace
from typing import Callable

from drive import (
    KEYS,
    LISTEN,
    LOAD,
    PROXY,
    UPSTREAM,
    Bench,
    as_load,
    h2load,
    own_load,
    processor_seconds,
    resident_kib,
    spent_by,
    told_by,
)
from peers import PEERS, Peer, Setting
from work import WORK

GATEWAY = next(peer for peer in PEERS if peer.name == "scoregate")
MIB = 1024


@dataclass(frozen=True)
class Size:
    """How large everything is: as the targets say, for somebody in a hurry, or just so that it runs."""

    idle: int
    accounts: tuple[int, ...]
    services: int
    seconds: float
    rotations: int
    trials: int


FULL = Size(idle=10_000, accounts=(100_000, 500_000), services=10_000, seconds=2.0, rotations=20, trials=5)
QUICK = Size(idle=10_000, accounts=(100_000,), services=10_000, seconds=1.0, rotations=10, trials=3)
SMOKE = Size(idle=100, accounts=(600,), services=50, seconds=0.5, rotations=2, trials=1)


def setting(bench: Bench, name: str, **more: object) -> Setting:
    return Setting(bench.fresh_directory(name), KEYS, LISTEN, UPSTREAM, **more)


def idle_connections(bench: Bench, peers: list[Peer], size: Size) -> dict:
    """Resident memory that a connection costs which had one request and is kept."""
    count = min(size.idle, bench.files // 2 - 500)
    request = f"GET /score HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {KEYS[7]}\r\n\r\n".encode()
    found = {}
    for peer in peers:
        with bench.upstream(), bench.proxy(peer, setting(bench, f"idle {peer.name}")) as proxy:
            time.sleep(0.3)
            before = resident_kib(proxy.pid)
            connections = []
            for _ in range(count):
                connection = socket.create_connection(("127.0.0.1", LISTEN))
                connection.sendall(request)
                if b" 200 " not in connection.recv(4096):
                    raise SystemExit(f"{peer.name} answered one of many connections with something else")
                connections.append(connection)
            time.sleep(0.5)
            found[peer.name] = {
                "connections": count,
                "start_mib": before / MIB,
                "bytes_each": (resident_kib(proxy.pid) - before) * 1024 / count,
            }
            for connection in connections:
                connection.close()
    return found


def cost(bench: Bench, pid: int, credentials: list[str], path: str, seconds: float) -> float:
    """Microseconds of processor time for a request."""
    told_by(own_load(bench, credentials, path, "-s", 0.3))
    before = processor_seconds(pid)
    seen = as_load(told_by(own_load(bench, credentials, path, "-s", seconds)))
    if seen.wrong:
        raise SystemExit(f"{seen.wrong} answers were not as they should be")
    return (processor_seconds(pid) - before) * 1e6 / max(1, seen.answered)


def compared(bench: Bench, settings: list[Setting], requests: list[tuple[list[str], str]], size: Size) -> list[float]:
    """The cost of each setting's request: medians over rounds in turn."""
    costs: list[list[float]] = [[] for _ in settings]
    for _ in range(3 if size.trials > 1 else 1):
        for given, (credentials, path), seen in zip(settings, requests, costs):
            with bench.upstream(), bench.proxy(GATEWAY, given) as proxy:
                time.sleep(0.3)
                seen.append(cost(bench, proxy.pid, credentials, path, size.seconds))
    return [statistics.median(seen) for seen in costs]


def call(store: pathlib.Path, method: str, path: str) -> None:
    key = (store / "management.key").read_text().strip()
    request = urllib.request.Request(
        f"http://127.0.0.1:{LISTEN + 2}{path}", method=method, headers={"authorization": f"Bearer {key}"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        answer.read()


def rotations(store: pathlib.Path, size: Size) -> float:
    """Milliseconds from asking for a new key until it is on disk and in force."""
    taken = []
    for number in range(size.rotations):
        begun = time.perf_counter()
        call(store, "POST", f"/api/v1/accounts/a{number}/keys/secondary/regenerate")
        taken.append((time.perf_counter() - begun) * 1e3)
    return statistics.median(taken)


def many_keys(bench: Bench, size: Size) -> dict:
    """Many accounts of the store, two keys each, against 500 of them."""
    found: dict = {}
    few = 500
    spread = [f"a{number}-primary-0123456789abcdefghijklmnop" for number in range(0, few)]
    for accounts in (few, *size.accounts):
        store = bench.where / f"store-{accounts}"
        subprocess.run([bench.seed, "store", store, str(accounts)], check=True)
        given = replace(setting(bench, f"accounts {accounts}", store=store), keys=KEYS[:2])
        begun = time.perf_counter()
        with bench.upstream(), bench.proxy(GATEWAY, given) as proxy:
            loaded = time.perf_counter() - begun
            time.sleep(0.5)
            rss = resident_kib(proxy.pid) / MIB
            # As many credentials in either case, so that the load's own caches see the same.
            step = max(1, accounts // few)
            spread = [f"a{number}-primary-0123456789abcdefghijklmnop" for number in range(0, accounts, step)][:few]
            costs = [cost(bench, proxy.pid, spread, "/score", size.seconds) for _ in range(min(3, size.trials))]
            found[str(2 * accounts)] = {
                "accounts": accounts,
                "load_seconds": loaded,
                "rss_mib": rss,
                "cpu_us": statistics.median(costs),
                "rotation_ms": rotations(store, size),
                "rss_after_rotations_mib": resident_kib(proxy.pid) / MIB,
            }
    return found


def many_services(bench: Bench, size: Size) -> dict:
    few = KEYS[:20]
    settings = [replace(setting(bench, f"services {count}", services=count), keys=few) for count in (10, size.services)]
    requests = [([KEYS[7]], f"/api/v1/service/model-{count // 2}/score") for count in (10, size.services)]
    with_few, with_many = compared(bench, settings, requests, size)
    begun = time.perf_counter()
    with bench.upstream(), bench.proxy(GATEWAY, settings[1]) as proxy:
        loaded = time.perf_counter() - begun
        rss = resident_kib(proxy.pid) / MIB
    return {"services": size.services, "few_us": with_few, "many_us": with_many, "load_seconds": loaded, "rss_mib": rss}


def reload_under_load(bench: Bench, size: Size, rate: float) -> dict:
    """The p99 of the second in which a changed configuration is put in force, against the median of the others."""
    seconds = 8 if size.trials > 1 else 2
    found = {}
    for name, more in (("1,000 keys", {}), (f"{size.services:,} services", {"services": size.services})):
        given = replace(setting(bench, f"reload {name}", **more), keys=KEYS[: 20 if more else 1000])
        with bench.upstream(), bench.proxy(GATEWAY, given) as proxy:
            load = subprocess.Popen(
                own_load(bench, [KEYS[7]], "/score", "-r", rate, "-s", seconds, "-d", 1), stdout=subprocess.PIPE, text=True
            )
            # Halfway into a second, so that what the reload costs falls into one.
            time.sleep(1 + seconds // 2 + 0.1)
            config = given.directory / "gateway.yaml"
            config.write_text(config.read_text() + f"  added: {{match: [{{path: /added}}], upstream: model, auth: {{public: a bench}}}}\n")
            proxy.send_signal(signal.SIGHUP)
            told = load.communicate()[0]
        if '"generation":2' not in (given.directory / "proxy.log").read_text():
            raise SystemExit("the changed configuration did not come into force")
        seen = json.loads(told)
        if seen["wrong"] or seen["reconnected"]:
            raise SystemExit("requests failed during the reload")
        each = [one["p99_us"] for one in seen["each_second"]]
        during = max(each[seconds // 2 : seconds // 2 + 2])
        others = each[: seconds // 2] + each[seconds // 2 + 2 :]
        found[name] = {"during_us": during, "steady_us": statistics.median(others or each), "rate": rate}
    return found


def open_loop(bench: Bench, peers: list[Peer], size: Size, rate: float) -> dict:
    """Percentiles at a fixed rate, from the moment at which each request was due."""
    found: dict = {}
    rounds: dict[str, list[dict]] = {peer.name: [] for peer in peers}
    for _ in range(3 if size.trials > 1 else 1):
        for peer in peers:
            with bench.upstream(), bench.proxy(peer, setting(bench, f"open {peer.name}")):
                told = told_by(own_load(bench, [KEYS[7]], "/score", "-r", rate, "-s", 2 * size.seconds, "-d", 0.5))
                rounds[peer.name].append(json.loads(told))
    for peer, seen in rounds.items():
        names = ("p50_us", "p90_us", "p99_us", "p999_us", "max_us", "wrong")
        found[peer] = {name: statistics.median(one[name] for one in seen) for name in names}
    return {"rate": rate, "proxies": found}


def worker_shares(bench: Bench, size: Size) -> dict:
    """Of eight long-lived connections over HTTP/2, the share of the load that the busier of two workers has."""
    given = setting(bench, "shares", workers=2)
    shares = []
    work = next(work for work in WORK if work.name == "h2")
    both = f"{PROXY},{LOAD}"
    with bench.upstream(), bench.proxy(GATEWAY, given, both) as proxy:
        workers = [
            task
            for task in pathlib.Path(f"/proc/{proxy.pid}/task").iterdir()
            if (task / "comm").read_text().startswith("worker-")
        ]
        for _ in range(size.trials):
            before = [spent_by(worker) for worker in workers]
            h2load(bench, work, KEYS[7], size.seconds, connections=8)
            spent = [spent_by(worker) - first for worker, first in zip(workers, before)]
            shares.append(max(spent) / max(sum(spent), 1e-9))
    return {"worst": max(shares), "median": statistics.median(shares), "trials": len(shares)}


def worker_throughput(bench: Bench, size: Size) -> dict | None:
    """Requests a second of two workers against one; needs processors that upstream and load do not share."""
    if (os.cpu_count() or 1) < 4:
        return None
    rates = []
    for workers in (1, 2):
        with bench.upstream(), bench.proxy(GATEWAY, setting(bench, f"workers {workers}", workers=workers), "2,3"):
            command = own_load(bench, [KEYS[7]], "/score", "-s", 2 * size.seconds)
            command[2] = PROXY
            rates.append(as_load(told_by(command)).rate)
    return {"one": rates[0], "two": rates[1]}


def measure_all(bench: Bench, peers: list[Peer], size: Size, capacity: Callable[[str], float], say: Callable[[str], None]) -> dict:
    """Every measurement of this file; `capacity` tells the requests a second of a proxy on one processor."""
    authenticating = [peer for peer in peers if peer.authenticates and "log off" not in peer.name]
    slower = min(capacity(peer.name) for peer in authenticating if peer.name in ("haproxy", "scoregate"))
    found: dict = {}
    say("idle connections")
    found["idle"] = idle_connections(bench, authenticating, size)
    say("latency at a fixed rate")
    found["open_loop"] = open_loop(bench, [peer for peer in authenticating if peer.name in ("haproxy", "scoregate")], size, 0.7 * slower)
    if GATEWAY in peers:
        say("many keys")
        found["keys"] = many_keys(bench, size)
        say("many services")
        found["services"] = many_services(bench, size)
        say("reloads under load")
        found["reload"] = reload_under_load(bench, size, 0.4 * capacity(GATEWAY.name))
        say("workers")
        found["shares"] = worker_shares(bench, size)
        found["workers"] = worker_throughput(bench, size)
    return found
