"""Runs a document's tools in forks of a process that has imported the libraries; each start would take many seconds.

    python tool_server.py SOCKET MODULE ...    # the server
    tools/train.py ...                         # a copy of CLIENT: hands its command to the server, and waits for it

Unlike ``fork_server.py`` it serves commands that a shell or torchrun starts, several at once.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
from pathlib import Path
from typing import Any

CLIENT = """#!{python} -IS
import json, os, socket, sys
with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
    server.connect('{server}')
    request = dict(argv=['{tool}', *sys.argv[1:]], env=dict(os.environ), cwd=os.getcwd())
    socket.send_fds(server, [json.dumps(request).encode()], [1, 2])
    sys.exit(json.loads(server.recv(64)) & 255)
"""


def wait(connection: socket.socket, child: int) -> None:
    """Tell the client the status of its command; end the command where the client is gone."""
    while not select.select([connection], [], [], 0.02)[0]:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            connection.send(json.dumps(os.waitstatus_to_exitcode(status)).encode())
            return
    os.kill(child, signal.SIGTERM)
    os.waitpid(child, 0)


def serve(server: socket.socket) -> dict[str, Any]:
    """Fork twice for each command, to wait for it and to run it; return its request in the latter, and only there."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    tests = os.getppid()
    while True:
        while not select.select([server], [], [], 1)[0]:
            if os.getppid() != tests:  # they were killed
                sys.exit()
        connection, _ = server.accept()
        if os.fork():
            connection.close()
            continue
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        server.close()
        message, files, _, _ = socket.recv_fds(connection, 2**20, 2)
        child = os.fork()
        if child:
            wait(connection, child)
            os._exit(0)
        connection.close()
        for number, file in zip((1, 2), files, strict=True):
            os.dup2(file, number)
            os.close(file)
        request: dict[str, Any] = json.loads(message)
        return request


def main(path: str, *modules: str) -> None:
    sys.path.append(str(Path(__file__).parents[1]))
    import fork_server

    del sys.path[0], sys.path[-1]
    for name in modules:
        importlib.import_module(name)
    fork_server.leave_configs_unformatted()
    gc.freeze()
    server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    server.bind(f'{path}.new')
    server.listen(64)
    Path(f'{path}.new').rename(path)
    fork_server.run(serve(server), quick_exit=False)


if __name__ == '__main__':
    main(*sys.argv[1:])
