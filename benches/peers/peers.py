"""The proxies of the comparison: each writes its configuration into a directory and says how to start it.

Each runs one worker, takes 1,000 keys in `Authorization: Bearer`, or tokens of one issuer, and forwards over connections
that it keeps. None of them logs what succeeds but scoregate, which has its access log on unless the peer's name says
otherwise; it also has the limits and the feature rules that the others have no word for.
"""

import json
import os
import pathlib
import shutil
from dataclasses import dataclass
from typing import Callable

PROGRAM = os.environ.get("SCOREGATE", "target/release/scoregate")
GATED, FEATURE = "/gated", "Face.Identification"


@dataclass
class Setting:
    """What a run gives to every proxy."""

    directory: pathlib.Path
    keys: list[str]
    listen: int
    upstream: int
    algorithm: str | None = None
    tls: bool = False
    http2: bool = False
    grpc: bool = False
    workers: int = 1
    store: pathlib.Path | None = None
    services: int = 1

    def write(self, name: str, text: str, mode: int = 0o644) -> pathlib.Path:
        path = self.directory / name
        path.write_text(text)
        path.chmod(mode)
        return path


@dataclass
class Peer:
    """A proxy, and what it can do."""

    name: str
    command: Callable[[Setting], list[str]]
    binary: str
    authenticates: bool = True
    verifies: bool = True
    speaks_http2: bool = True
    ends_tls: bool = True
    gates: bool = False

    def path(self) -> str | None:
        return shutil.which(self.binary)


def resource(account: int) -> str:
    return f"/subscriptions/s/resourceGroups/bench/providers/p/accounts/k{account}"


def account(given: Setting, secrets: pathlib.Path, number: int) -> str:
    """An account with two of the keys. The first one may lend the feature of the gated path, the others need it lent."""
    for which in (2 * number, 2 * number + 1):
        path = secrets / str(which)
        path.write_text(given.keys[which])
        path.chmod(0o600)
    slots = f"primary: {{key: 'file:{secrets}/{2 * number}'}}, secondary: {{key: 'file:{secrets}/{2 * number + 1}'}}"
    lends = f", approvals: [{FEATURE}], may_issue: [{FEATURE}]" if number == 0 else ""
    return f"  k{number}: {{resource: {resource(number)}, keys: {{{slots}}}{lends}}}"


def scoregate(access_log: str) -> Callable[[Setting], list[str]]:
    def command(given: Setting) -> list[str]:
        secrets = given.directory / "keys"
        secrets.mkdir(exist_ok=True)
        accounts = "\n".join(account(given, secrets, number) for number in range(len(given.keys) // 2))
        issuers = f"""issuers:
  bench: {{issuer: bench, keys: {{file: {given.directory}/jwks.json}}, algorithms: [{given.algorithm}]}}
"""
        by_key = "key: {keys: none, accounts: every}"
        by_token = "token: {issuers: [bench], audiences: [svc]}"
        tls = f", tls: {{certificate: {given.directory}/tls.pem, private_key: {given.directory}/tls.key}}" if given.tls else ""
        others = "".join(
            f"  model-{number}: {{upstream: model, auth: {{{by_key}}}}}\n"
            for number in range(1, given.services)
        )
        path = given.write(
            "gateway.yaml",
            f"""workers: {given.workers}
listeners:
  # All load comes from one address, which must not be taken for somebody who is guessing keys.
  traffic: [{{address: '127.0.0.1:{given.listen}', limits: {{connections: 20000, shared_addresses: [127.0.0.1/32]}}{tls}}}]
  management: {{address: '127.0.0.1:{given.listen + 2}'}}
  health: {{address: '127.0.0.1:{given.listen + 1}'}}
store: {{directory: {given.store or given.directory / "store"}}}
access_log: {access_log}
shutdown: {{delay: 0s, deadline: 1s}}
{issuers if given.algorithm else ""}upstreams:
  model: {{endpoints: ['{"h2c" if given.grpc else "http"}://127.0.0.1:{given.upstream}']}}
accounts:
{accounts}
services:
  svc:
    match: [{{prefix: /}}]
    upstream: model
    auth: {{{by_token if given.algorithm else by_key}}}
    features: {{rules: [{{path: {GATED}, any_of: [{FEATURE}]}}]}}
    issues_limited_access_tokens: {"false" if given.algorithm else "true"}
{others}""",
        )
        return [PROGRAM, "run", "--config", str(path)]

    return command


def floor(given: Setting) -> list[str]:
    return [str(given.directory.parent / "floor"), str(given.listen), str(given.upstream)]


def haproxy(given: Setting) -> list[str]:
    known = given.write("keys.lst", "".join(f"Bearer {key}\n" for key in given.keys))
    rules = f"http-request deny deny_status 401 unless {{ req.hdr(authorization) -m str -f {known} }}"
    if given.algorithm:
        rules = f"""http-request set-var(txn.token) http_auth_bearer
  http-request deny deny_status 401 unless {{ var(txn.token),jwt_header_query('$.alg') -m str {given.algorithm} }}
  http-request deny deny_status 401 unless {{ var(txn.token),jwt_payload_query('$.iss') -m str bench }}
  http-request deny deny_status 401 unless {{ var(txn.token),jwt_payload_query('$.aud') -m str svc }}
  http-request set-var(txn.exp) var(txn.token),jwt_payload_query('$.exp','int')
  http-request set-var(txn.now) date()
  http-request deny deny_status 401 if {{ var(txn.exp),sub(txn.now) -m int lt 0 }}
  http-request deny deny_status 401 unless {{ var(txn.token),jwt_verify('{given.algorithm}','{given.directory}/signer.pub') 1 }}"""
    tls = f" ssl crt {given.directory}/both.pem alpn h2,http/1.1" if given.tls else ""
    path = given.write(
        "haproxy.cfg",
        f"""global
  nbthread {given.workers}
  maxconn 12000
  no strict-limits
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  http-reuse always
frontend traffic
  bind 127.0.0.1:{given.listen}{tls}
  {rules}
  default_backend model
backend model
  http-request del-header authorization
  server model 127.0.0.1:{given.upstream}{" proto h2" if given.grpc else ""}
""",
    )
    return ["haproxy", "-db", "-f", str(path)]


def nginx(given: Setting) -> list[str]:
    known = "".join(f'    "Bearer {key}" 1;\n' for key in given.keys)
    tls = (
        f"ssl_certificate {given.directory}/tls.pem; ssl_certificate_key {given.directory}/tls.key;" if given.tls else ""
    )
    http2 = " http2" if given.http2 else ""
    forward = f"""proxy_http_version 1.1;
      proxy_set_header connection "";
      proxy_set_header authorization "";
      proxy_pass http://model;"""
    if given.grpc:
        forward = """grpc_set_header authorization "";
      grpc_pass grpc://model;"""
    path = given.write(
        "nginx.conf",
        f"""worker_processes {given.workers};
daemon off;
pid {given.directory}/nginx.pid;
error_log {given.directory}/error.log;
events {{ worker_connections 20000; }}
http {{
  access_log off;
  client_body_temp_path {given.directory}/body;
  proxy_temp_path {given.directory}/proxy;
  fastcgi_temp_path {given.directory}/fastcgi;
  uwsgi_temp_path {given.directory}/uwsgi;
  scgi_temp_path {given.directory}/scgi;
  map_hash_bucket_size 128;
  map_hash_max_size 4096;
  map $http_authorization $known {{
    default 0;
{known}  }}
  upstream model {{ server 127.0.0.1:{given.upstream}; keepalive 256; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{given.listen}{" ssl" if given.tls else ""}{http2} backlog=1024;
    {tls}
    keepalive_requests 100000000;
    client_max_body_size 0;
    location / {{
      if ($known = 0) {{ return 401; }}
      {forward}
    }}
  }}
}}
""",
    )
    return ["nginx", "-c", str(path)]


def envoy(given: Setting) -> list[str]:
    router = {
        "name": "envoy.filters.http.router",
        "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
    }
    if given.algorithm:
        check = {
            "name": "envoy.filters.http.jwt_authn",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
                "providers": {
                    "bench": {
                        "issuer": "bench",
                        "audiences": ["svc"],
                        "local_jwks": {"filename": str(given.directory / "jwks.json")},
                        "jwt_cache_config": {"jwt_cache_size": 1000},
                    }
                },
                "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "bench"}}],
            },
        }
    else:
        check = {
            "name": "envoy.filters.http.api_key_auth",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.api_key_auth.v3.ApiKeyAuth",
                "credentials": [
                    {"key": key, "client": f"c{number}"} for number, key in enumerate(given.keys)
                ],
                "key_sources": [{"header": "Authorization"}],
            },
        }
    manager = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "traffic",
        "codec_type": "AUTO",
        "http_filters": [check, router],
        "route_config": {
            "virtual_hosts": [
                {"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "model"}}]}
            ]
        },
    }
    chain = {
        "filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}],
    }
    if given.tls:
        certificate = {
            "certificate_chain": {"filename": str(given.directory / "tls.pem")},
            "private_key": {"filename": str(given.directory / "tls.key")},
        }
        chain["transport_socket"] = {
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
                "common_tls_context": {"tls_certificates": [certificate], "alpn_protocols": ["h2", "http/1.1"]},
            },
        }

    def address(port: int) -> dict:
        return {"socket_address": {"address": "127.0.0.1", "port_value": port}}

    endpoint = {"endpoint": {"address": address(given.upstream)}}
    over_http2 = {
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        }
    }
    document = {
        "static_resources": {
            "listeners": [{"name": "traffic", "address": address(given.listen), "filter_chains": [chain]}],
            "clusters": [
                {
                    "name": "model",
                    "type": "STATIC",
                    "circuit_breakers": {"thresholds": [{"max_connections": 20000, "max_pending_requests": 20000, "max_requests": 20000}]},
                    "load_assignment": {"cluster_name": "model", "endpoints": [{"lb_endpoints": [endpoint]}]},
                    **(over_http2 if given.grpc else {}),
                }
            ],
        }
    }
    path = given.write("envoy.json", json.dumps(document))
    return ["envoy", "-c", str(path), "--concurrency", str(given.workers), "--disable-hot-restart", "-l", "error"]


PEERS = [
    Peer("floor", floor, "true", authenticates=False, verifies=False, speaks_http2=False, ends_tls=False),
    Peer("haproxy", haproxy, "haproxy"),
    Peer("nginx", nginx, "nginx", verifies=False),
    Peer("envoy", envoy, "envoy"),
    Peer("scoregate", scoregate("{sample: 1.0}"), PROGRAM, gates=True),
    Peer("scoregate, log off", scoregate("off"), PROGRAM, gates=True),
]
