#!/usr/bin/python3
"""A client of Python's websockets for the interoperation tests; README.md says what servers do, and lists the cases.

usage: websockets_client.py URL [--compression on|off] [--ca FILE] [CASE...]"""
import argparse
import asyncio
import itertools
import ssl
import sys
import traceback

import websockets

MIB = 1 << 20
PATIENCE_S = 20
MANY = 1000
LENGTHS = [0, 1, 2, 124, 125, 126, 127, 1000, 65534, 65535, 65536, 65537, 200000]
numbers = itertools.count(1)
options = None


async def within(awaitable):
    return await asyncio.wait_for(awaitable, PATIENCE_S)


class Connection:
    """async with: opened on that path, and closed normally unless the case ended it."""

    def __init__(self, path, **more):
        self.number = next(numbers)
        self.more = more
        self.url = f'{options.url}{path}?{self.number}'

    async def __aenter__(self):
        context = ssl.create_default_context(cafile=options.ca) if options.ca else None
        self.c = await within(websockets.connect(
            self.url, ssl=context, compression='deflate' if options.compression == 'on' else None, **self.more))
        self.c.number = self.number
        return self.c

    async def __aexit__(self, kind, error, trace):
        await within(self.c.close())


def texts(lengths):
    """Of two bytes a character, with one more in front when the length is odd."""
    return ['x' * (n % 2) + ''.join(chr(0xc0 + i % 64) for i in range(n // 2)) for n in lengths]


def binaries(lengths):
    return [bytes((i * 7 + i // 256) % 256 for i in range(n)) for n in lengths]


async def there_and_back(path, lengths):
    async with Connection(path) as c:
        for message in texts(lengths) + binaries(lengths):
            await within(c.send(message))
            answer = await within(c.recv())
            assert type(answer) is type(message) and answer == message, f'{len(message)} came back as another'


async def expect_ended(number, expected):
    async with Connection('/ended') as c:
        await c.send(str(number))
        answer = await within(c.recv())
        assert answer == expected, f'the server received {answer!r}, not {expected!r}'


async def messages_of_many_lengths():
    await there_and_back('/echo', LENGTHS)


async def one_mebibyte():
    await there_and_back('/echo', [MIB])


async def the_server_sends_fragments():
    await there_and_back('/pieces', [0, 1, 999, 1000, 1001, 12345, 300000])


async def the_client_sends_fragments():
    async with Connection('/echo') as c:
        for message in texts([30001]) + binaries([30001]):
            async def cut(message=message):
                at = n = 0
                while at < len(message):
                    n = 2 * n + 1
                    yield message[at:at + n]
                    await c.ping()
                    at += n
            await within(c.send(cut()))
            assert await within(c.recv()) == message


async def a_thousand_messages_under_way():
    async with Connection('/echo') as c:
        async def produce():
            for i in range(MANY):
                await c.send(f'message {i}')

        async def consume():
            for i in range(MANY):
                assert await c.recv() == f'message {i}'
        await within(asyncio.gather(produce(), consume()))


async def pings_are_answered():
    async with Connection('/echo') as c:
        for payload in [b'', b'x', bytes(range(125))]:
            await within(await c.ping(payload))


async def the_server_pings():
    for payload in ['x', 'a payload that comes back as it is', 'l' * 125]:
        async with Connection('/ping') as c:
            await c.send(payload)
            assert await within(c.recv()) == 'pong'


async def a_subprotocol_is_chosen():
    async with Connection('/echo', subprotocols=['chat.v1', 'chat.v2']) as c:
        assert c.subprotocol == 'chat.v2'
    async with Connection('/echo') as c:
        assert c.subprotocol is None


async def a_refusal_has_a_status():
    try:
        async with Connection('/nowhere'):
            raise AssertionError('it was accepted')
    except websockets.InvalidStatusCode as refusal:
        assert refusal.status_code == 404


async def the_client_closes_first():
    for code, reason in [(3001, 'the client is done'), (1000, ''), (4999, 'gr\u00fc\u00dfe')]:
        async with Connection('/echo') as c:
            await within(c.close(code, reason))
            assert c.close_code == code, c.close_code
        await expect_ended(c.number, f'{code} {reason}')


async def the_server_closes_first():
    async with Connection('/close') as c:
        await c.send('3002 the server is done')
        await within(c.wait_closed())
        assert (c.close_code, c.close_reason) == (3002, 'the server is done')
    await expect_ended(c.number, '3002 the server is done')  # websockets sends the reason back


async def both_close():
    for _ in range(20):
        async with Connection('/both') as c:
            await within(c.close(3002, 'the client'))
            assert c.close_code in (3002, 3003), c.close_code


async def the_client_aborts():
    async with Connection('/echo') as c:
        await c.send('x')
        await within(c.recv())
        c.transport.abort()
        await within(c.wait_closed())
    await expect_ended(c.number, '1006 ')


async def the_server_dies():
    async with Connection('/drop') as c:
        await c.send('die')
        await within(c.wait_closed())
        assert c.close_code == 1006


CASES = [messages_of_many_lengths, one_mebibyte, the_server_sends_fragments, the_client_sends_fragments,
         a_thousand_messages_under_way, pings_are_answered, the_server_pings, a_subprotocol_is_chosen,
         a_refusal_has_a_status, the_client_closes_first, the_server_closes_first, both_close, the_client_aborts,
         the_server_dies]


async def main():
    passed = failed = 0
    for case in CASES:
        if options.cases and case.__name__ not in options.cases:
            continue
        try:
            await case()
            passed += 1
            print(f'ok   interop/{case.__name__}')
        except Exception:  # whatever it is, it is the case's
            failed += 1
            traceback.print_exc(file=sys.stdout)
            print(f'FAIL interop/{case.__name__}')
    print(f'interop: {passed} passed, {failed} failed')
    return failed > 0 or passed == 0


parser = argparse.ArgumentParser()
parser.add_argument('url')
parser.add_argument('--compression', choices=['on', 'off'], default='off')
parser.add_argument('--ca')
parser.add_argument('cases', nargs='*')
options = parser.parse_args()
sys.exit(asyncio.run(main()))
