"""Starts a server of server-sent events, by Python's own http.server, on a loopback port.

`GET /events?count=20&interval_ms=50` sends `count` events (default 20; 0 is without end), one every `interval_ms`
(default 50), each with its number as `id` and as `data`. `GET /clients` tells as JSON how many streams are `open`,
came to their `finished` end, or were `left` by their client before it: a test of cancellation asks here.
"""

import argparse
import json
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import lifeline


class Server(ThreadingHTTPServer):
    # The default, 5, would refuse clients that come all at once.
    request_queue_size = 128


class Events(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    streams = Counter(open=0, finished=0, left=0)
    lock = threading.Lock()

    def do_GET(self):
        url = urlsplit(self.path)
        if url.path == "/events":
            query = {name: int(values[-1]) for name, values in parse_qs(url.query).items()}
            self.stream(query.get("count", 20), query.get("interval_ms", 50) / 1000)
        elif url.path == "/clients":
            self.tell_clients()
        else:
            self.send_error(404)

    def stream(self, count, interval_seconds):
        self.counted(open=+1)
        try:
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.send_header("cache-control", "no-cache")
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            number = 0
            while count == 0 or number < count:
                self.send_chunk(f"id: {number}\ndata: {number}\n\n".encode())
                number += 1
                time.sleep(interval_seconds)
            self.send_chunk(b"")
            self.counted(open=-1, finished=+1)
        except ConnectionError:
            self.close_connection = True
            self.counted(open=-1, left=+1)

    def send_chunk(self, data):
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))

    def tell_clients(self):
        with self.lock:
            body = json.dumps(self.streams).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def counted(self, **change):
        with self.lock:
            self.streams.update(change)


arguments = argparse.ArgumentParser(description=__doc__)
arguments.add_argument("--port", type=int, default=0, help="0, the default, lets the kernel choose")
given = arguments.parse_args()

lifeline.hold()
server = Server((lifeline.LOOPBACK, given.port), Events)
lifeline.announce(port=server.server_port)
try:
    server.serve_forever()
except KeyboardInterrupt:
    pass
