"""What every launcher in this directory does alike: say when it is ready, and never outlive its test.

A launcher prints one JSON line on stdout, `{"ready": true, "port": ...}`, when it accepts requests. Whatever else
the server prints goes to stderr. When stdin reaches its end, the process stops: a pipe that the test holds closes
with the test, however that one dies.
"""

import json
import os
import random
import signal
import socket
import sys
import threading
import time
import urllib.request

LOOPBACK = "127.0.0.1"

# The kernel gives ports of its own choice from 32768 up (net.ipv4.ip_local_port_range). Below that, a port that is
# free now is not handed to a test that binds port 0 before the server gets to it.
PORTS = range(20_000, 32_768)

# How long a server may take to finish after it was told to stop, in seconds.
STOP_LIMIT = 3.0


def hold():
    """Takes stdout for the ready line and ties this process to its stdin. Call it before anything prints."""
    global _ready_line
    _ready_line = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    # A shell starts what runs in its background with SIGINT ignored, and Python leaves that as it finds it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=_stop_when_stdin_ends, daemon=True).start()


def _stop_when_stdin_ends():
    while os.read(0, 4096):
        pass
    # Every server here takes SIGINT as "stop without waiting for clients".
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(STOP_LIMIT)
    os._exit(0)


def free_port():
    """Returns a loopback port that nobody listens on, for servers that can't bind port 0 and tell."""
    for port in random.sample(PORTS, 100):
        with socket.socket() as probe:
            # As the servers do; without it, a port with connections in TIME_WAIT counts as taken.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
            return port
    sys.exit(f"none of 100 ports between {PORTS.start} and {PORTS.stop} is free")


def announce(**fields):
    """Prints the ready line."""
    print(json.dumps({"ready": True, **fields}), file=_ready_line, flush=True)


def announce_when_answering(urls, **fields):
    """Prints the ready line as soon as every one of `urls` answers with 200; looks every 50 ms in the background."""

    def look():
        for url in urls:
            while not _answers(url):
                time.sleep(0.05)
        announce(**fields)

    threading.Thread(target=look, daemon=True).start()


def _answers(url):
    # A proxy of the environment has no business on loopback.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False
