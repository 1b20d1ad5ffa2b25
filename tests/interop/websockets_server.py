#!/usr/bin/python3
"""A server of Python's websockets for the interoperation tests; README.md says what it does."""
import argparse
import asyncio
import http
import signal
import ssl

import websockets

PIECE = 1000
ended = {}  # by number: a future of what was received at the end


def end_of(number):
    return ended.setdefault(number, asyncio.get_running_loop().create_future())


async def echo(connection):
    async for message in connection:
        await connection.send(message)


async def pieces(connection):
    async for message in connection:
        await connection.send([message[i:i + PIECE] for i in range(0, len(message), PIECE)] or [message])


async def close(connection):
    code, reason = (await connection.recv()).split(' ', 1)
    await connection.close(int(code), reason)


async def both(connection):
    await connection.close(3003, 'the server')


async def drop(connection):
    await connection.recv()
    connection.transport.abort()


async def ping(connection):
    await (await connection.ping(await connection.recv()))
    await connection.send('pong')
    await connection.wait_closed()


async def tell_ended(connection):
    async for number in connection:
        await connection.send(await end_of(number))


ROUTES = {'/echo': echo, '/pieces': pieces, '/close': close, '/both': both, '/drop': drop, '/ping': ping,
          '/ended': tell_ended}


async def serve(connection):
    path, _, number = connection.path.partition('?')
    try:
        await ROUTES[path](connection)
    except websockets.ConnectionClosed:
        pass
    await connection.wait_closed()
    end_of(number).set_result(f'{connection.close_code} {connection.close_reason}')


async def look_at_request(path, _headers):
    return None if path.partition('?')[0] in ROUTES else (http.HTTPStatus.NOT_FOUND, [], b'no such path\n')


async def main(options):
    context = None
    if options.cert:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(options.cert, options.key)
    server = await websockets.serve(
        serve, '127.0.0.1', options.port, ssl=context, process_request=look_at_request, subprotocols=['chat.v2'],
        compression='deflate' if options.compression == 'on' else None)
    print('listening on 127.0.0.1:%d' % server.sockets[0].getsockname()[1], flush=True)
    stop = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set_result, None)
    await stop
    server.close()
    await server.wait_closed()


parser = argparse.ArgumentParser()
parser.add_argument('--port', type=int, default=0)
parser.add_argument('--compression', choices=['on', 'off'], default='off')
parser.add_argument('--cert')
parser.add_argument('--key')
asyncio.run(main(parser.parse_args()))
