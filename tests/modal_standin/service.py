"""The RPCs, over the protocol that ships with the client."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
import shutil
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import modal
from google.protobuf.empty_pb2 import Empty
from grpclib import GRPCError, Status
from grpclib.const import Cardinality, Handler
from grpclib.exceptions import StreamTerminatedError
from grpclib.server import Stream
from modal_proto import api_grpc
from modal_proto import api_pb2 as api

from .containers import Containers
from .state import (
    GPU_TYPES,
    App,
    Call,
    Function,
    Image,
    Input,
    LogLine,
    Mount,
    Record,
    Secret,
    State,
    Volume,
)

BUILDER = max(
    path.stem
    for path in (Path(modal.__file__).parent / "builder").glob("*.txt")
    if re.fullmatch(r"\d{4}\.\d{2}", path.stem)
)
"""The newest that the client knows."""

LISTS_METADATA = "metadata" in api.AppListResponse.AppListItem.DESCRIPTOR.fields_by_name
ENVIRONMENT = "main"


class _Blank(api_grpc.ModalClientBase):
    """The whole protocol with nothing behind it, for its table of methods."""


for _name in tuple(_Blank.__abstractmethods__):
    setattr(_Blank, _name, None)
_Blank.__abstractmethods__ = frozenset()


class Service:
    """What grpclib serves: every method of the protocol, of one container or of all clients."""

    def __init__(self, state: State, containers: Containers, web: Any, task_id: str = "") -> None:
        self.state = state
        self.containers = containers
        self.web = web
        self.task_id = task_id

    def __mapping__(self) -> dict[str, Handler]:
        return {
            path: Handler(
                self._wrapped(path.rpartition("/")[2], handler),
                handler.cardinality,
                handler.request_type,
                handler.reply_type,
            )
            for path, handler in _Blank().__mapping__().items()
        }

    def _wrapped(self, name: str, handler: Handler) -> Callable[[Stream[Any, Any]], Any]:
        is_stream = handler.cardinality is Cardinality.UNARY_STREAM

        async def serve(stream: Stream[Any, Any]) -> None:
            request = await stream.recv_message()
            metadata = dict(stream.metadata or {})
            error = ""
            try:
                method = getattr(self, name, None)
                if method is None:
                    self.state.unimplemented.append(name)
                    raise GRPCError(Status.UNIMPLEMENTED, f"the stand-in lacks {name}")
                await asyncio.sleep(self.state.faults.rpc_seconds.get(name, 0))
                self._check(name, metadata)
                if is_stream:
                    async for reply in method(request):
                        await stream.send_message(reply)
                else:
                    await stream.send_message(await method(request))
            except GRPCError as problem:
                error = f"{problem.status.name}: {problem.message}"
                raise
            except StreamTerminatedError:
                # The client has left a stream, as it may.
                return
            finally:
                self.state.records.append(Record(name, request, self.task_id, error))

        return serve

    def _check(self, name: str, metadata: dict[str, Any]) -> None:
        if not self.task_id:
            token = str(metadata.get("x-modal-token-id", ""))
            if not token or token in self.state.faults.revoked_tokens:
                raise GRPCError(Status.UNAUTHENTICATED, "Token ID is malformed or unknown")
            version = str(metadata.get("x-modal-python-version", ""))
            self.state.python_versions.add(version)
        for fault in self.state.faults.rpcs:
            if fault.rpc == name and fault.skip > 0:
                fault.skip -= 1
            elif fault.rpc == name and fault.times > 0:
                fault.times -= 1
                raise GRPCError(fault.status, fault.message or f"injected into {name}")

    # Handshake

    async def ClientHello(self, request: Empty) -> api.ClientHelloResponse:
        await asyncio.sleep(self.state.faults.hello_seconds)
        return api.ClientHelloResponse(image_builder_version=BUILDER)

    async def AuthTokenGet(self, request: api.AuthTokenGetRequest) -> api.AuthTokenGetResponse:
        return api.AuthTokenGetResponse(token="e30.e30.e30")

    async def EnvironmentGetOrCreate(
        self, request: api.EnvironmentGetOrCreateRequest
    ) -> api.EnvironmentGetOrCreateResponse:
        return api.EnvironmentGetOrCreateResponse(
            environment_id="en-1",
            metadata=api.EnvironmentMetadata(
                name=request.deployment_name or ENVIRONMENT,
                settings=api.EnvironmentSettings(image_builder_version=BUILDER, webhook_suffix=""),
            ),
        )

    async def EnvironmentList(self, request: Empty) -> api.EnvironmentListResponse:
        item = api.EnvironmentListItem(name=ENVIRONMENT, default=True, environment_id="en-1")
        return api.EnvironmentListResponse(items=[item])

    async def WorkspaceNameLookup(self, request: Empty) -> api.WorkspaceNameLookupResponse:
        return api.WorkspaceNameLookupResponse(workspace_name="stand-in", username="stand-in")

    async def TokenInfoGet(self, request: api.TokenInfoGetRequest) -> api.TokenInfoGetResponse:
        return api.TokenInfoGetResponse(token_id="ak-test", workspace_name="stand-in")

    async def WorkspaceBillingRates(
        self, request: api.WorkspaceBillingRatesRequest
    ) -> api.WorkspaceBillingRatesResponse:
        return api.WorkspaceBillingRatesResponse(rates=self.state.rates)

    # Apps

    def _app(self, app_id: str) -> App:
        if app_id not in self.state.apps:
            raise GRPCError(Status.NOT_FOUND, f"App {app_id} not found")
        return self.state.apps[app_id]

    async def AppCreate(self, request: api.AppCreateRequest) -> api.AppCreateResponse:
        app = App(
            self.state.new_id("ap"),
            request.description,
            request.environment_name or ENVIRONMENT,
            request.app_state or api.APP_STATE_EPHEMERAL,
            tags=dict(request.tags),
        )
        self.state.apps[app.id] = app
        page = f"http://127.0.0.1/apps/{app.id}"
        return api.AppCreateResponse(app_id=app.id, app_page_url=page, app_logs_url=page)

    async def AppGetOrCreate(
        self, request: api.AppGetOrCreateRequest
    ) -> api.AppGetOrCreateResponse:
        app = self.state.app_named(request.app_name)
        if app is None:
            if request.object_creation_type != api.OBJECT_CREATION_TYPE_CREATE_IF_MISSING:
                raise GRPCError(Status.NOT_FOUND, f"App {request.app_name} not found")
            created = await self.AppCreate(api.AppCreateRequest(description=request.app_name))
            app = self.state.apps[created.app_id]
            app.name, app.state = request.app_name, api.APP_STATE_DEPLOYED
        return api.AppGetOrCreateResponse(app_id=app.id, handle_metadata=self._app_metadata(app))

    async def AppGetByDeploymentName(
        self, request: api.AppGetByDeploymentNameRequest
    ) -> api.AppGetByDeploymentNameResponse:
        app = self.state.app_named(request.name)
        return api.AppGetByDeploymentNameResponse(app_id=app.id if app else "")

    def _app_metadata(self, app: App) -> api.AppHandleMetadata:
        return api.AppHandleMetadata(
            description=app.description,
            app_id=app.id,
            environment_name=app.environment,
            lifecycle=self._lifecycle(app),
        )

    def _lifecycle(self, app: App) -> api.AppLifecycle:
        return api.AppLifecycle(
            app_state=app.state,
            created_at=app.created_at,
            deployed_at=app.deployed_at,
            version=app.version,
            stopped_at=app.stopped_at,
        )

    async def AppGetLayout(self, request: api.AppGetLayoutRequest) -> api.AppGetLayoutResponse:
        return api.AppGetLayoutResponse(app_layout=self.containers.layout(request.app_id))

    async def AppGetLifecycle(
        self, request: api.AppGetLifecycleRequest
    ) -> api.AppGetLifecycleResponse:
        return api.AppGetLifecycleResponse(lifecycle=self._lifecycle(self._app(request.app_id)))

    async def AppGetInfo(self, request: api.AppGetInfoRequest) -> api.AppGetInfoResponse:
        return api.AppGetInfoResponse(info=self._app_metadata(self._app(request.app_id)))

    async def AppHeartbeat(self, request: api.AppHeartbeatRequest) -> Empty:
        return Empty()

    async def AppPublish(self, request: api.AppPublishRequest) -> api.AppPublishResponse:
        app = self._app(request.app_id)
        old = {self.state.functions[i].name: i for i in app.function_ids.values()}
        app.function_ids = dict(request.function_ids)
        app.class_ids = dict(request.class_ids)
        app.name = request.name or app.name
        if request.tags:
            app.tags = dict(request.tags)
        app.version += 1
        app.deployed_at = time.time()
        if request.app_state:
            app.state = request.app_state
        # Those of the former deployment serve until a new one does.
        for function_id in set(old.values()) - set(app.function_ids.values()):
            for task in self.state.live_tasks(function_id):
                await self.containers.stop(task)
        for function_id in app.function_ids.values():
            function = self.state.functions[function_id]
            function.settings.CopyFrom(function.definition.autoscaler_settings)
            await self.containers.scale_up(function)
        page = f"http://127.0.0.1/apps/{app.id}"
        return api.AppPublishResponse(url=page, deployed_at=app.deployed_at)

    async def AppClientDisconnect(self, request: api.AppClientDisconnectRequest) -> Empty:
        app = self._app(request.app_id)
        if app.state in (api.APP_STATE_EPHEMERAL, api.APP_STATE_INITIALIZING):
            await self._stop(app)
        return Empty()

    async def AppStop(self, request: api.AppStopRequest) -> Empty:
        await self._stop(self._app(request.app_id))
        return Empty()

    async def _stop(self, app: App) -> None:
        app.state = api.APP_STATE_STOPPED
        app.stopped_at = time.time()
        for task in self.state.live_tasks(app_id=app.id):
            await self.containers.stop(task)
        async with self.state.logged:
            self.state.logged.notify_all()

    async def AppList(self, request: api.AppListRequest) -> api.AppListResponse:
        return api.AppListResponse(
            apps=[
                api.AppListResponse.AppListItem(
                    app_id=app.id,
                    description=app.name or app.description,
                    state=app.state,
                    created_at=app.created_at,
                    stopped_at=app.stopped_at,
                    n_running_tasks=len(self.state.live_tasks(app_id=app.id)),
                    name=app.name,
                    **({"metadata": self._app_metadata(app)} if LISTS_METADATA else {}),
                )
                for app in self.state.apps.values()
            ]
        )

    async def AppSetTags(self, request: api.AppSetTagsRequest) -> Empty:
        self._app(request.app_id).tags = dict(request.tags)
        return Empty()

    async def AppGetTags(self, request: api.AppGetTagsRequest) -> api.AppGetTagsResponse:
        return api.AppGetTagsResponse(tags=self._app(request.app_id).tags)

    # Logs

    def _selected(self, request: Any, line: LogLine) -> bool:
        source = getattr(request, "file_descriptor", 0) or getattr(request, "source", 0)
        return (
            line.app_id == request.app_id
            and request.function_id in ("", line.function_id)
            and request.task_id in ("", line.task_id)
            and source in (0, line.source)
            and request.search_text in line.text
        )

    def _batch(self, *lines: LogLine) -> api.TaskLogsBatch:
        shape, last = self.state.faults.logs, lines[-1]
        texts = [line.text for line in lines]
        if "joined" in shape:
            texts = ["".join(texts)]
        if "parts" in shape:
            texts = [text[i : i + 100] for text in texts for i in range(0, max(1, len(text)), 100)]
        if "no end" in shape:
            texts = [text.removesuffix("\n") for text in texts]
        task_id = "" if "no task" in shape else last.task_id
        at = 0.0 if "no time" in shape else last.at
        items = [
            api.TaskLogs(
                data=text,
                task_state=last.state,
                timestamp=at + again / 1000,
                timestamp_ns=int(at * 1e9) + again * 1_000_000,
                file_descriptor=0 if "no source" in shape else last.source,
                container_id=task_id,
            )
            for text in texts
            for again in range(1 + ("twice" in shape))
        ]
        return api.TaskLogsBatch(
            task_id=task_id,
            items=items,
            entry_id=f"{last.entry}-0",
            function_id=last.function_id,
        )

    def _batches(self, lines: list[LogLine]) -> list[api.TaskLogsBatch]:
        """One a line, or one for all that follow each other from one source of one container."""
        found: list[list[LogLine]] = []
        for line in lines:
            place = (line.task_id, line.source, bool(line.state))
            is_more = "joined" in self.state.faults.logs and found
            before = found[-1][-1] if found else line
            if is_more and place == (before.task_id, before.source, bool(before.state)):
                found[-1].append(line)
            else:
                found.append([line])
        return [self._batch(*each) for each in found]

    async def AppGetLogs(self, request: api.AppGetLogsRequest) -> AsyncIterator[api.TaskLogsBatch]:
        app = self._app(request.app_id)
        last = int(request.last_entry_id.partition("-")[0] or 0)
        end = time.monotonic() + (request.timeout or 55)
        sent = 0
        shape = self.state.faults.logs
        if "no replay" in shape and not last:
            last = len(self.state.logs)
        while True:
            found = [line for line in self.state.logs[last:] if self._selected(request, line)]
            if "no first" in shape:
                found = [line for line in found if '"event": "container"' not in line.text]
            last = len(self.state.logs)
            for batch in self._batches([] if "late" in shape else found):
                if self.state.faults.cut_logs_after == sent:
                    raise GRPCError(Status.UNAVAILABLE, "log stream was cut")
                yield batch
                sent += 1
            if not app.is_live and not self.state.live_tasks(app_id=app.id):
                yield api.TaskLogsBatch(app_done=True, entry_id=f"{last}-0")
                return
            left = end - time.monotonic()
            if left <= 0:
                return
            async with self.state.logged:
                if len(self.state.logs) == last:
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self.state.logged.wait(), min(left, 0.5))

    async def AppFetchLogs(self, request: api.AppFetchLogsRequest) -> api.AppFetchLogsResponse:
        since = request.since.seconds + request.since.nanos / 1e9
        until = request.until.seconds + request.until.nanos / 1e9
        lines = [
            line
            for line in self.state.logs
            if self._selected(request, line) and line.text and since <= line.at < until
        ]
        return api.AppFetchLogsResponse(batches=self._batches(lines[: request.limit or 20_000]))

    async def AppCountLogs(self, request: api.AppCountLogsRequest) -> api.AppCountLogsResponse:
        step = request.bucket_secs or 60
        counts: dict[int, list[int]] = {}
        for line in self.state.logs:
            is_in_time = request.since.seconds <= line.at <= request.until.seconds + 1
            if is_in_time and self._selected(request, line) and line.text:
                bucket = counts.setdefault(int(line.at) // step * step, [0, 0, 0])
                bucket[line.source - 1] += 1
        answer = api.AppCountLogsResponse(app_id=request.app_id)
        for start, (out, err, system) in sorted(counts.items()):
            bucket = answer.buckets.add(stdout_logs=out, stderr_logs=err, system_logs=system)
            bucket.bucket_start_at.seconds = start
        return answer

    # Mounts and blobs

    async def MountGetOrCreate(
        self, request: api.MountGetOrCreateRequest
    ) -> api.MountGetOrCreateResponse:
        mount = Mount(self.state.new_id("mo"))
        mount.files = {file.filename: file.sha256_hex for file in request.files}
        self.state.mounts[mount.id] = mount
        return api.MountGetOrCreateResponse(
            mount_id=mount.id,
            handle_metadata=api.MountHandleMetadata(content_checksum_sha256_hex="0" * 64),
        )

    async def MountBatchedCheckExistence(
        self, request: api.MountBatchedCheckExistenceRequest
    ) -> api.MountBatchedCheckExistenceResponse:
        missing = [h for h in request.sha256_hex_hashes if not self._content(h).exists()]
        return api.MountBatchedCheckExistenceResponse(missing_sha256_hex_hashes=missing)

    def _content(self, sha256: str) -> Path:
        return self.state.root / "contents" / sha256

    async def MountPutFile(self, request: api.MountPutFileRequest) -> api.MountPutFileResponse:
        path = self._content(request.sha256_hex)
        if request.data_blob_id:
            shutil.copy(self.state.root / "blobs" / request.data_blob_id, path)
        elif request.WhichOneof("data_oneof") == "data":
            path.write_bytes(request.data)
        return api.MountPutFileResponse(exists=path.exists())

    async def BlobCreate(self, request: api.BlobCreateRequest) -> api.BlobCreateResponse:
        blob_id = self.state.new_id("bl")
        return api.BlobCreateResponse(blob_id=blob_id, upload_url=f"{self.web.url}/blobs/{blob_id}")

    async def BlobGet(self, request: api.BlobGetRequest) -> api.BlobGetResponse:
        return api.BlobGetResponse(download_url=f"{self.web.url}/blobs/{request.blob_id}")

    # Images: recorded and never built

    async def ImageGetOrCreate(
        self, request: api.ImageGetOrCreateRequest
    ) -> api.ImageGetOrCreateResponse:
        image = request.image
        digest = hashlib.sha256(image.SerializeToString(deterministic=True)).hexdigest()[:22]
        image_id = f"im-{digest}"
        found = self.state.images.get(image_id)
        if found is None or found.result.status == api.GenericResult.GENERIC_STATUS_FAILURE:
            found = Image(
                image_id,
                list(image.dockerfile_commands),
                [base.image_id for base in image.base_images],
                list(image.secret_ids),
                image.context_mount_id,
            )
            self._build(found)
            self.state.images[image_id] = found
            return api.ImageGetOrCreateResponse(image_id=image_id)
        return api.ImageGetOrCreateResponse(
            image_id=image_id, result=found.result, metadata=self._image_metadata(found)
        )

    def _build(self, image: Image) -> None:
        status = api.GenericResult.GENERIC_STATUS_SUCCESS
        text = ""
        for number, command in enumerate(image.commands):
            image.log.append(f"Step {number}: {command}")
            for piece, said in self.state.faults.image_build.items():
                if piece in command:
                    image.log.append(said)
                    status = api.GenericResult.GENERIC_STATUS_FAILURE
                    text = f"Image build for {image.id} failed. See build logs for more details."
        standalone = re.search(r"python-build-standalone|add-python", "\n".join(image.commands))
        named = re.search(r"FROM python:(\d+\.\d+)", "\n".join(image.commands))
        if named:
            image.python = named[1]
        elif standalone or image.mount_id:
            image.python = f"{sys.version_info.major}.{sys.version_info.minor}"
        for base in image.base_ids:
            image.python = image.python or self.state.images[base].python
        image.result = api.GenericResult(status=status, exception=text)

    def _image_metadata(self, image: Image) -> api.ImageMetadata:
        return api.ImageMetadata(
            python_version_info=f"Python {image.python or '3'}", image_builder_version=BUILDER
        )

    async def ImageJoinStreaming(
        self, request: api.ImageJoinStreamingRequest
    ) -> AsyncIterator[api.ImageJoinStreamingResponse]:
        image = self.state.images[request.image_id]
        for number, line in enumerate(image.log):
            yield api.ImageJoinStreamingResponse(
                task_logs=[api.TaskLogs(data=f"{line}\n", timestamp=time.time())],
                entry_id=f"{number + 1}-0",
            )
        yield api.ImageJoinStreamingResponse(
            result=image.result, metadata=self._image_metadata(image), eof=True
        )

    async def ImageFromId(self, request: api.ImageFromIdRequest) -> api.ImageFromIdResponse:
        image = self.state.images[request.image_id]
        return api.ImageFromIdResponse(image_id=image.id, metadata=self._image_metadata(image))

    # Secrets

    def _secret_metadata(self, secret: Secret) -> api.SecretMetadata:
        return api.SecretMetadata(
            name=secret.name,
            keys=sorted(secret.env),
            environment_name=ENVIRONMENT,
            creation_info=api.CreationInfo(created_at=secret.created_at),
        )

    async def SecretGetOrCreate(
        self, request: api.SecretGetOrCreateRequest
    ) -> api.SecretGetOrCreateResponse:
        name, kind = request.deployment_name, request.object_creation_type
        found = next((s for s in self.state.secrets.values() if name and s.name == name), None)
        if found is not None and kind == api.OBJECT_CREATION_TYPE_CREATE_FAIL_IF_EXISTS:
            raise GRPCError(Status.ALREADY_EXISTS, f"Secret {name} exists")
        if found is None and kind == api.OBJECT_CREATION_TYPE_UNSPECIFIED:
            raise GRPCError(Status.NOT_FOUND, f"Secret {name} not found")
        missing = set(request.required_keys) - set(found.env if found else request.env_dict)
        if missing:
            raise GRPCError(
                Status.FAILED_PRECONDITION, f"Secret is missing key(s): {sorted(missing)}"
            )
        overwrite = api.OBJECT_CREATION_TYPE_CREATE_OVERWRITE_IF_EXISTS
        if found is not None and kind == overwrite:
            found.env = dict(request.env_dict)
        if found is None:
            found = Secret(self.state.new_id("st"), name, dict(request.env_dict), request.app_id)
            self.state.secrets[found.id] = found
        # What is kept of the request may be searched for secrets: their home is the Secret.
        request.ClearField("env_dict")
        return api.SecretGetOrCreateResponse(
            secret_id=found.id, metadata=self._secret_metadata(found)
        )

    async def SecretGetInfo(self, request: api.SecretGetInfoRequest) -> api.SecretGetInfoResponse:
        secret = self.state.secrets[request.secret_id]
        return api.SecretGetInfoResponse(metadata=self._secret_metadata(secret))

    async def SecretUpdate(self, request: api.SecretUpdateRequest) -> Empty:
        secret = self.state.secrets[request.secret_id]
        for update in request.updates:
            secret.env[update.key] = update.value
            update.value = ""
        return Empty()

    async def SecretList(self, request: api.SecretListRequest) -> api.SecretListResponse:
        items = [
            api.SecretListItem(
                label=secret.name, secret_id=secret.id, metadata=self._secret_metadata(secret)
            )
            for secret in self.state.secrets.values()
            if secret.name
        ]
        return api.SecretListResponse(items=items, environment_name=ENVIRONMENT)

    async def SecretDelete(self, request: api.SecretDeleteRequest) -> Empty:
        self.state.secrets.pop(request.secret_id, None)
        return Empty()

    # Volumes: one directory each

    def _volume(self, volume_id: str) -> Volume:
        if volume_id not in self.state.volumes:
            raise GRPCError(Status.NOT_FOUND, f"Volume {volume_id} not found")
        return self.state.volumes[volume_id]

    def _volume_metadata(self, volume: Volume) -> api.VolumeMetadata:
        return api.VolumeMetadata(version=volume.version, name=volume.name)

    async def VolumeGetOrCreate(
        self, request: api.VolumeGetOrCreateRequest
    ) -> api.VolumeGetOrCreateResponse:
        name = request.deployment_name
        found = next((v for v in self.state.volumes.values() if name and v.name == name), None)
        if found is not None and request.version and found.version != request.version:
            raise GRPCError(Status.FAILED_PRECONDITION, f"Volume {name} has another version")
        if found is None:
            if request.object_creation_type == api.OBJECT_CREATION_TYPE_UNSPECIFIED:
                raise GRPCError(Status.NOT_FOUND, f"Volume {name} not found")
            volume_id = self.state.new_id("vo")
            path = self.state.root / "volumes" / (name or volume_id)
            path.mkdir(parents=True, exist_ok=True)
            found = Volume(volume_id, name, request.version or 1, path)
            self.state.volumes[volume_id] = found
        return api.VolumeGetOrCreateResponse(
            volume_id=found.id, version=found.version, metadata=self._volume_metadata(found)
        )

    async def VolumeGetById(self, request: api.VolumeGetByIdRequest) -> api.VolumeGetByIdResponse:
        volume = self._volume(request.volume_id)
        return api.VolumeGetByIdResponse(
            volume_id=volume.id, metadata=self._volume_metadata(volume)
        )

    async def VolumeHeartbeat(self, request: api.VolumeHeartbeatRequest) -> Empty:
        return Empty()

    async def VolumeCommit(self, request: api.VolumeCommitRequest) -> api.VolumeCommitResponse:
        self._volume(request.volume_id).commits += 1
        return api.VolumeCommitResponse(skip_reload=True)

    async def VolumeReload(self, request: api.VolumeReloadRequest) -> Empty:
        return Empty()

    def _inside(self, volume: Volume, path: str) -> Path:
        found = (volume.path / path.lstrip("/")).resolve()
        if not found.is_relative_to(volume.path.resolve()):
            raise GRPCError(Status.INVALID_ARGUMENT, f"{path} is outside the volume")
        return found

    async def VolumeListFiles2(
        self, request: api.VolumeListFiles2Request
    ) -> AsyncIterator[api.VolumeListFiles2Response]:
        volume = self._volume(request.volume_id)
        start = self._inside(volume, request.path)
        if not start.exists():
            raise GRPCError(Status.NOT_FOUND, f"No such file or directory: {request.path}")
        if start.is_file():
            paths = [start]
        else:
            paths = sorted(start.rglob("*") if request.recursive else start.iterdir())
        entries = [
            api.FileEntry(
                path=str(path.relative_to(volume.path.resolve())),
                type=api.FileEntry.DIRECTORY if path.is_dir() else api.FileEntry.FILE,
                mtime=int(path.stat().st_mtime),
                size=path.stat().st_size,
            )
            for path in paths
        ]
        yield api.VolumeListFiles2Response(entries=entries)

    async def VolumePutFiles2(
        self, request: api.VolumePutFiles2Request
    ) -> api.VolumePutFiles2Response:
        volume = self._volume(request.volume_id)
        answer = api.VolumePutFiles2Response()
        for file_index, file in enumerate(request.files):
            for block_index, block in enumerate(file.blocks):
                name = block.contents_sha256.hex()
                if not (self.state.root / "blocks" / name).exists():
                    answer.missing_blocks.add(
                        file_index=file_index,
                        block_index=block_index,
                        put_url=f"{self.web.url}/blocks/{name}",
                    )
        if answer.missing_blocks:
            return answer
        for file in request.files:
            path = self._inside(volume, file.path)
            if path.exists() and request.disallow_overwrite_existing_files:
                raise GRPCError(Status.ALREADY_EXISTS, f"{file.path} exists")
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as out:
                for block in file.blocks:
                    name = block.contents_sha256.hex()
                    out.write((self.state.root / "blocks" / name).read_bytes())
                out.truncate(file.size)
        return answer

    async def VolumeGetFile2(
        self, request: api.VolumeGetFile2Request
    ) -> api.VolumeGetFile2Response:
        volume = self._volume(request.volume_id)
        path = self._inside(volume, request.path)
        if not path.is_file():
            raise GRPCError(Status.NOT_FOUND, f"No such file: {request.path}")
        size = path.stat().st_size
        urls = [
            f"{self.web.url}/files/{volume.id}/{start}/{request.path.lstrip('/')}"
            for start in range(0, size, 8 << 20)
        ]
        return api.VolumeGetFile2Response(get_urls=urls, size=size, start=0, len=size)

    async def VolumeRemoveFile2(self, request: api.VolumeRemoveFile2Request) -> Empty:
        path = self._inside(self._volume(request.volume_id), request.path)
        if path.is_dir() and request.recursive:
            shutil.rmtree(path)
        elif path.is_file():
            path.unlink()
        else:
            raise GRPCError(Status.NOT_FOUND, f"No such file: {request.path}")
        return Empty()

    # Functions

    async def FunctionPrecreate(
        self, request: api.FunctionPrecreateRequest
    ) -> api.FunctionPrecreateResponse:
        function = self.state.functions.get(request.existing_function_id)
        if function is None:
            function = Function(self.state.new_id("fu"), request.app_id, request.function_name)
            self.state.functions[function.id] = function
        function.definition.function_name = request.function_name
        function.definition.function_type = request.function_type
        function.definition.supported_input_formats[:] = request.supported_input_formats
        function.definition.supported_output_formats[:] = request.supported_output_formats
        if request.HasField("webhook_config"):
            function.definition.webhook_config.CopyFrom(request.webhook_config)
            await self.web.serve(function)
        return api.FunctionPrecreateResponse(
            function_id=function.id, handle_metadata=self.containers.handle(function)
        )

    async def FunctionCreate(
        self, request: api.FunctionCreateRequest
    ) -> api.FunctionCreateResponse:
        function = self.state.functions.get(request.existing_function_id)
        if function is None:
            name = request.function.function_name or request.function_data.function_name
            function = Function(self.state.new_id("fu"), request.app_id, name)
            self.state.functions[function.id] = function
        if request.HasField("function_data"):
            ranked = sorted(request.function_data.ranked_functions, key=lambda each: each.rank)
            function.ranked = [each.function for each in ranked]
            function.data.CopyFrom(request.function_data)
            function.definition.CopyFrom(function.ranked[0])
        else:
            function.ranked = []
            function.definition.CopyFrom(request.function)
            function.data.Clear()
            function.data.function_name = request.function.function_name
            function.data.is_server = request.function.is_server
            function.data.http_config.CopyFrom(request.function.http_config)
            function.data.ranked_functions.add(rank=0, function=request.function)
        self._refuse(function)
        if function.definition.is_server or function.is_web_server:
            await self.web.serve(function)
        function.data.web_url = function.url
        return api.FunctionCreateResponse(
            function_id=function.id,
            handle_metadata=self.containers.handle(function),
            function_data=function.data,
            function=function.definition,
        )

    def _refuse(self, function: Function) -> None:
        for gpu in function.gpus:
            name, _, count = gpu.partition(":")
            if name not in GPU_TYPES:
                raise GRPCError(Status.INVALID_ARGUMENT, f"Unknown GPU type: {name}")
            if int(count or 1) > (4 if name.startswith("A10G") or name == "A10" else 8):
                raise GRPCError(Status.INVALID_ARGUMENT, f"Too many GPUs: {gpu}")
        image = self.state.images.get(function.definition.image_id)
        serialized = api.Function.DEFINITION_TYPE_SERIALIZED
        if function.definition.definition_type == serialized and image is not None:
            local = {v.rpartition(".")[0] for v in self.state.python_versions if v}
            if image.python and image.python not in local:
                raise GRPCError(
                    Status.FAILED_PRECONDITION,
                    f"The image has Python {image.python} and the client {sorted(local)}",
                )

    async def FunctionGet(self, request: api.FunctionGetRequest) -> api.FunctionGetResponse:
        app = self.state.app_named(request.app_name)
        function_id = app.function_ids.get(request.object_tag) if app else None
        if function_id is None:
            raise GRPCError(
                Status.NOT_FOUND, f"{request.app_name}/{request.object_tag} is not deployed"
            )
        function = self.state.functions[function_id]
        return api.FunctionGetResponse(
            function_id=function.id,
            handle_metadata=self.containers.handle(function),
            function=function.data,
        )

    async def FunctionGetById(
        self, request: api.FunctionGetByIdRequest
    ) -> api.FunctionGetByIdResponse:
        function = self.state.functions[request.function_id]
        return api.FunctionGetByIdResponse(
            function=function.data, handle_metadata=self.containers.handle(function)
        )

    async def FunctionGetCurrentStats(
        self, request: api.FunctionGetCurrentStatsRequest
    ) -> api.FunctionStats:
        function = self.state.functions[request.function_id]
        n_tasks = len(self.state.live_tasks(function.id))
        if self.state.faults.counts_nothing:
            n_tasks = 0
        return api.FunctionStats(backlog=len(function.pending), num_total_tasks=n_tasks)

    async def FunctionGetSchedulingParams(
        self, request: api.FunctionGetSchedulingParamsRequest
    ) -> api.FunctionGetSchedulingParamsResponse:
        function = self.state.functions[request.function_id]
        return api.FunctionGetSchedulingParamsResponse(
            autoscaler_configuration=api.AutoscalerConfiguration(settings=function.settings)
        )

    async def FunctionUpdateSchedulingParams(
        self, request: api.FunctionUpdateSchedulingParamsRequest
    ) -> api.FunctionUpdateSchedulingParamsResponse:
        function = self.state.functions[request.function_id]
        function.settings.MergeFrom(request.settings)
        await self.containers.scale_up(function)
        return api.FunctionUpdateSchedulingParamsResponse(current_settings=function.settings)

    # Calls

    async def FunctionMap(self, request: api.FunctionMapRequest) -> api.FunctionMapResponse:
        function = self.state.functions[request.function_id]
        call = Call(self.state.new_id("fc"), function.id)
        self.state.calls[call.id] = call
        items = await self._enqueue(function, call, request.pipelined_inputs)
        return api.FunctionMapResponse(
            function_call_id=call.id, pipelined_inputs=items, max_inputs_outstanding=1000
        )

    async def _enqueue(
        self, function: Function, call: Call, items: Any
    ) -> list[api.FunctionPutInputsResponseItem]:
        answers = []
        async with function.has_input:
            for item in items:
                found = Input(self.state.new_id("in"), call.id, item.input, item.idx)
                function.pending.append(found)
                call.n_inputs += 1
                answers.append(
                    api.FunctionPutInputsResponseItem(
                        idx=item.idx, input_id=found.id, input_jwt=found.id
                    )
                )
            function.has_input.notify_all()
        await self.containers.want(function)
        return answers

    async def FunctionPutInputs(
        self, request: api.FunctionPutInputsRequest
    ) -> api.FunctionPutInputsResponse:
        function = self.state.functions[request.function_id]
        call = self.state.calls[request.function_call_id]
        items = await self._enqueue(function, call, request.inputs)
        return api.FunctionPutInputsResponse(inputs=items)

    async def FunctionGetOutputs(
        self, request: api.FunctionGetOutputsRequest
    ) -> api.FunctionGetOutputsResponse:
        call = self.state.calls[request.function_call_id]
        async with call.changed:
            if not call.outputs and request.timeout:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(call.changed.wait(), request.timeout)
        return api.FunctionGetOutputsResponse(
            outputs=call.outputs,
            idxs=[each.idx for each in call.outputs],
            last_entry_id=f"{len(call.outputs)}-0",
            num_unfinished_inputs=call.n_inputs - len(call.outputs),
        )

    async def FunctionCallCancel(self, request: api.FunctionCallCancelRequest) -> Empty:
        call = self.state.calls[request.function_call_id]
        for task in self.state.live_tasks(call.function_id):
            await self.containers.stop(task)
        return Empty()

    async def FunctionCallGetDataOut(
        self, request: api.FunctionCallGetDataRequest
    ) -> AsyncIterator[api.DataChunk]:
        call = self.state.calls[request.function_call_id]
        sent = request.last_index
        end = time.monotonic() + 50
        while time.monotonic() < end:
            for chunk in call.chunks[sent:]:
                sent += 1
                yield chunk
            async with call.changed:
                if len(call.chunks) == sent:
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(call.changed.wait(), 1.0)

    async def FunctionCallPutDataOut(self, request: api.FunctionCallPutDataRequest) -> Empty:
        call = self.state.calls[request.function_call_id]
        async with call.changed:
            for chunk in request.data_chunks:
                chunk.index = len(call.chunks) + 1
                call.chunks.append(chunk)
            call.changed.notify_all()
        return Empty()

    # Containers

    async def ContainerHello(self, request: Empty) -> Empty:
        return Empty()

    async def ContainerHeartbeat(
        self, request: api.ContainerHeartbeatRequest
    ) -> api.ContainerHeartbeatResponse:
        await asyncio.sleep(5)
        return api.ContainerHeartbeatResponse()

    async def ContainerServerLifecycleReady(
        self, request: api.ContainerServerLifecycleReadyRequest
    ) -> Empty:
        self.state.tasks[self.task_id].is_ready = True
        return Empty()

    async def FunctionGetInputs(
        self, request: api.FunctionGetInputsRequest
    ) -> api.FunctionGetInputsResponse:
        task = self.state.tasks[self.task_id]
        function = self.state.functions[task.function_id]
        task.is_ready = True
        # A web function's requests take another way here: it stays until it is stopped.
        is_web = function.is_web_server
        end = time.monotonic() + (50 if is_web else 2)
        async with function.has_input:
            while not function.pending and not task.is_stopping and time.monotonic() < end:
                try:
                    await asyncio.wait_for(function.has_input.wait(), 0.2)
                except TimeoutError:
                    continue
            if not function.pending and is_web and not task.is_stopping:
                return api.FunctionGetInputsResponse()
            if not function.pending:
                item = api.FunctionGetInputsItem(kill_switch=True)
                return api.FunctionGetInputsResponse(inputs=[item])
            found = function.pending.pop(0)
        found.task_id = task.id
        self.containers.held[found.id] = found
        item = api.FunctionGetInputsItem(
            input_id=found.id,
            input=found.payload,
            function_call_id=found.call_id,
            function_map_idx=found.index,
        )
        return api.FunctionGetInputsResponse(inputs=[item])

    async def FunctionGetDynamicConcurrency(
        self, request: api.FunctionGetDynamicConcurrencyRequest
    ) -> api.FunctionGetDynamicConcurrencyResponse:
        return api.FunctionGetDynamicConcurrencyResponse(concurrency=request.max_concurrency)

    async def FunctionPutOutputs(self, request: api.FunctionPutOutputsRequest) -> Empty:
        for output in request.outputs:
            held = self.containers.held.pop(output.input_id, None)
            if held is None:
                continue
            await self.containers.answer(held, output.result, output.data_format, self.task_id)
        return Empty()

    async def TaskResult(self, request: api.TaskResultRequest) -> Empty:
        self.state.tasks[self.task_id].result = request.result
        return Empty()

    async def TaskList(self, request: api.TaskListRequest) -> api.TaskListResponse:
        return api.TaskListResponse(
            tasks=[
                api.TaskStats(
                    task_id=task.id,
                    app_id=task.app_id,
                    app_description=self.state.apps[task.app_id].name,
                    started_at=task.started_at,
                    enqueued_at=task.enqueued_at,
                )
                for task in self.state.live_tasks(app_id=request.app_id)
            ]
        )

    async def ContainerStop(self, request: api.ContainerStopRequest) -> api.ContainerStopResponse:
        await self.containers.stop(self.state.tasks[request.task_id])
        return api.ContainerStopResponse()

    async def FlashContainerList(
        self, request: api.FlashContainerListRequest
    ) -> api.FlashContainerListResponse:
        port = self.state.functions[request.function_id].http_port
        return api.FlashContainerListResponse(
            containers=[
                api.FlashContainerListResponse.Container(
                    task_id=task.id, host="127.0.0.1", port=port
                )
                for task in self.state.live_tasks(request.function_id)
                if task.is_ready
            ]
        )
