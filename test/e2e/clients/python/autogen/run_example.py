"""
Runs one of the examples as it stands, with what surrounds it: where they keep `make_vault_tool`, and an end at which this
process can still be looked at. One argument: the example's file.
"""

import asyncio
import runpy
import sys
from pathlib import Path

here = Path(__file__).parent
tool = runpy.run_path(str(here / "vault_tool.py"))
runpy.run_path(sys.argv[1], init_globals={"make_vault_tool": tool["make_vault_tool"]})
print("example over", flush=True)
# Whoever started it looks into its memory now, and says when.
sys.stdin.readline()
