"""Of causes that have several reasons the log's own is told, and what it goes on after is not."""

from __future__ import annotations

import pytest

from ggufctl.core.diagnosis import LogReport, diagnose_chunks

LOADING = "srv    load_model: loading model '/m/m.gguf'\n"


def report_of(text: str) -> LogReport:
    *_, report = diagnose_chunks([text.encode()])
    assert isinstance(report, LogReport)
    return report


def first(text: str) -> tuple[str, str]:
    """The id of the root, and everything that is said of it."""
    found = report_of(text).diagnoses[0]
    return found.id, " ".join((found.cause, *found.fix))


@pytest.mark.parametrize(
    ("host", "id", "words"),
    [
        ("127.0.0.1", "port-taken", "port is taken"),
        ("0.0.0.0", "port-taken", "port is taken"),
        ("localhost", "port-taken", "port is taken"),
        ("::", "port-taken", "port is taken"),
        ("203.0.113.77", "address-not-here", "does not belong to this machine"),
        ("fd00::5", "address-not-here", "does not belong to this machine"),
        ("llama.example.invalid", "address-not-here", "does not resolve"),
        ("/run/llama/llama.sock", "address-not-here", "unix socket"),
    ],
)
def test_what_cannot_be_bound_is_told_by_its_address(host, id, words):
    found = first(f"srv  start: couldn't bind HTTP server socket, hostname: {host}, port: 8080\n")

    assert found[0] == id
    assert words in found[1]


@pytest.mark.parametrize("kind", ["lora adapter", "draft model,"])
def test_a_file_beside_the_model_that_is_not_there_is_told_by_its_path(kind):
    log = (
        f"{LOADING}"
        "gguf_init_from_file: failed to open GGUF file '/m/beside.gguf' (No such file or "
        f"directory)\ncmn  common_init_: failed to load {kind} '/m/beside.gguf'\n"
    )

    assert first(log)[0] == "file-missing"
    assert "/m/beside.gguf" in first(log)[1]


def test_an_engine_without_a_file_is_told_by_why_it_was_not_downloaded():
    log = (
        "get_repo_commit: error: GET failed (401): Access to model o/m is restricted. Please log "
        f"in.\n{LOADING}llama_model_load_from_file_impl: exactly one out metadata, path_model, and "
        "file must be defined\n"
    )

    assert first(log)[0] == "hub-gated"


def test_an_engine_without_a_file_that_was_never_asked_for_is_told_as_before():
    log = "llama_model_load_from_file_impl: exactly one out metadata, path_model, and file must be"

    assert first(log)[0] == "hub-not-found"


def test_an_option_that_cmake_warns_of_is_a_remark_and_one_that_it_refuses_a_cause():
    warned = report_of("CMake Warning at CMakeLists.txt:9 (message):\n  LLAMA_CUDA is deprecated\n")
    refused = report_of(
        "CMake Error at CMakeLists.txt:9 (message):\n  LLAMA_CUBLAS is deprecated\n"
    )

    assert warned.diagnoses == ()
    assert [found.id for found in warned.remarks] == ["build-option-warned"]
    assert [found.id for found in refused.diagnoses] == ["build-option-renamed"]


def test_a_removed_option_is_told_with_what_took_its_place():
    _, told = first(
        'error while handling argument "--draft-max": the argument has been removed. use '
        "--spec-draft-n-max\n"
    )

    assert "no longer has the option --draft-max: use --spec-draft-n-max." in told


def test_the_list_of_all_options_names_removed_ones_without_blame():
    log = "--draft, --draft-n N    the argument has been removed. use --spec-draft-n-max or\n"

    assert report_of(log).diagnoses == ()


def test_a_download_that_went_well_at_last_takes_its_tries_back():
    tried = "'timed out' thrown while requesting HEAD https://huggingface.co/o/m\n"

    assert first(tried)[0] == "network-broken"
    assert report_of(f"{tried}✓ Downloaded\n  path: /m/m.gguf\n").diagnoses == ()


@pytest.mark.parametrize(
    ("log", "words"),
    [
        ("error while handling argument \"-sm\": invalid value", "-sm: invalid value"),
        ("done_getting_tensors: wrong number of tensors; expected 21, got 20", "expected 21, got"),
        ('{"error":{"code":400,"message":"no such thing here","type":"invalid_request_error"}}',
         "It says: no such thing here."),
        ("Error: Revision not found in model 'o/m'.", "It says: Revision not found in model"),
    ],
)  # fmt: skip
def test_a_cause_of_many_kinds_is_told_in_the_words_of_its_line(log, words):
    assert words in first(log)[1]


def test_a_number_that_matters_is_seen_among_lines_that_differ_in_nothing_else():
    line = (
        "slot      release: id  0 | task {0} | stop processing: n_tokens = {0}, truncated = {1}\n"
    )
    log = "".join(line.format(n, int(n == 777)) for n in range(100, 999))

    assert [found.id for found in report_of(log).remarks] == ["context-filled"]
    assert report_of(log.replace("truncated = 1", "truncated = 0")).remarks == ()


def test_the_same_in_lines_with_colours():
    line = "slot release: id 0 | task {0} | n_tokens = {0}, truncated = \x1b[3{1}m{1}\x1b[0m\n"
    log = "".join(line.format(n, int(n == 777)) for n in range(100, 999))

    assert [found.id for found in report_of(log).remarks] == ["context-filled"]


@pytest.mark.parametrize(
    ("line", "id"),
    [
        ("bash: line 1: 21657 Bus error               llama-server -m m.gguf", "file-truncated"),
        ("./run.sh: line 3: 42 Aborted      (core dumped) llama-server", "aborted"),
        ("bash: line 1: 42 File size limit exceeded llama-quantize a b Q8_0", "file-size-limit"),
        ("/start.sh: line 9:    42 Segmentation fault (core dumped) $@", "segfault"),
    ],
)
def test_what_a_shell_says_of_how_its_program_died_is_read(line, id):
    assert first(line)[0] == id


@pytest.mark.parametrize(
    ("line", "id"),
    [
        ("Error: Model 'org/m' not found.", "hub-not-found"),
        ("Error: model 'org/m' not found", "model-not-served"),
        ("Error: File not found in model 'org/m'.", "hub-not-found"),
        ("{'error': {'message': 'File Not Found'}}", "endpoint-unknown"),
        ("Error: Access denied. Model 'org/m' requires approval.", "hub-gated"),
        ("Error: Not logged in. Run 'hf auth login' first.", "hub-token"),
    ],
)
def test_what_the_hub_s_command_says_is_not_taken_for_a_server_s_answer(line, id):
    assert first(line)[0] == id


@pytest.mark.parametrize(
    ("log", "id", "words"),
    [
        ("bash: line 1: llama-sever: command not found\n", "command-not-found", "llama-server"),
        ("bash: line 1: HF_TOKEN: command not found\n", "shell-syntax", "without spaces"),
        ("/app/e.sh: line 3: MODEL: unbound variable\n", "shell-syntax", "not set: MODEL"),
        ("bash: a.sh: cannot execute: required file not found\n", "entrypoint-line-ends", "dos2"),
        ("bash: ./engine: cannot execute: required file not found\n", "command-not-found", "glibc"),
        ("Makefile:6: *** Build system changed:\n", "build-option-renamed", "cmake -B build"),
        ("Error: could not load cache\n", "build-not-configured", "Configure first"),
        ("Error: Could not find 'f' in the 'ok.py' file.\n", "modal-invalid", "FILE.py::FUNCTION"),
        (
            '[emerg] 41#41: host not found in upstream "llama" in /etc/nginx/nginx.conf:5\n',
            "proxy-config",
            "name of the service",
        ),
        (
            "TypeError: Llama.__init__() got an unexpected keyword argument 'ctx_size'\n",
            "module-missing",
            "n_ctx not ctx_size",
        ),
        (
            "get_repo_commit: error: GET failed (401): Invalid username or password.\n",
            "hub-token",
            "OWNER/NAME",
        ),
    ],
)
def test_what_helps_is_what_the_words_beside_a_cause_call_for(log, id, words):
    found = first(log)

    assert found[0] == id
    assert words in found[1]


_UP = "srv  llama_server: model loaded\nsrv  llama_server: listening on http://127.0.0.1:8080\n"
_NOBODY = "curl: (7) Failed to connect to localhost port 9 after 0 ms: Couldn't connect to server\n"


def test_a_client_that_reaches_nobody_counts_beside_a_server_only_as_the_log_ends():
    answered = "srv  log_server_r: request: GET /health 127.0.0.1 200\n" * 3

    assert first(f"{_UP}{_NOBODY}[exit code: 7]\n")[0] == "connection-refused"
    assert report_of(f"{_NOBODY}{_UP}").diagnoses == ()
    assert report_of(f"{_UP}{_NOBODY}{answered}").diagnoses == ()


def test_a_hub_that_fails_at_every_try_is_not_called_offline():
    log = (
        "HTTP Error 503 thrown while requesting HEAD https://huggingface.co/o/m/resolve/main/m\n"
        "LocalEntryNotFoundError: An error happened while trying to locate the file on the Hub\n"
    )

    assert first(log)[0] == "hub-server-error"


def test_a_download_that_was_asked_to_wait_and_went_on_is_not_blamed():
    log = (
        "HTTP Error 429 thrown while requesting HEAD https://huggingface.co/o/m/resolve/main/m\n"
        "Rate limited. Waiting 3.0s before retry [Retry 1/5].\n"
    )

    assert first(log)[0] == "hub-rate-limit"
    assert report_of(f"{log}✓ Downloaded\n").diagnoses == ()
