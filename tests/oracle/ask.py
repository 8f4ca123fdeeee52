from pathlib import Path
import os
def folder() -> Path: return Path(os.environ["GGUFCTL_ORACLE"])
