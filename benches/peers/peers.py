"""The proxies of the comparison: each writes its configuration into a directory and says how to start it.

Each runs one worker, takes 1,000 keys in `Authorization: Bearer`, or RS256 tokens of one issuer, and forwards to one
HTTP/1.1 upstream over connections that it keeps. None of them logs what succeeds but scoregate, which has its access
log on unless the peer's name says otherwise.
"""

import json
import os
import pathlib
import shutil
from dataclasses import dataclass
from typing import Callable


@dataclass
class Setting:
    """What a run gives to every proxy."""

    directory: pathlib.Path
    keys: list[str]
    tokens: bool
    listen: int
    upstream: int
    tls: bool

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

    def path(self) -> str | None:
        return shutil.which(self.binary)


def scoregate(access_log: str) -> Callable[[Setting], list[str]]:
    def command(given: Setting) -> list[str]:
        accounts = []
        secrets = given.directory / "keys"
        secrets.mkdir(exist_ok=True)
        for number, key in enumerate(given.keys):
            path = secrets / str(number)
            path.write_text(key)
            path.chmod(0o600)
        for first in range(0, len(given.keys), 2):
            accounts.append(
                f"  a{first}: {{resource: /accounts/a{first}, keys: {{primary: {{key: 'file:{secrets}/{first}'}}, "
                f"secondary: {{key: 'file:{secrets}/{first + 1}'}}}}}}"
            )
        issuers = (
            f"issuers:\n  bench: {{issuer: bench, keys: {{file: {given.directory}/jwks.json}}, algorithms: [RS256]}}\n"
            if given.tokens
            else ""
        )
        auth = "token: {issuers: [bench], audiences: [svc]}" if given.tokens else "key: {keys: none, accounts: every}"
        tls = f", tls: {{certificate: {given.directory}/tls.pem, private_key: {given.directory}/tls.key}}" if given.tls else ""
        path = given.write(
            "gateway.yaml",
            f"""workers: 1
listeners:
  # All load comes from one address, which must not be taken for somebody who is guessing keys.
  traffic: [{{address: '127.0.0.1:{given.listen}', limits: {{shared_addresses: [127.0.0.1/32]}}{tls}}}]
  health: {{address: '127.0.0.1:{given.listen + 1}'}}
store: {{directory: {given.directory}/store}}
access_log: {access_log}
{issuers}upstreams:
  model: {{endpoints: ['http://127.0.0.1:{given.upstream}']}}
accounts:
{chr(10).join(accounts)}
services:
  svc: {{match: [{{prefix: /}}], upstream: model, auth: {{{auth}}}}}
""",
        )
        return [os.environ.get("SCOREGATE", "target/release/scoregate"), "run", "--config", str(path)]

    return command


def floor(given: Setting) -> list[str]:
    return [str(given.directory.parent / "floor"), str(given.listen), str(given.upstream)]


def haproxy(given: Setting) -> list[str]:
    known = given.write("keys.lst", "".join(f"Bearer {key}\n" for key in given.keys))
    rules = f"http-request deny deny_status 401 unless {{ req.hdr(authorization) -m str -f {known} }}"
    if given.tokens:
        rules = f"""http-request set-var(txn.token) http_auth_bearer
  http-request deny deny_status 401 unless {{ var(txn.token),jwt_header_query('$.alg') -m str RS256 }}
  http-request deny deny_status 401 unless {{ var(txn.token),jwt_payload_query('$.iss') -m str bench }}
  http-request deny deny_status 401 unless {{ var(txn.token),jwt_payload_query('$.aud') -m str svc }}
  http-request set-var(txn.exp) var(txn.token),jwt_payload_query('$.exp','int')
  http-request set-var(txn.now) date()
  http-request deny deny_status 401 if {{ var(txn.exp),sub(txn.now) -m int lt 0 }}
  http-request deny deny_status 401 unless {{ var(txn.token),jwt_verify('RS256','{given.directory}/signer.pub') 1 }}"""
    tls = f" ssl crt {given.directory}/both.pem alpn h2,http/1.1" if given.tls else ""
    path = given.write(
        "haproxy.cfg",
        f"""global
  nbthread 1
  maxconn 4000
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
  server model 127.0.0.1:{given.upstream}
""",
    )
    return ["haproxy", "-db", "-f", str(path)]


def nginx(given: Setting) -> list[str]:
    known = "".join(f'    "Bearer {key}" 1;\n' for key in given.keys)
    tls = (
        f" ssl; ssl_certificate {given.directory}/tls.pem; ssl_certificate_key {given.directory}/tls.key"
        if given.tls
        else ""
    )
    path = given.write(
        "nginx.conf",
        f"""worker_processes 1;
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
    listen 127.0.0.1:{given.listen}{tls};
    keepalive_requests 100000000;
    client_max_body_size 0;
    location / {{
      if ($known = 0) {{ return 401; }}
      proxy_http_version 1.1;
      proxy_set_header connection "";
      proxy_set_header authorization "";
      proxy_pass http://model;
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
    if given.tokens:
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
                    {"key": f"{key}", "client": f"c{number}"} for number, key in enumerate(given.keys)
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
    document = {
        "static_resources": {
            "listeners": [{"name": "traffic", "address": address(given.listen), "filter_chains": [chain]}],
            "clusters": [
                {
                    "name": "model",
                    "type": "STATIC",
                    "circuit_breakers": {"thresholds": [{"max_connections": 20000, "max_pending_requests": 20000, "max_requests": 20000}]},
                    "load_assignment": {"cluster_name": "model", "endpoints": [{"lb_endpoints": [endpoint]}]},
                }
            ],
        }
    }
    path = given.write("envoy.json", json.dumps(document))
    return ["envoy", "-c", str(path), "--concurrency", "1", "--disable-hot-restart", "-l", "error"]


PEERS = [
    Peer("floor", floor, "true", authenticates=False, verifies=False, speaks_http2=False, ends_tls=False),
    Peer("haproxy", haproxy, "haproxy"),
    Peer("nginx", nginx, "nginx", verifies=False, speaks_http2=False),
    Peer("envoy", envoy, "envoy"),
    Peer("scoregate", scoregate("{sample: 1.0}"), os.environ.get("SCOREGATE", "target/release/scoregate")),
    Peer("scoregate, log off", scoregate("off"), os.environ.get("SCOREGATE", "target/release/scoregate")),
]
