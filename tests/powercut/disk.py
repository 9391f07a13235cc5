# SPDX-License-Identifier: MIT
"""
A disk with a volatile cache, served to QEMU by NBD.

What the guest wrote is in the image that it reads; only what it flushed (or wrote with FUA) is in the
image that the power cut leaves. Of the rest the disk keeps, block by block, what it likes.
"""

import os
import socket
import struct
import threading

BLOCK = 4096

FLUSH, FUA = 3, 1
_OPTION_GO, _OPTION_INFO, _OPTION_ABORT = 7, 6, 2
_ACK, _INFO, _UNSUPPORTED = 1, 3, 0x80000001
_TRANSMISSION = 1 | 1 << 2 | 1 << 3  # has flags, can flush, knows FUA


class Disk:
    """Serves one client. @current is what it reads and writes, @stable what is left after cut()."""

    def __init__(self, address, current, stable):
        self.address = address
        self.current = os.open(current, os.O_RDWR)
        self.stable = os.open(stable, os.O_RDWR)
        self.size = os.fstat(self.current).st_size
        self.pending = []  # (offset, bytes, is it stable?), in the order of the writes
        self.flushes = self.writes = 0
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(address)
        self.listener.listen(1)
        self.failure = None
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def cut(self, keep, random):
        """Once the client is dead: keep this share of the blocks that were not flushed."""
        self.listener.close()
        self.thread.join(20)
        if self.thread.is_alive() or self.failure:
            raise RuntimeError(f"the disk failed: {self.failure or 'it does not end'}")
        unflushed = 0
        for offset, data, stable in self.pending:
            unflushed += not stable
            position = 0
            while position < len(data):
                step = min(len(data) - position, BLOCK - (offset + position) % BLOCK)
                if stable or random.random() < keep:
                    os.pwrite(self.stable, data[position : position + step], offset + position)
                position += step
        os.close(self.stable)
        os.close(self.current)
        return unflushed

    def _serve(self):
        try:
            connection, _ = self.listener.accept()
            with connection:
                self._greet(connection)
                while self._request(connection):
                    pass
        except (ConnectionError, EOFError):
            pass
        except OSError as error:
            self.failure = error

    @staticmethod
    def _receive(connection, length):
        data = bytearray()
        while len(data) < length:
            more = connection.recv(length - len(data))
            if not more:
                raise EOFError
            data += more
        return bytes(data)

    def _greet(self, connection):
        connection.sendall(b"NBDMAGICIHAVEOPT" + struct.pack(">H", 3))
        self._receive(connection, 4)
        while True:
            _, option, length = struct.unpack(">8sII", self._receive(connection, 16))
            self._receive(connection, length)

            def reply(kind, data=b""):
                head = struct.pack(">QIII", 0x3E889045565A9, option, kind, len(data))
                connection.sendall(head + data)

            if option in (_OPTION_GO, _OPTION_INFO):
                reply(_INFO, struct.pack(">HQH", 0, self.size, _TRANSMISSION))
                reply(_ACK)
                if option == _OPTION_GO:
                    return
            elif option == _OPTION_ABORT:
                reply(_ACK)
                raise EOFError
            else:
                reply(_UNSUPPORTED)

    def _request(self, connection):
        head = self._receive(connection, 28)
        _, flags, kind, handle, offset, length = struct.unpack(">IHH8sQI", head)
        answer = b""
        if kind == 0:
            answer = os.pread(self.current, length, offset)
        elif kind == 1:
            self._write(offset, self._receive(connection, length), bool(flags & FUA))
        elif kind == FLUSH:
            self._flush()
        elif kind == 2:
            return False
        else:
            raise OSError(f"request {kind} was not offered")
        connection.sendall(struct.pack(">II8s", 0x67446698, 0, handle) + answer)
        return True

    def _write(self, offset, data, stable):
        self.writes += 1
        os.pwrite(self.current, data, offset)
        self.pending.append((offset, data, stable))
        if stable:
            os.pwrite(self.stable, data, offset)

    def _flush(self):
        self.flushes += 1
        for offset, data, _ in self.pending:
            os.pwrite(self.stable, data, offset)
        self.pending.clear()
