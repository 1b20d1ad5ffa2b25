"""A WebSocket echo server with one fault: what a load generator has to find. Standard library only.

Faulty(fault) listens in a thread of its own until the end of the with statement. A fault is a function that
gets the echoes of one read, as (opcode, payload) pairs, and the number of echoes sent before on this
connection; it returns the bytes to send, or None to end the connection. Each connection has a thread, which
has come to its end behind the with statement."""
import base64
import hashlib
import socket
import ssl
import struct
import threading
import zlib

JOIN_S = 60
WINDOW_BITS = 12  # weft's client asks for
GUID = b'258EAFA5-E914-47DA-95CA-C5AB0DC85B11'


def frame(opcode, payload, final=True, key=None, reserved=0):
    first = (0x80 if final else 0) | reserved | opcode
    mask = 0x80 if key else 0
    if len(payload) < 126:
        head = struct.pack('!BB', first, mask | len(payload))
    elif len(payload) < 65536:
        head = struct.pack('!BBH', first, mask | 126, len(payload))
    else:
        head = struct.pack('!BBQ', first, mask | 127, len(payload))
    if key:
        payload = bytes(b ^ key[i % 4] for i, b in enumerate(payload))
        head += key
    return head + payload


def echo(echoes):
    return b''.join(frame(*e) for e in echoes)


def unmasked(payload, key):
    pad = key * (len(payload) // 4 + 1)
    return bytes(a ^ b for a, b in zip(payload, pad))


def take_frames(data):
    """The whole frames at the front of data, and what is left."""
    frames = []
    while len(data) >= 2:
        length, at = data[1] & 127, 2
        if length == 126:
            length, at = int.from_bytes(data[2:4], 'big'), 4
        elif length == 127:
            length, at = int.from_bytes(data[2:10], 'big'), 10
        if len(data) < at + 4 + length:
            break
        key = data[at:at + 4]
        frames.append((data[0] & 15, unmasked(data[at + 4:at + 4 + length], key)))
        data = data[at + 4 + length:]
    return frames, data


class Faulty:
    extensions = b''  # the header with its line end

    def __init__(self, fault, status=101, host='127.0.0.1'):
        self.fault, self.status = fault, status
        self.requests, self.pongs, self.closes = [], 0, 0
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self.accept, daemon=True)]
        self.listener = socket.create_server((host, 0), backlog=128)
        self.address = '%s:%d' % self.listener.getsockname()

    def __enter__(self):
        self.threads[0].start()
        return self

    def __exit__(self, *_):
        self.stop_listening()
        for thread in self.threads:  # the first one adds no more when its own end has come
            thread.join(JOIN_S)
        self.listener.close()

    def stop_listening(self):
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # it has stopped before

    def accept(self):
        while True:
            try:
                peer, _ = self.listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self.serve, args=(peer,), daemon=True)
            self.threads.append(thread)
            thread.start()

    def secure(self, peer):
        """The socket that is spoken through: this one."""
        return peer

    def serve(self, peer):
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with peer:
            try:
                peer = self.secure(peer)
                data = self.open(peer)
                if data is not None:
                    self.echo(peer, data)
            except OSError:
                pass

    def open(self, peer):
        data = b''
        while b'\r\n\r\n' not in data:
            more = peer.recv(65536)
            if not more:
                return None
            data += more
        head, data = data.split(b'\r\n\r\n', 1)
        self.requests.append(head.decode())
        if self.status != 101:
            peer.sendall(b'HTTP/1.1 %d No\r\nContent-Length: 0\r\n\r\n' % self.status)
            return None
        key = next(line.split(b': ')[1] for line in head.split(b'\r\n')
                   if line.lower().startswith(b'sec-websocket-key'))
        accept = base64.b64encode(hashlib.sha1(key + GUID).digest())
        peer.sendall(b'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n'
                     + self.extensions + b'Sec-WebSocket-Accept: ' + accept + b'\r\n\r\n')
        return data

    def echo(self, peer, data):
        sent = 0
        while True:
            frames, data = take_frames(data)
            echoes = [(opcode, payload) for opcode, payload in frames if opcode < 8]
            with self.lock:
                self.pongs += sum(opcode == 10 for opcode, _ in frames)
            if echoes:
                answer = self.fault(echoes, sent)
                if answer is None:
                    return
                sent += len(echoes)
                peer.sendall(answer)
            for opcode, payload in frames:
                if opcode == 8:
                    with self.lock:
                        self.closes += 1
                    self.close(peer, payload)
                    return
            more = peer.recv(1 << 20)
            if not more:
                return
            data += more

    def close(self, peer, payload):
        """The answer to a Close frame; behind it TCP ends."""
        peer.sendall(frame(8, payload))


class Secure(Faulty):
    """The same over TLS."""

    def __init__(self, fault, cert_file, key_file, **options):
        super().__init__(fault, **options)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(cert_file, key_file)

    def secure(self, peer):
        return self.context.wrap_socket(peer, server_side=True)


class Deflating(Secure):
    """The same with permessage-deflate, without takeover: the fault gets and gives plain text, packed() makes frames of
    it. Messages are in one frame each, as weft-bench sends them."""
    extensions = (b'Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; '
                  b'client_no_context_takeover; server_max_window_bits=%d\r\n' % WINDOW_BITS)

    def __init__(self, fault, *certificate):
        super().__init__(lambda echoes, sent: fault([(opcode, inflated(payload)) for opcode, payload in echoes], sent),
                         *certificate)


def inflated(payload):
    return zlib.decompressobj(-15).decompress(payload + b'\0\0\xff\xff')


def packed(opcode, payload):
    squeeze = zlib.compressobj(wbits=-WINDOW_BITS)
    whole = squeeze.compress(payload) + squeeze.flush(zlib.Z_SYNC_FLUSH)
    return frame(opcode, whole[:-4], reserved=0x40)
