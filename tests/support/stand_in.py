"""Takes a worker's place where a test is about processes: what it does is said by the cell's lam.

It imports nothing of otgan's.
"""

import json
import os
import select
import signal
import sys
import time
from pathlib import Path

folder = Path(sys.argv[1])
lam = json.loads((folder / "config.json").read_text())["oracle"]["lam"]
terminated = []
signal.signal(signal.SIGTERM, lambda *_: terminated.append(time.time()))


def say(state):
    (folder / "status.json").write_text(
        json.dumps({"state": state, "step": 1, "seconds": 1.0, "reason": "", "summary": {}})
    )


def note(**facts):
    known = {"cores": sorted(os.sched_getaffinity(0)), "session": os.getsid(0), "began": began}
    (folder / "noted.json").write_text(json.dumps({**known, **facts}))


began = time.time()
note()
sys.stdout.write("at work\n")
sys.stdout.flush()
if lam < 1:
    time.sleep(0.4)
    say("finished")
    note(ended=time.time())
elif lam == 1:
    sys.exit("Traceback (most recent call last):\n  ...\nMemoryError: no room for the plan\n")
elif lam == 2:
    os.kill(os.getpid(), signal.SIGKILL)
elif lam == 9:  # hangs
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(600)
else:
    while not terminated and not select.select([0], [], [], 0.05)[0]:  # what can be read is the end
        pass
    time.sleep(0.3)  # saves its state; a second signal would show
    say("interrupted")
    note(terminated=len(terminated))
