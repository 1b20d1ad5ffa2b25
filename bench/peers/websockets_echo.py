#!/usr/bin/python3
"""What does the same work cost with Python's websockets? An echo (and broadcast) server over it, to be
measured beside weft-echo by bench/run; nothing of weft is in it.

The same behaviour as weft-echo --no-compression: no permessage-deflate, messages up to 16 MiB, text checked
to be UTF-8 (websockets decodes it), TCP_NODELAY on (asyncio's default). One process with asyncio's own loop:
that is what Debian's python3-websockets is without further packages. Its C speedups are in Debian's package.
SIGTERM ends it where it stands.

usage: websockets_echo.py [--host ADDRESS] [--port N] [--broadcast]; --version"""
import argparse
import asyncio
import contextlib
import os
import signal

import websockets
import websockets.version

MESSAGE_BYTES_MAX = 16 << 20
BACKLOG = 4096
connected = set()


async def echo(connection):
    with contextlib.suppress(websockets.ConnectionClosed):
        async for message in connection:
            await connection.send(message)


async def broadcast(connection):
    connected.add(connection)
    with contextlib.suppress(websockets.ConnectionClosed):
        async for message in connection:
            websockets.broadcast(connected, message)
    connected.discard(connection)


async def main(options):
    handler = broadcast if options.broadcast else echo
    server = await websockets.serve(handler, options.host, options.port, compression=None,
                                    max_size=MESSAGE_BYTES_MAX, backlog=BACKLOG)
    host, port = server.sockets[0].getsockname()[:2]
    print(f'listening on {host}:{port}', flush=True)
    await asyncio.Future()


parser = argparse.ArgumentParser()
parser.add_argument('--host', default='127.0.0.1')
parser.add_argument('--port', type=int, default=0)
parser.add_argument('--broadcast', action='store_true')
parser.add_argument('--version', action='version', version=websockets.version.version)
arguments = parser.parse_args()
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
signal.signal(signal.SIGINT, lambda *_: os._exit(0))
asyncio.run(main(arguments))
