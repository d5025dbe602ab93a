"""Builds the image of the released binary and runs it read-only beside a model server, in one pod of two containers, while
its mounted Secret is rotated as the kubelet does it. Podman plays the pod; it knows no native sidecar, so the gateway is an
ordinary container.

usage: container.py BINARY, of deploy/release
"""

import http.client
import json
import os
import pathlib
import resource
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
USER = 65532
PATIENCE_SECONDS = 60
# Found by DNS alone: what is linked statically brings its own resolver.
NAMESERVER, NAME = "127.0.0.77", "model.models.svc.cluster.local"
POD = f"scoregate-tests-{os.getpid()}"

MODEL = """FROM scratch
COPY busybox /busybox
COPY www /www
USER 65532:65532
ENTRYPOINT ["/busybox"]
"""

CASES = []


def claim(holds, what):
    CASES.append(what)
    if not holds:
        sys.exit(f"container.py: not so: {what}")


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def eventually(what, look):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        try:
            if look():
                return
        except (OSError, http.client.HTTPException):
            pass
        time.sleep(0.1)
    sys.exit(f"container.py: not within {PATIENCE_SECONDS} s: {what}")


def get(port, path, key=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", path, headers={"authorization": f"Bearer {key}"} if key else {})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, body


class Engine:
    """Podman and buildah with a store of their own, and what a machine without systemd and cgroups v2 takes."""

    def __init__(self, home):
        self.home = home
        limits = [
            f'"{name}={hard}:{hard}"'
            for name, limit in (("nofile", resource.RLIMIT_NOFILE), ("nproc", resource.RLIMIT_NPROC))
            if (hard := min(resource.getrlimit(limit)[1] % 2**63 or 4096, 4096))
        ]
        settings = home / "containers.conf"
        settings.write_text(
            f'[containers]\ndefault_ulimits = [{", ".join(limits)}]\n'
            '[engine]\nruntime = "runc"\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n'
        )
        self.environment = {**os.environ, "CONTAINERS_CONF": str(settings)}

    def __call__(self, program, *arguments, check=True):
        store = ["--storage-driver", "vfs", "--root", self.home / "images", "--runroot", self.home / "run"]
        ran = subprocess.run([program, *store, *arguments], env=self.environment, capture_output=True, text=True)
        if check and ran.returncode != 0:
            sys.exit(f"container.py: {program} {arguments[0]}: {ran.stdout}{ran.stderr}")
        return ran

    def build(self, file, tag, context, *arguments):
        self("buildah", "build", "--isolation", "chroot", "--format", "docker", "--file", file, "--tag", tag, *arguments, context)


class Secret:
    """A mounted Secret, changed by the sequence of the kubelet's AtomicWriter."""

    def __init__(self, path):
        self.path, self.version = path, 0

    def write(self, files):
        self.version += 1
        directory = self.path / f"..2026_01_01_00_00_{self.version:02}.{self.version}"
        directory.mkdir(parents=True)
        for name, text in files.items():
            (directory / name).write_text(text)
        link, new = self.path / "..data", self.path / "..data_tmp"
        before = link.resolve() if link.exists() else None
        new.symlink_to(directory.name)
        new.rename(link)
        for name in files:
            if not (self.path / name).is_symlink():
                (self.path / name).symlink_to(f"..data/{name}")
        if before:
            shutil.rmtree(before)


def configuration(ports):
    return f"""
listeners:
  traffic: [{{address: "127.0.0.1:{ports['traffic']}"}}]
  health: {{address: "127.0.0.1:{ports['health']}"}}
store: {{directory: /var/lib/scoregate/store}}
shutdown: {{delay: 0s, deadline: 5s}}
workers: 2
upstreams:
  model: {{endpoints: ["http://{NAME}:{ports['model']}"]}}
services:
  model:
    match: [{{prefix: /}}]
    upstream: model
    auth: {{key: {{keys: {{directory: /etc/scoregate/keys}}}}}}
"""


def pod(home, ports):
    restricted = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
    mounts = [("config", "/etc/scoregate/config", True), ("keys", "/etc/scoregate/keys", True), ("state", "/var/lib/scoregate", False)]
    gateway = {
        "name": "gateway",
        "image": "localhost/scoregate:tests",
        "securityContext": restricted,
        "volumeMounts": [{"name": name, "mountPath": path, "readOnly": fixed} for name, path, fixed in mounts],
    }
    model = {
        "name": "model",
        "image": "localhost/model:tests",
        "args": ["httpd", "-f", "-p", f"127.0.0.1:{ports['model']}", "-h", "/www"],
        "securityContext": restricted,
    }
    volumes = [{"name": name, "hostPath": {"path": str(home / name)}} for name, _, _ in mounts]
    # Podman has no `dnsConfig` on the host's network.
    (home / "resolv.conf").write_text(f"nameserver {NAMESERVER}\nsearch models.svc.cluster.local\noptions ndots:5\n")
    volumes.append({"name": "names", "hostPath": {"path": str(home / "resolv.conf"), "type": "File"}})
    gateway["volumeMounts"].append({"name": "names", "mountPath": "/etc/resolv.conf", "readOnly": True})
    spec = {"hostNetwork": True, "containers": [gateway, model], "volumes": volumes}
    return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": POD}, "spec": spec})


def answer_names(server):
    """A name server that knows the one name, by IPv4."""
    while True:
        asked, client = server.recvfrom(512)
        labels, at = [], 12
        while asked[at]:
            labels.append(asked[at + 1 : at + 1 + asked[at]].decode())
            at += asked[at] + 1
        known = ".".join(labels) == NAME
        answers = known and asked[at + 1 : at + 3] == b"\0\1"
        head = struct.pack(">HHHHH", 0x8180 if known else 0x8183, 1, 1 if answers else 0, 0, 0)
        record = b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 5, 4) + socket.inet_aton("127.0.0.1") if answers else b""
        server.sendto(asked[:2] + head + asked[12 : at + 5] + record, client)


class Callers:
    """Ask without a pause, with a key that stays, and count what fails."""

    def __init__(self, port, key):
        self.sent, self.failed, self.stop = 0, [], threading.Event()
        self.threads = [threading.Thread(target=self.ask, args=(port, key)) for _ in range(4)]
        for thread in self.threads:
            thread.start()

    def ask(self, port, key):
        while not self.stop.is_set():
            try:
                status, _ = get(port, "/score", key)
            except (OSError, http.client.HTTPException) as error:
                status = repr(error)
            self.sent += 1
            if status != 200:
                self.failed.append(status)

    def end(self):
        self.stop.set()
        for thread in self.threads:
            thread.join()


def images(engine, binary, home):
    engine.build(ROOT / "deploy/Containerfile", "scoregate:tests", binary.parent, "--build-arg", f"BINARY={binary.name}")
    context = home / "model"
    (context / "www").mkdir(parents=True)
    (context / "www/score").write_text('{"class": "setosa"}')
    shutil.copy("/bin/busybox", context)
    (context / "Containerfile").write_text(MODEL)
    engine.build(context / "Containerfile", "model:tests", context)
    image = json.loads(engine("podman", "image", "inspect", "localhost/scoregate:tests").stdout)[0]
    claim(image["Config"].get("User") == "65532:65532", "the image's user is not root")
    claim(image["Healthcheck"]["Test"] == ["CMD", "/scoregate", "health"], "the binary checks its own health")
    with tempfile.TemporaryDirectory() as directory:
        archive = pathlib.Path(directory) / "image.tar"
        made = engine("podman", "create", "localhost/scoregate:tests").stdout.strip()
        engine("podman", "export", "--output", archive, made)
        engine("podman", "rm", made)
        listed = subprocess.run(["tar", "--list", "--file", archive], capture_output=True, text=True, check=True).stdout.split()
        # Podman itself adds places to mount at.
        added = ("dev", "etc", "proc", "run", "sys")
        files = [name for name in listed if not name.startswith(added)]
        claim(files == ["scoregate"], f"the image holds the binary alone, and not {files}")


def confined(engine):
    """What the kernel says of the gateway's process."""
    id = engine("podman", "inspect", "--format", "{{.State.Pid}}", f"{POD}-gateway").stdout.strip()
    status = dict(line.split(":\t", 1) for line in pathlib.Path(f"/proc/{id}/status").read_text().splitlines() if ":\t" in line)
    claim(status["Uid"].split() == [str(USER)] * 4, "the gateway runs as 65532")
    for kind in ("CapEff", "CapPrm", "CapBnd", "CapAmb"):
        claim(int(status[kind], 16) == 0, f"the gateway has no capability in {kind}")
    claim(status["NoNewPrivs"] == "1", "the gateway cannot gain privileges")
    claim(status["Seccomp"] == "2", "the gateway's system calls are filtered")
    roots = [line.split() for line in pathlib.Path(f"/proc/{id}/mountinfo").read_text().splitlines()]
    claim(any(fields[4] == "/" and "ro" in fields[5].split(",") for fields in roots), "the root file system is read-only")


def rotation(port, secret):
    keys = {"primary": "an-old-primary-key-00", "secondary": "the-secondary-key-000"}
    callers = Callers(port, keys["secondary"])
    try:
        for turn in range(5):
            old = keys["primary"]
            keys["primary"] = f"a-new-primary-key-{turn:02}"
            secret.write(keys)
            eventually("the new key opens", lambda: get(port, "/score", keys["primary"])[0] == 200)
            claim(get(port, "/score", old)[0] == 401, f"turn {turn}: the old key is refused when the new one opens")
    finally:
        callers.end()
    claim(callers.sent > 20 and not callers.failed, f"of {callers.sent} requests none fails: {callers.failed[:5]}")
    return callers.sent


def main(binary):
    home = pathlib.Path(tempfile.mkdtemp(prefix="scoregate-container-"))
    engine = Engine(home)
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((NAMESERVER, 53))
    threading.Thread(target=answer_names, args=(server,), daemon=True).start()
    try:
        images(engine, binary, home)
        ports = {name: free_port() for name in ("traffic", "health", "model")}
        for name in ("config", "keys", "state"):
            (home / name).mkdir()
        os.chown(home / "state", USER, USER)
        home.chmod(0o755)
        (home / "config/gateway.yaml").write_text(configuration(ports))
        secret = Secret(home / "keys")
        secret.write({"primary": "an-old-primary-key-00", "secondary": "the-secondary-key-000"})
        (home / "pod.yaml").write_text(pod(home, ports))
        engine("podman", "play", "kube", home / "pod.yaml")
        try:
            eventually("the gateway is ready", lambda: get(ports["health"], "/readyz")[0] == 200)
            health = engine("podman", "exec", f"{POD}-gateway", "/scoregate", "health", check=False)
            claim((health.returncode, health.stdout) == (0, "ready\n"), f"it finds itself healthy: {health}")
            confined(engine)
            claim(get(ports["traffic"], "/score")[0] == 401, "nobody passes without a key")
            claim(get(ports["traffic"], "/score", "the-secondary-key-000")[1] == b'{"class": "setosa"}', "the model answers")
            sent = rotation(ports["traffic"], secret)
            engine("podman", "stop", "--time", "20", f"{POD}-gateway")
            code = engine("podman", "inspect", "--format", "{{.State.ExitCode}}", f"{POD}-gateway").stdout.strip()
            claim(code == "0", f"as the first process of its container it ends by SIGTERM, with {code}")
        except SystemExit:
            print(engine("podman", "logs", "--tail", "20", f"{POD}-gateway", check=False).stderr, file=sys.stderr)
            raise
        finally:
            engine("podman", "pod", "rm", "--force", "--time", "2", POD, check=False)
    finally:
        engine("podman", "rmi", "--all", "--force", check=False)
        shutil.rmtree(home, ignore_errors=True)
    print(json.dumps({"suite": "container", "cases": len(CASES), "passed": len(CASES), "sent": sent, "failed": 0}))


main(pathlib.Path(sys.argv[1]).resolve())
