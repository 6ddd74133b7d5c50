"""Types into a shell on a terminal: terminal.py STEPS [SHELL...], a JSON list of [regular expression to wait for, keys
to type]; bash unless another shell and its arguments are named."""
import json
import os
import pty
import re
import select
import signal
import sys
import time

pid, terminal = pty.fork()
if pid == 0:
    shell = sys.argv[2:] or ["bash", "--norc", "--noprofile", "-i"]
    os.execvp(shell[0], shell)
shown = b""


def wait_for(pattern):
    global shown
    end = time.monotonic() + 60
    while not re.search(pattern.encode(), shown):
        left = end - time.monotonic()
        if left <= 0 or not select.select([terminal], [], [], left)[0]:
            os.kill(pid, signal.SIGKILL)
            sys.exit(f"waited in vain for {pattern}; shown:\n{shown.decode(errors='replace')}")
        try:
            shown += os.read(terminal, 65536)
        except OSError:
            sys.exit(f"the shell ended before {pattern}; shown:\n{shown.decode(errors='replace')}")
    found = re.search(pattern.encode(), shown)
    shown = shown[found.end():]


for pattern, keys in json.loads(sys.argv[1]):
    wait_for(pattern)
    os.write(terminal, keys.encode())
os.kill(pid, signal.SIGKILL)
