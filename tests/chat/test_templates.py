"""Chat templates by name and in Jinja, as llama-server takes them."""

from __future__ import annotations

import pytest

from ggufctl.core.templates import BUILT_IN_TEMPLATES, template_args
from ggufctl.errors import UsageError


def test_jinja_and_the_one_name_that_its_engine_knows_go_on_as_they_are():
    text = "{{ messages[-1].content }}"

    assert template_args(text) == ("--chat-template", text)
    assert template_args("chatml") == ("--chat-template", "chatml")
    assert template_args("") == ()


def test_every_other_name_leaves_jinja_which_would_take_it_for_the_whole_prompt():
    names = [name for name in BUILT_IN_TEMPLATES if name != "chatml"]

    assert {template_args(name) for name in names} == {
        ("--no-jinja", "--chat-template", name) for name in names
    }


def test_what_is_neither_a_name_nor_jinja_is_refused_with_the_nearest_names():
    with pytest.raises(UsageError) as caught:
        template_args("vicunia")

    assert "vicuna" in caught.value.hint
