import re
import shutil
import tempfile
from pathlib import Path

import pytest
from typer.main import get_command

from ggufctl import errors
from ggufctl.cli import app
from tests.modal_standin.server import StandIn
from tests.readme import GENERATED, README, generated, renewed
from tests.readme_scenes import SCENES, Scene, commands, scenes, stage, unread

TEXT = README.read_text(encoding="utf-8")
COMMANDS = get_command(app).commands


def test_every_command_shows_what_it_really_prints():
    assert renewed(TEXT) == TEXT


@pytest.mark.parametrize("name", sorted(GENERATED))
def test_every_generated_part_is_there_once(name):
    assert TEXT.count(f"<!-- begin {name} -->\n") == TEXT.count(f"<!-- end {name} -->\n") == 1


def test_what_is_generated_is_what_the_program_and_its_reports_say():
    assert generated(TEXT) == TEXT


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_is_in_it(name):
    assert f"ggufctl {name}" in TEXT
    assert any(f"ggufctl {name}" in command.line for command in commands(TEXT))


@pytest.mark.parametrize("name", errors.__all__)
def test_every_exit_code_is_in_it(name):
    code = getattr(errors, name).exit_code

    assert re.search(rf"^\| {code} \|", TEXT, re.M)


def test_the_tests_are_one_command():
    assert "\n    .ci/test\n" in TEXT


def test_no_command_is_left_unexecuted():
    """Console blocks are run by `renewed`, the others by their scene, or ELSEWHERE says by whom."""
    assert unread(TEXT) == []
    assert set(SCENES) <= set(scenes(TEXT))


def test_commands_within_a_sentence_exist():
    for spoken in re.findall(r"`ggufctl ([^`\n]*)`", TEXT):
        name = spoken.split()[0]
        assert name in COMMANDS or name.startswith("-") or name.isupper(), spoken


def test_links_within_lead_somewhere():
    headings = re.findall(r"^#+ (.*)$", TEXT, re.M)
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}

    assert set(re.findall(r"\]\(#([^)]*)\)", TEXT)) <= anchors


@pytest.fixture
def modal_url():
    """Modal on loopback, whose containers have a healthy server in them."""
    folder = Path(tempfile.mkdtemp(prefix="gm"))
    try:
        with StandIn(folder) as running:
            running.faults.engine["*"] = "healthy"
            yield running
            assert running.state.unimplemented == []
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize("heading", sorted(scenes(TEXT)))
def test_every_command_whose_output_varies_does_what_it_is_said_to_do(heading, request):
    scene = SCENES.get(heading, Scene())
    modal = request.getfixturevalue("modal_url") if scene.on_modal else None
    with stage(modal.url if modal else "") as staged:
        for line in scene.before:
            staged.play(line)
        if scene.is_asleep:
            for task in modal.live_tasks():
                modal.run(modal.containers.stop(task))
        for line in scenes(TEXT)[heading]:
            staged.play(line, scene.codes.get(line, frozenset({0})))
        staged.close()

    assert staged.executed == [*scene.before, *scenes(TEXT)[heading]]
