"""What the agent may try: run as its user, it looks for what is not its own, and tells what it found as JSON.

Standard library only: it is handed to a Python in the container. Its one argument is JSON: `words` to look for and
`places` to write to. It has no secret itself, so that a word that it finds was there to be found.
"""

import json
import os
import stat
import sys
import urllib.error
import urllib.request
from pathlib import Path

ASKED = json.loads(sys.stdin.readline())
WORDS = {name: word.encode() for name, word in ASKED["words"].items()}
MEMORY_BYTES = 64 * 1024 * 1024
FILE_BYTES = 512 * 1024 * 1024


def main() -> None:
    others = processes_of_others()
    json.dump(
        {
            "capabilities": status("self")["CapEff"].strip("0") + status("self")["CapBnd"].strip("0"),
            "no_new_privileges": status("self")["NoNewPrivs"],
            "others": {pid: status(pid)["Name"] for pid in others},
            "environments": [pid for pid in others if readable(f"/proc/{pid}/environ")],
            "memories": [pid for pid in others if readable(f"/proc/{pid}/mem")],
            "files_open": [pid for pid in others if listed(f"/proc/{pid}/fd/")],
            "roots": [pid for pid in others if listed(os.path.join("/proc", pid, "root", ""))],
            "killed": [pid for pid in others if killed(int(pid))],
            "words": sorted(words_found()),
            "addresses": [name for name in own_environments() if name.startswith((b"AWS_", b"ECS_"))],
            "setuid": setuid(),
            "written": [place for place in ASKED["places"] if written(place)],
            "answers": {url: answer(url) for url in ASKED["urls"]},
        },
        sys.stdout,
        default=repr,
    )


def processes_of_others() -> list[str]:
    found = []
    for path in Path("/proc").iterdir():
        if path.name.isdecimal():
            try:
                if path.stat().st_uid != os.getuid():
                    found.append(path.name)
            except OSError:
                continue
    return found


def status(pid: str) -> dict[str, str]:
    return dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)


def readable(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            file.read(1)
    except PermissionError:
        return False
    except OSError:
        return True  # opened, only not at address 0
    return True


def listed(path: str) -> bool:
    try:
        os.listdir(path)
    except OSError:
        return False
    return True


def killed(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


def words_found() -> set[str]:
    """Of all files that can be read, and of all environments and memories of our own user's processes."""
    found = set()
    for folder, folders, files in os.walk("/", followlinks=False):
        if folder == "/":
            folders[:] = [each for each in folders if each not in {"proc", "sys"}]
        for name in files:
            path = os.path.join(folder, name)
            try:
                if stat.S_ISREG(os.lstat(path).st_mode) and os.path.getsize(path) < FILE_BYTES:
                    found |= {f"{word} in {path}" for word in words_in(path)}
            except OSError:
                continue
    for process in Path("/proc").glob("[0-9]*"):
        for name in ("environ", "cmdline"):
            found |= {f"{word} in {name}" for word in words_in(str(process / name))}
        found |= {f"{word} in memory" for word in in_memory(process)}
    return found


def words_in(path: str) -> list[str]:
    """The words in a file."""
    held, found = b"", set()
    longest = max(map(len, WORDS.values()))
    try:
        with open(path, "rb") as file:
            while chunk := file.read(1 << 20):
                held = held[-longest:] + chunk
                found |= {name for name, word in WORDS.items() if word in held}
    except OSError:
        pass
    return sorted(found)


def in_memory(process: Path) -> set[str]:
    """The words in a process's heap and data, ours excepted."""
    if process.name == str(os.getpid()):
        return set()
    found, left = set(), MEMORY_BYTES
    try:
        with open(process / "mem", "rb", 0) as memory:
            for line in (process / "maps").read_text().splitlines():
                begin, end = (int(each, 16) for each in line.split()[0].split("-"))
                if left <= 0 or not line.split()[1].startswith("rw"):
                    continue
                left -= end - begin
                memory.seek(begin)
                content = memory.read(min(end - begin, MEMORY_BYTES))
                found |= {name for name, word in WORDS.items() if word in content}
    except (OSError, ValueError):
        pass
    return found


def own_environments() -> list[bytes]:
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            found += path.read_bytes().split(b"\0")
        except OSError:
            continue
    return [each.partition(b"=")[0] for each in found]


def setuid() -> list[str]:
    found = []
    for folder, folders, files in os.walk("/"):
        if folder == "/":
            folders[:] = [each for each in folders if each not in {"proc", "sys"}]
        for name in files:
            try:
                mode = os.lstat(os.path.join(folder, name)).st_mode
            except OSError:
                continue
            if stat.S_ISREG(mode) and mode & (stat.S_ISUID | stat.S_ISGID):
                found.append(os.path.join(folder, name))
    return found


def written(place: str) -> bool:
    path = os.path.join(place, "intruder")
    try:
        with open(path, "w") as file:
            file.write("x")
        os.unlink(path)
    except OSError:
        return False
    return True


def answer(url: str) -> int | None:
    request = urllib.request.Request(url, data=b"{}", headers={"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=5) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


main()
