from __future__ import annotations

import os
import re
import stat
import struct
import subprocess
import sys
import zlib
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.ggufs import header, llama, write

from ggufctl.core.plan import Plan
from ggufctl.core.planner import Constraints
from ggufctl.core.runtime import Runtime
from ggufctl.errors import UsageError
from ggufctl.render.plot import SUFFIXES, _spread, check_path, draw, write_plot
from ggufctl.services.picture import pareto_front, picture
from ggufctl.services.plan import estimate, plan, read_model

HOSTILE = "\x1b[2J\u202e<script>alert(1)</script>&amp;]]>$x^{2}$ --> 模型 " + "long-" * 200


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    metadata, tensors = llama(
        n_layer=4,
        n_embd=3072,
        n_vocab=32000,
        n_merges=10,
        type_="q4_K",
        llama__context_length=131072,
        llama__attention__head_count=24,
        llama__attention__head_count_kv=12,
    )
    path = write(tmp_path_factory.mktemp("m") / "tiny-Q4_K_M.gguf", *header(metadata, tensors))
    return plan(read_model(path), Runtime(n_ctx=8192))


def of(planned: Plan, **constraints: object) -> Plan:
    return plan(planned.model, planned.runtime, Constraints(**constraints))  # type: ignore[arg-type]


def hostile(planned: Plan) -> Plan:
    files = tuple(replace(file, path=HOSTILE) for file in planned.model.files)
    model = replace(planned.model, source="hub", ref=HOSTILE, quant="<b>Q</b>", files=files)
    return replace(planned, model=model, warnings=("<img src=x onerror=alert(1)>\x1b[0m",))


def test_the_curve_goes_through_the_estimates(planned):
    found = picture(planned)

    (curve,) = [c for c in found.curves if c.count == 1]
    assert planned.choice is not None
    gpu = planned.choice.row.gpu.name
    for n_ctx, n_bytes in curve.points:
        exact = estimate(planned.model, planned.runtime.with_(n_ctx=n_ctx), (gpu,))
        assert n_bytes == pytest.approx(exact.devices[0].total_bytes, rel=0.003)
    assert planned.runtime.n_ctx in dict(curve.points)
    assert [n for n, _ in curve.points] == sorted({n for n, _ in curve.points})


def test_every_limit_is_what_a_plan_may_fill_and_one_is_the_pick(planned):
    found = picture(planned)

    rows = {row.gpu.name: row for row in planned.gpus if row.estimate is not None}
    assert {limit.gpu for limit in found.limits} == set(rows)
    assert all(x.usable_bytes == rows[x.gpu].usable_bytes_per_gpu for x in found.limits)
    assert sum(limit.is_pick for limit in found.limits) == 1
    assert sum(point.is_pick for point in found.points) == 1


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_a_point_is_on_the_front_when_no_other_is_better(points):
    front = pareto_front([(float(price), float(speed)) for price, speed in points])

    for i, (price, speed) in enumerate(points):
        is_beaten = any(p <= price and s >= speed and (p, s) != (price, speed) for p, s in points)
        assert (i in front) is not is_beaten


@given(st.lists(st.floats(0, 1), max_size=12))
def test_labels_are_moved_apart_within_the_panel(places):
    places.sort()

    found = _spread(places, 0.05)

    assert all(b - a > 0.02 for a, b in pairwise(found))
    assert all(-0.001 <= place <= 1.001 for place in found)


def test_a_png_is_whole_and_large_enough_to_read(planned):
    found = draw(picture(planned), ".png")

    assert found.startswith(b"\x89PNG\r\n\x1a\n")
    assert struct.unpack(">II", found[16:24]) == (1800, 840)
    assert found[-8:-4] == b"IEND"
    assert len(zlib.decompress(b"".join(_data(found)))) >= 1800 * 840 * 3


def _data(png: bytes) -> list[bytes]:
    at, found = 8, []
    while at < len(png):
        (size,) = struct.unpack(">I", png[at : at + 4])
        if png[at + 4 : at + 8] == b"IDAT":
            found.append(png[at + 8 : at + 8 + size])
        at += 12 + size
    return found


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_same_plan_makes_the_same_file(planned, suffix):
    assert draw(picture(planned), suffix) == draw(picture(planned), suffix)


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[str] = []
        self.text = ""

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]

    def handle_data(self, data):
        self.text += data


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_names_from_strangers_are_only_text(planned, suffix):
    found = draw(picture(hostile(planned)), suffix)

    if suffix == ".png":
        assert found.startswith(b"\x89PNG")
        return
    text = found.decode()
    assert "\x1b" not in text
    assert "\u202e" not in text
    if suffix == ".svg":
        tags = {element.tag.rpartition("}")[2] for element in ElementTree.fromstring(text).iter()}
        assert not tags & {"script", "a", "foreignObject", "image"}
        return
    page = _Page()
    page.feed(text)
    assert not {"script", "img", "b"} & set(page.tags)
    assert not [name for name in page.attributes if name.startswith("on")]
    assert "<script>alert(1)</script>" in page.text


def test_a_page_needs_nothing_from_elsewhere_and_holds_the_figures(planned):
    found = draw(picture(planned), ".html").decode()

    page = _Page()
    page.feed(found)
    assert page.tags.count("svg") == 1
    assert not {"link", "script", "iframe"} & set(page.tags)
    assert not re.findall(r'(?:src|href)="(?!#)', re.sub(r'xmlns:?\w*="[^"]*"', "", found))
    assert planned.choice is not None
    assert planned.choice.row.gpu.name in page.text
    for limit in picture(planned).limits:
        assert f"{limit.usable_bytes:,}" in page.text


@pytest.mark.parametrize(
    "constraints",
    [
        {"gpus": ("L4",)},
        {"gpus": ("B300",)},
        {"gpus": ("T4",), "max_usd_per_hour": 0.01},
        {"gpus": ("H100:8",)},
        {"max_context": True},
    ],
    ids=str,
)
@pytest.mark.parametrize("n_ctx", [300, 1 << 22])
def test_every_plan_can_be_drawn(planned, constraints, n_ctx):
    found = plan(planned.model, Runtime(n_ctx=n_ctx, n_parallel=3), Constraints(**constraints))

    assert draw(picture(found), ".html")


def test_the_users_settings_of_matplotlib_change_nothing(planned, tmp_path):
    before = draw(picture(planned), ".svg")
    import matplotlib

    with matplotlib.rc_context({"font.size": 40, "axes.facecolor": "black"}):
        assert draw(picture(planned), ".svg") == before
        assert matplotlib.rcParams["font.size"] == 40


# Files.


@pytest.mark.parametrize(
    "name", ["x.pdf", "x", "png", "x.png.txt", ".png", "no/x.png", "folder.png", ""]
)
def test_a_file_that_cannot_be_is_refused_first(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.png").mkdir()

    with pytest.raises(UsageError):
        check_path(Path(name))


def test_a_picture_replaces_the_file_that_was_there(planned, tmp_path):
    path = tmp_path / "plan.SVG"
    path.write_text("old")

    write_plot(picture(planned), path)

    assert path.read_bytes().startswith(b"<?xml")
    assert list(tmp_path.iterdir()) == [path]
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask


def test_a_picture_that_cannot_be_written_leaves_nothing_behind(planned, tmp_path, monkeypatch):
    import ggufctl.render.plot as module

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / "plan.png").write_text("old")
    monkeypatch.setattr(module.os, "replace", full)

    with pytest.raises(UsageError, match="No space left"):
        write_plot(picture(planned), tmp_path / "plan.png")

    assert [p.name for p in tmp_path.iterdir()] == ["plan.png"]
    assert (tmp_path / "plan.png").read_text() == "old"


def test_the_command_draws_beside_its_plan_and_loads_the_library_only_then(planned, tmp_path):
    path = planned.model.files[0].path

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-X", "importtime", "-m", "ggufctl", "plan", path, *arguments],
            cwd=tmp_path,
            env={
                "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
                "PATH": os.environ.get("PATH", ""),
                "GGUFCTL_CACHE_DIR": str(tmp_path / "cache"),
                "MPLCONFIGDIR": str(tmp_path / "mpl"),
            },
            capture_output=True,
            text=True,
            check=False,
        )

    plain, drawn = call(), call("--plot", "plan.svg")

    assert (plain.returncode, drawn.returncode) == (0, 0)
    assert plain.stdout == drawn.stdout
    assert "plot: plan.svg" in drawn.stderr
    assert "matplotlib" not in plain.stderr
    assert "matplotlib" in drawn.stderr
    assert (tmp_path / "plan.svg").exists()
    assert call("--plot", "plan.pdf").returncode == 2
    assert call("--plot", "no/plan.png").returncode == 2
    assert call("--gpu", "T4", "--max-usd-per-hour", "0.1", "--plot", "p.png").returncode == 5
    assert (tmp_path / "p.png").exists()


def test_what_embeds_is_drawn_by_what_it_reads_and_prices_have_their_date(planned, tmp_path):
    embedding = plan(planned.model, planned.runtime.with_(embeddings=True))
    texts = []
    for number, each in enumerate((planned, embedding)):
        write_plot(picture(each), tmp_path / f"{number}.html")
        texts.append((tmp_path / f"{number}.html").read_text())

    assert ["texts read" in text for text in texts] == [False, True]
    days = {row.gpu.price_as_of for row in planned.gpus}
    assert all(f"prices of the GPUs alone, of {day}" in text for text in texts for day in days)
