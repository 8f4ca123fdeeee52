"""What the stand-in knows, and the faults a test can put into it. The state is the judge."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from pathlib import Path

from google.protobuf.message import Message
from grpclib import Status
from modal_proto import api_pb2 as api

GPU_TYPES = frozenset(
    [
        "T4",
        "L4",
        "A10",
        "A10G",
        "L40S",
        "A100",
        "A100-40GB",
        "A100-80GB",
        "RTX-PRO-6000",
        "H100",
        "H100!",
        "H200",
        "B200",
        "B200+",
    ]
)


RATES = {
    "cpu_hour_cost": "0.0473",
    "mem_gib_hour_cost": "0.008",
    "cpu_hour_cost_sandbox": "0.1419",
    "mem_gib_hour_cost_sandbox": "0.024",
    "gpu_hour_cost_t4": "0.59",
    "gpu_hour_cost_l4": "0.80",
    "gpu_hour_cost_a10g": "1.10",
    "gpu_hour_cost_l40s": "1.95",
    "gpu_hour_cost_a100_40gb": "2.10",
    "gpu_hour_cost_a100_80gb": "2.50",
    "gpu_hour_cost_rtx_pro_6000": "3.03",
    "gpu_hour_cost_h100": "3.95",
    "gpu_hour_cost_h200": "4.54",
    "gpu_hour_cost_b200": "6.25",
}
"""Names as public programs read them from Modal; that of the RTX PRO 6000 is a guess."""


@dataclass
class RpcFault:
    """An error that an RPC of a client answers with, a number of times."""

    rpc: str
    status: Status
    message: str = ""
    times: int = 1
    skip: int = 0
    """So many are answered as they should before."""


@dataclass
class Faults:
    """What goes wrong, until a test resets it."""

    rpcs: list[RpcFault] = field(default_factory=list)
    image_build: dict[str, str] = field(default_factory=dict)
    """Piece of a dockerfile command → what the builder prints before it fails."""
    gpu_unavailable: set[str] = field(default_factory=set)
    queue_seconds: float = 0.0
    cut_logs_after: int | None = None
    """Log streams break after this many batches, each time."""
    engine: dict[str, str] = field(default_factory=dict)
    """GPU type (or `*`) → scenario of the fake engine; none means the real one."""
    environment: dict[str, str] = field(default_factory=dict)
    """Of every container, before all else."""
    hello_seconds: float = 0.0
    """How long signing in takes."""
    revoked_tokens: set[str] = field(default_factory=set)
    former_serve_on: bool = False
    """Requests start no container of a new deployment while one of the former answers them."""
    url_status: int = 0
    """What every request at the address of a server is answered with, if anything."""
    restarts: int = 0
    """So often a container that has ended by itself is started again without being asked for."""
    rpc_seconds: dict[str, float] = field(default_factory=dict)
    """How long an RPC takes."""
    idle_seconds: float | None = None
    """Containers without requests end after this long, if not after their scaledown window."""
    die_at_start: bool = False
    """Containers exit before they have loaded anything."""
    logs: set[str] = field(default_factory=set)
    """What logs are like, against what they usually are: `joined` = all lines of a batch in one
    item, `parts` = long lines in several, `twice` = each line with another time once more,
    `no task`, `no time`, `no source`, `no end` = without these, `no replay` = streams begin with
    what comes, `no first` = streams begin after a container's first event, `silent` = Modal itself
    says nothing, `late` = stored lines alone."""
    counts_nothing: bool = False
    """Modal says that no container runs."""
    end_words: str = ""
    """What Modal says of a container that has ended, in place of its usual words."""


@dataclass(frozen=True)
class Record:
    """One RPC as it arrived."""

    rpc: str
    request: Message
    task_id: str
    error: str = ""


@dataclass
class LogLine:
    entry: int
    at: float
    app_id: str
    function_id: str
    task_id: str
    source: int
    text: str
    state: int = 0


@dataclass
class App:
    id: str
    description: str
    environment: str
    state: int
    name: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    function_ids: dict[str, str] = field(default_factory=dict)
    class_ids: dict[str, str] = field(default_factory=dict)
    created_at: float = field(default_factory=time.time)
    deployed_at: float = 0.0
    stopped_at: float = 0.0
    version: int = 0

    @property
    def is_live(self) -> bool:
        return self.state not in (api.APP_STATE_STOPPED, api.APP_STATE_DISABLED)


@dataclass
class Function:
    id: str
    app_id: str
    name: str
    definition: api.Function = field(default_factory=api.Function)
    ranked: list[api.Function] = field(default_factory=list)
    data: api.FunctionData = field(default_factory=api.FunctionData)
    url: str = ""
    port: int = 0
    settings: api.AutoscalerSettings = field(default_factory=api.AutoscalerSettings)
    pending: list[Input] = field(default_factory=list)
    has_input: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def gpus(self) -> list[str]:
        """As asked for, in order: `L40S`, `A100-80GB:2` …"""
        found = []
        for each in self.ranked or [self.definition]:
            config = each.resources.gpu_config
            if config.gpu_type:
                count = f":{config.count}" if config.count > 1 else ""
                found.append(f"{config.gpu_type}{count}")
        return found

    @property
    def is_web_server(self) -> bool:
        return self.definition.webhook_config.web_server_port > 0

    @property
    def http_port(self) -> int:
        if self.definition.is_server:
            return self.definition.http_config.port
        return self.definition.webhook_config.web_server_port

    @property
    def requires_proxy_auth(self) -> bool:
        if self.definition.is_server:
            return not self.definition.http_config.unauthenticated
        return self.definition.webhook_config.requires_proxy_auth


@dataclass
class Input:
    id: str
    call_id: str
    payload: api.FunctionInput
    index: int
    task_id: str = ""


@dataclass
class Call:
    id: str
    function_id: str
    outputs: list[api.FunctionGetOutputsItem] = field(default_factory=list)
    chunks: list[api.DataChunk] = field(default_factory=list)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    n_inputs: int = 0


@dataclass
class Image:
    id: str
    commands: list[str]
    base_ids: list[str]
    secret_ids: list[str]
    mount_id: str = ""
    result: api.GenericResult = field(default_factory=api.GenericResult)
    log: list[str] = field(default_factory=list)
    python: str = ""


@dataclass
class Secret:
    id: str
    name: str
    env: dict[str, str]
    app_id: str = ""
    created_at: float = field(default_factory=time.time)


@dataclass
class Volume:
    id: str
    name: str
    version: int
    path: Path
    commits: int = 0


@dataclass
class Mount:
    id: str
    files: dict[str, str] = field(default_factory=dict)
    """Path in the container → sha256."""


@dataclass
class Task:
    """One container, from the queue to its end."""

    id: str
    function_id: str
    app_id: str
    version: int = 0
    """Of its app's deployment that it was started for."""
    gpu: str = ""
    state: int = api.TASK_STATE_CREATED
    enqueued_at: float = field(default_factory=time.time)
    started_at: float = 0.0
    exit_code: int | None = None
    result: api.GenericResult | None = None
    is_ready: bool = False
    is_stopping: bool = False
    ready_at: float = 0.0
    stopped_at: float = 0.0
    used_at: float = 0.0
    """When it last began or ended to answer a request."""
    n_requests: int = 0
    """That it answers now."""
    process: asyncio.subprocess.Process | None = None
    job: asyncio.Task[None] | None = None

    @property
    def is_live(self) -> bool:
        return self.state != api.TASK_STATE_COMPLETED


@dataclass
class HttpRequest:
    function_id: str
    method: str
    path: str
    status: int = 0
    task_id: str = ""
    was_cold: bool = False


class State:
    """Everything there is."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.faults = Faults()
        self.records: list[Record] = []
        self.unimplemented: list[str] = []
        self.apps: dict[str, App] = {}
        self.functions: dict[str, Function] = {}
        self.calls: dict[str, Call] = {}
        self.images: dict[str, Image] = {}
        self.secrets: dict[str, Secret] = {}
        self.volumes: dict[str, Volume] = {}
        self.mounts: dict[str, Mount] = {}
        self.tasks: dict[str, Task] = {}
        self.requests: list[HttpRequest] = []
        self.logs: list[LogLine] = []
        self.logged = asyncio.Condition()
        self.python_versions: set[str] = set()
        self.rates = dict(RATES)
        self._last_id = 0

    def new_id(self, prefix: str) -> str:
        self._last_id += 1
        return f"{prefix}-{self._last_id:022d}"

    def app_named(self, name: str) -> App | None:
        for app in self.apps.values():
            if app.name == name and app.is_live:
                return app
        return None

    def live_tasks(self, function_id: str = "", app_id: str = "") -> list[Task]:
        return [
            task
            for task in self.tasks.values()
            if task.is_live
            and function_id in ("", task.function_id)
            and app_id in ("", task.app_id)
        ]

    async def log(self, task: Task, text: str, source: int = 3, state: int = 0) -> None:
        """Add a line: source 1 is stdout, 2 stderr, 3 Modal itself."""
        async with self.logged:
            line = LogLine(
                len(self.logs) + 1,
                time.time(),
                task.app_id,
                task.function_id,
                task.id,
                source,
                text,
                state,
            )
            self.logs.append(line)
            self.logged.notify_all()
