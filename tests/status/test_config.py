"""`config`: what is set, where it comes from, and nothing of a secret; `schema` without a name."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path

import pytest

from ggufctl import completion
from ggufctl.config import Option, Origin, Setting
from ggufctl.documents.config import ConfigDocument
from ggufctl.render.config import show_config
from serving import ggufctl

TOKEN = "hf_abcdefghijklmnopqrstuvwx"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "own.toml"
    path.write_text('[serve]\nctx-size = 4096\nfallback = false\n[plan]\ngpu = ["L4", "T4"]\n')
    return path


def document(*args: str, state: Path, **more: str) -> ConfigDocument:
    found = ggufctl("config", *args, "--json", state=state, **more)
    assert found.returncode == 0, found.stderr
    return ConfigDocument.model_validate(json.loads(found.stdout))


def test_each_setting_says_where_it_comes_from(state, file):
    found = document("serve", state=state, GGUFCTL_CONFIG=str(file), GGUFCTL_PARALLEL="4")

    by_name = {setting.option: setting for setting in found.settings}
    ctx, slots, batch = (by_name[f"--{n}"] for n in ("ctx-size", "parallel", "batch-size"))
    assert (ctx.value, ctx.origin, ctx.source) == ("4096", "file", str(file))
    assert (slots.value, slots.origin, slots.source) == ("4", "variable", "GGUFCTL_PARALLEL")
    assert (batch.value, batch.origin, batch.source) == ("2048", "default", None)
    assert batch.variable == "GGUFCTL_BATCH_SIZE"
    assert by_name["--fallback"].value == "false"
    assert {setting.command for setting in found.settings} == {"serve"}
    assert found.config_file.path == str(file) and found.config_file.exists
    assert found.state_directory.path == str(state) and not found.state_directory.exists


def test_the_file_may_use_any_long_name_of_an_option(state, file):
    file.write_text("[chat]\npredict = 3\n[plan]\nn-gpu-layers = 8\n")

    found = document(state=state, GGUFCTL_CONFIG=str(file), GGUFCTL_THREADS="")

    assert {(s.command, s.value) for s in found.settings} == {("chat", "3"), ("plan", "8")}


def test_without_a_command_only_what_is_set_is_shown(state, file):
    env = {"GGUFCTL_CONFIG": str(file), "GGUFCTL_THREADS": ""}
    few = document(state=state, **env)
    every = document("--all", state=state, **env)

    assert {(s.command, s.option, s.value) for s in few.settings} == {
        ("serve", "--ctx-size", "4096"),
        ("serve", "--fallback", "false"),
        ("plan", "--gpu", "L4,T4"),
    }
    assert len(every.settings) > 100


def test_a_secret_is_said_to_be_set_and_never_shown(state, tmp_path):
    secrets = {"HF_TOKEN": TOKEN, "GGUFCTL_API_KEY": "k" * 40, "MODAL_TOKEN_SECRET": "s" * 30}
    for args in ((), ("--json",), ("--all",)):
        found = ggufctl("config", *args, state=state, **secrets)

        assert found.returncode == 0, found.stderr
        assert "(set)" in found.stdout
        for value in secrets.values():
            assert value not in found.stdout + found.stderr


def test_a_variable_that_nothing_reads_is_named(state):
    found = ggufctl("config", state=state, GGUFCTL_CTXSIZE="1")

    assert "GGUFCTL_CTXSIZE is set, and no option reads it" in found.stderr
    assert document(state=state, GGUFCTL_CTXSIZE="1").unread_variables == ["GGUFCTL_CTXSIZE"]


@pytest.mark.parametrize("text", ["[serve]\nbogus = 1", "[bogus]\na = 1", "x ="])
def test_a_mistake_anywhere_in_the_file_is_found(state, tmp_path, text):
    path = tmp_path / "own.toml"
    path.write_text(text)

    found = ggufctl("config", "plan", state=state, GGUFCTL_CONFIG=str(path))

    assert found.returncode == 2
    assert "own.toml" in found.stderr


def test_a_command_that_is_none_is_a_wrong_use(state):
    found = ggufctl("config", "bogus", state=state)

    assert found.returncode == 2
    assert "serve" in found.stderr


def test_a_table_of_another_command_is_no_mistake(state, file):
    assert ggufctl("gpus", state=state, GGUFCTL_CONFIG=str(file)).returncode == 0


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_no_table_of_settings_cuts_anything(width):
    path = "/home/somebody/with/quite/a/long/path/to/the/configuration/of/ggufctl/config.toml"
    model = "organisation/Model-With-A-Very-Long-Name-Instruct-GGUF:UD-Q4_K_XL" * 2
    option = Option("serve", "--spec-draft-model", "model_draft", None, "GGUFCTL_MODEL_DRAFT")
    shown = StringIO()

    show_config(
        {"config_file": (path, False)},
        [Setting(option, model, Origin.FILE, path)],
        [("HF_HOME", path)],
        n_hidden=3,
        width=width,
        stream=shown,
    )

    text = shown.getvalue()
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width
    for part in (path, "--spec-draft-model", "3 settings at their defaults"):
        assert "".join(part.split()) in "".join(text.split()) or width < 120


def test_schema_without_a_document_lists_them(state):
    found = ggufctl("schema", state=state)

    assert found.stdout.split() == list(completion.SCHEMAS)


def test_a_key_is_said_to_be_set_and_an_address_is_shown_without_its_password(state):
    given = {
        "OPENAI_API_KEY": "sk-private",
        "OPENAI_BASE_URL": "https://me:private@host/v1?token=private",
    }
    found = document(state=state, **given)

    shown = {each.name: each.value for each in found.variables}
    assert shown["OPENAI_API_KEY"] == "(set)"
    assert "host/v1" in shown["OPENAI_BASE_URL"]
    assert "private" not in str(found)
