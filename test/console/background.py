"""The job control of a shell, as far as a test needs it: starts a command in the background of the terminal, reads two lines itself,
brings the command to the foreground (without SIGCONT: it was never stopped) and waits for it."""
import os
import signal
import sys

child = os.fork()
if child == 0:
    os.setpgid(0, 0)
    os.execvp(sys.argv[1], sys.argv[1:])
os.setpgid(child, child)
print("read", sys.stdin.readline().strip(), flush=True)
print("read", sys.stdin.readline().strip(), flush=True)
pid, _ = os.waitpid(child, os.WNOHANG | os.WUNTRACED)
print("untouched" if pid == 0 else "stopped", flush=True)
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
os.tcsetpgrp(0, child)
print("foreground", flush=True)
_, status = os.waitpid(child, 0)
os.tcsetpgrp(0, os.getpgrp())
sys.exit(os.waitstatus_to_exitcode(status))
