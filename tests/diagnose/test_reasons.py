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
