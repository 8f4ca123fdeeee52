"""The line that a build with CUDA prints, where a GPU was asked for: none is here.

`STANDIN_LAYERS` is how many layers it names; empty = a build without CUDA, which says nothing.
"""

import os
import sys

layers = os.environ.get("STANDIN_LAYERS", "999")
if layers and os.environ.get("STANDIN_GPU") and "llama_cpp.server" in sys.orig_argv:
    sys.stderr.write(f"load_tensors: offloaded {layers}/{layers} layers to GPU\n")
