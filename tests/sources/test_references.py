from __future__ import annotations

from pathlib import Path

import pytest

from ggufctl.errors import UsageError
from ggufctl.sources.references import ReferenceKind, parse_reference


@pytest.mark.parametrize(
    ("text", "repo", "quant", "revision", "path"),
    [
        ("org/repo", "org/repo", "", "", ""),
        ("org/repo/", "org/repo", "", "", ""),
        ("org/repo:Q4_K_M", "org/repo", "Q4_K_M", "", ""),
        ("org/repo:UD-Q4_K_XL", "org/repo", "UD-Q4_K_XL", "", ""),
        ("org/repo@v1.0", "org/repo", "", "v1.0", ""),
        ("org/repo@v1:Q8_0", "org/repo", "Q8_0", "v1", ""),
        ("org/repo:Q8_0@v1", "org/repo", "Q8_0", "v1", ""),
        ("org/repo@refs/pr/7", "org/repo", "", "refs/pr/7", ""),
        ("org/repo@refs/pr/7:Q8_0", "org/repo", "Q8_0", "refs/pr/7", ""),
        ("org/repo@refs/pr/7/d/f.gguf", "org/repo", "", "refs/pr/7", "d/f.gguf"),
        ("org/repo/a.gguf", "org/repo", "", "", "a.gguf"),
        ("org/repo/dir/a.gguf", "org/repo", "", "", "dir/a.gguf"),
        ("org/repo/dir/a.gguf@abc", "org/repo", "", "abc", "dir/a.gguf"),
        ("org/repo@abc/dir/a.gguf", "org/repo", "", "abc", "dir/a.gguf"),
        ("org/repo/Q4_K_M", "org/repo", "", "", "Q4_K_M"),
        ("hf://org/repo/a.gguf", "org/repo", "", "", "a.gguf"),
        ("hf://models/org/repo:Q8_0", "org/repo", "Q8_0", "", ""),
        ("hf.co/org/repo:Q8_0", "org/repo", "Q8_0", "", ""),
        ("huggingface.co/org/repo", "org/repo", "", "", ""),
        ("https://hf.co/org/repo:Q8_0", "org/repo", "Q8_0", "", ""),
        ("https://huggingface.co/org/repo", "org/repo", "", "", ""),
        ("https://huggingface.co/org/repo?library=llama", "org/repo", "", "", ""),
        ("https://huggingface.co/org/repo/tree/main", "org/repo", "", "main", ""),
        ("https://huggingface.co/org/repo/tree/main/Q8", "org/repo", "", "main", "Q8"),
        ("https://huggingface.co/org/repo/blob/v1/a.gguf", "org/repo", "", "v1", "a.gguf"),
        (
            "https://huggingface.co/org/repo/resolve/refs/pr/3/d/a%20b.gguf?download=true",
            "org/repo",
            "",
            "refs/pr/3",
            "d/a b.gguf",
        ),
        ("HTTPS://HuggingFace.co/org/repo", "org/repo", "", "", ""),
    ],
)
def test_every_spelling_of_a_hub_reference_is_taken_apart(
    text: str, repo: str, quant: str, revision: str, path: str
) -> None:
    found = parse_reference(text)

    assert found.kind is ReferenceKind.HUB
    assert (found.repo, found.quant, found.revision, found.path) == (repo, quant, revision, path)


def test_another_endpoint_is_the_hub_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.example:8443/mirror/")

    found = parse_reference("https://hub.example:8443/mirror/org/repo/resolve/main/a.gguf")

    assert (found.repo, found.path) == ("org/repo", "a.gguf")


def test_any_other_url_is_a_file_and_its_query_is_not_shown() -> None:
    found = parse_reference("https://user:pw@host.example/d/m.gguf?X-Signature=s3cret#x")

    assert found.kind is ReferenceKind.URL
    assert found.text == "https://host.example/d/m.gguf"
    assert "s3cret" in found.url


def test_what_exists_here_is_local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "org").mkdir()
    (tmp_path / "org" / "repo.gguf").write_bytes(b"GGUF")
    monkeypatch.chdir(tmp_path)

    for text in ("org/repo.gguf", "./org/repo.gguf", str(tmp_path / "org"), "org"):
        assert parse_reference(text).kind is ReferenceKind.LOCAL


def test_an_empty_directory_does_not_hide_a_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "org" / "repo").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)

    assert parse_reference("org/repo").kind is ReferenceKind.HUB


@pytest.mark.parametrize("text", ["m.gguf", "./m", "../x/m.gguf", "/abs/m.gguf", "~/m.gguf"])
def test_what_looks_like_a_path_is_local_even_when_it_is_not_there(text: str) -> None:
    assert parse_reference(text).kind is ReferenceKind.LOCAL


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "repo",
        "org/repo:",
        "org/re po",
        "org/repo:Q4:Q5",
        "../../etc/passwd:Q4",
        "org/../x/y",
        "org/repo/../../x.gguf",
        "org/repo@../x",
        "org//repo",
        "-org/repo",
        "org/repo\x1b[2J",
        "s3://bucket/m.gguf",
        "http://",
        "http://[::1",
        "https://host:port/x.gguf",
        "https://huggingface.co/datasets/a/b",
        "https://huggingface.co/",
        "org/repo\0",
        "org/" + "r" * 200,
    ],
)
def test_nonsense_is_a_usage_error_in_plain_words(text: str) -> None:
    try:
        found = parse_reference(text)
    except UsageError as error:
        assert error.exit_code == 2
        assert (error.message + error.hint).isprintable()
    else:
        assert found.kind is ReferenceKind.LOCAL
        assert text.startswith("..")
