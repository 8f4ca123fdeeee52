"""Downloads that are killed at random points, again and again: `python -m tests.download.kill 50`.

Each time the process gets SIGKILL, sometimes two at once. In between nothing may have a file's name
but the whole file, and a file that was whole is never asked for again. In the end every byte is
right, and no more was sent than the files have, but for what was on the wire when a kill came.
"""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from fakehub import FakeFile, FakeHub
from ggufctl.remote.layout import FlatLayout, HubCacheLayout, Layout, WantedFile, is_whole

REPO = "acme/killed-GGUF"
SIZES = (2_500_000, 4_000_001, 3_333_333, 1)
SECONDS_PER_CHUNK = 0.004

CHILD = """
import sys
from pathlib import Path
from ggufctl.remote.transfer import FlatLayout, HubCacheLayout, Job, WantedFile, transfer
kind, endpoint, root, repo, commit, *files = sys.argv[1:]
if kind == "flat":
    layout = FlatLayout(Path(root), repo, commit)
else:
    layout = HubCacheLayout(Path(root), repo, commit, "main")
wanted = tuple(WantedFile(p, int(n), s) for p, n, s in zip(files[::3], files[1::3], files[2::3]))
for event in transfer(Job(files=wanted, layout=layout, endpoint=endpoint, n_workers=2)):
    pass
"""


@dataclass
class Tally:
    """What happened."""

    n_kills: int = 0
    n_downloads: int = 0
    n_mid_body: int = 0
    n_resumed: int = 0
    bytes_needed: int = 0
    bytes_sent: int = 0
    problems: list[str] = field(default_factory=list)


def main(n_kills: int, seed: int = 0) -> Tally:
    """Kill that many times, over as many downloads as that takes."""
    tally, dice = Tally(), random.Random(seed)
    with FakeHub(seconds_per_chunk=SECONDS_PER_CHUNK) as hub:
        contents = [random.Random(i).randbytes(size) for i, size in enumerate(SIZES)]
        repo = hub.add(
            REPO,
            {f"m-{i:05d}-of-00004.gguf": FakeFile.whole(c) for i, c in enumerate(contents, 1)},
        )
        while tally.n_kills < n_kills:
            with tempfile.TemporaryDirectory() as folder:
                kind = ("flat", "cache")[tally.n_downloads % 2]
                layout: Layout = (
                    FlatLayout(Path(folder), REPO, repo.commit)
                    if kind == "flat"
                    else HubCacheLayout(Path(folder), REPO, repo.commit, "main")
                )
                _one_download(tally, dice, hub, layout, kind, n_kills)
    return tally


def _one_download(
    tally: Tally, dice: random.Random, hub: FakeHub, layout: Layout, kind: str, n_kills: int
) -> None:
    repo = hub.repos[REPO]
    files = [WantedFile(path, f.size, f.sha256) for path, f in repo.files.items()]
    words = [str(word) for f in files for word in (f.path, f.size_bytes, f.sha256)]
    argv = [sys.executable, "-c", CHILD, kind, hub.url, str(layout.root), REPO, repo.commit, *words]
    whole: set[str] = set()
    hub.log.clear()
    sent_before = hub.n_sent
    for round_no in range(1000):
        n_logged = len(hub.log)
        n_children = 2 if dice.random() < 0.2 else 1
        children = [subprocess.Popen(argv, stdout=subprocess.DEVNULL) for _ in range(n_children)]
        # The last run of a download is left to finish, and sometimes an earlier one is as well.
        spare = tally.n_kills >= n_kills or round_no >= 8
        killed = False if spare else _kill_at_random(dice, hub, children, sum(SIZES))
        codes = [child.wait() for child in children]
        tally.n_kills += killed
        asked = {r.path.rpartition("/")[2]: r for r in hub.log[n_logged:]}
        tally.n_resumed += sum(bool(r.range) for r in hub.log[n_logged:] if r.on_cdn)
        tally.problems += [f"{path} was asked for again" for path in sorted(whole & set(asked))]
        if killed:
            tally.n_mid_body += any(layout.partial(f).exists() for f in files)
        for file in files:
            final = layout.final(file)
            if final.exists():
                if final.read_bytes() != repo.files[file.path].head:
                    tally.problems.append(f"{file.path} is not whole under its name")
                if is_whole(layout, file):
                    whole.add(file.path)
            elif file.path in whole:
                tally.problems.append(f"{file.path} was lost")
        if not killed:
            tally.problems += [f"a run ended with {code}" for code in codes if code]
            break
    tally.problems += [f"{f.path} is missing" for f in files if f.path not in whole]
    tally.problems += [f"{p} is left" for p in layout.root.rglob("*.incomplete")]
    tally.problems += [f"{p} is left" for p in layout.root.rglob("*.partial")]
    tally.n_downloads += 1
    tally.bytes_needed += sum(SIZES)
    tally.bytes_sent += hub.n_sent - sent_before


def _kill_at_random(
    dice: random.Random, hub: FakeHub, children: list[subprocess.Popen[bytes]], n_bytes: int
) -> bool:
    """SIGKILL after a random number of bytes, or a random time; whether it was in time."""
    began, before = time.monotonic(), hub.n_sent
    by_bytes = dice.random() < 0.8
    bytes_limit = int(n_bytes * dice.random() * 0.5)
    seconds_limit = dice.uniform(0.0, 2.0)
    while all(child.poll() is None for child in children):
        if by_bytes and hub.n_sent - before >= bytes_limit and hub.n_sent > before:
            break
        if not by_bytes and time.monotonic() - began >= seconds_limit:
            break
        time.sleep(0.001)
    alive = [child for child in children if child.poll() is None]
    for child in alive:
        child.kill()
    return bool(alive)


if __name__ == "__main__":
    result = main(int(sys.argv[1]) if len(sys.argv) > 1 else 50)
    lost = result.bytes_sent / result.bytes_needed - 1
    print(
        f"{result.n_kills} SIGKILLs over {result.n_downloads} downloads of {len(SIZES)} files, "
        f"{result.n_mid_body} in the middle of a file; {result.n_resumed} files were continued"
    )
    print(f"bytes sent beyond the files' own: {100 * lost:.1f}% (on the wire when a kill came)")
    print("\n".join(result.problems) or "nothing lost, nothing half-taken, nothing fetched twice")
    sys.exit(bool(result.problems))
