"""Model files that are broken, incomplete, not what they seem, or not where they should be."""

from __future__ import annotations

from ggufctl.core.signatures import programs
from ggufctl.core.signatures.table import Basis, Phase, Severity, Signature, Tier, Variant, exited

__all__ = ["SIGNATURES"]

_AGAIN = (
    "Compare its size and sha256 with the source and download it again.",
    "Check that the disk is not full.",
)
_NEWER = (
    "Use a newer build of the engine.",
    "If the file is a projector, an adapter or a draft model, name the model itself instead.",
)
_CONVERSION = (
    "Use another conversion of the model, or a newer build of the engine.",
    "Run ggufctl diagnose on the file to see what its header lacks.",
)

SIGNATURES = (
    Signature(
        "file-is-html",
        (
            r"invalid load key, '<'",
            r"invalid magic characters:? '<(?:!DO|htm|HTM|!do|hea|\?xm)",
            r"invalid magic number 3c[0-9a-f]{6}",
            r"bad magic.*<!DOCTYPE",
            r"Content should be at least \d+ MB, but is only",
            r"download\w* .{0,80}huggingface\.co/\S+/blob/\S+\.gguf",
            r"(?:wget|curl|aria2c?) .{0,200}huggingface\.co/\S+/blob/\S+\.gguf",
        ),
        "The model file is a web page: an error or login page was saved in its place.",
        (
            "Download it from the repository's /resolve/ address, not /blob/.",
            "Set HF_TOKEN if the repository is gated.",
        ),
        "gguf_init_from_reader: invalid magic characters: '<!DO', expected 'GGUF'",
        Basis.REAL,
    ),
    Signature(
        "file-is-lfs-pointer",
        (
            r"invalid load key, 'v'",
            r"the file is a git-lfs pointer",
            r"invalid magic characters:? 'vers'",
            r"invalid magic number 73726576",
            r"unknown \(magic, version\) combination: 73726576",
            r"bad magic.*73726576",
            r"unsupported content type: text/plain",
        ),
        "The model file is a git-lfs pointer of a few lines, not the model.",
        ("Run git lfs pull, or download the file with hf download.",),
        "gguf_init_from_reader: invalid magic characters: 'vers', expected 'GGUF'",
        Basis.REAL,
    ),
    Signature(
        "file-is-old-ggml",
        (
            r"invalid magic characters:? '(?:lmgg|tjgg|fmgg|algg)'",
            r"invalid magic number (?:67676a74|67676d6c|67676d66|67676c61)",
            r"Identified as \S+ model: \(ver 0\)",
            r"unknown \(magic, version\) combination: 6767",
            r"this format is no longer supported",
            r"llama_model_load: unknown tensor '[^']*' in model file",
            r"(?:is )?too old, (?:regenerate|please (?:regenerate|reconvert))",
            r"old (?:model |ggml )?(?:file )?format",
            r"(?:GGML|ggml|\.bin) (?:files?|models?|format) (?:is|are) (?:no longer|not) "
            r"(?:supported|compatible)",
        ),
        "The model is in the format from before GGUF.",
        ("Download a GGUF of the model; conversions of the old format are rarely worth it.",),
        "gguf_init_from_reader: invalid magic characters: 'tjgg', expected 'GGUF'",
        Basis.REAL,
    ),
    Signature(
        "file-not-gguf",
        (
            r"invalid magic characters:? '(?P<magic>(?!<|vers|lmgg|tjgg|fmgg|algg).{0,16}?)'",
            r"invalid magic number (?!3c|73726576|67676)(?P<magic>[0-9a-f]{8})",
            r"(?:file )?is not a valid GGUF",
            r"GGUF magic invalid",
            r"invalid gguf magic",
            r"failed to load model: (?:this file is )?not a GGUF",
            r"invalid (?:gguf |model )?magic",
            r"(?<!lora_from_file_internal: )(?:bad|wrong|unexpected|unknown) (?:file |gguf )?magic",
            r"magic (?:bytes|number|header) .{0,40}(?:mismatch|do(?:es)? not match|not found|"
            r"incorrect)",
            r"(?:is )?not a (?:valid )?gguf\b",
            r"is this really a GGML file",
            r"(?:unsupported|unknown|unrecogni[sz]ed|invalid) (?:model |file )(?:file )?format",
            r"Unknown Model, cannot load",
            r"failed to (?:detect|determine) model (?:format|type)",
            r"invalid model file '",
            r"load_gguf: gguf_init_from_file failed",
            r"file was not in GGUF format",
            r"Could not load model due to invalid format for",
        ),
        "The file is not a GGUF: it begins with {magic}.",
        ("Name the .gguf file itself, not a folder, an archive or another format.", *_AGAIN),
        "gguf_init_from_reader: invalid magic characters: 'PK??', expected 'GGUF'",
        Basis.REAL,
        variants=(
            Variant(
                r"gguf_merge|gguf-split",
                (
                    "llama-gguf-split --merge takes the first part and the name of a new file: a "
                    "wildcard gives it the second part as output, which it overwrites. Download "
                    "that part again.",
                ),
            ),
        ),
    ),
    Signature(
        "repo-not-gguf",
        (
            r"Repository is not GGUF",
            r"(?:repo\w*|model|it) (?:is )?not compatible with llama\.cpp",
        ),
        "The repository on the Hub has no GGUF, or none of a kind that llama.cpp loads.",
        (
            "Take a repository with GGUF of the same model: search the Hub for its name and GGUF, "
            "then ollama pull hf.co/OWNER/REPO-GGUF:Q4_K_M.",
            "Or convert the weights: python convert_hf_to_gguf.py FOLDER, and ollama create from a "
            "Modelfile with FROM ./model.gguf.",
        ),
        'Error: pull model manifest: 400: {"error":"Repository is not GGUF or is not compatible '
        'with llama.cpp"}',
        Basis.REPORTED,
    ),
    Signature(
        "ollama-sharded",
        (
            r"(?:contains|is a|only contains) sharded GGUF",
            r"does not (?:yet )?support (?:pulling )?sharded GGUF",
        ),
        "Ollama does not pull a GGUF that is stored in several files.",
        (
            "Take a quant of the repository that is one file, or another repository that has one.",
            "Or download the parts (hf download OWNER/REPO --include '*Q4_K_M*'), merge them with "
            "llama-gguf-split --merge FIRST_PART OUT.gguf, and ollama create NAME from a Modelfile "
            "with FROM ./OUT.gguf.",
            "llama-server loads the parts as they are: -m FIRST_PART, or -hf OWNER/REPO:QUANT.",
        ),
        'Error: pull model manifest: 400: {"error":"The specified repository contains sharded '
        'GGUF. Ollama does not support this yet."}',
        Basis.REPORTED,
    ),
    Signature(
        "ollama-file-magic",
        (
            r"(?<!\w)invalid file magic",
            r"unsupported content type: (?!text/)\S+",
            r"^Error: unknown type$",
        ),
        "Ollama finds no GGUF where it expects one: the file is something else, or it is a good "
        "one "
        "with tensors that are not aligned, which old versions read wrongly.",
        (
            "Name a GGUF, or a folder of safetensors, after FROM: other formats (PyTorch, GGML) "
            "have to be converted first (convert_hf_to_gguf.py).",
            "Update Ollama, and create the model anew from the file itself.",
            "If it stays so, compare the file's size and sha256 with the source.",
        ),
        "parsing GGUF\nError: invalid file magic",
        Basis.REPORTED,
    ),
    Signature(
        "file-empty",
        (r"gguf_init_from\w+: failed to read magic",),
        "The model file is empty, only a few bytes long, or a folder.",
        (
            "If the path is that of a folder, name the .gguf file in it: -m FOLDER/NAME.gguf (of "
            "split files the first, NAME-00001-of-0000N.gguf).",
            *_AGAIN,
        ),
        "gguf_init_from_reader: failed to read magic",
        Basis.REAL,
    ),
    Signature(
        "file-truncated",
        (
            r"file ended before the end-of-stream marker",
            r"GGUF tensor .{1,200} outside file length",
            r"End-of-central-directory signature not found",
            r"tensor '(?P<tensor>[^']+)' data is not within the file bounds",
            r"model is corrupted or incomplete",
            r"unexpectedly reached end of file",
            r"not all tensors loaded from model file",
            r"cannot reshape array of size \d+ into shape \(",
            r"failed to read tensor data(?: binary blob)?",
            r"^Bus error",
            r"^(?:\S{1,40}: )?(?:line \d+: +)?\d+ Bus error\b",
            exited(135),
            r"signal: bus error",
            r"read error: unexpected",
            r"(?:model|gguf|file) (?:file )?(?:is|seems|may be|might be|appears) (?:to be "
            r")?(?:truncated|incomplete|corrupt)",
            r"(?<!paging )file (?:is )?(?:truncated|too short|too small)",
            r"failed to read (?:model|weights?|tensors?) (?:data|file)",
            r"Bus error \(core dumped\)",
            r"\bSIGBUS\b",
            r"zsh: bus error",
            r"data for tensor .* (?:out of bounds|exceeds)",
            r"Error while loading tensor",
            r"incomplete file '",
            r"offset\+size \(\d+\) exceeds file size",
            r"tensor \S+ offset .{0,40}(?:exceeds|beyond|past) .{0,20}file",
            r"read failed path=(?P<path>\S+)",
            r"status=7/BUS",
            r"(?:exit(?:ed)?|return)(?: with)?(?: ?(?:status|code)){0,2}[ :=]+-7\b",
        ),
        "The model file ends too early: the download was cut short.",
        _AGAIN,
        "llama_model_load: error loading model: tensor 'token_embd.weight' data is not "
        "within the file bounds, model is corrupted or incomplete",
        Basis.REAL,
        variants=(
            Variant(
                r"Bus error|SIGBUS|\b135\b|7/BUS|(?:code|status)\D{1,6}-7\b",
                (
                    "Compare the file's size and sha256 with the Hub's, and download it anew under "
                    "another name; then start the engine again. Never write over a file that an "
                    "engine has mapped: write beside it and rename (mv).",
                    "--no-mmap (--load-mode none) reads the file at the start instead, so that a "
                    "network disk that goes away or a file that shrinks cannot do this later.",
                    "In containers /dev/shm may be too small: docker run --shm-size 1g; look into "
                    "dmesg for errors of disk or memory.",
                ),
                "A part of a mapped file was not there when it was read (bus error): the model "
                "file is cut short, was replaced or shortened while it was in use, or lies where "
                "reading fails.",
            ),
        ),
    ),
    Signature(
        "header-truncated",
        (
            r"failed to read key-value pairs",
            r"failed to read tensor info",
            r"exceeds remaining file size",
            r"encountered (?:length_error|bad_alloc error) while reading",
            r"failed to read (?:the )?(?:gguf )?header",
            r"failed to read (?:kv|key|tensor) (?:pairs?|names?|dimensions|shape|kind|offset|info)",
            r"failed to decode gguf",
        ),
        "The model file ends inside its header, or its header is damaged.",
        _AGAIN,
        "read: string length 20 exceeds remaining file size 18 bytes",
        Basis.REAL,
    ),
    Signature(
        "gguf-version-new",
        (
            r"this GGUF file is version (?P<version>\d+) but this software only supports up to",
            r"bad GGUF version: (?P<version>\d+)",
            r"unknown \(magic, version\) combination: 46554747, 0*(?P<version>\d+)",
            r"unsupported GGUF version:? ?(?P<version>\d*)",
            r"GGUF version (?P<version>\d+) (?:is )?not supported",
        ),
        "The file is GGUF version {version}, newer than the engine can read.",
        ("Use a newer build of the engine.",),
        "gguf_init_from_reader: this GGUF file is version 4 but this software only "
        "supports up to version 3",
        Basis.REAL,
    ),
    Signature(
        "big-endian",
        (r"is there a mismatch between the host and model endianness",),
        "The file was written for a big-endian machine.",
        ("Use the little-endian file of the same model.",),
        "gguf_init_from_reader: failed to load model: this GGUF file version 50331648 "
        "is extremely large, is there a mismatch between the host and model endianness?",
        Basis.REAL,
    ),
    Signature(
        "gguf-v1",
        (r"GGUFv1 is no longer supported",),
        "The file is of the first version of GGUF, which is no longer read.",
        ("Download a newer conversion of the model.",),
        "gguf_init_from_reader: GGUFv1 is no longer supported, please use a more "
        "up-to-date version",
        Basis.REAL,
    ),
    Signature(
        "file-missing",
        (
            r"failed to open GGUF file '(?P<path>[^']+)' \((?:errno )?No such file or directory\)",
            r"failed to open (?P<path>\S+\.gguf): No such file or directory",
            r"Model path does not exist: (?P<path>.+)",
            r"cannot access '(?P<path>[^']+\.(?:gguf|bin)\*?)': No such file",
            r"error: failed to open file '(?P<path>[^']+)'",
            r"error: --model is required",
            r"No (?:ggml|gguf|text)? ?model or kcpps file was selected",
            r"stat (?P<path>\S+\.gguf): no such file or directory",
            r"gguf_init_from_file: failed to open '(?P<path>[^']+)': 'No such file or directory'",
            r"failed to (?:open|load|read) (?:\w+ ){0,3}'(?P<path>[^']+)'\W{1,4}No such file or "
            r"directory",
            r"No such file or directory: '(?P<path>[^']+\.gguf)'",
            r"Cannot find (?:the )?(?:text )?model file: (?P<path>.+)",
            r"\.gguf['\"`]?[:,]? .{0,40}(?:no such file|does not exist|doesn't exist|not found|"
            r"not exist|cannot be found)",
            r"(?:no such file or directory|file not found|does not exist|not exist|cannot find|"
            r"could not find)\S* .{0,80}\.gguf",
            r"model (?:file|path) (?:was |is )?(?:not found|missing)(?:: (?P<path>.+))?",
            r"model (?:file|path) .{0,100}(?:not found|does not exist|doesn't exist)",
            r"failed to open \S*(?:models|blobs)/\S+: No such file",
            r"open (?P<path>\S*(?:models|blobs|cache)/\S+): no such file or directory",
            r"(?:could not|cannot|can't|unable to|failed to) (?:find|locate) (?:the )?model "
            r"(?:file|at|path)",
            # Without a reason, as builds before 2026 say it.
            r"failed to open GGUF file '?(?P<path>[^'\"]+?\.\w+)'?\s*$",
            r"gguf_init_from_file: failed to open '(?P<path>[^']+)'\s*$",
            r"whisper_init\w*: failed to open '(?P<path>[^']+)'",
            r"failed to open input gguf from (?P<path>.+)",
            r"failed to open (?:GGUF )?file '(?P<path>[^']+)' \(errno 2\)",
            r"invalid (?:model )?(?:directory|folder|path)\b",
            r"no file named (?P<path>.+)",
            r"open failed path=(?P<path>\S+).{0,80}No such file",
            r"static assets path not found: (?P<path>.+)",
            r"chat-template-file: file not found: (?P<path>.+)",
            r"\.gguf.{0,80}(?:没有那个文件或目录|系统找不到指定的|nicht gefunden|"
            r"Aucun fichier ou dossier|No existe el (?:archivo|fichero)|Нет такого файла)",
            r"(?:没有那个文件或目录|系统找不到指定的|"
            r"Datei oder Verzeichnis nicht gefunden|Aucun fichier ou dossier|No existe el "
            r"(?:archivo|fichero)|Нет такого файла).{0,80}\.gguf",
            r"Modelfile .{0,40}(?:wasn't|was not|not) found",
            r"Cannot find (?:image|whisper|TTS|embeddings?|mmproj|lora) (?:model )?(?:file|base): "
            r"(?P<path>.+)",
            r"no Modelfile (?:or|was) .{0,60}found",
            r"failed to open '': ",
            r"expected str, bytes or os\.PathLike object, not NoneType",
            r"no safetensors or torch files found",
            r"glob\('\*\.gguf'\)\)\[0\]",
        ),
        "There is no such file: {path}.",
        (
            "Check the path as the engine sees it: inside a container it begins at the mount.",
            "Check that the volume is mounted and that the download has finished.",
        ),
        "gguf_init_from_file: failed to open GGUF file '/models/m.gguf' (No such file "
        "or directory)",
        Basis.REAL,
        variants=(
            Variant(
                r"no Modelfile or safetensors files",
                (
                    "Name the Modelfile: ollama create NAME -f ./Modelfile, called in its folder.",
                    "FROM must lead to a .gguf file or to a folder with config.json and complete "
                    "*.safetensors, written as a full path if it is not found.",
                ),
                "Ollama finds neither a Modelfile nor a model's files here.",
            ),
            Variant(
                r"failed to open GGUF file [^(]*$|failed to open GGUF file [^(\n]*\n|"
                r"failed to open '[^']+'\s*$|failed to open input gguf",
                (
                    "Look for it with ls -l, under exactly this path and name (capitals count), as "
                    "the user that runs the engine; inside a container a path begins at the mount.",
                    "Give that user the right to read the file and to enter every folder above it "
                    "(with SELinux mount with :z).",
                    "If it is not there, download it to that place, or name the one that is.",
                ),
                "The engine cannot open the file {path}: there is none of that name, or it may not "
                "read it.",
            ),
        ),
    ),
    Signature(
        "path-encoding",
        (r"failed to (?:load model from|open) '?[A-Z]:\\.{0,60}(?:\?\?|\ufffd\ufffd)",),
        "The path of the model has letters that the engine cannot read.",
        (
            "Keep models in a folder with plain letters, such as C:\\models (OLLAMA_MODELS moves "
            "Ollama's).",
        ),
        "llama_model_loader: failed to load model from C:\\Users\\????\\m.gguf",
        Basis.REPORTED,
    ),
    Signature(
        "file-permission",
        (
            r"failed to open GGUF file '(?P<path>[^']+)' \(Permission denied\)",
            r"failed to open (?P<path>\S+\.gguf): Permission denied",
            r"PermissionError: .*Permission denied: '(?P<path>[^']+\.gguf)'",
            r"open (?P<path>\S+): permission denied",
            r"(?P<path>[^\s'\"]+\.gguf)['\"]?:? .{0,20}permission denied",
            r"open (?P<path>\S*(?:models|blobs|\.ollama)\S*): (?:permission denied|access is "
            r"denied)",
            r"(?:EACCES|Access is denied).{0,80}(?P<path>\S+\.gguf)",
        ),
        "The engine may not read {path}.",
        (
            "Give its user the right to read the file and every folder above it.",
            "With SELinux, mount the volume with :z.",
        ),
        "gguf_init_from_file: failed to open GGUF file '/models/m.gguf' (Permission denied)",
    ),
    Signature(
        "file-is-folder",
        (
            r"(?:failed to open|failed to read) .*Is a directory",
            r"read error: Is a directory",
            r"failed to open GGUF file '(?P<path>[^']+)' \((?:Is a directory|Invalid argument)\)",
            r"IsADirectoryError",
            r"is a directory, not a (?:model|file|GGUF)",
            r"Failed to load model '?[^'\s]{1,300}[/\\]\.?'?\.?$",
        ),
        "The path of the model is a folder.",
        ("Name the .gguf file in it; docker makes a folder when a mounted file does not exist.",),
        "gguf_init_from_file: failed to open GGUF file '/models/m.gguf' (Is a directory)",
    ),
    Signature(
        "shard-missing",
        (
            r"failed to load GGUF split from (?P<path>.+)",
            r"is one of \d+ files, and '(?P<path>[^']+)' is missing",
            r"missing key split\.\S+ in GGUF split (?P<path>.+)",
            r"failed to load (?:GGUF )?split",
            r"(?:missing|could not find|cannot find) (?:shard|split)",
            r"split file .{0,80}(?:missing|not found)",
            r"Not all split parts of the model file",
            r"split GGUF .{0,300}(?:has \d+ shards, expected|is missing first shard|has invalid "
            r"shard)",
        ),
        "A shard is missing or broken: {path}.",
        (
            "Put all files -0000i-of-0000N beside the first, under their own names.",
            "Compare the size of each with the repository.",
        ),
        "llama_model_load: error loading model: llama_model_loader: failed to load "
        "GGUF split from /models/m-00002-of-00002.gguf",
        Basis.REAL,
    ),
    Signature(
        "shard-not-first",
        (
            r"illegal split file idx: (?P<index>\d+)",
            r"illegal split file: \d+, model must be loaded with the first split",
            r"model must be loaded with the first split",
        ),
        "The engine was given a later shard instead of the first.",
        ("Name the -00001-of-N file; the others are found beside it.",),
        "llama_model_load: error loading model: illegal split file idx: 1 (file: "
        "/models/m-00002-of-00002.gguf), model must be loaded with the first split",
        Basis.REAL,
    ),
    Signature(
        "shards-mixed",
        (
            r"invalid split count, given: (?P<given>\d+) splits, but expected (?P<expected>\d+)",
            r"corrupted model: (?P<expected>\d+) tensors expected but (?P<found>\d+) found",
            r"invalid split file(?: name| idx)?: ",
            r"invalid model: tensor '(?P<tensor>[^']+)' is duplicated",
            r"llama_split_prefix.*(?:failed|invalid)",
            r"invalid split (?:file|count|name|no)",
            r"split GGUF .{0,300}(?:must use llama\.cpp split filename|does not match metadata|"
            r"duplicate shard)",
        ),
        "The shards do not belong together, were renamed, or were joined by hand.",
        ("Download one consistent set; to merge shards use llama-gguf-split --merge.",),
        "llama_model_load: error loading model: invalid split count, given: 2 splits, but "
        "expected 3",
    ),
    Signature(
        "unknown-architecture",
        (
            r"unknown (?:model )?architecture: ?'?(?P<arch>[\w.-]+)",
            r"unknown model architecture: ''",
            r"unsupported model architecture[: ]+'?(?P<arch>[\w.-]+)",
            r"model architecture '?(?P<arch>[\w.-]+)'? (?:is )?not supported",
            r"this model is not supported by your version of Ollama",
            r"attempting to pull requires a newer version of Ollama",
            r"Unsupported architecture \"?(?P<arch>[\w.-]+)",
            r"architecture '?(?P<arch>[\w.-]+)'? (?:is )?(?:not|un)(?: yet)? ?(?:supported|"
            r"recognized|implemented|known)",
            r"^(?!.{0,400}\b(?:schema|grammar|parser)\b).{0,400}"
            r"(?:unknown|unsupported|unrecogni[sz]ed) (?:model[ _])?(?:arch|type(?! name)|"
            r"architecture)\b[:= ]+['\"`]?(?P<arch>[\w.-]+)",
            r"no support for (?:model )?architecture",
            r"unsupported model (?:type|family)",
            r"uknown model => cannot fix it",
            r"GGUF model with architecture (?P<arch>\S+) is not supported",
            r"Model architectures \['?(?P<arch>\w+)",
            r"Unknown gguf model_type: (?P<arch>\S+)",
            r"(?:architecture|model type) '?(?P<arch>[\w.-]+)'? is not supported",
            r"Error: unsupported architecture$",
            r"(?:unsupported|unknown|unrecogni[sz]ed) (?:model )?architecture\W*$",
            r"requires a newer version of (?:Ollama|LM Studio|llama)",
            r"(?:may be|is) (?:incompatible|not compatible) with your version of Ollama",
        ),
        "The engine does not know the architecture {arch}.",
        (
            *_NEWER,
            "In an app its engine is what must be new: Ollama itself; LM Studio under Settings > "
            "Runtime; Jan under Settings > Model Providers.",
            "A model for pictures or video (flux, sd3, wan, qwen_image, or none named) is not for "
            "llama.cpp: use stable-diffusion.cpp, KoboldCpp or ComfyUI-GGUF.",
        ),
        "llama_model_load: error loading model: unknown model architecture: 'llamx'",
        Basis.REAL,
        variants=(
            Variant(
                r"'?mllama\b",
                (
                    "Use an Ollama of before it ran everything with llama-server, or another "
                    "model for pictures (qwen2.5vl, gemma3): llama.cpp never had this one.",
                ),
                "The engine does not know the architecture mllama (llama3.2-vision), which only "
                "Ollama's own former engine ran.",
            ),
        ),
    ),
    Signature(
        "comfyui-gguf-architecture",
        (
            r"Unexpected (?:text model )?architecture type in GGUF file.{0,120}(?:got|:) "
            r"'(?P<arch>[\w.-]+)'",
            r"Exception Message:\W{0,4}Unknown model architecture!",
            r"AssertionError: Unknown model architecture!",
        ),
        "The nodes ComfyUI-GGUF do not know the architecture {arch}, or the file is in the wrong "
        "loader.",
        (
            "Update ComfyUI-GGUF (and ComfyUI, which must know the model as well).",
            "Image and video models belong into Unet Loader (GGUF), text encoders into "
            "CLIPLoader (GGUF); a chat model belongs into neither.",
            "A file that says 'pig' or 'cow' was made for other nodes: use a conversion of "
            "city96 or QuantStack.",
        ),
        "ValueError: Unexpected architecture type in GGUF file: 'qwen2vl'",
        Basis.REPORTED,
    ),
    Signature(
        "model-parts-mismatch",
        (
            r"mat1 and mat2 shapes cannot be multiplied(?P<shapes> \(\w+ and \w+\))?",
            r"size mismatch for \S+: copying a param",
            r"Error\(s\) in loading state_dict for",
            r"The expanded size of the tensor \(\d+\) must match the existing size",
        ),
        "Two parts that work together are of different models: text encoder, projector, LoRA or "
        "ControlNet do not have the shape that the model wants{shapes}.",
        (
            "Use the text encoders, VAE and LoRA that the model's page names, and the right type "
            "in the CLIP loader.",
            "A vision text encoder as GGUF (Qwen2.5-VL for Qwen-Image-Edit) needs its mmproj file "
            "in the same folder, named like it with -mmproj- in it.",
            "If the file is right, update ComfyUI and its nodes: new models are shaped anew.",
        ),
        "RuntimeError: mat1 and mat2 shapes cannot be multiplied (5476x1280 and 3840x1280)",
        Basis.REPORTED,
        phase=Phase.ALWAYS,
    ),
    Signature(
        "projector-as-model",
        (
            r"CLIP cannot be used as main model",
            r"unknown model architecture: 'clip'",
            r"CLIP (?:is a quant-only stub|has no inference graph)",
        ),
        "A multimodal projector was given as the model.",
        ("Name the model with -m and the projector with --mmproj.",),
        "llama_model_load: error loading model: CLIP cannot be used as main model, use it with "
        "--mmproj instead",
    ),
    Signature(
        "key-missing",
        (
            r"error loading model hyperparameters: (?P<why>.+)",
            r"(?P<why>(?:array )?key not found in model: \S+)",
            r"(?P<why>key \S+ has wrong (?:type|array length))",
            r"expected scalar, found array for key: (?P<why>\S+)",
            r"invalid n_rot: (?P<why>.+)",
            r"^(?!.{0,200}\b(?:config\w*|settings|json|yaml|toml|request|body|response|payload)\b)"
            r".{0,300}(?P<why>missing (?:required )?(?:metadata )?key:? \S+)",
            r"KeyError: '(?P<why>(?:general|tokenizer|llama|qwen|gemma|clip)\.[\w.]+)'",
            r"(?P<why>key \S+ not found in (?:file|model))",
            r"failed to (?:get|find|read) (?:model )?hyper-?parameters",
            r"(?P<why>model has expert layers but no expert layers are used)",
            r"^Error: (?P<why>architecture not set|improper type for \S+)",
        ),
        "The file's metadata is not what the engine needs: {why}.",
        _CONVERSION,
        "llama_model_load: error loading model: error loading model hyperparameters: "
        "key not found in model: llama.context_length",
        Basis.REAL,
        variants=(
            Variant(
                r"invalid n_rot",
                (
                    "The converter left the size of the heads out: convert the weights with "
                    "llama.cpp's convert_hf_to_gguf.py, and take that GGUF (in Ollama: FROM "
                    "./model.gguf instead of the safetensors folder).",
                    "Or use a GGUF that others made of the model.",
                ),
            ),
            *programs.NEWER,
        ),
    ),
    Signature(
        "tensor-missing",
        (
            r"check_tensor_dims: tensor '(?P<tensor>[^']+)' not found",
            r"create_tensor: tensor '(?P<tensor>[^']+)' not found",
            r"missing tensor '(?P<tensor>[^']+)'",
            # Where a terminal or a chat broke the line.
            r"error loading model: ?missing tensor$",
            r"^missing tensor$",
            r"tensor '(?P<tensor>[^']+)' is missing from model",
            r"missing tensor info mapping for (?P<tensor>\S+)",
            r"(?:unable|failed) to find tensor:? '?(?P<tensor>[\w.]+)",
            r"tensor '?(?P<tensor>[\w.]+)'? (?:is )?(?:missing|not found)",
            r"tensor \W{1,2}(?P<tensor>[\w.]+)\W{1,2} (?:is )?not found",
            r"layer \d+: missing .{1,60}(?:weights?|projection|norm|router)",
            r"missing (?:final |output |embedding )(?:norm |embedding )?weights?\b",
        ),
        "The file lacks a tensor that the engine needs: {tensor}.",
        _CONVERSION,
        "llama_model_load: error loading model: check_tensor_dims: tensor "
        "'output_norm.weight' not found",
        Basis.REAL,
        variants=programs.NEWER,
    ),
    Signature(
        "tensor-shape",
        (
            r"tensor '(?P<tensor>[^']+)' has wrong shape; expected",
            r"wrong number of tensors; expected (?P<expected>\d+), got (?P<got>\d+)",
            r"tensor '(?P<tensor>[^']+)' of type \d+ \(\S+\) has \d+ elements per row",
            r"done_getting_tensors: wrong number of tensors",
            r"(?:shape|size|dimension) mismatch (?:for|in|of) (?:tensor )?'?(?P<tensor>\S+)",
            r"tensor \S+ has (?:wrong|unexpected|incorrect|invalid) (?:shape|dimensions|size)",
            r"incorrect shape for a tensor",
            r"number of elements \(\d+\) is not a multiple of block size",
            r"\.weight has \d+ values, (?:need|expected) \d+",
        ),
        "Tensors of the file are not shaped or counted as this build expects.",
        _CONVERSION,
        "llama_model_load: error loading model: check_tensor_dims: tensor 'blk.0.attn_kv_b.weight' "
        "has wrong shape; expected  512, 8960, got  512, 4480, 1, 1",
        variants=programs.NEWER,
    ),
    Signature(
        "quant-type-unknown",
        (
            r"tensor '(?P<tensor>[^']+)' has invalid ggml type (?P<type>\d+)",
            r"\binfo->(?:t\.)?type\b.{0,40}< ?GGML_TYPE_COUNT",
            r"unknown type \(?(?P<type>\d+)\)? for tensor",
            r"unsupported tensor type for dequantization",
            r"unrecognized tensor type (?P<type>\d+)",
            r"(?<!parse_ggml_type: )(?:invalid|unknown|unsupported|unrecogni[sz]ed) ggml[_ ]type",
            r"(?<!model size, )(?:unknown|unsupported|unrecogni[sz]ed) (?:tensor|quantization|"
            r"quantisation|quant|weight) (?:type|format)(?! \S+ - supported types are)",
            r"TYPE_Q\w+ REMOVED",
            r"(?:quant|quantization|tensor|data) type \S+ (?:is )?(?:not supported|unsupported|"
            r"unknown|no longer supported)",
            r"\b(?:type|quant\w*|I?Q\d\w*)\b.{0,60}has been removed, (?:use|please)",
            r"Unsupported quantization: \d+",
            r"invalid (?:quantization|tensor data) type '?(?P<type>\d+)",
            r"unsupported ttype (?P<type>\d+)",
            r"unknown ftype '?(?P<type>\w+)",
            r"Unsupported quantized type",
            r"unsupported \S+ cache type",
            r"unknown file ?type:? ?(?P<type>\w+)",
        ),
        "The file uses a quant type that this build does not know.",
        (
            "Use a newer build, or another quant of the model (Q4_K_M, Q8_0).",
            "Some types only the program knows that made them: i2_s and TL1 or TL2 (BitNet) "
            "bitnet.cpp; IQ4_KS and other iq*_k and iq*_ks, names ending in _R4 and _KT "
            "ik_llama.cpp; other forks name theirs on the model's page.",
        ),
        "gguf_init_from_reader: tensor 'blk.0.attn_k.weight' has invalid ggml type "
        "152. should be in [0, 43)",
        Basis.REAL,
        variants=programs.NEWER,
    ),
    Signature(
        "tensor-data-invalid",
        (
            r"tensor '(?P<tensor>[^']+)' has invalid data",
            r"found tensors with invalid data",
            r"quantized data validation failed",
            r"Found \d+ bad tensors in model",
        ),
        "The weights themselves are damaged.",
        _AGAIN,
        "llama_model_load: error loading model: found tensors with invalid data",
    ),
    Signature(
        "header-invalid",
        (
            r"duplicate key '(?P<key>[^']+)' for KV pair",
            r"duplicate tensor name '(?P<key>[^']+)'",
            r"alignment (?P<key>\d+) is not a power of 2",
            r"has invalid GGUF type \d+",
            r"has invalid number of dimensions",
            r"number of (?:tensors|key value pairs) is -?\d+ but must be in",
            r"tensor '[^']+' has offset \d+, expected \d+",
            r"tensor name \d+ is too long",
            r"string length \d+ exceeds maximum",
            r"overflows after padding",
            r"tensor '[^']+' dimension \d+ has invalid",
            r"key '[^']+' must be of type",
            r"gguf\w*: .{0,60}invalid (?:number of (?:elements|dimensions)|string length|"
            r"array type|version number)",
            r"gguf\w*: .{0,60}(?:size overflow|size in bytes >)",
            r"gguf\w*: key \d+ is empty",
            r"gguf\w*: .{0,60}array size is too large",
            r"GGUF (?:array|tensor|string|v1).{0,60}(?:exceeds|overflow|invalid|terminator)",
            r"invalid GGUF (?:v1|alignment)\b",
            r"tensor \"[^\"]+\" (?:elements|size|dimensions|offset).{0,40}(?:overflow|exceeds "
            r"maximum)",
        ),
        "The header of the file is malformed.",
        ("Download it again; if it stays so, do not trust the file.",),
        "gguf_init_from_reader: duplicate key 'general.name' for KV pair 3",
    ),
    Signature(
        "unknown-pre-tokenizer",
        (
            r"unknown pre-tokenizer type: '(?P<type>[^']*)'",
            r"unknown tokenizer: '(?P<type>[^']*)'",
            r"unknown (?:pre-)?tokenizer(?: type| model)?:? '?(?P<type>[\w.-]+)",
            r"unsupported (?:pre-)?tokenizer",
        ),
        "The engine does not know the tokenizer {type}.",
        ("Use a newer build of the engine.",),
        "llama_model_load: error loading model: error loading model vocabulary: "
        "unknown pre-tokenizer type: 'smollx'",
        Basis.REAL,
        variants=programs.NEWER,
    ),
    Signature(
        "vocabulary-invalid",
        (
            r"error loading model vocabulary: (?!unknown (?:pre-)?tokenizer)(?P<why>.+)",
            r"cannot find tokenizer (?:vocab|merges) in model file",
            r"Index out of array bounds in XCDA array",
            r"(?P<why>invalid unordered_map<K, T> key)",
            r"error loading model: (?P<why>unordered_map::at.*|_Map_base::at)",
            r"precompiled[_ ]charsmap",
            r"vocab(?:ulary)? (?:size )?(?:mismatch|is invalid)",
            r"failed to (?:load|read|parse) (?:the )?vocab",
            r"(?P<why>model vocab missing newline token)",
            r"(?P<why>Tokenizer not initialized)",
        ),
        "The vocabulary of the file cannot be read: {why}.",
        _CONVERSION,
        "llama_model_load: error loading model: error loading model vocabulary: cannot find "
        "tokenizer "
        "merges in model file",
        variants=programs.NEWER,
    ),
    Signature(
        "adapter-as-model",
        (r"(?:file|model|gguf) is (?:only )?a LoRA adapter",),
        "The file is a LoRA adapter, not a model.",
        ("Name the model that it was trained on with -m, and the adapter with --lora.",),
        "llama_model_loader: - kv   1: general.type str              = adapter\n"
        "llama_model_load: error loading model: error loading model hyperparameters: key not "
        "found in model: llama.context_length",
        Basis.REPORTED,
    ),
    Signature(
        "draft-as-model",
        (
            r"failed to create context with model .{1,300}: .{0,60}\b(?P<kind>\w+) requires "
            r"ctx_other",
            r"model_load_failed.{0,200}\b(?P<kind>\w+) requires ctx_other",
        ),
        "The file is a draft for another model ({kind}), and was loaded as the model itself.",
        (
            "Load its target model, and give this file as the draft: --model-draft with "
            "--spec-type (in LM Studio under Speculative Decoding).",
        ),
        "srv    load_model: failed to create context with model '/m/dflash-x.gguf': Failed to "
        "initialize the context: dflash requires ctx_other to be set (this warning is normal "
        "during memory fitting)",
        Basis.REPORTED,
    ),
    Signature(
        "lora-failed",
        (
            r"failed to (?:load|apply) lora adapter:? ?'(?P<path>[^']+)'",
            r"(?P<why>The LoRA adapter has another shape .+)",
            r"failed to (?:load|apply) lora adapter(?!:? ?')(?:: (?P<why>.+))?",
            r"(?P<why>LoRA tensor '(?P<tensor>[^']+)' (?:does not exist|has unexpected)[^(]*)",
            r"lora_from_file_internal: bad file magic",
            r"model arch and LoRA arch mismatch",
            r"lora_a tensor is not transposed",
            r"expect (?:general|adapter)\.type to be",
            r"(?:failed|unable|could not|cannot) (?:to )?(?:load|apply|open|initialize) (?:the "
            r")?(?:lora|control vector|adapter)",
            r"hint: maybe wrong base model",
            r"(?P<why>control vector n_embd does not match.*)",
            r"failed to allocate buffer for (?:lora|control vector)",
            r"loading lora adapters is not (?:yet )?(?:implemented|supported)",
            r"unknown tensor '(?P<tensor>[^']+)' in lora adapter",
            r"direction tensor .{0,120}does not match",
            r"invalid .{0,20}direction tensor",
            r"control vectors? in .{0,200}does not match",
            r"not compatible with LoRA",
            r"Cannot find lora (?:file|base)",
            r"supports only one (?:lora )?adapter",
            r"only one adapter is currently supported",
            r"error applying lora",
            r"(?:failed|unable) to set lora adapter",
        ),
        "The LoRA adapter cannot be used with this model.",
        (
            "Use an adapter made for exactly this base model.",
            "Convert it to GGUF with the scripts of the engine's own version: python "
            "convert_lora_to_gguf.py ADAPTER_FOLDER --base BASE_MODEL_FOLDER --outfile lora.gguf.",
            "If a tensor is what it stumbles over: merge the adapter into the model first (peft: "
            "merge_and_unload), and convert the result.",
        ),
        "llama_adapter_lora_init_from_file_ptr: failed to apply lora adapter: expect "
        "general.type to be 'adapter', but got:",
        Basis.REAL,
        variants=(
            Variant(
                r"general\.type to be '?adapter'?, but got: \w",
                (
                    "Name the adapter's own file after --lora; a whole model is served with -m.",
                    "A folder of PEFT (adapter_model.safetensors) becomes one with python "
                    "convert_lora_to_gguf.py ADAPTER_FOLDER --base BASE_MODEL_FOLDER --outfile "
                    "lora.gguf.",
                ),
                "The file given as LoRA adapter is none, but a whole model: {path}.",
            ),
            Variant(
                r"is missing one component",
                (
                    "Convert the adapter again from the trainer's own files (adapter_model."
                    "safetensors, adapter_config.json): python convert_lora_to_gguf.py "
                    "ADAPTER_FOLDER --base BASE_MODEL_FOLDER --outfile lora.gguf.",
                    "If its source lacks the tensor as well, the adapter was saved in part, or "
                    "trains something that LoRA in GGUF cannot hold: merge it into the model "
                    "(peft: merge_and_unload) and convert the result.",
                ),
                "The LoRA adapter is incomplete: of a pair of tensors only one is there. {why}.",
            ),
            Variant(
                r"control vector|direction tensor",
                (
                    "Use a control vector that was made for exactly this model "
                    "(llama-cvector-generator -m MODEL): its width is that of the model's hidden "
                    "state.",
                    "Leave --control-vector out until then: newer servers go on without it.",
                ),
                "The control vector was made for another model: {why}.",
            ),
            Variant(
                r"wrong base model|incorrect shape|does not exist in base model|arch mismatch",
                (
                    "Load the model that the adapter was trained on: base_model_name_or_path in "
                    "its adapter_config.json, the same size and variant (7B and 7B-Instruct differ "
                    "in nothing that is checked, 7B and 3B do).",
                    "Or take an adapter for the model that is loaded, and convert it with "
                    "convert_lora_to_gguf.py --base of exactly that model.",
                ),
                "The LoRA adapter was made for another base model than the one that is loaded: "
                "{why}.",
            ),
        ),
    ),
    Signature(
        "projector-failed",
        (
            r"failed to load (?:CLIP|vision) model(?: from (?P<path>\S+))?",
            r"failed to load multimodal model, '(?P<path>[^']+)'",
            r"clip_init: failed to load model '(?P<path>[^']+)'",
            r"(?:failed|unable|could not|cannot) (?:to )?(?:load|open|initialize|init|find) "
            r"(?:the )?(?:mmproj|projector|clip|vision|multimodal)",
            r"error (?:loading|initializing) (?:the )?(?:mmproj|clip|projector|vision)",
            r"clip_model_load(?:er)?: .*(?:failed|error|unable)",
            r"mmproj .{0,100}(?:not found|does not exist|missing|mismatch|incompatible)",
            r"clip\.cpp\S*: .*(?:unable to|not found in file|missing)",
            r"does not support multimodal\. Please reconvert",
            r"unable to (?:load mm?td|determine vision architecture)",
            r"clip\.cpp:\d+: .{0,80}projector",
            r"mmproj metadata\b.{0,200}(?:no projector tensors|failed|invalid|EOF)",
            r"Failed to load mtmd context from: (?P<path>.+)",
        ),
        "The multimodal projector cannot be loaded: {path}.",
        ("Use the mmproj file of the same repository as the model, downloaded whole.",),
        "mtmd_get_memory_usage: error: Failed to load CLIP model from /models/beside.gguf",
        Basis.REAL,
    ),
    Signature(
        "projector-unknown",
        (
            r"unknown projector type(?:: (?P<type>[\w-]+))?",
            r"unknown (?:vision |audio )?projector",
            r"unsupported projector type",
            r"don't support projector with",
        ),
        "The engine does not know this kind of projector: {type}.",
        ("Use a newer build of the engine, or a newer conversion of the projector.",),
        "clip_init: failed to load model '/models/mmproj.gguf': load_hparams: unknown projector "
        "type: gemma4uv",
        Basis.REPORTED,
        variants=programs.NEWER,
    ),
    Signature(
        "projector-mismatch",
        (
            r"mismatch between text model \(n_embd = (?P<text>\d+)\) and (?:gen-audio )?mmproj "
            r"\(n_embd = (?P<mmproj>\d+)\)",
            r"embedding dim of the multimodal projector \((?P<mmproj>\d+)\) is not equal to that o"
            r"f LLaMA \((?P<text>\d+)\)",
            r"projector embedding size \((?P<mmproj>\d+)\) does not match model \((?P<text>\d+)\)",
            r"mmproj embedding mismatch \((?P<mmproj>\d+) and (?P<text>\d+)\)",
        ),
        "The projector belongs to another model or size.",
        ("Use the mmproj file of the same repository and size as the model.",),
        "mtmd_init_from_file: error: mismatch between text model (n_embd = 4096) and mmproj "
        "(n_embd = "
        "5120)",
    ),
    Signature(
        "image-model-failed",
        (
            r"KCPP SD Failed to create context",
            r"Could not load image model: (?P<path>.+)",
            r"Load Image Model OK: False",
            r"new_sd_ctx_t failed",
            r"get sd version from file failed: '(?P<path>[^']+)'",
            r"loading (?:vae|clip|t5xxl|diffusion model|taesd|text encoder)\w* from "
            r"'(?P<path>[^']+)' "
            r"failed",
            r"load tensors from model loader failed",
        ),
        "The model for pictures cannot be loaded: {path}.",
        (
            "Give it the files that belong to it as well (text encoders such as clip and t5xxl, "
            "and "
            "the VAE), or use a file that holds them all.",
            "Check that the program knows this kind of model; a newer version may.",
        ),
        "Error: KCPP SD Failed to create context!\nLoad Image Model OK: False",
    ),
    Signature(
        "mtp-missing",
        (
            r"failed to (?:measure|create|load|init\w*) (?:the )?MTP\b",
            r"MTP requires the NextN block",
            r"MTP (?:requires (?:n_layer_nextn|one NextN)|block missing|missing)\b",
            r"MTP: missing\b",
            r"(?:no|without|missing|lacks?) (?:the |any |an )?(?:MTP|NextN) (?:head|layer|tensor|"
            r"block|"
            r"weight|module)s?\b",
            r"missing one or more complete MTP heads",
            r"not a complete embedded MTP model",
            r"does not (?:have|contain|include) (?:an? |any |the )?(?:MTP|NextN)\b",
            r"(?:draft-)?mtp .{0,60}(?:requires|needs) a model with",
        ),
        "Speculation by MTP is asked for, and the model's file has no MTP head.",
        (
            "Leave out --spec-type draft-mtp, or use a conversion that keeps the MTP (NextN) "
            "layers.",
            "Some repositories keep the head in a file of its own: name that as the draft model.",
        ),
        "[spec] failed to measure MTP context memory: failed to create llama_context from model",
    ),
    Signature(
        "draft-alone",
        (r"(?P<arch>\w+) requires ctx_other to be set",),
        "The file is only a draft head ({arch}), which works only beside the model it was made "
        "for.",
        (
            "Name the whole model with -m, the head with --spec-draft-model, and switch it on: "
            "--spec-type draft-mtp (or draft-eagle3, draft-dflash).",
            "In a folder of models keep the head in a folder of its own, so that it is not "
            "taken for a model.",
        ),
        "llama_init_from_model: failed to initialize the context: Gemma4Assistant requires "
        "ctx_other to be set (this warning is normal during memory fitting)",
        tier=Tier.SYMPTOM,
    ),
    Signature(
        "draft-failed",
        (
            r"failed to load draft model, '(?P<path>[^']+)'",
            r"draft model vocab type must match target model",
            r"draft model is not eagle3",
            r"failed to initialize speculative decoding context",
            r"the draft model number of sequences is incompatible",
            r"draft model.*(?:vocab|special tokens).*(?:mismatch|must match|not compatible)",
            r"(?:failed|unable|could not) (?:to )?(?:load|initialize|create) (?:the )?(?:draft|"
            r"speculative|MTP|EAGLE)",
            r"draft (?:model )?(?:is )?(?:not compatible|incompatible)",
            r"vocabs? (?:of|between) (?:the )?(?:draft|target).{0,60}(?:mismatch|differ|"
            r"compatible|match)",
            r"the (?:target and draft|draft and target) (?:models? )?(?:vocabs?|vocabularies)"
            r".{0,40}(?:not|mismatch|differ)",
            r"draft (?:model )?vocab.{0,30} must (?:closely )?match",
            r"draft model .{0,160}is not compatible with the target model",
            r"target vocab size \d+ does not match draft vocab size",
            r"speculative stage requires",
            r"requires a (?:loaded )?draft (?:model|context)",
            r"MTP (?:companion|speculative stage|feature-?width) .{0,60}(?:mismatch|requires|"
            r"missing|requested)",
            r"DFlash .{0,80}(?:mismatch|missing|invalid|requires(?! ctx_other)|do not match)",
            r"unknown speculative (?:type|stage)",
            r"draft trained for",
            r"load draft model metadata: ",
            r"failed to restore speculative\b",
            r"draft has no confidence head",
            r"(?:EAGLE3|DSpark|DFlash)\w* (?:decoder|draft|model|markov|encoder) .{0,60}"
            r"(?:requires|has no|not loaded|produced no)",
            r"(?:EAGLE3|DFlash): target layer",
            r"llama_(?:decode|process)\(ctx_dft\).{0,40}failed",
            r"llama_(?:decode|process)\[\d+\] returned -?\d",
        ),
        "The draft model cannot be used with this model.",
        (
            "Use a draft model made for this model: of the same family, with the same vocabulary.",
            "If it is one (MTP, EAGLE, DFlash), or the lines before name an unknown architecture "
            "or an index out of range, use a newer build of the engine (in LM Studio a newer "
            "runtime).",
            "Leave the draft out until then: everything works without it, more slowly.",
        ),
        "common_speculative_init_result: failed to load draft model, '/models/beside.gguf'",
        Basis.REAL,
    ),
    Signature(
        "imatrix-unfit",
        (
            r"imatrix size \d+ is different from tensor size",
            r"load_(?:legacy_)?imatrix: (?:failed (?:reading|to open)|no data in file|missing)",
            r"failed to load imatrix from '(?P<file>[^']+)",
            r"missing imatrix metadata in file (?P<file>\S+)",
            r"imatrix contains non-finite",
            r"imatrix: (?:inconsistent (?:size|expert)|data size mismatch|mismatched)",
            r"imatrix mapping error",
        ),
        "The importance matrix does not fit the model, or cannot be read by this build.",
        (
            "Make it anew from this very model with the same build: llama-imatrix -m MODEL -f "
            "TEXT -o imatrix.gguf, and quantise with it.",
            "Old builds and ik_llama.cpp read the .dat format only: llama-imatrix --in-file "
            "imatrix.gguf --output-format dat -o imatrix.dat.",
            "Q4_K_M and larger do without --imatrix.",
        ),
        "llama_model_quantize: failed to quantize: imatrix size 10240 is different from tensor "
        "size 512 for blk.0.attn_kv_b.weight",
        Basis.REPORTED,
        phase=Phase.BUILD,
    ),
    Signature(
        "output-not-written",
        (
            r"basic_ios::clear",
            r"iostream error",
            r"ios_base::failure",
            r"failed to open (?:file )?['\"`]?(?P<path>[^'\"`]+?)['\"`]? for writing",
            r"(?:cannot|could not|unable to|failed to) (?:open|create|write)(?: the| to)? output "
            r"(?:file|folder|directory)s?:? ?(?P<path>\S*)",
            r"fopen\('(?P<path>[^']+)', 'w",
        ),
        "The file to be written cannot be opened or is cut short: {path}.",
        (
            "Check the path of the output: its folder must exist (mkdir -p), be spelt right, and "
            "be one that this user may write to.",
            "Look for room on that disk (df -h): a model is written whole, and the old one stays.",
        ),
        "llama_model_quantize: failed to quantize: basic_ios::clear: iostream error",
        Basis.REPORTED,
        phase=Phase.LOAD,
        variants=(
            Variant(
                r"basic_ios::clear|iostream error|ios_base::failure",
                (
                    "Check the path of the output: its folder must exist (mkdir -p), be spelt "
                    "right, and be one that this user may write to.",
                    "Then df -h of that folder (a RAM disk such as /dev/shm or a tmpfs counts "
                    "too), df -i and quota -s: free room there, or write elsewhere; ulimit -f "
                    "limits how large a file may be, and a FAT disk holds 4 GB.",
                ),
                "The output file cannot be written: mostly its folder is not there, or the disk "
                "that it lies on is full.",
            ),
        ),
    ),
    Signature(
        "read-error",
        (
            r"EIO: i/o error",
            r"read error: Input/output error",
            r"\[Errno 5\] Input/output error",
            r"Stale file handle",
            r"Transport endpoint is not connected",
            r"(?:I/O|input/output) error",
            r"os error 5\)",
            r"device not configured",
            r"ESTALE",
            r"0xc0000006",
            r"3221225478",
            r"EXT4-fs error",
            r"XFS .{0,60}(?:corrupt|error|shut ?down)",
            r"nfs: server \S+ (?:not responding|timed out)",
            r"BTRFS .{0,40}(?:error|corrupt)",
            r"Buffer I/O error",
            r"[Ss]tale NFS",
            r"Structure needs cleaning",
        ),
        "The disk or network volume failed while the file was read.",
        ("Check the disk or the mount, and copy the file to local storage.",),
        "llama_model_load: error loading model: read error: Input/output error",
    ),
    Signature(
        "mmap-failed",
        (
            r"mmap failed: (?P<why>.+)",
            r"MapViewOfFile failed: (?P<why>.+)",
            r"CreateFileMapping\w? failed: (?P<why>.+)",
            r"mmap not supported",
            r"mmap: (?P<why>Cannot allocate memory|No such device|Operation not permitted|"
            r"Invalid argument)",
            r"(?:failed|unable|cannot|could not) (?:to )?(?:mmap|memory[- ]map)(?P<why>.*)",
        ),
        "The file could not be mapped into memory: {why}.",
        ("Use --load-mode none, and check the limit of address space (ulimit -v).",),
        "llama_model_load: error loading model: mmap failed: Cannot allocate memory",
    ),
    Signature(
        "read-into-gpu-failed",
        (r"read error: (?P<why>Bad address|Invalid argument)",),
        "The weights could not be read into their buffer ({why}), which goes wrong only without "
        "mmap: a fault of this build with this device or file system, not of the file.",
        (
            "Let the file be mapped: leave out --no-mmap and --direct-io (newer builds: -lm mmap).",
            "Use a newer build, or the one before if it came with an update; or another backend "
            "(CUDA or ROCm instead of Vulkan).",
        ),
        "llama_model_load: error loading model: read error: Bad address",
        Basis.REPORTED,
        variants=programs.by_program(
            lm_studio=(
                "Switch Try mmap() on in the model's load settings.",
                "Choose another version of the runtime (Settings > Runtime): a newer one, or the "
                "one before if it came with an update; or CUDA or ROCm instead of Vulkan.",
            ),
            koboldcpp=(
                "Start it with --usemmap.",
                "Use the newest KoboldCpp, or the one before it, or another backend.",
            ),
            python=(
                "Pass use_mmap=True, which is the default.",
                "Update llama-cpp-python, or build it for another backend.",
            ),
            ollama=(
                "Let the file be mapped: use_mmap true in the options of the request, or no "
                "use_mmap in the Modelfile.",
                "Update Ollama, or go back to the version before; OLLAMA_VULKAN=0 leaves Vulkan "
                "out.",
            ),
        ),
    ),
    Signature(
        "model-file-unusable",
        (r"(?P<why>llama_model_loader: failed to load model from (?P<path>[^\"']+))",),
        "The engine cannot use the file {path}: it is not there, may not be read, or is no model "
        "that this engine loads.",
        (
            "Look for it with ls -l as the user that runs the engine, under exactly this path (a "
            "script's example may name a model that you have to download first); name another "
            "with -m.",
            "Compare its size and sha256 with the source: an error page, a git-lfs pointer or a "
            "download that broke off is no model.",
            "If it is whole, update the engine; ggufctl diagnose FILE says what kind of file it "
            "is, and whether it is for llama.cpp at all.",
        ),
        "llama_model_load: error loading model: llama_model_loader: failed to load model from "
        "./models/7b/ggml-model-q4_0.gguf\nllama_load_model_from_file: failed to load model",
        Basis.REPORTED,
        tier=Tier.KIND,
        variants=(
            Variant(
                r"(?:^|[\W_])(?:wan(?:[\W_\d]|video)|flux|sd(?:xl|[\W_]?[123](?:[.\W_]|5))|"
                r"stable[\W_]?diffusion|ltx|hunyuan[\W_]?video|cogvideo|mochi|cosmos|hidream|"
                r"chroma[\W_\d]|qwen[\W_]?image|z[\W_]?image|lumina|kolors|pixart|aura[\W_]?flow|"
                r"kontext|t2v|i2v|ti2v|unet|diffusion|t5[\W_]?xxl|umt5|clip[\W_]?[lgv]\b|vae[\W_.]|"
                r"controlnet)",
                (
                    "A model for pictures or video (Wan, FLUX, Stable Diffusion, LTX, Hunyuan "
                    "Video), its text encoder or its VAE is not for llama.cpp: use ComfyUI with "
                    "the nodes ComfyUI-GGUF, stable-diffusion.cpp, or KoboldCpp's --sdmodel.",
                    "For a chat load a text model; if the name misleads and it is one, compare "
                    "its size and sha256 with the source and update the engine.",
                ),
                "The engine cannot use the file {path}: by its name it is for pictures or video, "
                "and no language model.",
            ),
            Variant(
                r"(?:^|[\W_])(?:whisper|kokoro|bark|parler|wavtokenizer|outetts|piper|xtts|"
                r"parakeet|silero|encodec|snac|dia[\W_\d]|chatterbox|ggml-(?:tiny|base|small|"
                r"medium|large)[\W_])",
                (
                    "A model for speech is not for llama.cpp's chat: Whisper's run in whisper.cpp "
                    "(or KoboldCpp's --whispermodel), Kokoro's, Bark's and Parler's in TTS.cpp "
                    "(--ttsmodel).",
                    "For a chat load a text model; if it is one, compare its size and sha256 with "
                    "the source and update the engine.",
                ),
                "The engine cannot use the file {path}: by its name it is for speech, and no "
                "language model.",
            ),
            Variant(
                r"blobs[/\\]sha256",
                (
                    "Update Ollama, then fetch the model anew: ollama rm NAME, ollama pull NAME "
                    "(or ollama create from a GGUF whose sha256 is right).",
                    "Let the service's user read the folder of models (OLLAMA_MODELS), and look at "
                    "the free disk: a blob that broke off is as long as what was there.",
                    "The line before it in the server's log (journalctl -u ollama, docker logs) "
                    "says which it is.",
                ),
            ),
        ),
    ),
    Signature(
        "model-load-failed",
        (
            r"'_?Llama\w*' object has no attribute '_?(?:model|ctx|sampler|batch|stack|"
            r"exit_stack)'",
            r"assert self\.model is not None",
            r"error loading model: (?P<why>.+)",
            r"exiting due to model loading error",
            r"0xe06d7363",
            r"3765269347",
            r"-529697949",
            r"Failed to load model from file: (?P<path>.+)",
            r"Could not load Llama model from path: (?P<path>.+)",
            r"failed to load model,? '(?P<path>[^']*)'",
            r"failed to load model\b",
            r"Could not load text model: (?P<path>.+)",
            r"failed to create_context with model",
            r"mlx runner failed: .{0,200}(?:load weights|load safetensors)",
            r"Failed to create llama_context",
            r"Error loading model\.",
            r"all backends returned error",
            r"unable to load model",
            r"Failed to load the model",
            r"failed to initialize the context: (?P<why>.+)",
            r"loading model failed",
            r"won't work with an unloaded model",
            r"fail(?:ed)? to load model with ID",
            r"Error (?:in )?loading (?:the )?model\b(?!:)",
            r"Model failed to start: (?P<why>.*)",
            r"\bModel failed to load\b",
            r"Failed to Index Model\b",
            r"llama_init_from_gpt_params: error: unable to load model",
            r"could not load (?:the )?model\b(?!: rpc)",
        ),
        "The engine could not load the model: {why}.",
        (
            "The lines above say why; start it again with -lv 4 for more of them.",
            "Run ggufctl diagnose on the model itself.",
            "Mostly the engine is older than the model (update it), the file is cut short, or "
            "memory does not suffice.",
        ),
        "srv  llama_server: exiting due to model loading error",
        tier=Tier.GENERIC,
        variants=(
            Variant(
                r"\bggml\w*[-.]\S*\.bin\b",
                (
                    "The name is one of the format from before GGUF, which engines stopped loading "
                    "in 2023: download a GGUF of the model.",
                    "Otherwise let the engine say more: verbose=True in llama-cpp-python, -lv 4 "
                    "for llama-server.",
                ),
            ),
            Variant(
                r"object has no attribute '_?(?:sampler|batch|(?:exit_)?stack)'",
                (
                    "Install the newest wheel, for mostly the package is older than the model: pip "
                    "install -U --force-reinstall --no-cache-dir llama-cpp-python; where PyPI's is "
                    "too old as well (Qwen3-VL and other new ones), the newest of its GitHub "
                    "releases or of a fork that keeps up (JamePeng/llama-cpp-python), for this "
                    "Python and CUDA.",
                    "verbose=True for Llama shows the engine's own lines, which tell the reason; "
                    "the AttributeError only follows from the load that failed.",
                    "Else the file is cut off, or memory short: compare its size with the source, "
                    "and try n_gpu_layers=0.",
                ),
                "llama-cpp-python could not load the model, mostly because it is older than the "
                "model: {path}.",
            ),
            Variant(
                r"Failed to load model from file|Could not load Llama model|has no attribute|"
                r"assert self\.|llama_context$|e06d7363|529697949|3765269347",
                (
                    "Pass verbose=True to Llama or LlamaCpp: its lines above the traceback tell "
                    "the reason.",
                    "Mostly the package is older than the model: pip install -U llama-cpp-python "
                    "(--force-reinstall --no-cache-dir if the wheel was built here).",
                    "Else the path is wrong, the file cut off, or memory short: compare its size "
                    "with the source, and try a smaller n_ctx and n_gpu_layers=0.",
                ),
            ),
            Variant(
                r"LLama\.|LoadWeightsFailed",
                (
                    "Let LLamaSharp log what llama.cpp says: NativeLibraryConfig.All."
                    "WithLogCallback(...) before anything is loaded.",
                    "Update LLamaSharp and its Backend package together: each version loads the "
                    "models of its own time; the path must name a .gguf file.",
                ),
            ),
            Variant(
                r"load text model|gpttype_|\bkobold",
                (
                    "Start KoboldCpp from a terminal, so that its lines stay: the first error "
                    "above this one is the reason.",
                    "Take the newest version, fewer --gpulayers and a smaller --contextsize, and "
                    "compare the file's size with the source.",
                ),
            ),
            Variant(
                r"all backends returned error|LocalAI|fail(?:ed)? to load model with ID|internal "
                r"loader",
                (
                    "Start LocalAI with DEBUG=true: the backend's own lines (stderr) tell the "
                    "reason.",
                    "Name the backend in the model's YAML (backend: llama-cpp), and the file as it "
                    "is called in the models folder.",
                ),
            ),
            Variant(
                r"blobs[/\\]sha256|\bollama\b|source=\w+\.go",
                (
                    "Read the server's log for the line before it: journalctl -u ollama, docker "
                    "logs, ~/.ollama/logs/server.log, on Windows %LOCALAPPDATA%\\Ollama.",
                    "Update Ollama, then pull the model again (ollama rm NAME, ollama pull NAME).",
                ),
            ),
            Variant(
                r"🥲|\bLM ?Studio\b|\[LMS|Index Model|Error loading model\.|"
                r"(?<!Error: )Failed to load the model",
                (
                    "Update the runtime (Settings > Runtime), then load with a lower GPU Offload "
                    "and a shorter Context Length.",
                    "Developer Logs, or lms log stream, show the engine's own lines; llama-server "
                    "with the same file tells the reason as well.",
                ),
            ),
        ),
    ),
    Signature(
        "pre-tokenizer-missing",
        (r"missing pre-tokenizer type, using: 'default'", r"GENERATION QUALITY WILL BE DEGRADED"),
        "The file does not name its pre-tokenizer, so tokens may be split wrongly.",
        ("Use a newer conversion of the model.",),
        "load: missing pre-tokenizer type, using: 'default'",
        severity=Severity.REMARK,
    ),
    Signature(
        "tokenizer-config",
        (
            r"special_\w+ is not in special_eog_ids - the tokenizer config may be incorrect",
            r"bad special token: '(?P<token>[^']+)'",
        ),
        "Special tokens of the file look wrong; answers may not end where they should.",
        ("Use a newer conversion of the model.",),
        "load: special_eos_id is not in special_eog_ids - the tokenizer config may be incorrect",
        severity=Severity.REMARK,
        phase=Phase.LOAD,
    ),
)
