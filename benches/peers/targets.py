"""What scoregate is to reach, and whether a run's figures do."""

from dataclasses import dataclass

OURS = "scoregate"
ANY_PEER = ("haproxy", "nginx", "envoy")


@dataclass(frozen=True)
class Row:
    """A target. `measured` is `None` where the run has no figure for it, and `note` says why."""

    what: str
    measured: float | None
    limit: float
    unit: str = "×"
    at_least: bool = False
    note: str = ""

    @property
    def met(self) -> bool | None:
        if self.measured is None:
            return None
        return self.measured >= self.limit if self.at_least else self.measured <= self.limit

    def told(self) -> tuple[str, str, str, str]:
        sign = "≥" if self.at_least else "≤"
        measured = "not measured" if self.measured is None else f"{self.measured:.2f} {self.unit}"
        verdict = {True: "met", False: "missed", None: "–"}[self.met]
        return self.what, measured, f"{sign} {self.limit:g} {self.unit}", f"{verdict}{f' ({self.note})' if self.note else ''}"


# What is asked for: kind of work, the peers of which the cheapest counts, how many times its cost is allowed.
AGAINST_PEERS = [
    ("key, GET 200 B, of HAProxy", "key-get", ("haproxy",), 0.85),
    ("key, GET 200 B, of the floor", "key-get", ("floor",), 1.6),
    ("key, POST 1 KiB, of HAProxy", "key-post", ("haproxy",), 0.85),
    ("key, POST 1 KiB, of the floor", "key-post", ("floor",), 1.6),
    ("RS256 token, repeated, of the best peer", "rs256", ANY_PEER, 0.4),
    ("ES256 token, repeated, of the best peer", "es256", ANY_PEER, 0.4),
    ("RS256 token, never seen, of the best peer", "rs256-new", ANY_PEER, 1.0),
    ("ES256 token, never seen, of the best peer", "es256-new", ANY_PEER, 1.0),
    ("answer of 64 KiB, of HAProxy", "down-64k", ("haproxy",), 1.0),
    ("request of 64 KiB, of HAProxy", "up-64k", ("haproxy",), 1.0),
    ("answer of 1 MiB, of HAProxy", "down-1m", ("haproxy",), 1.0),
    ("request of 1 MiB, of HAProxy", "up-1m", ("haproxy",), 1.0),
    ("HTTP/2 in, of Envoy", "h2", ("envoy",), 0.7),
    ("gRPC unary, of Envoy", "grpc", ("envoy",), 0.7),
    ("TLS 1.3, kept, of HAProxy", "tls", ("haproxy",), 1.0),
    ("TLS 1.3, kept, of Envoy", "tls", ("envoy",), 1.0),
    ("TLS 1.3, new, of HAProxy", "tls-new", ("haproxy",), 1.0),
    ("TLS 1.3, new, of Envoy", "tls-new", ("envoy",), 1.0),
]

# The same against another kind of work of our own.
AGAINST_OURSELVES = [
    ("key and LimitedAccessToken, of a key alone", "gated", "key-get", 1.15),
    ("denied request, of an allowed one", "denied", "key-get", 0.6),
]

WORKERS_NOTE = "needs four processors: upstream and load take two"


def rows(figures: dict) -> list[Row]:
    """Every target, in order."""
    work, growth = figures["work"], figures.get("growth", {})

    def cost(kind: str, peer: str) -> float | None:
        return work.get(kind, {}).get(peer, {}).get("cpu_us")

    def ratio(kind: str, peers: tuple[str, ...]) -> float | None:
        ours, theirs = cost(kind, OURS), [found for peer in peers if (found := cost(kind, peer))]
        return ours / min(theirs) if ours and theirs else None

    found = [Row(what, ratio(kind, peers), limit) for what, kind, peers, limit in AGAINST_PEERS]
    for what, kind, other, limit in AGAINST_OURSELVES:
        one, two = cost(kind, OURS), cost(other, OURS)
        found.append(Row(what, one / two if one and two else None, limit))
    return found + [row for part in (latency, memory, keys, reloads, workers) for row in part(growth)]


def latency(growth: dict) -> list[Row]:
    seen = growth.get("open_loop", {}).get("proxies", {})
    both = OURS in seen and "haproxy" in seen
    p99 = seen[OURS]["p99_us"] / max(1.0, seen["haproxy"]["p99_us"]) if both else None
    return [Row("p99 at 70 % of the slower one's rate, of HAProxy's", p99, 1.0)]


def memory(growth: dict) -> list[Row]:
    idle = growth.get("idle", {}).get(OURS, {})
    each = idle.get("bytes_each")
    return [
        Row("idle connection", each / 1000 if each is not None else None, 6, "kB"),
        Row("resident after start, 1,000 keys", idle.get("start_mib"), 15, "MiB"),
    ]


def keys(growth: dict) -> list[Row]:
    found = []
    sizes = growth.get("keys", {})
    few, *many = sizes.values() or [{}]
    # An account holds two keys, so that a million of them are those of 500,000 accounts.
    for one in many or [{}]:
        name = f"{2 * one['accounts']:,} keys" if one else "many keys"
        lookup = one["cpu_us"] / few["cpu_us"] if one else None
        found += [
            Row(f"{name}: memory", one["rss_mib"] * 1.048576 if one else None, 150, "MB"),
            Row(f"{name}: a request, of 1,000 keys'", lookup, 1.15),
            Row(f"{name}: a rotation, in force", one.get("rotation_ms"), 5, "ms"),
            Row(f"{name}: full load", one.get("load_seconds"), 3, "s"),
        ]
    services = growth.get("services", {})
    matched = services["many_us"] / services["few_us"] if services else None
    return [*found, Row(f"{services.get('services', 10_000):,} services: a request, of one with 10", matched, 1.15)]


def reloads(growth: dict) -> list[Row]:
    seen = growth.get("reload", {"a reload": None})
    return [
        Row(f"p99 while reloading, {name}, of steady", one["during_us"] / one["steady_us"] if one else None, 1.5)
        for name, one in seen.items()
    ]


def workers(growth: dict) -> list[Row]:
    both, shares = growth.get("workers"), growth.get("shares")
    return [
        Row("two workers, of one", both["two"] / both["one"] if both else None, 1.85, at_least=True, note="" if both else WORKERS_NOTE),
        Row("busier of two workers, 8 HTTP/2 connections", shares["worst"] * 100 if shares else None, 65, "%"),
    ]
