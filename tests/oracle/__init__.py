"""The oracle: llama.cpp's own word on what it allocates, for any model and setting, without a GPU.

It is llama.cpp at the pinned build, its library and the host's half of its CUDA backend, compiled
as they stand and linked to a stand-in for the CUDA runtime. Planning memory never runs a kernel,
so the answers are llama.cpp's own, to the byte. `tests/truth` holds what was recorded; the oracle
says the rest, and is how a new build of llama.cpp is measured. Nothing in `.ci` needs it.

Build it once, with clang 19 or newer (about five core-minutes and 300 MB in `.ci/cache/oracle`;
`GGUFCTL_ORACLE` names another folder):

    apt-get install clang cmake g++ make
    python -m tests.oracle.build --jobs 2

Ask it, and hold it against the recorded runs:

    python -m tests.oracle.ask MODEL.gguf '{"n_ctx": 8192, "device": "l4x2"}'
    python -m tests.oracle.check 300

Move to another build of llama.cpp:

1.  Change the pin in `ggufctl.core._pins`, delete `.ci/cache/oracle` and build.
2.  Where a name of cuBLAS is new, declare it in `include/cublas_v2.h`. Where a function of CUDA
    is new and needs only succeed, add it to `SUCCEEDING` in `build.py`; where it answers
    something, write it into `stand_in.cpp`. Where planning calls a file of ggml-cuda that was
    left out, the answer is an `OracleError` that names the function: add its file to
    `HOST_SOURCES`.
3.  `python -m tests.oracle.check` says which recorded runs have changed, and how.
4.  Make models of architectures that are new, and record everything again:

        mkdir -p models && .ci/cache/oracle/generate models
        python -m tests.oracle.record models > runs.jsonl
        python -m tests.truth.pack models runs.jsonl

    `record` takes real headers as well: a header and a hole behind it are enough. What its
    spread leaves out (tiny batches on every kind of GPU, `-nkvo`, `-ot`) comes from
    `python -m tests.oracle.more` and is packed with `--add`. `python -m tests.oracle.drafts`
    says how to record what drafting with nextn/MTP blocks takes.
5.  `python -m tests.truth.report` says what of our own is to follow.

Files: `oracle.cpp` answers, `stand_in.cpp` plays the GPU, `generate.cpp` writes small models from
llama.cpp's own test of its architectures, `include/` has what stands in for large headers.
"""
