"""The stand-in as a whole: an event loop in a thread, and what tests ask of it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from grpclib.server import Server
from modal._utils.grpc_utils import custom_detail_codec
from modal_proto import api_pb2 as api

from .containers import Containers
from .service import Service
from .state import RATES, Faults, Function, Record, State, Task
from .web import Web

T = TypeVar("T")

RUN_SECONDS = 120.0
"""Longer than everything takes that is done in the stand-in's thread."""


class StandIn:
    """Modal's API on loopback.

    Args:
        root: an empty folder for everything it keeps; short, as sockets lie in it.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self.url = ""

    def __enter__(self) -> StandIn:
        # Containers that end in the middle of a question are no news here.
        logging.getLogger("grpclib.server").setLevel(logging.CRITICAL)
        self._thread.start()
        self.run(self._start())
        return self

    def __exit__(self, *exc: object) -> None:
        self.run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)
        self._loop.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something in the stand-in's own thread.

        Raises: TimeoutError, as what hangs must not hang who waits for it.
        """
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(RUN_SECONDS)

    async def _start(self) -> None:
        for folder in ("contents", "blobs", "blocks", "volumes", "tasks"):
            (self.root / folder).mkdir(exist_ok=True)
        self.state = State(self.root)
        self.containers = Containers(self.state)
        self.web = Web(self.state, self.containers)
        await self.web.start()

        def service(task_id: str) -> Service:
            return Service(self.state, self.containers, self.web, task_id)

        self.containers.service = service
        self.containers.codec = custom_detail_codec
        self._server = Server([service("")], status_details_codec=custom_detail_codec)
        await self._server.start("127.0.0.1", 0)
        listener = self._server._server.sockets[0]
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"

    async def _close(self) -> None:
        await self.containers.close()
        await self.web.close()
        self._server.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._server.wait_closed(), 10)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for other in others:
            other.cancel()
        if others:
            await asyncio.wait(others, timeout=10)

    def reset(self, *, keep_volumes: bool = False) -> None:
        """Forget everything that ran; what still runs is stopped."""

        async def forget() -> None:
            await self.containers.close()
            state = self.state
            state.faults = Faults()
            state.rates = dict(RATES)
            for kept in (
                state.records,
                state.unimplemented,
                state.apps,
                state.calls,
                state.images,
                state.secrets,
                state.mounts,
                state.tasks,
                state.requests,
                state.logs,
            ):
                kept.clear()
            if not keep_volumes:
                for volume in state.volumes.values():
                    shutil.rmtree(volume.path, ignore_errors=True)
                state.volumes.clear()

        self.run(forget())

    @property
    def faults(self) -> Faults:
        return self.state.faults

    @property
    def records(self) -> list[Record]:
        return self.state.records

    def requests_of(self, rpc: str) -> list[Any]:
        return [record.request for record in self.records if record.rpc == rpc]

    def live_apps(self) -> list[str]:
        return [app.name or app.description for app in self.state.apps.values() if app.is_live]

    def live_tasks(self) -> list[Task]:
        return self.state.live_tasks()

    def tasks_of(self, name: str) -> list[Task]:
        """Every container of a function that was ever started."""
        ids = {f.id for f in self.state.functions.values() if f.name == name}
        return [task for task in self.state.tasks.values() if task.function_id in ids]

    def function(self, app: str, name: str) -> Function:
        """A function of the live app of this name."""
        found = self.state.app_named(app)
        assert found is not None, f"{app} is not deployed"
        return self.state.functions[found.function_ids[name]]

    def dockerfile(self, function: Function) -> str:
        """Every command of a function's image, from its base on."""
        chain = self.containers._chain(function.definition.image_id)
        return "\n".join(line for i in chain for line in self.state.images[i].commands)

    def says(self, words: str) -> bool:
        """Whether a line of a log has these words."""
        return any(words in line.text for line in list(self.state.logs))

    def text(self, app: str = "") -> str:
        """All that was logged, in order."""
        return "".join(line.text for line in self.state.logs)

    def holds(self, secret: str) -> list[str]:
        """The RPCs, images and logs in which a text appears; secrets themselves are left out."""
        needle = secret.encode()
        found = [r.rpc for r in self.records if needle in r.request.SerializeToString()]
        found += [i.id for i in self.state.images.values() if secret in "\n".join(i.commands)]
        found += [f"log {line.entry}" for line in self.state.logs if secret in line.text]
        return found

    def assert_nothing_is_left(self) -> None:
        assert self.live_tasks() == []
        live = [
            app
            for app in self.state.apps.values()
            if app.is_live and app.state != api.APP_STATE_INITIALIZING
        ]
        assert [app.name or app.description for app in live] == []
