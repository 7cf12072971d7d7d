"""The job control of a shell, as far as tests need it. Starts a command in the background of the terminal, reads two lines itself,
brings the command to the foreground (without SIGCONT: it was never stopped) and waits for it. On SIGUSR1 it stops the command,
takes the terminal back, lets the command go on in the background and asks it to end."""
import os
import signal
import sys
import termios

signal.signal(signal.SIGTTOU, signal.SIG_IGN)
settings = termios.tcgetattr(0)
child = os.fork()
if child == 0:
    signal.signal(signal.SIGTTOU, signal.SIG_DFL)
    os.setpgid(0, 0)
    os.execvp(sys.argv[1], sys.argv[1:])
os.setpgid(child, child)


def take_back(*_):
    os.kill(child, signal.SIGSTOP)
    os.waitpid(child, os.WUNTRACED)
    os.tcsetpgrp(0, os.getpgrp())
    termios.tcsetattr(0, termios.TCSANOW, settings)
    os.kill(child, signal.SIGCONT)
    os.kill(child, signal.SIGUSR2)


signal.signal(signal.SIGUSR1, take_back)
print("read", sys.stdin.readline().strip(), flush=True)
print("read", sys.stdin.readline().strip(), flush=True)
pid, _ = os.waitpid(child, os.WNOHANG | os.WUNTRACED)
print("untouched" if pid == 0 else "stopped", flush=True)
os.tcsetpgrp(0, child)
print("foreground", flush=True)
_, status = os.waitpid(child, os.WUNTRACED)
if os.WIFSTOPPED(status):
    os.kill(child, signal.SIGKILL)
    sys.exit("the command was stopped")
os.tcsetpgrp(0, os.getpgrp())
sys.exit(os.waitstatus_to_exitcode(status))
