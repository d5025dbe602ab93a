"""Asks a real Prometheus, which scrapes a gateway under a little load, every query of the dashboard and of the rules.

A panel's query has to give a series, a rule's has to be understood; what names a metric that the gateway does not have
is an error of ours.

usage: dashboard.py SCOREGATE
"""

import concurrent.futures
import http.server
import json
import os
import pathlib
import re
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCRAPES = 4
PATIENCE_SECONDS = 60



class Model(http.server.BaseHTTPRequestHandler):
    """A model server that fails now and then."""

    protocol_version = "HTTP/1.1"

    def answer(self):
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.send_response(500 if self.path.endswith("/fail") else 200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    do_GET = do_POST = answer

    def log_message(self, *_):
        pass


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def fetch(url, data=None, headers=None, context=None):
    request = urllib.request.Request(url, data=data, headers=headers or {})
    try:
        with urllib.request.urlopen(request, timeout=10, context=context) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def eventually(what, look):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        try:
            found = look()
            if found:
                return found
        except (OSError, ValueError):
            pass
        time.sleep(0.2)
    sys.exit(f"dashboard.py: not within {PATIENCE_SECONDS} s: {what}")


def configuration(directory, ports, model):
    tls = f"{{certificate: {directory}/tls.crt, private_key: {directory}/tls.key}}"
    return f"""
listeners:
  traffic: [{{address: 127.0.0.1:{ports['traffic']}}}, {{address: 127.0.0.1:{ports['tls']}, tls: {tls}}}]
  management: {{address: 127.0.0.1:{ports['management']}}}
  health: {{address: 127.0.0.1:{ports['health']}}}
store: {{directory: {directory}/store}}
upstreams:
  model: {{endpoints: ["http://127.0.0.1:{model}"], health_check: {{every: 500ms}}}}
  gone: {{endpoints: ["http://127.0.0.1:{free_port()}"]}}
services:
  iris: {{match: [{{prefix: /iris}}], upstream: model, auth: {{key: {{keys: {{directory: {directory}/keys}}}}}}}}
  dated: {{match: [{{prefix: /dated}}], upstream: model, auth: {{token: {{issuers: [own]}}}}}}
  gone: {{match: [{{prefix: /gone}}], upstream: gone, auth: {{public: a test}}}}
"""


def load(scoregate, directory, ports):
    """Requests of every kind that a panel shows."""
    traffic, management = f"http://127.0.0.1:{ports['traffic']}", f"http://127.0.0.1:{ports['management']}"
    environment = {
        **os.environ,
        "SCOREGATE_MANAGEMENT": management,
        "SCOREGATE_MANAGEMENT_KEY_FILE": f"{directory}/store/management.key",
    }
    token = subprocess.run(
        [scoregate, "tokens", "get", "dated"], env=environment, capture_output=True, text=True, check=True
    ).stdout.strip()
    context = ssl.create_default_context(cafile=f"{directory}/tls.crt")
    key = {"authorization": "Bearer a-key-of-the-service-0"}
    calls = [
        (f"{traffic}/iris/score", b"{}", key, None),
        (f"{traffic}/iris/fail", b"{}", key, None),
        (f"{traffic}/iris/score", b"{}", {"authorization": "Bearer wrong"}, None),
        (f"{traffic}/dated/score", b"{}", {"authorization": f"Bearer {token}"}, None),
        (f"{traffic}/gone", None, {}, None),
        (f"https://localhost:{ports['tls']}/iris/score", b"{}", key, context),
    ]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        return sorted({status for status, _ in pool.map(lambda call: fetch(*call), calls * 5)})


def queries():
    dashboard = json.loads((ROOT / "deploy/grafana/scoregate.json").read_text())
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            expression = target["expr"].replace('"$job"', '".*"').replace('"$service"', '".*"')
            if "$" in expression:
                sys.exit(f"dashboard.py: {panel['title']}: an unknown variable in {expression}")
            yield panel["title"], expression
    for variable in dashboard["templating"]["list"]:
        query = re.fullmatch(r"label_values\((.*), (\w+)\)", variable.get("definition", ""))
        if query:
            yield f"variable {variable['name']}", query[1].replace('"$job"', '".*"')


def main(scoregate):
    with tempfile.TemporaryDirectory() as directory, http.server.ThreadingHTTPServer(("127.0.0.1", 0), Model) as model:
        threading.Thread(target=model.serve_forever, daemon=True).start()
        ports = {name: free_port() for name in ("traffic", "tls", "management", "health", "prometheus")}
        home = pathlib.Path(directory)
        (home / "keys").mkdir()
        (home / "keys/primary").write_text("a-key-of-the-service-0")
        certificate = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=localhost"
        files = ["-addext", "subjectAltName=DNS:localhost", "-keyout", home / "tls.key", "-out", home / "tls.crt"]
        subprocess.run([*certificate.split(), *files], check=True, capture_output=True)
        (home / "gateway.yaml").write_text(configuration(directory, ports, model.server_port))
        rules = (ROOT / "deploy/prometheus/rules.yaml").read_text()
        (home / "rules.yaml").write_text(rules)
        (home / "prometheus.yaml").write_text(f"""
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: [{home}/rules.yaml]
scrape_configs: [{{job_name: scoregate, static_configs: [{{targets: ["127.0.0.1:{ports['health']}"]}}]}}]
""")
        prometheus = [
            "prometheus", f"--config.file={home}/prometheus.yaml", f"--storage.tsdb.path={home}/data",
            f"--web.listen-address=127.0.0.1:{ports['prometheus']}",
        ]
        started = []
        try:
            for command, log in (([scoregate, "run", "--config", home / "gateway.yaml"], "gateway"), (prometheus, "prometheus")):
                with open(home / log, "wb") as out:
                    started.append(subprocess.Popen(command, stdout=out, stderr=out))
            watch(scoregate, home, ports)
        except SystemExit:
            print((home / "gateway").read_text()[-2000:], (home / "prometheus").read_text()[-2000:], file=sys.stderr)
            raise
        finally:
            for process in started:
                process.send_signal(signal.SIGTERM)
            for process in started:
                process.wait(30)
            model.shutdown()


def watch(scoregate, home, ports):
    api = f"http://127.0.0.1:{ports['prometheus']}/api/v1"
    eventually("the gateway is ready", lambda: fetch(f"http://127.0.0.1:{ports['health']}/readyz")[0] == 200)

    def ask(expression):
        status, body = fetch(f"{api}/query?{urllib.parse.urlencode({'query': expression})}")
        answer = json.loads(body)
        if answer["status"] != "success":
            sys.exit(f"dashboard.py: {status} {answer.get('error')} for {expression}")
        return answer["data"]["result"]

    def scrapes():
        counted = ask('count_over_time(up{job="scoregate"}[10m])')
        return int(counted[0]["value"][1]) if counted else 0

    eventually("Prometheus scrapes", lambda: scrapes() >= 1)
    for _ in range(SCRAPES):
        before = scrapes()
        statuses = load(scoregate, home, ports)
        eventually("the next scrape", lambda: scrapes() > before + 1)
    if not {200, 401, 500} <= set(statuses) or not any(status in (502, 503) for status in statuses):
        sys.exit(f"dashboard.py: the load was answered with {statuses}")

    # Those that are filled by time alone get the time that they need.
    asked = list(queries())
    for title, expression in asked:
        eventually(f"a series for {title}: {expression}", lambda: has_value(ask(expression)))
    groups = json.loads(fetch(f"{api}/rules")[1])["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    for rule in rules:
        if rule["health"] != "ok":
            sys.exit(f"dashboard.py: {rule['name']} is {rule['health']}: {rule.get('lastError')}")
    known = set(json.loads(fetch(f"{api}/label/__name__/values")[1])["data"])
    named = set()
    for expression in [expression for _, expression in asked] + [rule["query"] for rule in rules]:
        named |= set(re.findall(r"(?<![:\w])(?:gateway|process)_\w+", re.sub(r'"[^"]*"', "", expression)))
    documented = set(re.findall(r"`((?:gateway|process)_\w+)`", (ROOT / "docs/metrics.md").read_text()))
    unknown = {name for name in named - documented if re.sub(r"_(bucket|count|sum)$", "", name) not in documented}
    if unknown:
        sys.exit(f"dashboard.py: {sorted(unknown)} are no metrics of the gateway")
    firing = [rule["name"] for rule in rules if rule.get("state") == "pending"]
    cases = len(asked) + len(rules)
    said = f"{len(asked)} queries of the dashboard, {len(rules)} rules, {len(known)} metrics; pending: {', '.join(firing)}"
    print(said, file=sys.stderr)
    print(json.dumps({"suite": "dashboard", "cases": cases, "passed": cases}))


def has_value(result):
    return any(series["value"][1] not in ("NaN", "+Inf") for series in result)


main(sys.argv[1])
