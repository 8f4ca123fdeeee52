from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest

from fakehub import FakeFile, FakeHub
from ggufctl import completion, errors
from ggufctl.catalog import load_catalogue
from ggufctl.core.planner import Constraints
from ggufctl.core.runtime import Runtime
from ggufctl.documents.plan import GpusDocument, NameDocument, PlanDocument
from ggufctl.render import plan as render
from ggufctl.services.plan import plan_by_name, plan_reference
from tests.ggufs import header, llama, write

GOLDEN = Path(__file__).parent / "golden"
MODEL = "tiny-3B-Q4_K_M.gguf"
MOE_REPO = "DavidAU/Llama-3.2-8X3B-MOE-Dark-Champion-Instruct-uncensored-abliterated-18.4B-GGUF"
SHAPE = {
    "n_layer": 28,
    "n_embd": 3072,
    "n_vocab": 32000,
    "n_merges": 10,
    "type_": "q4_K",
    "llama__context_length": 131072,
    "llama__attention__head_count": 24,
    "llama__attention__head_count_kv": 12,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A directory with one model in it."""
    write(tmp_path / MODEL, *header(*llama(**SHAPE)))
    return tmp_path


def environment(folder: Path, **more: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    return {
        **kept,
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "HOME": str(folder),
        "HF_HOME": str(folder / "hf"),
        "HF_ENDPOINT": os.environ["HF_ENDPOINT"],
        "GGUFCTL_CACHE_DIR": str(folder / "cache"),
        "TYPER_USE_RICH": "0",
        "COLUMNS": "80",
        "NO_COLOR": "1",
        **more,
    }


def ggufctl(folder: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ggufctl", *arguments],
        cwd=folder,
        env=environment(folder, **more),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def assert_golden(name: str, text: str) -> None:
    """Compare with the kept text; `GGUFCTL_UPDATE_GOLDEN=1` keeps the new one instead."""
    path = GOLDEN / name
    if os.environ.get("GGUFCTL_UPDATE_GOLDEN") == "1":
        path.write_text(text, encoding="utf-8")

    assert text == path.read_text(encoding="utf-8")


# What every command does.


@pytest.mark.parametrize("flag", ["--version", "-V"])
def test_the_version_is_name_and_number_and_nothing_else(tmp_path, flag):
    found = ggufctl(tmp_path, flag)

    assert (found.returncode, found.stdout, found.stderr) == (0, "ggufctl 0.1.0\n", "")
    assert ggufctl(tmp_path, "-q", flag).stdout == "ggufctl 0.1.0\n"


def test_the_version_is_that_of_the_package():
    import tomllib

    from ggufctl import __version__

    project = Path(__file__).parents[1] / "pyproject.toml"
    assert tomllib.loads(project.read_text())["project"]["version"] == __version__


@pytest.mark.parametrize("command", [[], ["plan"], ["gpus"], ["schema"]], ids=" ".join)
def test_help_shows_examples_and_exit_codes(tmp_path, command):
    found = ggufctl(tmp_path, *command, "--help")

    assert found.returncode == 0
    assert found.stderr == ""
    assert_golden(f"help-{'-'.join(command) or 'root'}.txt", found.stdout)


@pytest.mark.parametrize("group", [[], ["models"], ["calibration"]], ids=" ".join)
def test_no_command_is_summed_up_in_half_a_sentence(tmp_path, group):
    listed = ggufctl(tmp_path, *group, "--help", COLUMNS="80").stdout.partition("Commands:\n")[2]
    lines = listed.partition("\n\n")[0].splitlines()

    assert lines
    assert all(re.fullmatch(r"  [a-z]+ +.*\.", line) and "..." not in line for line in lines)
    assert max(map(len, lines)) <= 78


def test_the_exit_codes_in_the_help_are_those_of_the_errors(tmp_path):
    text = ggufctl(tmp_path, "--help").stdout

    for name in errors.__all__:
        assert f" {getattr(errors, name).exit_code}  " in text


def test_without_arguments_the_help_is_shown_and_the_exit_code_is_that_of_usage(tmp_path):
    found = ggufctl(tmp_path)

    assert found.returncode == 2
    assert "plan" in found.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["plan"],
        ["plan", MODEL, "--bogus"],
        ["bogus"],
        ["plan", MODEL, "-np", "many"],
        ["plan", MODEL, "-np", "0"],
        ["plan", MODEL, "-c", "lots"],
        ["plan", MODEL, "-ctk", "q9_9"],
        ["plan", MODEL, "-fa", "maybe"],
        ["plan", MODEL, "-ngl", "some"],
        ["plan", MODEL, "-sm", "row"],
        ["plan", MODEL, "-fa", "off", "-ctv", "q8_0"],
        ["plan", MODEL, "--gpu", "H9000"],
        ["plan", MODEL, "--gpu", "H100:9"],
        ["plan", MODEL, "--max-usd-per-hour", "-3"],
        ["plan", MODEL, "--quant", "Q8_0"],
        ["schema", "bogus"],
    ],
    ids=" ".join,
)
def test_a_request_that_makes_no_sense_is_one_sentence_and_exit_2(folder, arguments):
    found = ggufctl(folder, *arguments)

    assert found.returncode == 2
    assert found.stdout == ""
    assert found.stderr.startswith("error: ")
    assert "Traceback" not in found.stderr


def test_an_error_is_a_sentence_a_blank_line_and_a_hint(folder):
    lines = ggufctl(folder, "plan", MODEL, "--gpu", "H9000").stderr.splitlines()

    assert lines[0].startswith("error: ")
    assert lines[1] == ""
    assert lines[2].startswith("hint: ")
    assert len(lines) == 3


def test_with_json_the_last_line_of_stderr_is_the_error_as_json(folder):
    found = ggufctl(folder, "plan", "./nothing.gguf", "--json")

    assert found.returncode == 3
    assert found.stdout == ""
    body = json.loads(found.stderr.splitlines()[-1])
    assert body["error"]["code"] == "model_not_found"
    assert "nothing.gguf" in body["error"]["message"]


def test_debugging_shows_where_an_error_came_from(folder):
    found = ggufctl(folder, "plan", "./nothing.gguf", GGUFCTL_DEBUG="1")

    assert found.returncode == 1
    assert "Traceback" in found.stderr


def test_a_reader_that_goes_away_is_no_error_to_talk_about(folder):
    process = subprocess.Popen(
        [sys.executable, "-m", "ggufctl", "schema", "plan"],
        cwd=folder,
        env=environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.close()
    _, stderr = process.communicate(timeout=60)

    assert stderr == b""
    assert process.returncode == 0


def test_a_reader_that_goes_away_still_gets_the_exit_code_of_the_plan(folder):
    process = subprocess.Popen(
        [sys.executable, "-m", "ggufctl", "plan", MODEL, "--max-usd-per-hour", "0.01", "--json"],
        cwd=folder,
        env=environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.close()
    _, stderr = process.communicate(timeout=60)

    assert stderr.startswith(b"error: ")
    assert process.returncode == 5


@pytest.mark.parametrize("arguments", [("--version",), ("gpus",), ("plan", MODEL, "--json")])
def test_a_full_disk_is_an_error_in_plain_words(folder, arguments):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "ggufctl", *arguments],
            cwd=folder,
            env=environment(folder),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )

    assert done.stderr == "error: The output cannot be written: No space left on device.\n"
    assert done.returncode == 1


def in_shell(folder, command: str, redirection: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["sh", "-c", f'"{sys.executable}" -m ggufctl {command} {redirection}'],
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        check=False,
    )


@pytest.mark.parametrize("inputs", ["", "<&-"])
@pytest.mark.parametrize("command", ["--version", "--help", f"plan {MODEL} --json", "schema plan"])
def test_output_that_a_closed_stdout_loses_is_an_error(folder, command, inputs):
    done = in_shell(folder, command, f"{inputs} >&-")

    said = b"error: The output cannot be written: standard output is closed.\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, b"", said)


@pytest.mark.parametrize(
    ("closed", "command", "code"),
    [
        ("2>&-", "plan missing.gguf", 3),
        (">&- 2>&-", "plan missing.gguf", 3),
        ("<&- >&- 2>&-", f"plan {MODEL}", 1),
        (">&- 2>/dev/null", "ps", 0),
    ],
)
def test_a_closed_stream_that_loses_nothing_leaves_the_code(folder, closed, command, code):
    done = in_shell(folder, command, closed)

    assert (done.returncode, done.stdout, done.stderr) == (code, b"", b"")


@pytest.mark.parametrize("command", ["--help", f"plan {MODEL} --json", "schema plan"])
def test_a_reader_that_goes_away_is_no_failure(folder, command):
    done = subprocess.run(
        ["sh", "-c", f'{{ "{sys.executable}" -m ggufctl {command}; echo $? >&2; }} | head -c 1'],
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        check=False,
    )

    assert done.stderr == b"0\n"


def test_a_terminal_that_knows_few_characters_gets_the_plan_too(folder):
    done = ggufctl(folder, "plan", MODEL, "--name-only", PYTHONIOENCODING="ascii")

    assert done.returncode == 0


@pytest.fixture
def silent_server() -> Iterator[socket.socket]:
    """Takes connections and never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        server.settimeout(30)
        yield server


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_plan_with_the_code_of_the_signal(tmp_path, silent_server, sent, code):
    url = f"http://127.0.0.1:{silent_server.getsockname()[1]}/model.gguf"
    process = subprocess.Popen(
        [sys.executable, "-m", "ggufctl", "plan", url],
        cwd=tmp_path,
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    connection, _ = silent_server.accept()
    with connection:
        process.send_signal(sent)
        _, stderr = process.communicate(timeout=30)

    assert process.returncode == code
    assert b"Traceback" not in stderr


@pytest.mark.parametrize("module", ["signal", "typer"])
def test_an_interrupt_while_it_still_loads_is_no_traceback(tmp_path, module):
    (tmp_path / f"{module}.py").write_text(
        "import sys, time\nprint('loading', file=sys.stderr, flush=True)\ntime.sleep(60)\n"
    )
    env = environment(tmp_path)
    env["PYTHONPATH"] = os.pathsep.join((str(tmp_path), env["PYTHONPATH"]))
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "ggufctl", "ps"],
        cwd=tmp_path,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    assert process.stderr.readline() == b"loading\n"
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=30)

    assert (process.returncode, stdout, stderr) == (130, b"", b"")


def test_importing_the_command_line_loads_nothing_heavy():
    heavy = ["modal", "huggingface_hub", "httpx2", "httpx", "numpy", "rich", "pydantic"]
    code = f"import sys, ggufctl.cli; print([m for m in {heavy} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert found.stdout.strip() == "[]"


def test_a_plan_of_a_file_as_json_loads_nothing_heavy(folder):
    code = (
        "import sys\n"
        "from ggufctl.__main__ import main\n"
        f"sys.argv = ['ggufctl', 'plan', {MODEL!r}, '--json']\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = 'modal huggingface_hub httpx2 httpx numpy rich pydantic'.split()\n"
        "print([m for m in heavy if m in sys.modules], file=sys.stderr)"
    )
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        check=True,
    )

    assert found.stderr.strip() == "[]"
    assert json.loads(found.stdout)["choice"]


def test_the_shell_completes_gpus_and_quants(tmp_path):
    def completed(words: str) -> list[str]:
        found = ggufctl(
            tmp_path,
            _GGUFCTL_COMPLETE="complete_bash",
            COMP_WORDS=f"ggufctl plan {words}",
            COMP_CWORD=str(len(words.split()) + 1),
        )
        return found.stdout.split()

    assert completed("--gpu L") == ["L4", "L40S", "L20"]
    assert "Q4_K_M" in completed("--quant Q4")


# Plans.


def test_a_pipe_gets_tab_separated_values_that_are_never_cut(folder):
    found = ggufctl(folder, "plan", MODEL, "--gpu", "T4,L4")

    assert found.returncode == 0
    assert_golden("plan.tsv", found.stdout)
    assert_golden("plan-summary.txt", found.stderr)


@pytest.mark.parametrize(
    "command",
    [("plan", MODEL, "-q"), ("-q", "plan", MODEL), ("plan", MOE_REPO, "--name-only", "-q")],
)
def test_quiet_prints_nothing_and_leaves_the_word_to_the_exit_code(folder, command):
    found = ggufctl(folder, *command)

    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")


def test_quiet_keeps_errors_and_the_json_that_was_asked_for(folder):
    refused = ggufctl(folder, "plan", MODEL, "-q", "--max-usd-per-hour", "0.01")
    asked = ggufctl(folder, "plan", MODEL, "-q", "--json")

    assert (refused.returncode, refused.stdout) == (5, "")
    assert refused.stderr.startswith("error: ")
    assert asked.stdout == ggufctl(folder, "plan", MODEL, "--json").stdout


def test_the_line_that_a_plan_says_to_run_is_taken_as_it_is(folder):
    first = ggufctl(folder, "plan", MODEL, "-np", "2", "-ctk", "q8_0", "-ctv", "q8_0")
    line = next(line for line in first.stderr.splitlines() if line.startswith("run: "))
    options = line.partition(MODEL)[2].split()
    again = ggufctl(folder, "plan", MODEL, *options)

    assert "-fit" in options
    assert (again.returncode, again.stdout, again.stderr) == (0, first.stdout, first.stderr)


def test_what_llama_server_says_otherwise_means_the_same(folder):
    def runtime(*options: str) -> dict[str, object]:
        return json.loads(ggufctl(folder, "plan", MODEL, "--json", *options).stdout)["runtime"]

    assert runtime("--no-mmap", "-np", "-1", "-ngl", "all") == runtime("-lm", "none")
    assert runtime("--mlock") == runtime("-lm", "mmap+mlock")
    assert runtime("--mlock", "--no-mmap") == runtime("-lm", "mlock")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("-mg", "1"), "-mg/--main-gpu is not planned: --gpu says"),
        (("--rope-scale=2",), "--rope-scale is not planned: "),
        (("-ts", "-3,1"), "-ts/--tensor-split takes numbers of 0 or more, not '-3'."),
        (("-dev", "CUDA0"), "-dev/--device is not planned: --gpu says"),
        (("--rope-scaling", "yarn"), "--rope-scaling is not planned: "),
        (("-hf", "org/repo"), "-hf/--hf-repo is not taken: the model is the command's argument"),
        (("-fit", "on"), "-fit/--fit on lets llama.cpp change what was planned."),
        (("-zz", "3"), "No such option: -zz."),
        (("--gpu", ""), "--gpu names no GPU."),
    ],
)
def test_options_that_are_not_taken_are_named_in_full_with_the_reason(folder, options, said):
    found = ggufctl(folder, "plan", MODEL, *options)

    assert (found.returncode, found.stdout) == (2, "")
    assert found.stderr.startswith(f"error: {said}")


def test_shares_of_gpus_are_planned_from_an_option_a_variable_or_a_file(folder, tmp_path):
    def row(*options: str, **environ: str) -> tuple[list[float], list[int], list[str]]:
        done = ggufctl(folder, "plan", MODEL, "--json", "--gpu", "L4:2", *options, **environ)
        plan = json.loads(done.stdout)
        devices = plan["gpus"][0]["memory"]["devices"]
        weights = [device["weights_bytes"] for device in devices]
        return plan["runtime"]["tensor_split"], weights, plan["choice"]["engine_args"]

    config = tmp_path / "config.toml"
    config.write_text('[plan]\ntensor-split = "3,1"\n')
    _, even, args = row()
    found = row("-ts", "3,1")
    shares, weights, told = found

    assert "-ts" not in args
    assert shares == [3.0, 1.0]
    assert sum(weights) == sum(even)
    assert weights[0] > even[0]
    assert told[told.index("-ts") + 1] == "3,1"
    assert found == row("--tensor-split=3/1,") == row(GGUFCTL_TENSOR_SPLIT="3,1")
    assert found == row(GGUFCTL_CONFIG=str(config))


def test_a_configuration_file_that_is_named_has_to_be_there(folder):
    found = ggufctl(folder, "plan", MODEL, GGUFCTL_CONFIG="/nowhere/c.toml")

    assert found.returncode == 2
    assert found.stderr.startswith("error: GGUFCTL_CONFIG names '/nowhere/c.toml'")


def test_a_misspelt_variable_is_remarked_once_and_never_in_the_data(folder):
    found = ggufctl(folder, "plan", MODEL, GGUFCTL_CTXSIZE="4096", GGUFCTL_THREADS="2")

    assert found.returncode == 0
    assert found.stderr.count("GGUFCTL_CTXSIZE") == 1
    assert "GGUFCTL_THREADS" not in found.stderr
    assert ggufctl(folder, "plan", MODEL, "-q", GGUFCTL_CTXSIZE="4096").stderr == ""


@pytest.mark.parametrize(
    "options", [("-t", "-4"), ("--startup-timeout", "0"), ("--startup-timeout", "-1")]
)
def test_numbers_that_mean_nothing_are_refused_before_anything_is_done(folder, options):
    found = ggufctl(folder, "serve", MODEL, "--on", "local", "--dry-run", *options)

    assert (found.returncode, found.stdout) == (2, "")


@pytest.mark.parametrize("options", [("--temp", "-5"), ("--top-p", "2"), ("-t", "-1")])
def test_samplers_and_threads_of_a_chat_are_held_to_their_ranges(folder, options):
    found = ggufctl(folder, "chat", "http://127.0.0.1:9/v1", "Hi", *options)

    assert found.returncode == 2
    assert options[0].lstrip("-").partition("-")[0] in found.stderr


def test_json_is_the_published_document_in_whole_numbers(folder):
    found = ggufctl(folder, "plan", MODEL, "--json", "--gpu", "T4,L4")

    assert (found.returncode, found.stderr) == (0, "")
    document = PlanDocument.model_validate_json(found.stdout)
    assert document.choice is not None
    assert document.choice.modal_gpu == ["T4", "L4"]
    for gpu in document.gpus:
        assert gpu.memory is not None
        device = gpu.memory.devices[0]
        assert device.total_bytes == sum(term.best_bytes for term in device.terms)
    assert_golden("plan.json", found.stdout)


def test_what_does_not_fit_is_exit_5_with_the_plan_and_the_ladder(folder):
    found = ggufctl(folder, "plan", MODEL, "--gpu", "T4:1", "-c", "131072", "--json")

    assert found.returncode == 5
    document = json.loads(found.stdout)
    assert document["choice"] is None
    assert document["gpus"][0]["short_by_bytes"] > 0
    assert document["ladder"]
    assert json.loads(found.stderr.splitlines()[-1])["error"]["code"] == "does_not_fit"


def test_a_budget_that_buys_nothing_is_exit_5(folder):
    found = ggufctl(folder, "plan", MODEL, "--max-usd-per-hour", "0.10")

    assert found.returncode == 5
    assert "budget" in found.stderr


def test_llama_servers_own_short_options_are_understood(folder):
    found = ggufctl(
        folder,
        *("plan", MODEL, "--json", "-c", "4096", "-np", "2", "-kvu", "-ctk", "q8_0"),
        *("-ctv", "q8_0", "-fa", "on", "-b", "1024", "-ub", "256", "-ngl", "all", "-sm", "layer"),
    )
    runtime = json.loads(found.stdout)["runtime"]

    assert (
        runtime
        | {
            "n_ctx": 4096,
            "n_parallel": 2,
            "kv_unified": True,
            "cache_type_k": "q8_0",
            "cache_type_v": "q8_0",
            "flash_attn": "on",
            "n_batch": 1024,
            "n_ubatch": 256,
            "n_gpu_layers": -1,
            "split_mode": "layer",
        }
        == runtime
    )


@pytest.mark.parametrize(("text", "n_ctx"), [(None, 8192), ("0", 131072), ("777", 777)])
def test_the_context_is_8192_the_models_own_or_what_is_asked_for(folder, text, n_ctx):
    options = [] if text is None else ["-c", text]
    found = ggufctl(folder, "plan", MODEL, "--json", "--gpu", "H200", *options)

    assert json.loads(found.stdout)["runtime"]["n_ctx"] == n_ctx


def test_the_context_can_be_as_long_as_fits(folder):
    found = json.loads(ggufctl(folder, "plan", MODEL, "--json", "--gpu", "T4", "-c", "max").stdout)

    assert 8192 < found["runtime"]["n_ctx"] == found["choice"]["max_n_ctx"] < 131072


def test_flags_beat_variables_and_variables_beat_the_configuration_file(folder):
    config = folder / ".config" / "ggufctl" / "config.toml"
    config.parent.mkdir(parents=True)
    config.write_text('[plan]\nctx-size = 1024\ngpu = "L4"\nparallel = 2\n')

    def runtime(*options: str, **more: str) -> dict[str, int]:
        found = ggufctl(folder, "plan", MODEL, "--json", *options, **more)
        assert found.returncode == 0, found.stderr
        return dict(json.loads(found.stdout)["runtime"])

    assert runtime()["n_ctx"] == 1024
    assert runtime()["n_parallel"] == 2
    assert runtime(GGUFCTL_CTX_SIZE="2048")["n_ctx"] == 2048
    assert runtime("-c", "4096", GGUFCTL_CTX_SIZE="2048")["n_ctx"] == 4096


@pytest.mark.parametrize("text", ["not toml", "[bogus]\na=1", "[plan]\nbogus = 1", "plan = 3"])
def test_a_configuration_file_that_makes_no_sense_is_exit_2(folder, text):
    config = folder / "own.toml"
    config.write_text(text)

    found = ggufctl(folder, "plan", MODEL, GGUFCTL_CONFIG=str(config))

    assert found.returncode == 2
    assert "own.toml" in found.stderr


@pytest.mark.parametrize(
    "text",
    [
        "parallel = 2.5",
        "parallel = {a = 1}",
        "lora = 5",
        "mmproj = true",
        "swa-full = [true]",
        "gpu = {}",
        "max-usd-per-hour = true",
    ],
)
def test_a_setting_of_the_wrong_type_is_exit_2_and_named(folder, text):
    (folder / "c.toml").write_text(f"[plan]\n{text}\n")

    found = ggufctl(folder, "plan", MODEL, GGUFCTL_CONFIG="c.toml")

    assert found.returncode == 2
    assert f"--{text.split()[0]}" in found.stderr.splitlines()[0]


def test_a_list_of_gpus_may_be_a_list_in_the_configuration_file(folder):
    (folder / "c.toml").write_text('[plan]\ngpu = ["L4", "T4"]\n')

    found = ggufctl(folder, "plan", MODEL, "--json", GGUFCTL_CONFIG="c.toml")

    assert {row["gpu"] for row in json.loads(found.stdout)["gpus"]} == {"L4", "T4"}


def test_a_user_without_a_home_directory_can_plan_too(folder):
    nobody = {"GGUFCTL_CACHE_DIR": "~nobody-at-all/x", "XDG_CONFIG_HOME": "~nobody-at-all"}

    found = ggufctl(folder, "plan", "http://127.0.0.1:9/Model-7B-Q4_K_M.gguf", **nobody)

    assert found.returncode == 8
    assert "Traceback" not in found.stderr
    assert list(folder.glob("~*")) == []


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
def test_no_table_cuts_anything(folder, width):
    plan = plan_reference(str(folder / MODEL), Runtime(), Constraints())
    shown = StringIO()

    render.show_plan(plan, shown, width=width)
    render.show_gpus(load_catalogue(), shown, width=width)
    render.show_name(plan_by_name(MOE_REPO), shown, width=width)

    assert "…" not in shown.getvalue()


@pytest.mark.parametrize("width", [40, 57, 58, 72])
def test_a_narrow_terminal_shows_what_has_room(folder, width):
    plan = plan_reference(str(folder / MODEL), Runtime(), Constraints())
    shown = StringIO()

    render.show_plan(plan, shown, width=width)

    table = shown.getvalue().split("pick:")[0].splitlines()[1:]
    assert all(len(line) <= width for line in table)
    assert "verdict" in table[0]


def test_verbose_explains_the_peak(folder):
    found = ggufctl(folder, "plan", MODEL, "-v", "-q")
    assert found.stderr == ""

    found = ggufctl(folder, "plan", MODEL, "-v")
    assert "CUDA0 compute buffer" in found.stderr
    assert " + " in found.stderr
    assert "CUDA overhead: estimated" in found.stderr


def test_every_shard_must_be_there(folder):
    from tests.ggufs import shards

    files = shards(*llama(**SHAPE), 3)
    for number, (raw, size) in enumerate(files, 1):
        if number != 2:
            write(folder / f"big-{number:05d}-of-00003.gguf", raw, size)

    found = ggufctl(folder, "plan", "big-00001-of-00003.gguf")

    assert found.returncode == 6
    assert "big-00002-of-00003.gguf" in found.stderr


# Names.


def test_the_name_alone_gives_the_rule(tmp_path):
    found = ggufctl(tmp_path, "plan", MOE_REPO, "--name-only")

    assert (found.returncode, found.stderr) == (0, "")
    assert_golden("name.tsv", found.stdout)


def test_the_name_alone_as_json(tmp_path):
    found = ggufctl(tmp_path, "plan", MOE_REPO, "--name-only", "--json")
    document = NameDocument.model_validate_json(found.stdout)

    assert document.detected.rule is not None
    assert document.detected.rule.engine_flags == "--n-cpu-moe 80"


def test_the_name_of_something_else_is_exit_7(tmp_path):
    found = ggufctl(tmp_path, "plan", "TheBloke/Llama-2-7B-GPTQ", "--name-only")

    assert found.returncode == 7
    assert "GPTQ" in found.stderr


def test_without_a_hub_the_name_is_printed_and_the_exit_code_tells_the_truth(tmp_path):
    found = ggufctl(tmp_path, "plan", MOE_REPO, HF_ENDPOINT="http://127.0.0.1:9")

    assert found.returncode == 8
    assert found.stdout.startswith("# from the name only, header not read\n")
    assert "H100" in found.stdout
    assert found.stderr.startswith("error: ")


def test_without_a_hub_json_stays_empty(tmp_path):
    found = ggufctl(tmp_path, "plan", MOE_REPO, "--json", HF_ENDPOINT="http://127.0.0.1:9")

    assert (found.returncode, found.stdout) == (8, "")
    assert json.loads(found.stderr.splitlines()[-1])["error"]["code"] == "remote_error"


# Repositories.


def quants(*labels: tuple[str, str]) -> dict[str, FakeFile | bytes]:
    return {
        f"Tiny-{label}.gguf": FakeFile(*header(*llama(**{**SHAPE, "type_": type_})))
        for label, type_ in labels
    }


def test_of_a_repository_the_best_quant_on_the_gpu_of_q4_k_m_is_taken(hub: FakeHub, tmp_path):
    types = {"Q2_K": "q2_K", "Q4_K_M": "q4_K", "Q6_K": "q6_K", "Q8_0": "q8_0", "F16": "f16"}
    hub.add("acme/Tiny-3B-GGUF", quants(*types.items()))
    found = ggufctl(tmp_path, "plan", "acme/Tiny-3B-GGUF", "--json", "--gpu", "T4")

    assert (found.returncode, found.stderr) == (0, "")
    document = PlanDocument.model_validate_json(found.stdout)
    assert document.model.ref == "acme/Tiny-3B-GGUF:Q8_0"
    assert document.model.files[0].path == "Tiny-Q8_0.gguf"
    assert [quant.quant for quant in document.quants] == ["F16", "Q8_0", "Q6_K", "Q4_K_M", "Q2_K"]
    assert [quant.is_exact for quant in document.quants] == [False, True, False, False, False]


def test_a_typo_in_a_quant_is_exit_3_with_what_was_meant(hub: FakeHub, tmp_path):
    hub.add("acme/Tiny-3B-GGUF", quants(("Q4_K_M", "q4_K"), ("Q8_0", "q8_0")))
    found = ggufctl(tmp_path, "plan", "acme/Tiny-3B-GGUF:Q4_K_N")

    assert found.returncode == 3
    assert "Q4_K_M" in found.stderr


def test_an_ambiguous_repository_is_exit_2_with_the_choices(hub: FakeHub, tmp_path):
    file = FakeFile(*header(*llama(**SHAPE)))
    hub.add("acme/Two-GGUF", {"a-Q4_K_M.gguf": file, "b-Q4_K_M.gguf": file})
    found = ggufctl(tmp_path, "plan", "acme/Two-GGUF", "--json")

    assert (found.returncode, found.stdout) == (2, "")
    choices = json.loads(found.stderr.splitlines()[-1])["error"]["choices"]
    assert choices == ["acme/Two-GGUF/a-Q4_K_M.gguf", "acme/Two-GGUF/b-Q4_K_M.gguf"]


def test_the_second_plan_asks_the_hub_once(hub: FakeHub, tmp_path):
    hub.add("acme/Tiny-3B-GGUF", quants(("Q4_K_M", "q4_K"), ("Q8_0", "q8_0")))
    first = ggufctl(tmp_path, "plan", "acme/Tiny-3B-GGUF", "--json")
    before = len(hub.requests())
    second = ggufctl(tmp_path, "plan", "acme/Tiny-3B-GGUF", "--json")

    assert len(hub.requests()) - before <= 1
    assert first.stdout == second.stdout


# Catalogue and schemas.


def test_gpus_are_listed_for_people_pipes_and_programs(tmp_path):
    found = ggufctl(tmp_path, "gpus")
    assert_golden("gpus.tsv", found.stdout)

    document = GpusDocument.model_validate_json(ggufctl(tmp_path, "gpus", "--json").stdout)
    assert document.gpus[-1].cuda_bytes is None

    screen = StringIO()
    render.show_gpus(load_catalogue(), screen, width=80)
    assert_golden("gpus.txt", screen.getvalue())


@pytest.mark.parametrize("document", completion.SCHEMAS)
def test_the_schema_changes_on_purpose_only(tmp_path, document):
    found = ggufctl(tmp_path, "schema", document)

    assert_golden(f"schema-{document}.json", found.stdout)


# Tables.


@pytest.mark.parametrize("width", [80, 140])
def test_a_terminal_gets_a_table_of_its_width(folder, monkeypatch, width):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("NO_COLOR", "1")
    plan = plan_reference(MODEL, Runtime(), Constraints())
    screen = StringIO()
    render.show_plan(plan, screen, width=width)

    table = screen.getvalue().split("pick:")[0]
    assert all(len(line) <= width for line in table.splitlines())
    assert_golden(f"plan-{width}.txt", screen.getvalue())


def test_a_name_is_shown_under_its_heading():
    screen = StringIO()
    render.show_name(plan_by_name(MOE_REPO), screen, width=80)

    assert screen.getvalue().startswith("from the name only, header not read\n")
    assert "--n-cpu-moe 80" in screen.getvalue()


def test_a_repository_is_shown_as_quants_by_gpus(hub: FakeHub):
    labels = (("Q2_K", "q2_K"), ("Q4_K_M", "q4_K"), ("Q8_0", "q8_0"), ("F16", "f16"))
    hub.add("acme/Tiny-3B-GGUF", quants(*labels))
    screen = StringIO()
    plan = plan_reference("acme/Tiny-3B-GGUF", Runtime(), Constraints())
    render.show_plan(plan, screen, width=80)

    assert_golden("repo-80.txt", screen.getvalue())
