"""Runs a command on a new pseudo-terminal, driven by JSON lines on standard input; tells what happens as JSON lines.

Standard error of the command is ours.
"""
import base64
import fcntl
import json
import os
import select
import signal
import struct
import sys
import termios

master, slave = os.openpty()
child = os.fork()
if child == 0:
    os.setsid()
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    os.dup2(slave, 0)
    os.dup2(slave, 1)
    os.close(master)
    os.close(slave)
    for name in ("SIGINT", "SIGQUIT", "SIGTSTP", "SIGTTIN", "SIGTTOU", "SIGPIPE"):
        signal.signal(getattr(signal, name), signal.SIG_DFL)
    os.execvp(sys.argv[1], sys.argv[1:])


def tell(**event):
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


def modes():
    iflag, oflag, cflag, lflag = termios.tcgetattr(slave)[:4]
    return {
        "canonical": bool(lflag & termios.ICANON),
        "echo": bool(lflag & termios.ECHO),
        "signals": bool(lflag & termios.ISIG),
        "post": bool(oflag & termios.OPOST),
        "nonblock": bool(fcntl.fcntl(slave, fcntl.F_GETFL) & os.O_NONBLOCK),
    }


pending = b""
commands = b""
stdin_open = True
reading = True
while True:
    pid, status = os.waitpid(child, os.WNOHANG | os.WUNTRACED | os.WCONTINUED)
    if pid != 0:
        if os.WIFSTOPPED(status):
            tell(stopped=True)
        elif os.WIFCONTINUED(status):
            tell(continued=True)
        else:
            code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else -os.WTERMSIG(status)
            if not reading:
                tell(exit=code)
                break
            # What is left in the terminal belongs to the command.
            while select.select([master], [], [], 0.05)[0]:
                data = os.read(master, 65536)
                if not data:
                    break
                tell(output=base64.b64encode(data).decode())
            tell(exit=code, modes=modes())
            break
    readers = ([master] if reading else []) + ([0] if stdin_open else [])
    ready, writable, _ = select.select(readers, [master] if pending else [], [], 0.02)
    if master in ready:
        data = os.read(master, 65536)
        tell(output=base64.b64encode(data).decode())
    if writable:
        pending = pending[os.write(master, pending[:1024]) :]
    if 0 in ready:
        data = os.read(0, 65536)
        if not data:
            stdin_open = False
            os.kill(child, signal.SIGKILL)
        commands += data
        while b"\n" in commands:
            line, commands = commands.split(b"\n", 1)
            command = json.loads(line)
            if "send" in command:
                pending += base64.b64decode(command["send"])
            elif "signal" in command:
                os.kill(child, getattr(signal, command["signal"]))
            elif "size" in command:
                fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", *command["size"], 0, 0))
            elif "reading" in command:
                reading = command["reading"]
            elif "cook" in command:
                # What a shell does to the terminal when its command is stopped.
                settings = termios.tcgetattr(slave)
                settings[1] |= termios.OPOST
                settings[3] |= termios.ICANON | termios.ECHO | termios.ISIG
                termios.tcsetattr(slave, termios.TCSANOW, settings)
            elif "hangup" in command:
                os.close(slave)
                os.close(master)
                reading = False
            elif "modes" in command:
                tell(modes=modes())
