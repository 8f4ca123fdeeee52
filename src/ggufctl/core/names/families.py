"""Models whose name carries no size, or one that is not the number of parameters.

Collected 2026-11 from model cards and GGUF headers. Totals are what a GGUF of the language model
holds [billions of parameters]; vision towers live in their own mmproj file and are not counted.
A family that is not here stays unknown: nothing is guessed.
"""

from __future__ import annotations

import re
from functools import cache
from typing import NamedTuple

__all__ = ["FAMILIES", "KNOWN_NXM", "Family", "expert_merge_total", "find_families"]


class Family(NamedTuple):
    """What a name stands for, where the name does not say it."""

    pattern: str
    """Regex over the lower-case name with `_` and spaces as `-`; a trailing `~` ends the word."""
    total: float | None = None
    """Parameters [billions], None when only the kind is known."""
    active: float | None = None
    """Parameters used per token [billions]; None for dense models."""
    n_experts: int | None = None
    label: float | None = None
    """Size printed in the name that this row corrects; None: the name carries no size."""
    moe: bool = False
    teacher: bool = False
    """Often named in distillations: another family in the same name goes first."""

    @property
    def is_moe(self) -> bool:
        """Whether models of this family route tokens to experts."""
        return self.moe or self.active is not None or self.n_experts is not None


F = Family

# A row's key is a literal that every name of it contains: patterns are compiled only on a hit.
FAMILIES: dict[str, tuple[Family, ...]] = {
    "deepseek": (
        F(r"deepseek-?v4[.\d]*-flash", 284, 13, 256, teacher=True),
        F(r"deepseek-?v4[.\d]*-pro", 1600, 49, 384, teacher=True),
        F(r"deepseek-?v4", None, moe=True, teacher=True),
        F(r"deepseek-?coder-?v2-lite", 15.706, 2.4, 64),
        F(r"deepseek-?v2(?:\.5)?-lite", 15.706, 2.4, 64),
        F(r"deepseek-?vl2-tiny", 3.37, 0.57, 64),
        F(r"deepseek-?vl2-small", 16.1, 2.4, 64),
        F(r"deepseek-?vl2", 27.5, 4.1, 72),
        F(r"deepseek-?ocr", 2.935, 0.57, 64),
        F(r"deepseek-?ocr", 2.935, 0.57, 64, label=3),
        F(r"deepseek-?moe-16b", 16.4, 2.8, 64, label=16),
        F(r"deepseek-?coder-?v2", 235.74, 21, 160),
        F(r"deepseek-?v2", 235.74, 21, 160),
        F(r"deepseek-?prover-?v2", 671.026, 37, 256, label=671),
        F(r"deepseek-?r1-distill-qwen-1\.5b", 1.777, label=1.5),
        F(r"deepseek-?(?:r1|v3|tng-r1|ai-r1)", 671.026, 37, 256, teacher=True),
        F(r"deepseek-?math-v2", 671.026, 37, 256),
    ),
    "r1t": (F(r"r1t\d?-?chimera", 671.026, 37, 256),),
    "mai-ds": (F(r"mai-ds-r1", 671.026, 37, 256),),
    "r1-1776": (
        F(r"r1-1776-distill"),
        F(r"r1-1776", 671.026, 37, 256),
    ),
    "671b": (F(r"671b", 671.026, 37, 256, label=671),),
    "685b": (F(r"685b", 671.026, 37, 256, label=685),),
    "kimi": (
        F(r"kimi-?k2(?:[.\d]|~)", 1026.408, 32, 384, teacher=True),
        F(r"kimi-?k3", None, moe=True, teacher=True),
        F(r"kimi-?vl", 15.96, 2.8, 64),
        F(r"kimi-?linear", 49.1, 3, 256),
        F(r"kimi-?dev", 72.7),
    ),
    "moonlight": (F(r"moonlight", 15.96, 2.24, 64),),
    "glm": (
        F(r"glm-?4\.7-flash", 29.943, 3, 64),
        F(r"glm-?4\.6v-flash", 9.4),
        F(r"glm-?4\.5-air", 110.47, 12, 128),
        F(r"glm-?4\.5v", 106.85, 12, 128),
        F(r"glm-?4\.6v", 106.85, 12, 128),
        F(r"glm-?4\.6-air", None, moe=True),
        F(r"glm-?4\.[5-9]~", 356.8, 32, 160, teacher=True),
        F(r"glm-?5\.3-flash", 320, 18, teacher=True),
        F(r"glm-?5(?:\.\d)?-(?:flash|air)", None, moe=True, teacher=True),
        F(r"glm-?5(?:\.[123])?~", 744, 40, 256, teacher=True),
    ),
    "intellect": (
        F(r"intellect-?3(?:\.\d)?~", 106.85, 12, 128),
        F(r"intellect-?2~", 32.76),
        F(r"intellect-?1~", 10.2),
    ),
    "minimax": (
        F(r"minimax-?m2(?:\.\d)?~", 228.69, 10, 256, teacher=True),
        F(r"minimax-?m1", 456, 45.9, 32),
        F(r"minimax-?(?:text|vl)-?01", 456, 45.9, 32),
        F(r"minimax-?m3", None, moe=True, teacher=True),
    ),
    "gpt-oss": (
        F(r"gpt-oss-(?:safeguard-)?120b", 116.829, 5.1, 128, label=120),
        F(r"gpt-oss-(?:safeguard-)?20b", 20.915, 3.6, 32, label=20),
        F(r"gpt-oss", None, moe=True, teacher=True),
    ),
    "gptoss": (
        F(r"gptoss-?120b", 116.829, 5.1, 128, label=120),
        F(r"gptoss-?20b", 20.915, 3.6, 32, label=20),
    ),
    "qwen": (
        F(r"qwen3\.8-flash-next", None, moe=True),
        F(r"qwen3-coder-next", 79.67, 3, 512),
        F(r"qwen3-next", 79.67, 3, 512),
        F(r"qwen[\d.]+-[a-z-]*next", None, moe=True),
        F(r"qwen1\.5-moe", 14.316, 2.7, 60),
        F(r"qwen-?3-vl-2b", 1.72, label=2),
        F(r"qwen-?2-vl-2b", 1.544, label=2),
        F(r"qwen2(?:\.5)?-omni-3b", 3.4, label=3),
        F(r"qwen1\.5-1\.8b", 1.837, label=1.8),
        F(r"gte-qwen2-1\.5b", 1.777, label=1.5),
    ),
    "qwq": (F(r"qwq", 32.764),),
    "qvq": (F(r"qvq", 72.7),),
    "marco-o1": (F(r"marco-o1", 7.616),),
    "llama": (
        F(r"llama-?4[.-]*scout", 107.77, 17, 16),
        F(r"llama-?4[.-]*maverick", 400.71, 17, 128),
        F(r"llama-?4~", None, moe=True),
        F(r"llama-?3[.-]?2-[a-z-]*1b", 1.236, label=1),
        F(r"(?:llama-)?3[.-]2.{0,60}-1b~", 1.236, label=1),
        F(r"llama-outetts-1\.0-1b", 1.25, label=1),
        F(r"llama-?3[.-]2-11b", 9.775, label=11),
        F(r"llama-?3[.-]2-90b", 87.67, label=90),
        F(r"llama-guard-3-1b", 1.236, label=1),
        F(r"tiny-?llama", 1.1),
        F(r"llama-?3[.-]3~", 70.554),
        F(r"nous-hermes-llama2~", 6.738),
        F(r"llama-30b", 32.53, label=30),
        F(r"supernova-lite", 8.03),
        F(r"luna-ai-llama2", 6.738),
        F(r"vicuna-33b", 32.53, label=33),
    ),
    "l3.2": (F(r"l3\.2.{0,60}-1b~", 1.236, label=1),),
    "dolphin3.0-llama3.2-1b": (F(r"dolphin3\.0-llama3\.2-1b", 1.236, label=1),),
    "hermes": (
        F(r"openhermes-2", 7.242),
        F(r"hermes-3-llama-3\.2-3b", 3.213, label=3),
        F(r"nous-hermes-2-mistral|hermes-2-pro-mistral", 7.242),
    ),
    "gemma": (
        F(r"[a-z]*gemma-?3n.{0,60}e2b", 4.458),
        F(r"[a-z]*gemma-?3n.{0,60}e4b", 6.866),
        F(r"[a-z]*gemma-?4.{0,60}e2b", 4.647),
        F(r"[a-z]*gemma-?4.{0,60}e4b", 7.518),
        F(r"(?:code)?gemma-?2-2b|gemma2-2b", 2.614, label=2),
        F(r"(?:\w*-)?gemma-(?:\d\.\d-)?2b", 2.506, label=2),
        F(r"(?:code)?gemma-(?:\d\.\d-)?7b", 8.538, label=7),
        F(r"embeddinggemma", 0.303),
        F(r"(?:data|shield)gemma-2b", 2.614, label=2),
        F(r"functiongemma", 0.268),
        F(r"vaultgemma", 1.04),
        F(r"recurrentgemma-2b", 2.683, label=2),
        F(r"recurrentgemma-9b", 9.6, label=9),
    ),
    "codegemma": (
        F(r"codegemma-(?:1\.1-)?2b", 2.506, label=2),
        F(r"codegemma-(?:1\.1-)?7b", 8.538, label=7),
    ),
    "phi": (
        F(r"phi-?4-(?:mini-flash)", 3.85),
        F(r"phi-?4-mini", 3.836),
        F(r"phi-?4-multimodal", 3.836),
        F(r"phi-?4~", 14.66),
        F(r"phi-?3\.5-moe", 41.873, 6.6, 16),
        F(r"phi-?3[.-]?5?-?mini-moe", 7.65, 2.4, 16),
        F(r"phi-?mini-moe", 7.65, 2.4, 16),
        F(r"phi-?tiny-moe", 3.76, 1.1, 16),
        F(r"phi-?3\.5", 3.821),
        F(r"phi-?3(?:\.1)?-mini|phi-?3-vision", 3.821),
        F(r"phi-?3(?:\.1)?-small", 7.392),
        F(r"phi-?3(?:\.1)?-medium", 13.96),
        F(r"phi-?3(?:\.1)?-14b", 13.96, label=14),
        F(r"phi-?3~", 3.821),
        F(r"phi-?2~", 2.78),
        F(r"phi-?1[.-]5", 1.418),
        F(r"phi-?1~", 1.418),
        F(r"phixtral-4x2[.-]?8?", 7.81, None, 4),
        F(r"phixtral-2x2[.-]?8?", 4.46, None, 2),
    ),
    "mistral": (
        F(r"mistral-large-3", 673, 39, 128),
        F(r"mistral-large-3", 673, 39, 128, label=675),
        F(r"mistral-large-(?:3-.{0,60})?2512", 673, 39, 128),
        F(r"mistral-large", 122.61),
        F(r"mistral-medium-3\.5", 128),
        F(r"mistral-small-4", 119, 6.5, 128),
        F(r"mistral-small-(?:3(?:\.\d)?|24b|25\d\d|(?:instruct-)?25\d\d)", 23.572),
        F(r"mistral-small-(?:instruct-)?2409", 22.247),
        F(r"mistral-small-[a-z-]*25\d\d", 23.572),
        F(r"mistral-small~(?!-4)", 23.572),
        F(r"mistral-nemo-?minitron-8b", 8.41, label=8),
        F(r"mistral-nemo", 12.248),
        F(r"mistral-ft-optimized", 7.242),
        F(r"mistral-(?:instruct-)?v0\.[123]", 7.248),
    ),
    "nemo": (F(r"(?:nemo-?mix|lumimaid-nemo|arcanum-nemo|nemo-instruct)", 12.248),),
    "ministral": (F(r"ministral-3-3b", 3.43, label=3),),
    "magistral": (F(r"magistral-small", 23.572),),
    "devstral": (
        F(r"devstral-(?:small-)?2-123b", 125.0, label=123),
        F(r"devstral-2~", None),
        F(r"devstral-small", 23.572),
        F(r"devstral~", 23.572),
    ),
    "codestral": (
        F(r"(?:mamba-)?codestral-mamba|mamba-codestral", 7.285),
        F(r"codestral", 22.247),
    ),
    "mathstral": (F(r"mathstral", 7.248),),
    "pixtral": (
        F(r"pixtral-large", 122.61),
        F(r"pixtral", 12.248),
    ),
    "voxtral": (
        F(r"voxtral-mini", 4.02),
        F(r"voxtral-mini-3b", 4.02, label=3),
        F(r"voxtral-small", 23.572),
    ),
    "miqu": (F(r"miqu", 68.98),),
    "mixtral": (
        F(r"mixtral-?8x22", 140.62, 39, 8),
        F(r"mixtral-?8x7", 46.703, 12.9, 8),
        F(r"mixtral", None, moe=True),
    ),
    "laserxtral": (F(r"laserxtral", 24.15, None, 4),),
    "zephyr": (
        F(r"stablelm-zephyr", 2.795),
        F(r"zephyr-(?:alpha|beta|sft)", 7.242),
    ),
    "openchat": (
        F(r"openchat-?3\.6", 8.03),
        F(r"openchat[-.]?(?:v)?3\.[25]", 7.242),
    ),
    "starling": (F(r"starling-lm-(?:alpha|beta|11b)?", 7.242),),
    "neural": (F(r"neural-?(?:chat|hermes|beagle|daredevil|monarch)", 7.242),),
    "bakllava": (F(r"bakllava", 7.242),),
    "solar": (
        F(r"solar-pro", 22.14),
        F(r"solar-open", 102.6, 12, 128),
        F(r"solar-open", 102.6, 12, 128, label=100),
        F(r"(?:nous-hermes-2-)?solar", 10.73),
    ),
    "fimbulvetr": (F(r"fimbulvetr", 10.73),),
    "virtuoso": (
        F(r"virtuoso-lite", 10.306),
        F(r"virtuoso-small", 14.77),
        F(r"virtuoso-medium", 32.764),
        F(r"virtuoso-large", 72.706),
    ),
    "supernova": (F(r"supernova-medius", 14.77),),
    "arcee": (
        F(r"arcee-(?:agent|spark)", 7.616),
        F(r"arcee-nova", 72.706),
        F(r"arcee-blitz", 23.572),
    ),
    "athene": (F(r"athene-v2", 72.706),),
    "tess": (
        F(r"tess-xl", 117.75),
        F(r"tess-m~", 34.389),
        F(r"tess-xs", 7.242),
    ),
    "sqlcoder": (F(r"sqlcoder2?~(?!-\d+b)", 15.517),),
    "shiningvaliant": (F(r"shiningvaliant~", 68.977),),
    "mythalion": (F(r"mythalion", 13.016),),
    "em-german": (F(r"em-german(?:-leo)?-mistral", 7.242),),
    "mythomax": (F(r"mythomax", 13.016),),
    "command": (
        F(r"command-r-?7b", 8.028, label=7),
        F(r"command-r-?7b", 8.028),
        F(r"command-r-?plus", 103.811),
        F(r"command-r\+", 103.811),
        F(r"command-r-?08-2024", 32.296),
        F(r"command-r~", 34.981),
        F(r"command-a~", 111.058),
    ),
    "aya": (
        F(r"aya-101", 12.9),
        F(r"aya-vision-8b|aya-(?:expanse|23)-8b", 8.028, label=8),
    ),
    "dbrx": (F(r"dbrx", 131.597, 36, 16),),
    "grok": (
        F(r"grok-?1(?:\.0)?~", 316.49, 86, 8),
        F(r"grok-?2(?:\.5)?~", 269.5, 115, 8),
    ),
    "arctic": (
        F(r"arctic-embed-l-v2", 0.568),
        F(r"arctic-embed-m-v2", 0.305),
        F(r"arctic-embed-m-long", 0.137),
        F(r"arctic-embed-xs", 0.0226),
        F(r"arctic-embed-s", 0.0332),
        F(r"arctic-embed-m", 0.109),
        F(r"arctic-embed-l", 0.334),
        F(r"snowflake-arctic(?!-embed)", 476.7, 17, 128),
    ),
    "jamba": (
        F(r"jamba-?1\.[567]-large|jamba-large", 398.6, 94, 16),
        F(r"jamba-?(?:v0\.1|1\.[567]-mini|mini|tiny-random)", 51.57, 12, 16),
        F(r"jamba~(?!-reasoning)", None, moe=True),
    ),
    "granite": (
        F(r"granite-4\.\d-h-small", 32.2, 9, 72),
        F(r"granite-4\.\d-(?:h-)?tiny", 6.939, 1, 64),
        F(r"granite-4\.\d-h-micro", 3.191),
        F(r"granite-4\.\d-micro", 3.403),
        F(r"granite-4\.\d-h-1b", 1.462, label=1),
        F(r"granite-4\.\d-1b", 1.632, label=1),
        F(r"granite-3\.\d-1b", 1.335, 0.4, 32, label=1),
        F(r"granite-3\.\d-3b", 3.299, 0.8, 40, label=3),
        F(r"granite-3\.[01]-2b", 2.634, label=2),
        F(r"granite-3\.\d-2b|granite-speech-.{0,60}2b", 2.534, label=2),
        F(r"granite-vision-3\.\d-2b", 2.534, label=2),
        F(r"granite-3b-code", 3.483, label=3),
        F(r"granite-embedding-small-english-r2", 0.0477),
        F(r"granite-embedding-english-r2", 0.149),
        F(r"granite-docling", 0.165),
    ),
    "step": (
        F(r"step-?3\.[57]-flash", 196.956, 11, 288),
        F(r"step-?3(?:-vl)?~(?!\.)", 321, 38, 48),
    ),
    "ernie": (
        F(r"ernie-4\.5-0\.3b", 0.361, label=0.3),
        F(r"ernie-4\.5-300b", 300, 47, 64, label=300),
    ),
    "reka": (F(r"reka-flash", 20.9),),
    "hunyuan": (
        F(r"hunyuan-?a13b", 80.393, 13, 64),
        F(r"hunyuan-?large", 389, 52, 16),
    ),
    "dots": (
        F(r"dots\.?-?llm-?1", 142.77, 14, 128),
        F(r"dots\.?-?ocr", 1.777),
    ),
    "ling": (
        F(r"(?:ling|ring)-(?:lite|coder-lite)", 16.8, 2.75, 64),
        F(r"(?:ling|ring)-plus", 290, 28.8, 64),
        F(r"(?:ling|ring)-mini(?:-linear)?-2\.0", 16.256, 1.4, 256),
        F(r"(?:ling|ring)-flash(?:-linear)?-2\.0", 103, 6.1, 256),
        F(r"(?:ling|ring)-(?:2\.\d-)?1t", 1000, 50, 256),
        F(r"(?:ling|ring)-[23]\.\d-(?:flash|mini|tiny)", None, moe=True),
    ),
    "ring": (
        F(r"ring-(?:lite|coder-lite)", 16.8, 2.75, 64),
        F(r"ring-plus", 290, 28.8, 64),
        F(r"ring-mini(?:-linear|-sparse)?-2\.0", 16.256, 1.4, 256),
        F(r"ring-flash(?:-linear)?-2\.0", 103, 6.1, 256),
        F(r"ring-(?:2\.\d-)?1t", 1000, 50, 256),
    ),
    "llada": (
        F(r"llada-?2\.\d-mini", 16.256, 1.4, 256),
        F(r"llada-?2\.\d-flash", 103, 6.1, 256),
    ),
    "longcat": (
        F(r"longcat-flash-lite", 68.5, 3, 256),
        F(r"longcat-flash", 562, 27, 512),
    ),
    "trinity": (
        F(r"trinity-nano", 6.1, 1, 128),
        F(r"trinity-mini", 26.124, 3, 128),
        F(r"trinity-large", 398.6, 13, 256),
    ),
    "mimo": (
        F(r"mimo-v2(?:\.\d)?-pro", None, moe=True, teacher=True),
        F(r"mimo-v2-flash", 309, 15, 256, teacher=True),
        F(r"mimo-v2", None, moe=True, teacher=True),
    ),
    "laguna": (
        F(r"laguna-xs", 33.4, 3, 256),
        F(r"laguna-s~", 118, 8),
        F(r"laguna-m~", 225, 23),
    ),
    "inkling": (
        F(r"inkling-small", None, moe=True),
        F(r"inkling~", 975, 41),
    ),
    "nemotron": (
        F(r"nemotron-3(?:\.\d)?-nano-30b|nemotron-nano-3-30b", 31.58, 3.5, 128, label=30),
        F(r"nemotron-3-nano~(?!-4b)", 31.58, 3.5, 128),
        F(r"nemotron-3-super", 120.67, 12, 512),
        F(r"nemotron-3-ultra", 550, 55, 512),
        F(r"nemotron-mini~", 4.19),
        F(r"nemotron-super-49b", 49.867, label=49),
    ),
    "exaone": (F(r"k-exaone", 236.571, 23, 128),),
    "skywork": (F(r"skywork-moe", 146, 22, 16),),
    "openmoe": (F(r"openmoe", None, moe=True),),
    "olmo": (
        F(r"olmoe", 6.919, 1.3, 64),
        F(r"olmoe", 6.919, 1.3, 64, label=7),
        F(r"olmo-2-0425-1b|olmo-?2-1b", 1.485, label=1),
        F(r"olmo-1b", 1.177, label=1),
    ),
    "bitnet": (
        F(r"bitnet-?b?1\.?58-?(?:2b|2b-?4t|2b4t)", 2.741, label=2),
        F(r"bitnet-?b?1\.?58-?2b-?4t", 2.741),
    ),
    "yi": (F(r"yi-coder-1\.5b", 1.476, label=1.5),),
    "stablelm": (
        F(r"stablelm-2-zephyr-1[.-]6b|stablelm-2-1[.-]6b", 1.645, label=1.6),
        F(r"stable-code-3b|stablelm-3b|stablelm-zephyr-3b", 2.795, label=3),
    ),
    "rocket": (F(r"rocket-3b", 2.795, label=3),),
    "falcon": (
        F(r"falcon-?3-1b", 1.669, label=1),
        F(r"falcon3-10b", 10.306, label=10),
    ),
    "starcoder": (
        F(r"starcoder-?base-1b", 1.137, label=1),
        F(r"starcoder(?:base|plus)?~", 15.517),
    ),
    "starchat": (F(r"starchat-(?:alpha|beta)", 15.517),),
    "wizardcoder": (F(r"wizardcoder-15b", 15.517, label=15),),
    "wizardlm-2": (F(r"wizardlm-2-8x22b", 140.62, 39, 8),),
    "santacoder": (F(r"santacoder", 1.1),),
    "minicpm": (
        F(r"minicpm-llama3-v", 8.03),
        F(r"minicpm-v-4[.-]5", 8.19),
        F(r"minicpm-o-4[.-]5", 8.19),
        F(r"minicpm-v-4~", 3.6),
        F(r"minicpm-[ov]-2[.-]6", 7.61),
        F(r"minicpm-v-2~", 2.72),
        F(r"minicpm-moe-8x2b", 13.6, None, 8),
        F(r"minicpm4(?:\.1)?-0\.5b", 0.434, label=0.5),
        F(r"minicpm-(?:s-)?2b", 2.725, label=2),
        F(r"minicpm-(?:s-)?1b", 1.361, label=1),
    ),
    "moondream": (F(r"moondream-?2", 1.418),),
    "smolvlm": (
        F(r"smolvlm2-2\.2b", 1.81, label=2.2),
        F(r"smolvlm2?-500m", 0.409, label=0.5),
        F(r"smolvlm2?-256m", 0.1627, label=0.256),
        F(r"smolvlm-(?:instruct|base|synthetic)", 1.81),
    ),
    "lfm2": (
        F(r"lfm2(?:\.5)?-vl-1\.6b", 1.17, label=1.6),
        F(r"lfm2(?:\.5)?-vl-450m", 0.354, label=0.45),
        F(r"lfm2(?:\.5)?-vl-3b", 2.57, label=3),
        F(r"lfm2(?:\.5)?-audio-1\.5b", 1.17, label=1.5),
    ),
    "gpt2": (
        F(r"gpt2-?xl", 1.558),
        F(r"gpt2-?large", 0.774),
        F(r"gpt2-?medium", 0.355),
        F(r"distilgpt2", 0.082),
        F(r"gpt2~", 0.163),
    ),
    "dialogpt": (
        F(r"dialogpt-large", 0.774),
        F(r"dialogpt-medium", 0.355),
        F(r"dialogpt-small", 0.124),
    ),
    "gpt-j": (F(r"gpt-j~", 6.05),),
    "gpt-neox": (F(r"gpt-neox~", 20.55),),
    "goliath": (F(r"goliath", 117.75),),
    "stories": (
        F(r"stories260k", 0.00026),
        F(r"stories15m-moe", 0.0364, moe=True, label=0.015),
    ),
    "cogito": (F(r"cogito-v2.{0,60}-109b", 107.77, 17, 16, label=109),),
    "internvl": (F(r"internvl[\d._-]*2b", 1.7, label=2),),
    "ul2": (F(r"flan-ul2", 19.5),),
    "t5": (
        F(r"flan-?t5-small", 0.077),
        F(r"flan-?t5-base", 0.2476),
        F(r"flan-?t5-large", 0.7831),
        F(r"flan-?t5-xxl", 11.14),
        F(r"flan-?t5-xl", 2.85),
        F(r"umt5-xxl", 5.68),
        F(r"t5-v1[.-]1-xxl", 4.762),
        F(r"t5-small", 0.0605),
        F(r"t5-base", 0.2229),
        F(r"t5-large", 0.7377),
    ),
    "bge": (
        F(r"bge-small-zh", 0.024),
        F(r"bge-base-zh", 0.1023),
        F(r"bge-large-zh", 0.326),
        F(r"bge-small", 0.0334),
        F(r"bge-base", 0.109),
        F(r"bge-large", 0.334),
        F(r"bge-reranker-v2-gemma", 2.506),
        F(r"bge-reranker-v2-m3", 0.568),
        F(r"bge-reranker-v2-minicpm", 2.72),
        F(r"bge-reranker-base", 0.278),
        F(r"bge-reranker-large", 0.56),
        F(r"bge-multilingual-gemma2", 9.242),
        F(r"bge-en-icl", 7.11),
        F(r"bge-m3", 0.567),
        F(r"bge-code-v1", 1.544),
    ),
    "nomic": (
        F(r"nomic-embed-text-v2", 0.475, 0.305, 8),
        F(r"nomic-embed-text", 0.1367),
        F(r"nomic-embed-code", 7.07),
    ),
    "e5": (
        F(r"multilingual-e5-small", 0.1177),
        F(r"multilingual-e5-base", 0.278),
        F(r"multilingual-e5-large", 0.5599),
        F(r"e5-small", 0.0334),
        F(r"e5-base", 0.109),
        F(r"e5-large", 0.334),
        F(r"e5-mistral", 7.11),
    ),
    "gte": (
        F(r"gte-modernbert-base", 0.149),
        F(r"gte-reranker-modernbert-base", 0.15),
        F(r"gte-multilingual-base", 0.305),
        F(r"gte-base-en-v1\.5", 0.137),
        F(r"gte-large-en-v1\.5", 0.434),
        F(r"gte-small-zh", 0.0305),
        F(r"gte-(?:base)-zh", 0.1023),
        F(r"gte-large-zh", 0.326),
        F(r"gte-small", 0.0334),
        F(r"gte-base", 0.109),
        F(r"gte-large", 0.334),
    ),
    "jina": (
        F(r"jina-embeddings-v2-small", 0.0327),
        F(r"jina-embeddings-v2-base-(?:code|de|es|zh)", 0.161),
        F(r"jina-embeddings-v2-base", 0.137),
        F(r"jina-embeddings-v3", 0.5724),
        F(r"jina-embeddings-v4", 3.09),
        F(r"jina-reranker-v1-tiny", 0.033),
        F(r"jina-reranker-v1-turbo", 0.0378),
        F(r"jina-reranker-v2-base", 0.278),
        F(r"jina-reranker-v3", 0.597),
        F(r"jina-reranker-m0", 2.2),
        F(r"jina-code-embeddings-1\.5b", 1.544, label=1.5),
        F(r"jina-bert-v2-small", 0.0327),
    ),
    "mxbai": (
        F(r"mxbai-embed-large", 0.335),
        F(r"mxbai-embed-2d-large", 0.335),
        F(r"mxbai-embed-xsmall", 0.0241),
        F(r"mxbai-rerank-base-v2", 0.494),
        F(r"mxbai-rerank-large-v2", 1.544),
        F(r"mxbai-rerank-xsmall", 0.0708),
        F(r"mxbai-rerank-base", 0.184),
        F(r"mxbai-rerank-large", 0.435),
    ),
    "minilm": (
        F(r"paraphrase-multilingual-minilm-l12", 0.1177),
        F(r"minilm-l6", 0.0227),
        F(r"minilm-l-6", 0.0227),
        F(r"minilm-l-?12", 0.0334),
    ),
    "mpnet": (
        F(r"paraphrase-multilingual-mpnet-base", 0.278),
        F(r"mpnet-base", 0.1095),
    ),
    "uae-large": (F(r"uae-large", 0.335),),
    "ember-v1": (F(r"ember-v1", 0.335),),
    "labse": (F(r"labse", 0.471),),
    "modernbert": (
        F(r"modernbert-(?:embed-)?base", 0.149),
        F(r"modernbert-(?:embed-)?large", 0.395),
    ),
    "xlm-roberta": (
        F(r"xlm-roberta-base", 0.278),
        F(r"xlm-roberta-large", 0.56),
    ),
    "bert-": (
        F(r"bert-base-(?:un)?cased", 0.109),
        F(r"bert-large-(?:un)?cased", 0.335),
    ),
    "embedding-mistral": (F(r"sfr-embedding-mistral", 7.11),),
    "linq-embed": (F(r"linq-embed-mistral", 7.11),),
}


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    ended = pattern.replace("~", r"(?![a-z0-9])(?!\.\d)")
    return re.compile(rf"(?<![a-z0-9])(?:{ended})")


def find_families(name: str) -> tuple[tuple[Family, int], ...]:
    """The rows that match a name (lower case, `-` for `_` and spaces), each with its length.

    Of the rows of one key only the first without a label counts: rows go from the most specific
    to the least.
    """
    found: list[tuple[Family, int]] = []
    for key, rows in FAMILIES.items():
        if key not in name:
            continue
        plain = False
        for row in rows:
            if row.label is None and plain:
                continue
            match = _compiled(row.pattern).search(name)
            if match:
                found.append((row, match.end() - match.start()))
                plain = plain or row.label is None
    return tuple(found)


# Size labels of the form NxM [experts, billions] -> (total, active). Those with many experts are
# the ones that llama.cpp's converter writes: M is what every token shares plus ONE expert, so
# they cannot be multiplied out.
KNOWN_NXM: dict[tuple[int, float], tuple[float, float | None]] = {
    (8, 7): (46.703, 12.9),
    (8, 22): (140.62, 39),
    (8, 3): (18.405, None),
    (8, 2): (13.6, None),
    (16, 3.8): (41.873, 6.6),
    (16, 12): (131.597, 36),
    (16, 17): (107.77, 17),
    (128, 17): (400.71, 17),
    (64, 1.5): (15.706, 2.4),
    (256, 20): (671.026, 37),
    (256, 21): (671.026, 37),
    (384, 14): (1026.408, 32),
    (384, 15): (1026.408, 32),
    (128, 1.8): (30.532, 3),
    (128, 10): (235.094, 22),
    (160, 15): (480.155, 35),
    (160, 14): (235.74, 21),
    (128, 9.4): (110.47, 12),
    (32, 2.4): (20.915, 3.6),
    (128, 3.0): (116.829, 5.1),
    (512, 2.5): (79.67, 3),
}

# Dense models that people merge into N experts: size in the name -> (what the experts share,
# one expert's feed-forward part) [billions], from the published layer shapes.
_MERGE_BASES: dict[float, tuple[float, float]] = {
    0.5: (0.18, 0.314),
    0.6: (0.332, 0.264),
    1: (0.43, 0.805),
    1.1: (0.34, 0.761),
    1.5: (0.388, 1.156),
    1.7: (0.663, 1.057),
    1.8: (0.87, 0.97),
    3: (1.3, 2.114),
    4: (1.33, 2.69),
    7: (1.605, 5.637),
    8: (2.393, 5.637),
    10.7: (2.276, 8.456),
    11: (2.276, 8.456),
    12: (3.44, 8.808),
    13: (4.52, 8.493),
    14: (4.58, 10.19),
    22: (5.34, 16.91),
    34: (7.97, 26.42),
    70: (14.18, 56.37),
    72: (15.7, 57.0),
}


def expert_merge_total(n_experts: int, size: float) -> float | None:
    """Total parameters [billions] of `n_experts` copies of a dense model merged into a MoE.

    Attention and embeddings are shared, the feed-forward part is not: 8 × 7B is 46.7B, not 56B.
    None for a base whose shapes are not known, or for more experts than such merges have.
    """
    if n_experts > 16 or size not in _MERGE_BASES:
        return None
    shared, expert = _MERGE_BASES[size]
    return shared + n_experts * expert
