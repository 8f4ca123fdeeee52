"""Containers: modal's own entry point as a local process, with its volumes in a mount namespace."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

from grpclib.server import Server
from modal_proto import api_pb2 as api

from .state import Function, Input, State, Task

KILL_AFTER = 10.0
HERE = Path(__file__).parent
SOURCE = HERE.parents[1] / "src"
MOUNTED_AT = "/root"
"""Where Modal's client mounts Python sources in a container."""

_ENV = re.compile(r"^ENV (.*)$")


async def accepts(door: Path) -> bool:
    """Whether a server listens behind a door."""
    try:
        _, writer = await asyncio.wait_for(asyncio.open_unix_connection(door), 1)
    except (OSError, TimeoutError):
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True


class Containers:
    """Starts, watches and stops containers of functions."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.held: dict[str, Input] = {}
        self.is_closing = False
        self.service: Any = None
        self.codec: Any = None

    # What containers and clients are told about functions

    def handle(self, function: Function) -> api.FunctionHandleMetadata:
        definition = function.definition
        is_server = definition.is_server
        return api.FunctionHandleMetadata(
            function_name=function.name,
            function_type=definition.function_type,
            web_url="" if is_server else function.url,
            definition_id=f"de-{function.id}",
            app_id=function.app_id,
            _experimental_flash_urls=[function.url] if is_server and function.url else [],
            supported_input_formats=definition.supported_input_formats,
            supported_output_formats=definition.supported_output_formats,
        )

    def layout(self, app_id: str) -> api.AppLayout:
        app = self.state.apps[app_id]
        ids = app.function_ids or {
            f.name: f.id for f in self.state.functions.values() if f.app_id == app_id
        }
        objects = [
            api.Object(object_id=i, function_handle_metadata=self.handle(self.state.functions[i]))
            for i in ids.values()
        ]
        for dependency in self._dependencies(ids.values()):
            volume = self.state.volumes.get(dependency)
            found = api.Object(object_id=dependency)
            if volume is not None:
                found.volume_metadata.version = volume.version
                found.volume_metadata.name = volume.name
            elif dependency in self.state.mounts:
                found.mount_handle_metadata.content_checksum_sha256_hex = "0" * 64
            objects.append(found)
        return api.AppLayout(objects=objects, function_ids=ids, class_ids=app.class_ids)

    def _dependencies(self, function_ids: Iterable[str]) -> list[str]:
        """Secrets, volumes and the like that functions name."""
        found = [
            dependency.object_id
            for i in function_ids
            for dependency in self.state.functions[i].definition.object_dependencies
        ]
        return list(dict.fromkeys(found))

    # Scaling

    async def scale_up(self, function: Function) -> None:
        """Start what `min_containers` asks for."""
        for _ in range(function.settings.min_containers - len(self._current(function))):
            self.start(function)

    def _current(self, function: Function) -> list[Task]:
        """Its containers that are of the app's last deployment."""
        version = self.state.apps[function.app_id].version
        return [task for task in self.state.live_tasks(function.id) if task.version == version]

    async def want(self, function: Function) -> None:
        """Somebody asks for the function: start a container if there is none."""
        app = self.state.apps[function.app_id]
        if not app.is_live or self._current(function):
            return
        live = self.state.live_tasks(function.id)
        if not (self.state.faults.former_serve_on and any(task.is_ready for task in live)):
            self.start(function)

    def start(self, function: Function) -> Task:
        version = self.state.apps[function.app_id].version
        task = Task(self.state.new_id("ta"), function.id, function.app_id, version)
        self.state.tasks[task.id] = task
        task.job = asyncio.ensure_future(self._run(function, task))
        return task

    async def stop(self, task: Task) -> None:
        """SIGTERM to the process group, SIGKILL after a while; returns when it is over."""
        task.is_stopping = True
        task.stopped_at = task.stopped_at or time.time()
        job = task.job
        if task.process is not None:
            self._signal(task, signal.SIGTERM)
        elif job is not None and task.is_live:
            job.cancel()
        if job is None:
            return
        done, _ = await asyncio.wait({job}, timeout=KILL_AFTER)
        if not done:
            self._signal(task, signal.SIGKILL)
            await asyncio.wait({job}, timeout=KILL_AFTER)

    def _signal(self, task: Task, number: int) -> None:
        if task.process is not None and task.process.returncode is None:
            self._signal_group(task, number)

    def _signal_group(self, task: Task, number: int) -> None:
        assert task.process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(task.process.pid, number)

    # One container's life

    async def _run(self, function: Function, task: Task) -> None:
        try:
            await self._live(function, task)
        except asyncio.CancelledError:
            task.exit_code = 143
        finally:
            task.state = api.TASK_STATE_COMPLETED
            await self.state.log(task, "", state=task.state)
            await self._fail_held(function, task)
            if self.state.faults.restarts and not task.is_stopping:
                self.state.faults.restarts -= 1
                self.start(function)
            elif self.state.apps[function.app_id].is_live and not self.is_closing:
                # As many run as are wanted, however often they fail.
                await self.scale_up(function)

    async def _set(self, task: Task, state: int) -> None:
        task.state = state
        await self.state.log(task, "", state=state)

    async def _live(self, function: Function, task: Task) -> None:
        await self._set(task, api.TASK_STATE_CREATED)
        await self._set(task, api.TASK_STATE_QUEUED)
        definition = await self._schedule(function, task)
        await self._set(task, api.TASK_STATE_WORKER_ASSIGNED)
        await self._set(task, api.TASK_STATE_LOADING_IMAGE)
        folder = self.state.root / "tasks" / task.id
        folder.mkdir(parents=True)
        socket = self._socket(task)
        server = Server([self.service(task.id)], status_details_codec=self.codec)
        await server.start(path=socket)
        try:
            await self._process(function, definition, task, folder, socket)
        finally:
            server.close()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(server.wait_closed(), KILL_AFTER)

    def _socket(self, task: Task) -> str:
        # Paths of sockets are short: 107 bytes is all there is.
        return str(self.state.root / f"{task.id[-6:]}.sock")

    async def _schedule(self, function: Function, task: Task) -> api.Function:
        await asyncio.sleep(self.state.faults.queue_seconds)
        ranked = function.ranked or [function.definition]
        waited = False
        while True:
            for each in ranked:
                gpu = each.resources.gpu_config.gpu_type
                if gpu not in self.state.faults.gpu_unavailable:
                    count = each.resources.gpu_config.count
                    task.gpu = f"{gpu}:{count}" if count > 1 else gpu
                    return each
            if not waited:
                waited = True
                gpu = ranked[0].resources.gpu_config.gpu_type
                await self.state.log(
                    task, f"Container is waiting to be scheduled on a GPU_{gpu} worker\n"
                )
            await asyncio.sleep(0.1)

    def _environment(
        self, function: Function, definition: api.Function, task: Task, folder: Path, socket: str
    ) -> dict[str, str]:
        parent = {k: v for k, v in os.environ.items() if not k.startswith(("MODAL_", "GGUFCTL_"))}
        drop = ("PYTHONPATH", "HF_TOKEN", "LLAMA_API_KEY", "PYTEST_CURRENT_TEST")
        environment = {k: v for k, v in parent.items() if k not in drop}
        for image_id in self._chain(definition.image_id):
            for command in self.state.images[image_id].commands:
                if found := _ENV.match(command.strip()):
                    for word in shlex.split(found[1]):
                        name, _, value = word.partition("=")
                        environment[name] = value.replace("${PATH}", environment["PATH"])
        for secret_id in definition.secret_ids:
            environment.update(self.state.secrets[secret_id].env)
        root = folder / "root"
        root.mkdir()
        self._materialise(definition, root)
        environment |= {
            "PATH": f"{self._programs(definition)}{os.pathsep}{environment.get('PATH', '')}",
            "STANDIN_PYTHON": sys.executable,
            "STANDIN_SOURCE": str(SOURCE),
            "STANDIN_SCENARIO": self._scenario(definition),
            "STANDIN_GPU": task.gpu,
            "PYTHONPATH": f"{root}{os.pathsep}{HERE / 'site'}",
            "PYTHONUNBUFFERED": "1",
            "MODAL_SERVER_URL": f"unix://{socket}",
            "MODAL_TASK_ID": task.id,
            "MODAL_IS_REMOTE": "1",
            "MODAL_CONTAINER_ARGUMENTS_PATH": str(folder / "arguments"),
            "MODAL_IMAGE_ID": definition.image_id,
            "MODAL_ENVIRONMENT": "main",
            "MODAL_CLOUD_PROVIDER": "CLOUD_PROVIDER_AWS",
            "MODAL_REGION": "us-east-1",
            "MODAL_CONFIG_PATH": "/dev/null",
        }
        return environment | self.state.faults.environment

    def _scenario(self, definition: api.Function) -> str:
        engines = self.state.faults.engine
        return engines.get(definition.resources.gpu_config.gpu_type, engines.get("*", ""))

    def _programs(self, definition: api.Function) -> Path:
        return HERE / ("fake_bin" if self._scenario(definition) else "bin")

    def _chain(self, image_id: str) -> list[str]:
        image = self.state.images.get(image_id)
        if image is None:
            return []
        return [found for base in image.base_ids for found in self._chain(base)] + [image_id]

    def _materialise(self, definition: api.Function, root: Path) -> None:
        for mount_id in definition.mount_ids:
            for path, sha256 in self.state.mounts[mount_id].files.items():
                target = root / PurePosixPath(path).relative_to(MOUNTED_AT)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(self.state.root / "contents" / sha256, target)

    def door(self, task: Task) -> Path:
        """Where connections to a server in a container come in, once it listens."""
        return self.state.root / f"{task.id[-6:]}.http"

    def _command(self, function: Function, definition: api.Function, task: Task) -> list[str]:
        """The entry point, in a mount namespace of its own where volumes are mounted.

        A server has a network of its own as well: two containers listen on the same port.
        """
        command = [sys.executable, "-m", "modal._container_entrypoint"]
        if program := shutil.which("setpriv"):
            # A test run that is killed leaves no containers behind.
            command = [program, "--pdeathsig", "TERM", *command]
        spaces = ["-m", "--propagation", "private"]
        if function.http_port:
            spaces.append("-n")
            port = str(function.http_port)
            joined = [sys.executable, "-SE", str(HERE / "network.py"), str(self.door(task)), port]
            command = [*joined, *command]
        lines = []
        for mount in definition.volume_mounts:
            source = shlex.quote(str(self.state.volumes[mount.volume_id].path))
            target = shlex.quote(mount.mount_path)
            Path(mount.mount_path).mkdir(parents=True, exist_ok=True)
            lines.append(f"mount --bind {source} {target}")
            if mount.read_only:
                lines.append(f"mount -o remount,bind,ro {target}")
        if not lines and not function.http_port:
            return command
        # Where the image of llama.cpp has its program.
        Path("/app").mkdir(exist_ok=True)
        lines.append(f"mount --bind {shlex.quote(str(self._programs(definition)))} /app")
        script = " && ".join([*lines, 'exec "$@"'])
        return ["unshare", *spaces, "sh", "-c", script, "sh", *command]

    async def _process(
        self, function: Function, definition: api.Function, task: Task, folder: Path, socket: str
    ) -> None:
        arguments = api.ContainerArguments(
            task_id=task.id,
            function_id=function.id,
            app_id=function.app_id,
            function_def=definition,
            environment_name="main",
            app_layout=self.layout(function.app_id),
        )
        (folder / "arguments").write_bytes(arguments.SerializeToString())
        command = self._command(function, definition, task)
        if self.state.faults.die_at_start:
            command = [sys.executable, "-c", "raise SystemExit(1)"]
        task.started_at = time.time()
        task.process = await asyncio.create_subprocess_exec(
            *command,
            env=self._environment(function, definition, task, folder, socket),
            cwd=folder / "root",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
            limit=1 << 20,
        )
        await self._set(task, api.TASK_STATE_ACTIVE)
        watch = asyncio.ensure_future(self._watch(function, definition, task))
        pumps = asyncio.gather(
            self._pump(task, task.process.stdout, 1), self._pump(task, task.process.stderr, 2)
        )
        try:
            task.exit_code = await task.process.wait()
        finally:
            watch.cancel()
            self._kill_rest(task, socket)
            # What holds its output open although it was killed is not waited for.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(pumps, KILL_AFTER)
        await self._say_end(task)

    def _kill_rest(self, task: Task, socket: str) -> None:
        """Whatever a container leaves behind dies with it."""
        self._signal_group(task, signal.SIGKILL)
        mark = f"MODAL_SERVER_URL=unix://{socket}\0".encode()
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if mark in (folder / "environ").read_bytes() + b"\0":
                    os.kill(int(folder.name), signal.SIGKILL)

    async def _pump(self, task: Task, stream: asyncio.StreamReader | None, source: int) -> None:
        assert stream is not None
        while line := await stream.readline():
            await self.state.log(task, line.decode(errors="replace"), source)

    async def _watch(self, function: Function, definition: api.Function, task: Task) -> None:
        """End a container that starts for too long, or has been idle for long enough."""
        if not (definition.is_server or function.is_web_server):
            return
        limit = definition.http_config.startup_timeout
        limit = limit or definition.startup_timeout_secs or definition.timeout_secs
        end = time.monotonic() + limit
        while not task.is_ready:
            await asyncio.sleep(0.1)
            if time.monotonic() > end:
                await self.state.log(
                    task, f"Runner has been initializing for too long: {limit} seconds\n"
                )
                self._signal(task, signal.SIGKILL)
                return
        while not await accepts(self.door(task)):
            await asyncio.sleep(0.05)
        task.ready_at = time.time()
        for other in self.state.live_tasks(function.id):
            if other.version < task.version:
                await self.stop(other)
        await self._scale_down(function, definition, task)

    async def _scale_down(self, function: Function, definition: api.Function, task: Task) -> None:
        """End a container that nobody asks, unless so many are wanted."""
        while True:
            await asyncio.sleep(0.1)
            limit = self.state.faults.idle_seconds
            if limit is None:
                continue
            window = function.settings.scaledown_window or 60
            idle = time.time() - max(task.ready_at, task.used_at)
            current = self._current(function)
            is_wanted = task in current and len(current) <= function.settings.min_containers
            if not task.n_requests and idle > min(limit, window) and not is_wanted:
                task.is_stopping = True
                task.stopped_at = time.time()
                self._signal(task, signal.SIGTERM)
                return

    async def _say_end(self, task: Task) -> None:
        if task.is_stopping or (task.exit_code == 0 and task.result is None):
            return
        faults = self.state.faults
        if faults.end_words or "silent" in faults.logs:
            if faults.end_words:
                await self.state.log(task, f"{faults.end_words}\n")
            return
        if task.result is not None and task.result.exception:
            await self.state.log(
                task, f"Runner failed with exception: {task.result.exception[:600]}\n"
            )
        elif task.exit_code == -signal.SIGKILL:
            await self.state.log(task, "Runner terminated, exit code: 137\n")
        elif task.exit_code == -signal.SIGSEGV:
            await self.state.log(task, "Runner segmentation fault (SIGSEGV), exit code: 139\n")
        else:
            await self.state.log(task, f"Runner failed with exit code: {task.exit_code}\n")

    # Calls

    async def answer(
        self, held: Input, result: api.GenericResult, data_format: int, task_id: str
    ) -> None:
        call = self.state.calls[held.call_id]
        async with call.changed:
            call.outputs.append(
                api.FunctionGetOutputsItem(
                    result=result,
                    idx=held.index,
                    input_id=held.id,
                    data_format=data_format,
                    task_id=task_id,
                    output_created_at=time.time(),
                )
            )
            call.changed.notify_all()

    async def _fail_held(self, function: Function, task: Task) -> None:
        failed = [each for each in self.held.values() if each.task_id == task.id]
        if task.result is not None or task.exit_code:
            # Died before it took anything: failing what waits is better than a loop of starts.
            failed += function.pending
            function.pending = []
        text = task.result.exception if task.result else f"container exited: {task.exit_code}"
        status = api.GenericResult.GENERIC_STATUS_FAILURE
        result = task.result or api.GenericResult(status=status, exception=text)
        for each in failed:
            self.held.pop(each.id, None)
            await self.answer(each, result, api.DATA_FORMAT_PICKLE, task.id)

    async def close(self) -> None:
        self.is_closing = True
        try:
            await asyncio.gather(*(self.stop(task) for task in self.state.live_tasks()))
        finally:
            self.is_closing = False
