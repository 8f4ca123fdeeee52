"""Arguments, environment and time limits, as text."""

from __future__ import annotations

import pytest
import xllamacpp
from hypothesis import given
from hypothesis import strategies as st

from ggufctl import Runtime
from ggufctl.core.launch import (
    Files,
    Launch,
    alias_of,
    cache_ram_mib,
    check_engine_settings,
    check_passthrough,
    clean_environment,
    llama_cpp_python_args,
    llama_server_args,
    planned_again,
    slug,
    startup_seconds,
)
from ggufctl.errors import UsageError
from ggufctl.remote import embedded_server
from ggufctl.remote.embedded_server import parse


def launch(runtime: Runtime | None = None, **settings: object) -> Launch:
    return Launch(
        files=Files("/models/m-00001-of-00002.gguf"),
        runtime=runtime or Runtime(n_ctx=8192),
        alias="m",
        port=8123,
        **settings,  # type: ignore[arg-type]  # as a test names them
    )


def test_llama_server_is_told_everything_that_keeps_the_plan_and_the_server_safe():
    args = " ".join(llama_server_args(launch(cache_ram_mib=512, n_threads=2)))

    assert args == (
        "-m /models/m-00001-of-00002.gguf -a m --host 127.0.0.1 --port 8123 "
        "-c 8192 -np 4 -kvu -ngl all -fit off --cache-ram 512 --metrics --no-slots --no-ui -lv 4 "
        "-t 2"
    )


def test_what_is_loaded_beside_the_model_is_named_by_its_path():
    runtime = Runtime(n_ctx=512, mmproj="org/repo/mmproj.gguf", lora=("org/lora",))
    files = Files("/m.gguf", mmproj="/mmproj.gguf", lora=("/a.gguf", "/b.gguf"))

    args = llama_server_args(Launch(files=files, runtime=runtime, alias="m"))

    assert "org/lora" not in args
    assert args[args.index("--mmproj") + 1] == "/mmproj.gguf"
    assert [args[i + 1] for i, arg in enumerate(args) if arg == "--lora"] == ["/a.gguf", "/b.gguf"]


def test_a_plan_for_the_cpu_puts_no_layer_on_a_gpu():
    args = llama_server_args(launch(use_gpu=False))

    assert args[args.index("-ngl") + 1] == "0"


def test_the_embedded_server_takes_every_argument_of_ours():
    runtime = Runtime(
        n_ctx=4096,
        n_parallel=2,
        kv_unified=False,
        cache_type_k="q8_0",
        cache_type_v="q8_0",
        flash_attn="on",
        n_batch=1024,
        n_ubatch=256,
        n_cpu_moe=3,
        override_tensor="ffn=CPU",
        no_kv_offload=True,
        split_mode="none",
        tensor_split=(3, 0.5),
        swa_full=True,
        embeddings=True,
        load_mode="mmap",
        mmproj="x",
        draft_model="y",
        lora=("z",),
    )
    files = Files("/m.gguf", "/mmproj.gguf", "/draft.gguf", ("/lora.gguf",))

    found = parse(llama_server_args(Launch(files=files, runtime=runtime, alias="m", n_threads=2)))

    assert found["lora"] == ["/lora.gguf"]
    assert found["n_cpu_moe"] == "3"
    assert found["override_tensor"] == "ffn=CPU"
    assert found["tensor_split"] == "3,0.5"
    assert found["no_kv_offload"] is True
    assert found["kv_unified"] is False
    assert found["slots"] is False
    assert found["ui"] is False


def test_llama_cpp_python_is_told_its_own_words():
    args = llama_cpp_python_args(launch(Runtime(n_ctx=2048, n_batch=256, load_mode="mlock")))

    assert "--n_ctx 2048 --n_batch 256" in " ".join(args)
    assert "--use_mmap False --use_mlock True" in " ".join(args)
    assert "--n_gpu_layers -1" in " ".join(args)
    # Its server keeps logits of every token of the context otherwise.
    assert "--logits_all False" in " ".join(args)


def test_every_engine_is_told_the_shares_of_gpus_in_its_own_words():
    split = launch(Runtime(n_ctx=2048, tensor_split="3/0.5"))
    python = llama_cpp_python_args(split)
    at = python.index("--tensor_split")
    settings = parse(("-ts", "3/0.5,"))
    params = embedded_server._configure(xllamacpp, settings)

    assert "-ts 3,0.5" in " ".join(llama_server_args(split))
    assert python[at + 1 : at + 3] == ("3", "0.5")
    assert params.tensor_split[:3] == [3.0, 0.5, 0.0]
    assert not any(params.tensor_split[2:])
    assert planned_again(("-ts", "3,1")) == ("-ts",)


@pytest.mark.parametrize(
    "argument",
    [
        "--host",
        "--HOST",
        "--port",
        "--api-key",
        "--api_key",
        "--api-key-file",
        "--api-key=x",
        "--rpc",
        "--path",
        "-m",
        "--model",
        "--model-url",
        "-mu",
        "-hf",
        "-hfr",
        "--hf-repo",
        "--hf_token",
        "--tools",
        "--agent",
        "-ag",
        "--mcp-servers-config",
        "--ssl-key-file",
        "--ssl_cert_file",
        "--ui-mcp-proxy",
        "--webui-mcp-proxy",
        "--alias",
        "-a",
        "--api-prefix",
        "--models-dir",
        "--gpt-oss-20b-default",
        "--fim-qwen-7b-spec",
        "--log-prompts-dir",
        "--log-file",
        "--slot-save-path",
        "-lv",
        "--log-jsonl",
        "--docker-repo",
        "--reuse-port",
        "--media-path",
    ],
)
def test_an_argument_that_would_undo_safety_is_refused(argument):
    with pytest.raises(UsageError, match="may not be passed through"):
        check_passthrough(("--temp", "0.5", argument, "x"))


def test_harmless_arguments_pass():
    args = ("--temp", "0.5", "-t", "2", "--threads-http", "8", "--metrics", "-hallo")

    assert check_passthrough(args[:-1]) == args[:-1]


@pytest.mark.parametrize("name", ["vicuna", "vicunna"])
def test_a_name_that_would_be_taken_for_a_template_s_text_is_refused(name):
    with pytest.raises(UsageError):
        check_passthrough(("--temp", "0.5", "--chat-template", name))

    for args in (("--no-jinja", "--chat-template", name), ("--chat-template", "{{ messages }}")):
        assert check_passthrough(args) == args


@given(st.lists(st.text(max_size=20), max_size=5))
def test_what_passes_holds_no_address_and_no_key(args):
    try:
        passed = check_passthrough(args)
    except UsageError:
        return
    normal = [arg.partition("=")[0].strip().casefold().replace("_", "-") for arg in passed]
    assert not {"--host", "--port", "--api-key", "--rpc", "-m", "--model"} & set(normal)


def test_arguments_that_change_the_plan_are_named():
    assert planned_again(("--temp", "0", "-c", "99", "--n_gpu_layers=3")) == (
        "-c",
        "--n_gpu_layers=3",
    )


def test_an_engine_gets_no_secret_and_no_setting_that_nobody_checked():
    environ = {
        "PATH": "/bin",
        "HF_TOKEN": "x",
        "MODAL_TOKEN_SECRET": "x",
        "LLAMA_API_KEY": "x",
        "LLAMA_ARG_HOST": "0.0.0.0",
        "LLAMA_ARG_RPC": "x",
        "OPENAI_API_KEY": "x",
        "GGUFCTL_API_KEY": "x",
        "API_KEY": "x",
    }

    assert clean_environment(environ) == {"PATH": "/bin"}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"n_cpu_moe": 4}, "--n-cpu-moe"),
        ({"override_tensor": "ffn=CPU"}, "--override-tensor"),
        ({"n_parallel": 4}, "--parallel"),
        ({"mmproj": "x"}, "--mmproj"),
        ({"draft_model": "x"}, "--model-draft"),
        ({"swa_full": True}, "--swa-full"),
        ({"lora": ("a", "b")}, "--lora"),
    ],
)
def test_a_flag_that_an_engine_lacks_is_refused_with_the_engines_that_have_it(settings, words):
    with pytest.raises(UsageError, match=words) as caught:
        check_engine_settings("llama-cpp-python", Runtime(**settings))

    assert "llama-server" in caught.value.hint
    check_engine_settings("llama-server", Runtime(**settings))


@pytest.mark.parametrize(
    ("path", "alias"),
    [
        ("/models/Qwen3-30B-Q4_K_M-00001-of-00003.gguf", "Qwen3-30B-Q4_K_M"),
        ("C:\\models\\a b.GGUF", "a-b"),
        ("\x1b[31m.gguf", "31m"),
        ("", "model"),
    ],
)
def test_an_alias_leaks_no_path(path, alias):
    assert alias_of(path) == alias


@given(st.text(max_size=200))
def test_a_slug_is_always_a_name(text):
    assert 0 < len(slug(text)) <= 60


def test_the_time_limit_follows_the_bytes_and_the_measured_rate():
    small, large = startup_seconds(10**8, 1e9), startup_seconds(40 * 10**9, 1e9)

    assert small < large
    assert startup_seconds(40 * 10**9, 1e8) > 5 * large
    assert startup_seconds(10**9, 1e12) == startup_seconds(10**9, 1e9)


def test_the_prompt_cache_takes_a_quarter_of_what_is_left():
    assert cache_ram_mib(4 << 30) == 1024
    assert cache_ram_mib(1 << 40) == 8192
    assert cache_ram_mib(-5) == 0


def test_the_embedded_server_drafts_as_it_is_told():
    def speculation(*args):
        return embedded_server._configure(xllamacpp, parse(args)).speculative

    mtp = speculation("--spec-type", "draft-mtp", "--spec-draft-n-max", "5", "-ctkd", "q8_0")
    named = speculation("-md", "small.gguf")

    kinds = xllamacpp.common_speculative_type
    assert mtp.types == [kinds.COMMON_SPECULATIVE_TYPE_DRAFT_MTP]
    assert (mtp.draft.n_max, mtp.draft.cache_type_k) == (5, xllamacpp.ggml_type.GGML_TYPE_Q8_0)
    assert named.types == [kinds.COMMON_SPECULATIVE_TYPE_DRAFT_SIMPLE]
    assert speculation().types == [kinds.COMMON_SPECULATIVE_TYPE_NONE]


def test_the_embedded_server_knows_what_to_do_with_every_argument_it_takes():
    values = {"n_gpu_layers": "all", "flash_attn": "on", "split_mode": "layer", "fit": "off"}
    values |= {"cache_type_k": "q8_0", "cache_type_v": "iq4_nl", "load_mode": "mmap+mlock"}
    values |= {"override_tensor": "exps=CPU", "spec_type": "draft-mtp"}
    values |= {"spec_draft_type_k": "q8_0", "spec_draft_type_v": "bf16"}

    for option, name in embedded_server._NEEDS_VALUE.items():
        embedded_server._configure(xllamacpp, parse((option, values.get(name, "3"))))
    for option in embedded_server._SWITCHES:
        embedded_server._configure(xllamacpp, parse((option,)))
