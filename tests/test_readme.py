import re

import pytest

from ggufctl import errors
from ggufctl.cli import app
from tests.readme import README, renewed

TEXT = README.read_text(encoding="utf-8")


def test_every_command_shows_what_it_really_prints():
    assert renewed(TEXT) == TEXT


@pytest.mark.parametrize(
    "name", sorted(c.name or c.callback.__name__ for c in app.registered_commands)
)
def test_every_command_is_in_it(name):
    assert f"ggufctl {name}" in TEXT


@pytest.mark.parametrize("name", errors.__all__)
def test_every_exit_code_is_in_it(name):
    code = getattr(errors, name).exit_code

    assert re.search(rf"^\| {code} \|", TEXT, re.M)


def test_the_tests_are_one_command():
    assert "\n    .ci/test\n" in TEXT
