"""HTTP beside the API: blobs, blocks of volumes, and the URLs of servers and web functions."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time

from aiohttp import ClientError, ClientSession, ClientTimeout, web

from .containers import Containers
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


async def accepts(port: int) -> bool:
    """Whether something listens on a port of this machine."""
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", port), 1)
    except (OSError, TimeoutError):
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True


class Web:
    """The HTTP servers of the stand-in."""

    def __init__(self, state: State, containers: Containers) -> None:
        self.state = state
        self.containers = containers
        self.url = ""
        self._runners: list[web.AppRunner] = []
        self._served: set[str] = set()
        self.session: ClientSession | None = None

    async def start(self) -> None:
        self.session = ClientSession(timeout=ClientTimeout(total=None), auto_decompress=False)
        app = web.Application(client_max_size=1 << 34)
        app.router.add_route("PUT", "/{folder:blobs|blocks}/{name}", self._put)
        app.router.add_route("GET", "/{folder:blobs|blocks}/{name}", self._get)
        app.router.add_route("GET", "/files/{volume}/{start}/{path:.+}", self._file)
        self.url = f"http://127.0.0.1:{await self._listen(app)}"

    async def close(self) -> None:
        if self.session is not None:
            await self.session.close()
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
        for task in self.state.live_tasks(function.id):
            if task.is_ready and await accepts(function.http_port):
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
        task = await self._ready(function)
        if task is None:
            seen.was_cold = True
            await self.containers.want(function)
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
        return await self._forward(function, request, seen)

    async def _forward(
        self, function: Function, request: web.Request, seen: HttpRequest
    ) -> web.StreamResponse:
        assert self.session is not None
        headers = {k: v for k, v in request.headers.items() if k.lower() not in _HOP}
        target = f"http://127.0.0.1:{function.http_port}{request.rel_url}"
        try:
            async with self.session.request(
                request.method, target, headers=headers, data=await request.read()
            ) as upstream:
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
