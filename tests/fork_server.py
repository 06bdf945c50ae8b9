"""Runs Python files in processes of their own that need not import large libraries first, which takes seconds each.

A server imports them and forks for every command. (multiprocessing's own fork server ends its children without what
they registered for the exit, so they would differ from a user's processes.)

    python tests/fork_server.py FD [--quick-exit] MODULE ...    # as ForkServer starts it; FD is its socket
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

# Large libraries, but nothing of this project and nothing that registers components: a tool still has to import all
# that it uses. test_package.py runs the commands so.
LIBRARIES = ('torch._dynamo', 'torchvision', 'mmengine.runner', 'skimage.segmentation', 'scipy.optimize', 'matplotlib')
# All of stage 2 as well, for all other tests, which run too many tools to import it each time.
STAGE_2 = (*LIBRARIES, 'mmseg.apis', 'safetensors.torch', 'segment_anything', 'stage2_distill.components')
STAGE_2 = (*STAGE_2, 'stage2_distill.deployment.student')
_QUICK_EXIT = '--quick-exit'
_LONGEST = 2**20  # bytes of a request


def leave_configs_unformatted() -> None:
    """Save each run of MMEngine the seconds in which yapf formats its config, five times over."""
    from yapf.yapflib import yapf_api  # MMEngine looks it up there each time

    yapf_api.FormatCode = lambda text, **_: (text, False)


class Started:
    """A command that runs meanwhile, with the methods of ``subprocess.Popen`` that tests use."""

    def __init__(
        self, command: list[str], pid: int, status: Callable[[bool], int | None], files: list[IO[bytes]]
    ) -> None:
        self.args, self.pid, self.returncode = command, pid, None
        self._status, self._files = status, files

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = self._status(False)
        return self.returncode

    def wait(self) -> int:
        if self.returncode is None:
            self.returncode = self._status(True)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def communicate(self) -> tuple[str, str]:
        """Wait for its end; return all that it wrote to both streams."""
        self.wait()
        out, err = map(_text, self._files)
        return out, err


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode()


class ForkServer:
    """A server that starts at the first command and ends with this process.

    ``run`` waits for its command; those of ``start`` run meanwhile.

    Args:
        preload: Modules that the server imports.
        quick_exit: Commands run their exit functions, but skip the second in which Python takes apart all modules.
        env: Environment of the server and, by default, of commands; None takes this process's.
    """

    def __init__(
        self, preload: Sequence[str] = LIBRARIES, quick_exit: bool = False, env: dict[str, str] | None = None
    ) -> None:
        self._arguments = [*([_QUICK_EXIT] if quick_exit else []), *preload]
        self._env = env
        self._server: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket

    def run(
        self, command: list[str], env: dict[str, str] | None = None, cwd: object = None, timeout: float = 300
    ) -> subprocess.CompletedProcess[str]:
        """Run a Python file with arguments, as ``subprocess.run`` does with ``capture_output`` and ``text``.

        Raises:
            TimeoutError: With the stack of each of its threads.
        """
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            child = status = None
            try:
                child = self._fork(command, env, cwd, [out, err], timeout)
                status = self._ask({'wait': child})
            except TimeoutError:
                self._abort(child)
            texts = [_text(file) for file in (out, err)]
            if status is None:
                raise TimeoutError(f'{command} took over {timeout} s\n{texts[0]}\n{texts[1]}')
        return subprocess.CompletedProcess(command, status, *texts)

    def start(self, command: list[str], env: dict[str, str] | None = None, cwd: object = None) -> Started:
        """Start a Python file with arguments and do not wait for it; its streams are files."""
        files: list[IO[bytes]] = [tempfile.TemporaryFile() for _ in range(2)]  # noqa: SIM115
        child = self._fork(command, env, cwd, files, timeout=300)

        def status(wait: bool) -> int | None:
            return self._ask({'wait' if wait else 'poll': child})

        return Started(command, child, status, files)

    def _fork(
        self, command: list[str], env: dict[str, str] | None, cwd: object, files: list[Any], timeout: float
    ) -> int:
        """Let the server fork for a command; return the number of its process."""
        self._start()
        environment = env or self._env or dict(os.environ)
        request = {'argv': command, 'env': environment, 'cwd': str(cwd or Path.cwd())}
        self._socket.settimeout(timeout)
        return self._ask(request, [file.fileno() for file in files])

    def _ask(self, request: dict[str, Any], files: Sequence[int] = ()) -> Any:
        socket.send_fds(self._socket, [json.dumps(request).encode()], files)
        return json.loads(self._socket.recv(64))

    def _start(self) -> None:
        if self._server is not None:
            return
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._server = subprocess.Popen(
                [sys.executable, '-X', 'faulthandler', __file__, str(theirs.fileno()), *self._arguments],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,  # no terminal, so that a command's output is buffered as in a file
                start_new_session=True,
                env=self._env,
            )
        atexit.register(self.stop)

    def _abort(self, child: int | None) -> None:
        """End a command that takes too long, after it has written its stacks, and the server with it."""
        if child is not None:
            os.kill(child, signal.SIGABRT)
            self._socket.settimeout(10)
            with suppress(TimeoutError):
                self._socket.recv(64)  # the command has ended
        self.stop()

    def stop(self) -> None:
        """End the server and the command that it runs."""
        if self._server is not None:
            os.killpg(self._server.pid, signal.SIGKILL)
            self._server.wait()
            self._socket.close()
            self._server = None


def serve(connection: socket.socket) -> dict[str, Any] | None:
    """Fork for every command; return its request in the fork, and None in the server when there are no more.

    Answers a command with the number of its process, and ``wait`` and ``poll`` with the status of one, or None.
    """
    while True:
        message, files, _, _ = socket.recv_fds(connection, _LONGEST, 2)
        if not message:
            return None
        request = json.loads(message)
        if 'argv' not in request:
            child, how = (request['wait'], 0) if 'wait' in request else (request['poll'], os.WNOHANG)
            ended, status = os.waitpid(child, how)
            connection.send(json.dumps(os.waitstatus_to_exitcode(status) if ended else None).encode())
            continue
        child = os.fork()
        if child == 0:
            connection.close()
            for number, file in zip((1, 2), files, strict=True):
                os.dup2(file, number)
                os.close(file)
            return request
        connection.send(json.dumps(child).encode())
        for file in files:
            os.close(file)


def run(request: dict[str, Any], quick_exit: bool) -> None:
    """Run a request's command in this process, as if Python had started it."""
    os.chdir(request['cwd'])
    os.environ.clear()
    os.environ.update(request['env'])
    sys.argv = request['argv']
    sys.path.insert(0, str(Path(sys.argv[0]).absolute().parent))
    try:
        runpy.run_path(sys.argv[0], run_name='__main__')
    except SystemExit as end:
        if not (quick_exit and isinstance(end.code, int)):
            raise
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(end.code)


def main(descriptor: str, *arguments: str) -> None:
    """Import what is asked for, then serve."""
    del sys.path[0]  # the folder of this file; a command gets its own
    for name in arguments:
        if name != _QUICK_EXIT:
            importlib.import_module(name)
    if 'mmengine' in sys.modules:
        leave_configs_unformatted()
    gc.freeze()  # nothing of this is collected in a fork, which would copy it
    request = serve(socket.socket(fileno=int(descriptor)))
    if request is not None:
        run(request, _QUICK_EXIT in arguments)


if __name__ == '__main__':
    main(*sys.argv[1:])
