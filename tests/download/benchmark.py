"""Our downloads beside the Hub client's own: `python -m tests.download.benchmark`.

Both fetch the same file from the same hub on the loopback into an empty cache, in turns, each in
a process of its own. Ours hashes what it fetches as well, and waits until the disk has it; the
Hub client does neither. Printed is the ratio of the medians, and of a second download of what
is there.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from fakehub import FakeFile, FakeHub

MIB = 1 << 20

OURS = """
import sys, time
from pathlib import Path
from ggufctl.remote.transfer import HubCacheLayout, Job, WantedFile, transfer
import huggingface_hub.utils
huggingface_hub.utils.get_session()
endpoint, root, repo, commit, path, size, sha256 = sys.argv[1:]
began = time.perf_counter()
layout = HubCacheLayout(Path(root), repo, commit, "main")
wanted = (WantedFile(path, int(size), sha256),)
for event in transfer(Job(files=wanted, layout=layout, endpoint=endpoint)):
    pass
print(time.perf_counter() - began)
"""
THEIRS = """
import sys, time
from huggingface_hub import hf_hub_download
import huggingface_hub.utils
huggingface_hub.utils.get_session()
endpoint, root, repo, commit, path, size, sha256 = sys.argv[1:]
began = time.perf_counter()
hf_hub_download(repo, path, revision=commit, cache_dir=root, endpoint=endpoint)
print(time.perf_counter() - began)
"""


def main(n_mib: int = 400, n_rounds: int = 5) -> None:
    """Print both speeds and their ratio."""
    print(f"{n_mib} MiB, {n_rounds} rounds")
    hub_process = subprocess.Popen(
        [sys.executable, __file__, "serve", str(n_mib)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert hub_process.stdout is not None
        told = hub_process.stdout.readline().split()
        first: dict[str, list[float]] = {"ours": [], "theirs": []}
        again: dict[str, list[float]] = {"ours": [], "theirs": []}
        for _ in range(n_rounds):
            for name, code in (("theirs", THEIRS), ("ours", OURS)):
                with tempfile.TemporaryDirectory() as root:
                    for times in (first[name], again[name]):
                        times.append(_run(code, told[0], root, *told[1:]))
    finally:
        hub_process.kill()
        hub_process.wait()
    speed = {name: n_mib / statistics.median(times) for name, times in first.items()}
    print(f"ours   {speed['ours']:8.0f} MiB/s, hashed and flushed")
    print(f"theirs {speed['theirs']:8.0f} MiB/s")
    print(f"ratio  {speed['ours'] / speed['theirs']:8.2f}  (above 1: ours is faster)")
    for name, times in again.items():
        print(f"again, {name:6} {1000 * statistics.median(times):8.1f} ms")


def _run(code: str, endpoint: str, root: str, *told: str) -> float:
    argv = [sys.executable, "-c", code, endpoint, root, *told]
    return float(subprocess.run(argv, capture_output=True, text=True, check=True).stdout)


def serve(n_mib: int) -> None:
    """A hub in a process of its own, so that it is nobody's burden."""
    import hashlib

    block = bytes(range(256)) * 4096
    digest = hashlib.sha256()
    for _ in range(n_mib):
        digest.update(block)

    class Repeated(FakeFile):
        def read(self, start: int, end: int) -> bytes:
            offset = start % MIB
            return (block[offset:] + block)[: end - start]

    file = Repeated(b"", n_mib * MIB)
    file.sha256 = digest.hexdigest()
    with FakeHub(chunk_bytes=MIB) as hub:
        repo = hub.add("acme/fast-GGUF", {"fast-Q8_0.gguf": file})
        name = "fast-Q8_0.gguf"
        print(hub.url, repo.name, repo.commit, name, file.size, file.sha256, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        serve(int(sys.argv[2]))
    else:
        main(*(int(word) for word in sys.argv[1:]))
