"""Runs tools in processes of their own that need not import PyTorch and MMEngine first, which takes each some seconds.

One process imports them and forks for every command. It imports nothing of this project, and nothing that registers
components, so that a tool still has to import all that it uses. (multiprocessing's own fork server ends its children
without what they registered for the exit, so that they would not be as a user's.)
"""

from __future__ import annotations

import atexit
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

PRELOADED = ('torch._dynamo', 'torchvision', 'mmengine.runner', 'skimage.segmentation', 'scipy.optimize', 'matplotlib')
_LONGEST = 2**20  # bytes of a request


def leave_configs_unformatted() -> None:
    """Spares each run of MMEngine the seconds in which yapf makes its config pretty, five times over."""
    from yapf.yapflib import yapf_api  # MMEngine looks it up there each time

    yapf_api.FormatCode = lambda text, **_: (text, False)


class WarmTools:
    """Starts the process at the first command and ends it with this one.

    Args:
        program: What the process runs.
    """

    def __init__(self, program: str | Path = __file__) -> None:
        self._program = str(program)
        self._server: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket

    def run(
        self, command: list[str], env: dict[str, str] | None = None, cwd: object = None, timeout: float = 300
    ) -> subprocess.CompletedProcess[str]:
        """A Python file and its arguments, run as by ``subprocess.run`` with ``capture_output``, ``text``.

        Raises:
            TimeoutError: With where every thread of it was.
        """
        self._start()
        request = {'argv': command, 'env': env or dict(os.environ), 'cwd': str(cwd or Path.cwd())}
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            self._socket.settimeout(timeout)
            socket.send_fds(self._socket, [json.dumps(request).encode()], [out.fileno(), err.fileno()])
            try:
                status = json.loads(self._socket.recv(64))
            except TimeoutError:
                self.stop(signal.SIGABRT)
                status = None
            texts = []
            for file in (out, err):
                file.seek(0)
                texts.append(file.read().decode())
            if status is None:
                raise TimeoutError(f'{command} took over {timeout} s\n{texts[0]}\n{texts[1]}')
        return subprocess.CompletedProcess(command, status, *texts)

    def _start(self) -> None:
        if self._server is not None:
            return
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._server = subprocess.Popen(
                [sys.executable, '-X', 'faulthandler', self._program, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        atexit.register(self.stop)

    def stop(self, number: int = signal.SIGKILL) -> None:
        """Ends the process and what it runs."""
        if self._server is not None:
            os.killpg(self._server.pid, number)
            self._server.wait()
            self._socket.close()
            self._server = None


def serve(connection: socket.socket) -> dict[str, Any] | None:
    """Forks for every request; returns the request in the fork, None in the server when there are no more."""
    while True:
        message, files, _, _ = socket.recv_fds(connection, _LONGEST, 2)
        if not message:
            return None
        child = os.fork()
        if child == 0:
            connection.close()
            for number, file in zip((1, 2), files, strict=True):
                os.dup2(file, number)
                os.close(file)
            return json.loads(message)
        for file in files:
            os.close(file)
        _, status = os.waitpid(child, 0)
        connection.send(json.dumps(os.waitstatus_to_exitcode(status)).encode())


if __name__ == '__main__':
    for name in PRELOADED:
        __import__(name)
    leave_configs_unformatted()
    wanted = serve(socket.socket(fileno=int(sys.argv[1])))
    if wanted is not None:
        os.chdir(wanted['cwd'])
        os.environ.clear()
        os.environ.update(wanted['env'])
        sys.argv = wanted['argv']
        sys.path[0] = str(Path(sys.argv[0]).parent)
        runpy.run_path(sys.argv[0], run_name='__main__')
