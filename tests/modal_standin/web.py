"""HTTP beside the API: blobs, blocks of volumes, and the URLs of servers and web functions."""

from __future__ import annotations

import asyncio
import socket
import time

from aiohttp import ClientError, ClientSession, ClientTimeout, UnixConnector, web

from .containers import Containers, accepts
from .state import Function, HttpRequest, State, Task

HOLD_SECONDS = 150.0
_HOP = {
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
}


class Web:
    """The HTTP servers of the stand-in."""

    def __init__(self, state: State, containers: Containers) -> None:
        self.state = state
        self.containers = containers
        self.url = ""
        self._runners: list[web.AppRunner] = []
        self._served: set[str] = set()

    async def start(self) -> None:
        app = web.Application(client_max_size=1 << 34)
        app.router.add_route("PUT", "/{folder:blobs|blocks}/{name}", self._put)
        app.router.add_route("GET", "/{folder:blobs|blocks}/{name}", self._get)
        app.router.add_route("GET", "/files/{volume}/{start}/{path:.+}", self._file)
        self.url = f"http://127.0.0.1:{await self._listen(app)}"

    async def close(self) -> None:
        await asyncio.gather(*(runner.cleanup() for runner in self._runners))

    async def _listen(self, app: web.Application) -> int:
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await runner.setup()
        listener = socket.create_server(("127.0.0.1", 0))
        await web.SockSite(runner, listener).start()
        self._runners.append(runner)
        return int(listener.getsockname()[1])

    async def _put(self, request: web.Request) -> web.Response:
        path = self.state.root / request.match_info["folder"] / request.match_info["name"]
        with path.open("wb") as out:
            async for chunk in request.content.iter_any():
                out.write(chunk)
        return web.Response(body=b"stored", headers={"ETag": '"x"'})

    async def _get(self, request: web.Request) -> web.Response:
        path = self.state.root / request.match_info["folder"] / request.match_info["name"]
        return web.Response(body=path.read_bytes())

    async def _file(self, request: web.Request) -> web.Response:
        volume = self.state.volumes[request.match_info["volume"]]
        with (volume.path / request.match_info["path"]).open("rb") as source:
            source.seek(int(request.match_info["start"]))
            return web.Response(body=source.read(8 << 20))

    # Servers and web functions

    async def serve(self, function: Function) -> None:
        """Give a function its URL, once."""
        if function.id in self._served:
            return
        self._served.add(function.id)

        async def handle(request: web.Request) -> web.StreamResponse:
            return await self._proxy(function, request)

        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/{path:.*}", handle)
        function.port = await self._listen(app)
        function.url = f"http://127.0.0.1:{function.port}"

    async def _ready(self, function: Function) -> Task | None:
        live = self.state.live_tasks(function.id)
        for task in sorted(live, key=lambda each: each.version, reverse=True):
            is_up = task.is_ready and not task.is_stopping
            if is_up and await accepts(self.containers.door(task)):
                return task
        return None

    async def _proxy(self, function: Function, request: web.Request) -> web.StreamResponse:
        seen = HttpRequest(function.id, request.method, request.path)
        self.state.requests.append(seen)

        def answer(status: int, text: str, headers: dict[str, str] | None = None) -> web.Response:
            seen.status = status
            return web.Response(status=status, text=text, headers=headers)

        if not self.state.apps[function.app_id].is_live:
            return answer(404, "modal-http: app for invoked web endpoint is stopped\n")
        has_both = "Modal-Key" in request.headers and "Modal-Secret" in request.headers
        if function.requires_proxy_auth and not has_both:
            return answer(401, "modal-http: missing credentials for proxy authorization\n")
        if self.state.faults.url_status:
            return answer(self.state.faults.url_status, "modal-http: refused\n")
        task = await self._ready(function)
        await self.containers.want(function)
        if task is None:
            seen.was_cold = True
            if function.definition.is_server:
                return answer(503, "modal-http: no containers are ready\n")
            end = time.monotonic() + HOLD_SECONDS
            while task is None and self.state.live_tasks(function.id):
                await asyncio.sleep(0.1)
                task = await self._ready(function)
                if time.monotonic() > end:
                    return answer(303, "", {"Location": str(request.url)})
        if task is None:
            return answer(500, "modal-http: the container failed\n")
        return await self._forward(task, request, seen)

    async def _forward(
        self, task: Task, request: web.Request, seen: HttpRequest
    ) -> web.StreamResponse:
        seen.task_id = task.id
        task.n_requests += 1
        task.used_at = time.time()
        headers = {k: v for k, v in request.headers.items() if k.lower() not in _HOP}
        target = f"http://container{request.rel_url}"
        data = await request.read()
        session = ClientSession(
            connector=UnixConnector(str(self.containers.door(task))),
            timeout=ClientTimeout(total=None),
            auto_decompress=False,
        )
        try:
            async with (
                session,
                session.request(request.method, target, headers=headers, data=data) as upstream,
            ):
                seen.status = upstream.status
                response = web.StreamResponse(status=upstream.status)
                for name, value in upstream.headers.items():
                    if name.lower() not in _HOP:
                        response.headers[name] = value
                await response.prepare(request)
                async for chunk in upstream.content.iter_any():
                    await response.write(chunk)
                await response.write_eof()
                return response
        except ClientError as error:
            seen.status = 502
            return web.Response(status=502, text=f"modal-http: {error}\n")
        finally:
            task.n_requests -= 1
            task.used_at = time.time()
