"""Starts a WebSocket server by the `websockets` library on a loopback port.

`/echo` sends every message back as it came, text as text and binary as binary. `/headers` sends the headers of the
handshake as one JSON message first, names in lower case, then echoes. `/farewell` sends `bye` and closes with 4000.
"""

import argparse
import asyncio
import json

import lifeline
from websockets.asyncio.server import serve


async def converse(connection):
    path = connection.request.path.partition("?")[0]
    if path == "/farewell":
        await connection.send("bye")
        await connection.close(4000, "farewell")
        return
    if path == "/headers":
        headers = {name.lower(): value for name, value in connection.request.headers.raw_items()}
        await connection.send(json.dumps(headers))
    async for message in connection:
        await connection.send(message)


async def main(port):
    # Any of these subprotocols is agreed to, the client's first choice first.
    async with serve(converse, lifeline.LOOPBACK, port, subprotocols=["echo", "chat"]) as server:
        lifeline.announce(port=server.sockets[0].getsockname()[1])
        await server.serve_forever()


arguments = argparse.ArgumentParser(description=__doc__)
arguments.add_argument("--port", type=int, default=0, help="0, the default, lets the kernel choose")
given = arguments.parse_args()

lifeline.hold()
try:
    asyncio.run(main(given.port))
except KeyboardInterrupt:
    pass
