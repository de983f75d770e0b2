"""Assembles the image and runs it. Called by scripts/check-image, in a network namespace of its own."""

import argparse
import contextlib
import errno
import http.client
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from images import DOCKERFILE, instructions

UID = 65532
POD = "10.99.0.1"
CONFIG = """
upstream:
  # One name for the name server, one for /etc/hosts; both brokers hang up.
  bootstrap: ["broker.kafka:9092", "hosted-broker:9092"]
admin: { address: "0.0.0.0:9644", expose: metrics }
shutdown: { drain_timeout: 1s, grace: 1s }
"""
TLS = 'upstream: { bootstrap: ["broker.kafka:9092"], tls: { enabled: true } }\n'
# As a kubelet writes it.
RESOLV = "search shop.svc.cluster.local svc.cluster.local cluster.local\nnameserver 127.0.0.1\noptions ndots:5\n"
HOSTS = "127.0.0.1 localhost\n127.0.0.3 hosted-broker\n"


def run(*args):
    return subprocess.run([str(a) for a in args], check=True, text=True, capture_output=True).stdout


# --- the image -------------------------------------------------------------------------------------


def last_stage():
    """The Dockerfile's own words: how the root is laid out, and the image's configuration."""
    parsed = [(name, rest) for _, name, rest in instructions(Path(DOCKERFILE).read_text())]
    stage = parsed[max(i for i, (name, _) in enumerate(parsed) if name == "FROM"):]
    return {
        "layout": [rest for name, rest in parsed if name == "RUN" and "/out/var/lib/kmend" in rest],
        "copies": [rest.split() for name, rest in parsed if name == "COPY" and rest.split()[-1].startswith("/out/")],
        "user": next(rest for name, rest in stage if name == "USER"),
        "entrypoint": json.loads(next(rest for name, rest in stage if name == "ENTRYPOINT")),
        "cmd": json.loads(next(rest for name, rest in stage if name == "CMD")),
        "ports": next(rest for name, rest in stage if name == "EXPOSE").split(),
        "labels": dict(re.findall(r'([\w.]+)="([^"]*)"', " ".join(rest for name, rest in stage if name == "LABEL"))),
    }


def assemble(binary, work):
    """The OCI image as umoci makes it, and the bundle that it is unpacked into."""
    stage, root = last_stage(), work / "rootfs"
    (root / "usr/bin").mkdir(parents=True)
    shutil.copy(binary, root / "usr/bin/kmend")
    os.chmod(root / "usr/bin/kmend", 0o755)
    assert len(stage["layout"]) == 1, "the Dockerfile's RUN that lays out the image was not found"
    subprocess.run(["sh", "-ec", stage["layout"][0].replace("/out/", f"{root}/")], check=True)
    for source, target in stage["copies"]:
        target = root / target.removeprefix("/out/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
    layout, image = work / "image", f"{work / 'image'}:kmend"
    run("umoci", "init", "--layout", layout)
    run("umoci", "new", "--image", image)
    run("umoci", "insert", "--image", image, root, "/")
    settings = ["--config.user", stage["user"]]
    for flag, values in (("entrypoint", stage["entrypoint"]), ("cmd", stage["cmd"]), ("exposedports", stage["ports"])):
        for value in values:
            settings += [f"--config.{flag}", value]
    for key, value in stage["labels"].items():
        settings += ["--config.label", f"{key}={value}"]
    run("umoci", "config", "--image", image, *settings)
    run("umoci", "unpack", "--image", image, work / "bundle")
    shutil.copy(work / "bundle/config.json", work / "config.json")
    return work / "bundle"


def listed(root):
    """Everything in the image: what, whose, how large, when written."""
    out = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        out[path.relative_to(root).as_posix()] = (oct(status.st_mode), status.st_uid, status.st_gid, status.st_size, status.st_mtime_ns)
    return out


def bundle_config(bundle, work, arguments, breaking):
    """The container as a kubelet asks for it under the `restricted` standard."""
    config = json.loads((work / "config.json").read_text())
    process = config["process"]
    process["terminal"] = False
    process["noNewPrivileges"] = True
    process["capabilities"] = {}
    if arguments:
        process["args"] = [process["args"][0], *arguments]
    config["root"]["readonly"] = True
    # The network is that of this process; cgroups are the machine's business.
    config["linux"]["namespaces"] = [{"type": t} for t in ("pid", "ipc", "uts", "mount")]
    config["linux"].pop("resources", None)
    state = work / "state"
    shutil.rmtree(state, ignore_errors=True)
    state.mkdir()
    # An emptyDir belongs to root and is open to all.
    state.chmod(0o777)
    bind = lambda source, target, *options: {"type": "bind", "source": str(source), "destination": target, "options": ["bind", *options]}
    config["mounts"] = [
        {"type": "proc", "source": "proc", "destination": "/proc", "options": ["nosuid", "noexec", "nodev"]},
        {"type": "tmpfs", "source": "tmpfs", "destination": "/dev", "options": ["nosuid", "mode=755", "size=65536k"]},
        bind(work / "files", "/etc/kmend", "ro"),
        bind(work / "resolv.conf", "/etc/resolv.conf", "ro"),
        bind(work / "hosts", "/etc/hosts", "ro"),
        bind(state, "/var/lib/kmend", "rw"),
    ]
    breaking(config, state)
    (bundle / "config.json").write_text(json.dumps(config))
    return state


# --- what is around it -----------------------------------------------------------------------------


def name_server(seen):
    """Knows one name, over UDP, which is what a resolver asks first."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 53))

    def serve():
        while True:
            query, client = server.recvfrom(512)
            at, labels = 12, []
            while query[at]:
                labels.append(query[at + 1:at + 1 + query[at]].decode())
                at += 1 + query[at]
            question, kind = query[12:at + 5], struct.unpack(">H", query[at + 1:at + 3])[0]
            name = ".".join(labels)
            seen.add(name)
            known = name == "broker.kafka.svc.cluster.local"
            answers = [b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\x7f\x00\x00\x02"] if known and kind == 1 else []
            head = query[:2] + struct.pack(">HHHHH", 0x8180 if known else 0x8183, 1, len(answers), 0, 0)
            server.sendto(head + question + b"".join(answers), client)

    threading.Thread(target=serve, daemon=True).start()


def brokers(seen):
    """They take connections, remember where, and hang up."""
    for host in ("127.0.0.2", "127.0.0.3"):
        server = socket.create_server((host, 9092))

        def serve(server=server, host=host):
            while True:
                server.accept()[0].close()
                seen.add(host)

        threading.Thread(target=serve, daemon=True).start()


def ask(path):
    """As the kubelet and Prometheus do, not over loopback."""
    connection = http.client.HTTPConnection(POD, 9644, timeout=5)
    with contextlib.closing(connection):
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def client():
    """One that comes, so that kmend looks for a broker once more: it begins with the next one each time."""
    with socket.create_connection(("127.0.0.1", 9092), timeout=1):
        time.sleep(0.1)
    return True


def until(seconds, what):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if what():
                return True
        except OSError:
            pass
        time.sleep(0.05)
    return False


# --- what is looked at -----------------------------------------------------------------------------


@contextlib.contextmanager
def container(bundle, log):
    """runc in the foreground: it ends with the container's own exit code."""
    name = f"kmend-check-{os.getpid()}"
    with open(log, "w") as out:
        runc = subprocess.Popen(["runc", "--root", bundle.parent / "runc", "run", "--bundle", bundle, name], stdout=out, stderr=out, stdin=subprocess.DEVNULL)
        try:
            yield runc, name
        finally:
            if runc.poll() is None:
                subprocess.run(["runc", "--root", bundle.parent / "runc", "kill", name, "KILL"], capture_output=True)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    runc.wait(10)
            subprocess.run(["runc", "--root", bundle.parent / "runc", "delete", "-f", name], capture_output=True)


def once(bundle, work, breaking, met):
    """Problems of one run."""
    found = []
    names, hosts = met
    hosts.clear()
    names.clear()
    state = bundle_config(bundle, work, None, breaking)
    before, log = listed(bundle / "rootfs"), work / "kmend.log"
    with container(bundle, log) as (runc, name):
        if not until(10, lambda: runc.poll() is not None or ask("/readyz")[0] == 200) or runc.poll() is not None:
            return [f"does not become ready: {log.read_text().strip()[-600:]}"]
        pid = json.loads(run("runc", "--root", work / "runc", "state", name))["pid"]
        found += process_problems(pid)
        if not until(10, lambda: client() and hosts >= {"127.0.0.2", "127.0.0.3"}):
            found.append(f"names are not resolved: brokers reached: {sorted(hosts)}, names asked for: {sorted(names)}")
        if "kmend_build_info" not in ask("/metrics")[1]:
            found.append("/metrics has no kmend_build_info")
        for path in ("/livez", "/healthz/clients"):
            if ask(path)[0] != 200:
                found.append(f"{path} does not answer the kubelet")
        if ask("/api/config")[0] == 200:
            found.append("the admin port shows the configuration to everybody")
        os.kill(pid, signal.SIGTERM)
        started = time.monotonic()
        try:
            code = runc.wait(5)
        except subprocess.TimeoutExpired:
            return [*found, "still there 5 s after SIGTERM"]
        if code != 0:
            found.append(f"ends with {code} on SIGTERM: {log.read_text().strip()[-600:]}")
        elif time.monotonic() - started > 2.5:
            found.append("takes longer than drain_timeout + grace to end")
    if listed(bundle / "rootfs") != before:
        found.append("something in the image has changed")
    files = [p for p in state.rglob("*") if p.is_file()]
    if not any(p.name == "commits.log" for p in files):
        found.append(f"no journal in the state folder, but {[p.name for p in files]}")
    found += [f"{p.name} in the state folder belongs to {p.stat().st_uid}" for p in files if p.stat().st_uid != UID]
    return found


def process_problems(pid):
    found = []
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)
    for ids in ("Uid", "Gid"):
        if set(status[ids].split()) != {str(UID)}:
            found.append(f"{ids} is {status[ids].split()}")
    for which in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        if int(status[which], 16):
            found.append(f"{which} is {status[which]}")
    if status["NoNewPrivs"] != "1":
        found.append("new privileges can be had")
    # Asked as root, from outside: what refuses then is the mount, not the permissions.
    for path in ("usr/bin/new", "etc/new", "tmp-new", "var/lib/new", "etc/kmend/kmend.yaml"):
        try:
            with open(f"/proc/{pid}/root/{path}", "ab"):
                found.append(f"/{path} can be written")
        except OSError as error:
            if error.errno != errno.EROFS:
                found.append(f"/{path}: {error.strerror}, and not 'Read-only file system'")
    return found


def tls_problems(bundle, work, breaking):
    """With TLS towards the brokers the authorities of the image are needed, and are there."""
    (work / "files/tls.yaml").write_text(TLS)
    bundle_config(bundle, work, ["check", "--config", "/etc/kmend/tls.yaml"], breaking)
    with container(bundle, work / "check.log") as (runc, _):
        code = runc.wait(20)
    return [] if code == 0 else [f"`kmend check` with TLS ends with {code}: {(work / 'check.log').read_text().strip()[-400:]}"]


def image_problems(bundle, work, binary):
    found = []
    config = json.loads(run("umoci", "stat", "--image", f"{work / 'image'}:kmend", "--json"))
    if not config["history"]:
        found.append("the image has no layers")
    names = set(listed(bundle / "rootfs"))
    extra = {n for n in names if (bundle / "rootfs" / n).is_file()} - {
        "usr/bin/kmend", "etc/ssl/certs/ca-certificates.crt", "usr/share/doc/kmend/LICENSE"}
    if extra:
        found.append(f"the image has more in it than it should: {sorted(extra)}")
    out = run("readelf", "-lW", binary)
    if "INTERP" in out:
        found.append("the binary is not static")
    return found


# --- broken on purpose -----------------------------------------------------------------------------


def nothing(_config, _state):
    pass


def as_root(config, _state):
    config["process"]["user"] = {"uid": 0, "gid": 0}


def with_capability(config, _state):
    config["process"]["capabilities"] = {"bounding": ["CAP_NET_RAW"]}


def with_new_privileges(config, _state):
    config["process"]["noNewPrivileges"] = False


def writable(config, _state):
    config["root"]["readonly"] = False


def closed_state(_config, state):
    state.chmod(0o700)


def without_names(config, _state):
    config["mounts"] = [m for m in config["mounts"] if m["destination"] != "/etc/resolv.conf"]


def without_authorities(config, _state):
    config["mounts"].append({"type": "tmpfs", "source": "tmpfs", "destination": "/etc/ssl/certs", "options": ["ro"]})


BROKEN = [
    (as_root, "Uid is"),
    (with_capability, "CapBnd is"),
    (with_new_privileges, "new privileges"),
    (writable, "can be written"),
    (closed_state, "no journal"),
    (without_names, "names are not resolved"),
]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary", type=Path)
    binary = parser.parse_args().binary.resolve()
    run("ip", "link", "set", "lo", "up")
    run("ip", "address", "add", f"{POD}/32", "dev", "lo")
    names, hosts = set(), set()
    name_server(names)
    brokers(hosts)
    failed = []
    with tempfile.TemporaryDirectory(prefix="kmend-image-") as name:
        work = Path(name)
        (work / "files").mkdir()
        (work / "files/kmend.yaml").write_text(CONFIG)
        (work / "resolv.conf").write_text(RESOLV)
        (work / "hosts").write_text(HOSTS)
        bundle = assemble(binary, work)
        size = sum(p.lstat().st_size for p in (bundle / "rootfs").rglob("*") if p.is_file())
        failed += image_problems(bundle, work, binary)
        # What is mounted over has to be there; runc would make it, and that is no change that kmend makes.
        for folder in ("proc", "dev"):
            (bundle / "rootfs" / folder).mkdir()
        for file in ("etc/resolv.conf", "etc/hosts"):
            (bundle / "rootfs" / file).touch()
        failed += once(bundle, work, nothing, (names, hosts))
        failed += tls_problems(bundle, work, nothing)
        if not failed:
            for breaking, says in BROKEN:
                problems = once(bundle, work, breaking, (names, hosts))
                if not any(says in problem for problem in problems):
                    failed.append(f"{breaking.__name__} went unnoticed; expected {says!r}, got {problems or 'nothing'}")
            if not any("ends with 78" in p or "ends with 1" in p for p in tls_problems(bundle, work, without_authorities)):
                failed.append("an image without certificate authorities went unnoticed")
    for problem in failed:
        print(f"check-image: {problem}")
    print("check-image: FAILED" if failed else f"check-image: ok; {size / 1e6:.1f} MB, {len(BROKEN) + 1} broken ones noticed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
