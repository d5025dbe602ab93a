"""What every proxy of the comparison is asked to do."""

from dataclasses import dataclass

from peers import GATED, Peer


@dataclass(frozen=True)
class Work:
    """A kind of request. `peers` limits it to those that its figure is compared with."""

    name: str
    what: str
    request_bytes: int = 0
    answer_bytes: int = 200
    algorithm: str | None = None
    fresh: bool = False
    denied: bool = False
    gated: bool = False
    tls: bool = False
    http2: bool = False
    grpc: bool = False
    reconnect: bool = False
    peers: tuple[str, ...] = ("floor", "haproxy", "nginx", "envoy", "scoregate")

    @property
    def path(self) -> str:
        return GATED if self.gated else "/score"

    def can(self, peer: Peer) -> bool:
        return (
            peer.name in self.peers
            and (peer.authenticates or not self.denied)
            and (peer.verifies or not self.algorithm)
            and (peer.speaks_http2 or not self.http2)
            and (peer.ends_tls or not self.tls)
            and (peer.gates or not self.gated)
        )


NOT_NGINX = ("floor", "haproxy", "envoy", "scoregate")
KIB, MIB = 1024, 1024 * 1024

WORK = [
    Work("key-get", "key, GET, answer of 200 B", peers=("floor", "haproxy", "nginx", "envoy", "scoregate", "scoregate, log off")),
    Work("key-post", "key, POST of 1 KiB, answer of 200 B", request_bytes=KIB),
    Work("denied", "wrong key, GET", denied=True),
    Work("gated", "key and LimitedAccessToken on a gated path, GET", gated=True),
    Work("rs256", "RS256 token, the same again, GET", algorithm="RS256"),
    Work("rs256-new", "RS256 token, each one once, GET", algorithm="RS256", fresh=True),
    Work("es256", "ES256 token, the same again, GET", algorithm="ES256"),
    Work("es256-new", "ES256 token, each one once, GET", algorithm="ES256", fresh=True),
    Work("down-64k", "key, GET, answer of 64 KiB", answer_bytes=64 * KIB, peers=NOT_NGINX),
    Work("up-64k", "key, POST of 64 KiB", request_bytes=64 * KIB, peers=NOT_NGINX),
    Work("down-1m", "key, GET, answer of 1 MiB", answer_bytes=MIB, peers=NOT_NGINX),
    Work("up-1m", "key, POST of 1 MiB", request_bytes=MIB, peers=NOT_NGINX),
    Work("h2", "key, GET over HTTP/2, 10 connections of 32 streams", http2=True),
    Work("grpc", "key, gRPC unary call, 10 connections of 32 streams", http2=True, grpc=True),
    Work("tls", "key, GET over TLS 1.3, connections kept", tls=True),
    Work("tls-new", "key, GET over TLS 1.3, a connection each", tls=True, reconnect=True),
]
