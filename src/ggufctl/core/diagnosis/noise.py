"""Lines that sound like a failure and tell none, by the programs that write them."""

from __future__ import annotations

import re

__all__ = ["is_noise"]

_NOISE = {
    "gdb, which an engine that aborts calls for a backtrace": (
        r"^ptrace: Operation not permitted",
        r"^Could not attach to process",
        r"^No stack\.",
        r"^\d*\s*(?:in )?\.{1,2}/(?:nptl|sysdeps)/.{0,80}: No such file or directory",
        r"^If your uid matches the uid of the target process",
    ),
    "llama.cpp: an output that is tried as a type first, types without a name, half an answer": (
        r"\bcould not use bundle path to find ggml-metal",
        r"^main: invalid ftype '[^']*[/\\]",
        r"^llama_model_loader: unknown type [a-z]",
        r"^AMX is not ready to be used",
        r"^Failed to parse up to error: ",
        r"^\s*\d+: (?:STRING|BOOL|U?INT\d+|FLOAT\d+|\[\w+\]) +\|",
        # Keys that older projectors do without; of one that is needed an exception tells.
        r"\bkey clip\.\S+ not found in file",
        r"\bfailed to munlock buffer",
        r"n_ctx_train \(0\)",
        r"^state_read_meta: failed to find available cells",
        r"\bCUDA graph update failed",
        r"^failed to set process priority",
        r"\bcannot reallocate multi buffer graph automatically",
        r"\bfor async uploads\b|\bdoes not support async, host buffers",
        r"\bsearch path .{0,300} does not exist",
        r"\busing cached file \((?:offline mode|HEAD failed)",
        r"\(utf-8 decode failure\)",
        r"\bunable to match sampler\b|\bskip invalid path: ",
        r"\bcontext full, swapping\b|<<input too long: skipped",
    ),
    "rocBLAS, which then takes another library": (
        r"\brocBLAS error: No hipBLASLt solution found|\brocBLAS warning: hipBlasLT failed",
    ),
    "chat templates, which engines print as they stand in the header": (
        r"^\s*\{[%{][-\s]",
        r"^Model metadata: \{",
    ),
    "GPT4All, which tries a library for each kind of GPU": (
        r"^Failed to load \S*llamamodel-mainline-",
    ),
    "Ollama, of what it does instead": (
        r"\bfailed to get console mode for std(?:out|err|in): ",
        r"\bmsg=\"(?:envconfig: could not|truncating (?:input|native chat) messages|cloud proxy |"
        r"bad manifest name\b|model does not support thinking, relaxing|predicted usage exceeds|"
        r"failed to (?:load model metadata|pull cloud stub|decode manifest config|parse legacy)|"
        r"llama-server model predicted to exceed)",
    ),
    "ggufctl, of what it does without, and its doctor, before anything is begun": (
        r"^without the Hub: ",
        r"^(?:\"(?:cause|text)\": \")?Port \d+ is taken by another program\.",
        r"^(?:\"(?:cause|text)\": \")?There is no Hugging Face token: gated ",
    ),
    "LM Studio, of formats that its engines do not have": (
        r"Failed to get best backend for model format '(?!gguf)",
    ),
    "Modal": (
        r"^Failed to retrieve error logs",
        r"snapshot restore failed; retrying task without snapshot",
        r"\bfailed to emit event: queue full",
        r"Previous token in profile .{0,60}has been deleted",
        r"Could not open web browser automatically",
    ),
    "Hub clients, of what is optional": (
        r"does not exist in your Colab secrets",
        r"^Branch '[^']*' not found\. Creating it",
        r"^Rate limited\. Waiting ",
        r"/api/agent-harnesses\b",
    ),
    "TensorFlow, PyTorch, vLLM and those that use them, of what they do without": (
        r"Unable to register cu\w+ factory",
        r"\[c10d\] The client socket cannot be initialized",
        r"\bUnable to resolve hostname to a \(local\) address\. Using",
        r"^Error retrieving (?:safetensors|file list)\b",
        r"^Cannot use FA version \d",
        r"^clang \(LLVM option parsing\): Unknown command line argument",
        r"^Examining the path of torch\.classes raised",
        r"\[_\w{1,20}_ops\.py:\d+\] Import error msg: ",
        r"^Could not estimate the number of tokens of the input",
        r"^Unsloth: Failed to patch",
        r"'pin_memory' argument is set",
        r"model cost map|\bOTel V2: |\bfetch swallowed\b",
    ),
    "Chromium, on which desktop programs are built: its own use of the GPU": (
        r"\b(?:gpu_process_host|viz_main_impl|gpu_channel_manager|gl_factory|angle_platform_impl|"
        r"vaapi_wrapper)\.cc\b",
        r"^GPU process (?:exited|launch)",
    ),
    "kernels of machines that work, and what lists their hardware": (
        r"^nvme nvme\d+: failed to allocate host memory buffer",
        r"^AMD-Vi: Unknown option",
        r"mem 0x\S+ could not be reserved",
        r"Cannot allocate resource for (?:mainboard|EISA)",
        r"Speculative Return Stack Overflow",
        r"^Vulnerability [A-Z]",
        r"\(no PNP device found\)",
        r"^cfg80211: failed to load regulatory\.db",
        r"^ccp \S+ (?:ccp: unable to access the device|tee: )",
        r"^\s*cl[A-Z]\w+\(\w",
        r"couldn't retrieve kernel system call list",
    ),
    "programs, of what they have caught": (r"^recovered from ",),
    "programs that their user ends, and their shell": (
        r"^(?:KeyboardInterrupt|GeneratorExit)\b",
        r"^Cancel \d+ running task\(s\), timeout graceful shutdown exceeded",
        r"^\[\d+\][+-]? +Terminated\b",
        r"^npm (?:error|ERR!) code 130\b",
        r"^Error: Manager got SIGINT|\bwas sent SIG(?:TERM|INT)\b",
    ),
    "services that such stacks have, of what they do without": (
        r"^logger=provisioning\.\w+ ",
        r"^Failed to send telemetry event ",
        r"(?:^|: )Cannot read proc file '/proc/",
        r"\bunable to add it to cache\b",
        r"^\[PM2\]\[ERROR\] Process \S+ not found",
        r"^# occurrences +Error$|\s# fail(?:s|ures)\b",
        r"^\S{1,80}: info: ",
    ),
    "measures of errors": (
        r"(?i:\b(?:absolute|relative|mean|squared?|max|min|avg|average|median|rms|percentage|"
        r"rounding|quantization|total|number of) (?:\w{1,20} ){0,2}errors?\b\W{1,20}\d)",
    ),
    "listings of files, of what stands in them, and of a process's calls": (
        r"^[-dl][rwxsStT-]{9}[.+@]?\s",
        r"^[\w./-]{1,200}\.(?:md|rst|py|cpp|c|h|hpp|go|rs|ts|js|cu|java):\d{1,6}:"
        r"(?!GGML_ASSERT|error|fatal)(?=[^\d\s]|\s{2,})",
        r"^\w{2,20}\(.{0,400}\) += -1 E[A-Z]+ \(",
    ),
    "CI, of caches": (r"^Failed to save: Unable to reserve cache|^Cache not found for",),
    "programs whose reader has seen enough, such as head": (
        r"^(?:[^\s:]{1,40}: (?:line \d+: )?){1,3}write error: Broken pipe$",
        r"^BrokenPipeError: \[Errno 32\] Broken pipe$",
        r"^dpkg-deb: error: tar subprocess was killed by signal \(Broken pipe\)",
    ),
    "help, of options as text or as a table, and of exit codes": (
        r"^\s*-{1,2}[A-Za-z][\w-]*(?:,? {1,20}-{1,2}[A-Za-z][\w-]*){0,4}"
        r"(?: {1,20}[A-Z<{\[]\S{0,60}){0,3}(?: {2,}|\t+)[A-Za-z(]",
        r"^\| ?`-",
        r"^\s*\d{1,3} {2,4}[a-z][a-z ]{3,40}$",
        r"^\s*\d{1,3} {2,4}[a-z][a-z ]{3,40} {2,}\d{1,3} {1,3}\S",
        r"\bDOCKER ENDPOINT\b",
    ),
    "source that is printed, by tracebacks, compilers and test runners": (
        r"^[-+]?\s*(?:raise [A-Z]\w*\(|assert .{1,200}, f?['\"]|except\b.{0,200}:$)",
        r"^\s*\w[\w .*]{0,80}\(.{0,1000};\s{0,4}[})]{1,8};?$",
        r"^(?:│\s*(?:❱\s*)?\d{1,5}\s+│|❱\s*\d{1,5}\s+│|-{2,6}> ?\d{1,5} )[\s│]*"
        r"(?:raise\b|print\b|.{0,200}['\"][^'\"]{0,200}\s[^'\"]{0,200}['\"])",
    ),
    "texts that are given to a model, as a list": (r"^\s*\"(?:[^\"\\]|\\.){120,}\",$",),
    "builds, which try what may not be there, and pip": (
        # CMake looks for the commit of sources that came as an archive, and for packages.
        r"^fatal: not a git repository",
        r"^--   (?:Package '.{0,200}', required by '|No package ')",
        r"\bconftest\.c(?:c|pp|xx)?:\d",
        r"meson-private[/\\]tmp",
        r"required by 'virtual:world', not found",
        r"^warning: no (?:previously-included )?files (?:found )?matching ",
        r"a yanked version: ",
        r"^Ignoring (?:failed|invalid) Requires-Python|\bLink requires a different Python\b",
        r"\bcache-control directive\b",
        r"Unable to locate actual module version, using",
        r"^W: Download is performed unsandboxed",
    ),
    "test runners, of what passes, is skipped or expected, and counters of none": (
        r"^# (?:ERROR|FAIL|XPASS): +0$",
        r"^(?:PASSED|SKIPPED|XFAIL|XPASS)\b",
        r"^\S{1,200}\.py::(?!.*\b(?:FAILED|ERROR)\b)",
        r"\b(?:PASSED|XFAIL|SKIPPED)(?: \(.{0,200}\))?(?: {1,80}\[ {0,2}\d+%\])?$",
        r"^not ok \d+ - .*# (?:TODO|SKIP)",
        r"^ok \d+ |^\s*--- PASS: |^=== RUN ",
        r"^\s*[✔✓√]\s(?!App completed|Downloaded|Created|Initialized|.{0,400}\bError )",
        r"^\s*(?:↓|[○✎] (?:skipped|todo)) ",
        r"(?<!\.)\.{8,200}[^.]{0,80}(?:Passed|Skipped)",
        r"^(?:SKIP|PASS|XFAIL):? \S+ \(exit status",
    ),
    "git, of commits, and what traces it and shells": (
        r"^(?:[0-9a-f]{7,40} )?\s{0,8}(?:fix|feat|chore|docs|tests?|ci|refactor|perf|style|revert)"
        r"(?:\([\w./ -]{1,40}\))?!?: ",
        r"^\[[\w./-]+(?: \(root-commit\))? [0-9a-f]{7,40}\] ",
        r"^(?:\* )?(?=\d{0,11}[a-f])[0-9a-f]{7,12} [A-Za-z(]",
        r"^trace git-lfs: |\bHEAD@\{\d+\}: ",
        r"^\+{1,4} [\w./~-]+(?: |$)",
    ),
    "a terminal's recorder, of a user's Ctrl-C": (
        r"^Script done on .{0,80}COMMAND_EXIT_CODE=\"(?:0|130)\"",
    ),
    "servers, of strangers, of clients that left, and of what browsers ask every server for": (
        r"open\(\) \"[^\"]*(?:favicon\.ico|robots\.txt|\.(?:php|env|git/\w+|xml|png|aspx?|cgi|map))"
        r"\" failed",
        r"^\S+ - - \[[^\]]{1,40}\] code 40[0-9], message ",
        r"^[0-9a-f]{8}:[\w.-]+\.(?:cli|srv)(?:hdr|req|rep|cls)\[",
        r"aborting with incomplete response",
        r"use of closed network connection",
        r"\bhandled request(?:$|[\s:]{1,3}\{)",
        r"^aiohttp\.http_exceptions\.Bad",
        r"^(?:websockets\.\w+ )?(?:DEBUG )?[<>] (?:TEXT|BINARY|CONT) ",
        r"\bTask \S+ retry: Retry in ",
        r"\[preauth\]$|^pam_unix\(|^Failed password for |^Invalid user \S+ from ",
        r"(?:^|\b(?:HTTP|web|API|gRPC|proxy) )server stopped$",
        r"(?:favicon\.ico|robots\.txt|apple-touch-icon|/\.well-known/|\.(?:js|css)\.map\b)"
        r".{0,400}\b404\b|\b404\b.{0,400}(?:favicon\.ico|robots\.txt|apple-touch-icon|"
        r"/\.well-known/)",
        r"\bLOG:  background worker ",
    ),
    "PowerShell, of every program that writes to its error output": (
        r"^At (?:line|\S+\.ps1):\d+ char:\d+",
        r"^(?:ErrorId : )?(?:Native)?CommandError$",
        r"^\+ (?:CategoryInfo +: NotSpecified: .{0,500}RemoteException|"
        r"FullyQualifiedErrorId : NativeCommandError)",
    ),
}
"""Who writes them, and what they look like."""

_ANY = re.compile("|".join(pattern for patterns in _NOISE.values() for pattern in patterns))


def is_noise(text: str) -> bool:
    """Whether a line tells no failure of its own, whatever words stand in it."""
    return _ANY.search(text) is not None
