"""A real run that a real Prometheus scrapes: Kafka, three kmends, the demo's apps, and what goes wrong for them."""

import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import yaml

NAMESPACE = "shop"
PODS = ("orders-1", "orders-2", "orders-3")
MENDERS = ("offset_reset", "partition_discovery", "commit_buffer", "assignment_watchdog")
# Orders: written, committed by the group before it was away, deleted meanwhile; as in scripts/demo.
ORDERS, COMMITTED, START = 1000, 200, 800
# Payments: how many, the one that takes long; how long its app is frozen, with a session of 6 s.
PAYMENTS, SLOW, FROZEN = 10, 4, 8


class Failed(Exception):
    """The run did not do what it is there for; nothing is known of the expressions."""


def wait_for(what, seconds, condition, process=None):
    """What `condition` returns, once that is true; not longer than the process lives that is to bring it about."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if process and process.poll() is not None:
            raise Failed(f"{what}: the process has ended")
        if time.monotonic() > end:
            raise Failed(f"{what}: not within {seconds} s")
        time.sleep(0.1)


def is_open(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    except OSError:
        return False


def free_ports(count):
    """A run of free ports below the range that the system gives to outgoing connections."""
    for _ in range(50):
        base = random.randrange(20000, 32000 - count)
        if not any(is_open(port) for port in range(base, base + count)):
            return base
    raise Failed("no free ports")


class Run:
    """Everything that was started; `close` ends it."""

    def __init__(self, root, binary):
        self.root, self.binary = root, binary
        self.stack = contextlib.ExitStack()
        self.work = Path(self.stack.enter_context(tempfile.TemporaryDirectory(prefix="kmend-prometheus-")))
        kafka = Path(self.output("scripts/bootstrap", "--print", "kafka"))
        if not (kafka / ".ok").exists():
            raise Failed("the broker's jars are missing: scripts/bootstrap kafka")
        self.libs, self.java = kafka / "libs", kafka / "java"
        self.broker = free_ports(2)
        # pod -> port for clients, port for Prometheus, process
        self.kmends, self.prometheus, self.since = {}, None, None

    def output(self, *args):
        done = subprocess.run(args, cwd=self.root, text=True, capture_output=True)
        if done.returncode != 0:
            raise Failed(f"{args[0]} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout.strip()

    def close(self):
        self.stack.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # --- processes ---

    def start(self, name, *args, env=None):
        log = self.work / f"{name}.log"
        with log.open("w") as out:
            process = subprocess.Popen([str(a) for a in args], stdout=out, stderr=out, stdin=subprocess.DEVNULL, cwd=self.work, env=env)
        self.stack.callback(self.end, process)
        return process

    @staticmethod
    def end(process):
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def app(self, name, main, *args):
        options = ["-XX:TieredStopAtLevel=1", "-Xshare:auto", "-Xmx256m"]
        return self.start(name, self.java, *options, "-cp", f"{self.libs}/*:{self.work}", main, *args)

    def finish(self, name, process, seconds=60):
        """Waits for an app that ends by itself."""
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise Failed(f"{name} has not ended within {seconds} s:\n{self.tail(name)}") from None
        if code != 0:
            raise Failed(f"{name} ended with {code}:\n{self.tail(name)}")

    def tail(self, name):
        return "\n".join((self.work / f"{name}.log").read_text(errors="replace").splitlines()[-15:])

    # --- Kafka, kmend, Prometheus ---

    def start_kafka(self):
        broker, controller = f"127.0.0.1:{self.broker}", f"127.0.0.1:{self.broker + 1}"
        settings = {
            "process.roles": "broker,controller", "node.id": 1, "controller.quorum.voters": f"1@{controller}",
            "listeners": f"PLAINTEXT://{broker},CONTROLLER://{controller}", "advertised.listeners": f"PLAINTEXT://{broker}",
            "controller.listener.names": "CONTROLLER", "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "log.dirs": self.work / "data", "offsets.topic.replication.factor": 1, "offsets.topic.num.partitions": 1,
            "group.initial.rebalance.delay.ms": 0, "auto.create.topics.enable": "false",
        }
        file = self.work / "server.properties"
        file.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
        javac = Path(self.java).resolve().parent / "javac"
        self.output(javac, "-nowarn", "-cp", f"{self.libs}/*", "-d", self.work, *sorted([*(self.root / "demo").glob("*.java"), *(self.root / "scripts/check/apps").glob("*.java")]))
        identity = self.app("identity", "kafka.tools.StorageTool", "random-uuid")
        self.finish("identity", identity)
        uuid = (self.work / "identity.log").read_text().split()[-1]
        self.finish("format", self.app("format", "kafka.tools.StorageTool", "format", "-t", uuid, "-c", file))
        kafka = self.start("kafka", self.java, "-Xmx512m", "-XX:TieredStopAtLevel=1", "-cp", f"{self.libs}/*", "kafka.Kafka", file)
        # What it has is thrown away, so it need not save any.
        self.stack.callback(kafka.kill)
        wait_for("Kafka listens", 60, lambda: is_open(self.broker), kafka)

    def start_kmend(self, pod, **settings):
        base = free_ports(8)
        state = self.work / f"state-{pod}"
        state.mkdir()
        config = {
            "upstream": {"bootstrap": [f"127.0.0.1:{self.broker}"]},
            "listen": {"address": f"127.0.0.1:{base}", **settings.pop("listen", {})},
            "admin": {"address": f"127.0.0.1:{base + 7}"},
            "menders": {mender: {"mode": "repair", **settings.pop(mender, {})} for mender in MENDERS},
            **settings,
        }
        config["menders"]["commit_buffer"]["journal"] = {"dir": str(state)}
        file = self.work / f"{pod}.yaml"
        file.write_text(yaml.safe_dump(config))
        process = self.start(pod, self.binary, "run", "--config", file, env={**os.environ, "NO_COLOR": "1"})
        self.kmends[pod] = (base, base + 7, process)
        wait_for(f"{pod} is ready", 30, lambda: is_open(base + 7) and self.get(base + 7, "/readyz")[0] == 200, process)

    def port(self, pod):
        return self.kmends[pod][0]

    def address(self, pod):
        return f"127.0.0.1:{self.port(pod)}"

    def certificate(self, days):
        """Both files anew, as a renewal does it; they end soon enough for the alert to be pending."""
        made = self.work / "made"
        made.mkdir(exist_ok=True)
        self.output("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", str(days),
                    "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", made / "key.pem", "-out", made / "cert.pem")
        for name in ("key.pem", "cert.pem"):
            shutil.move(made / name, self.work / name)

    def start_prometheus(self):
        self.prometheus = free_ports(1)
        (self.work / "rules").mkdir()
        targets = [{"targets": [f"127.0.0.1:{admin}"], "labels": {"namespace": NAMESPACE, "pod": pod}} for pod, (_, admin, _) in self.kmends.items()]
        file = self.work / "prometheus.yml"
        file.write_text(yaml.safe_dump({
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(self.work / "rules/*.yaml")],
            "scrape_configs": [{"job_name": "kmend", "static_configs": targets}],
        }))
        self.load(self.root)
        process = self.start("prometheus", "prometheus", f"--config.file={file}", f"--storage.tsdb.path={self.work / 'tsdb'}",
                   f"--web.listen-address=127.0.0.1:{self.prometheus}", "--web.enable-lifecycle")
        self.since = time.time()
        wait_for("Prometheus is ready", 30, lambda: is_open(self.prometheus) and self.get(self.prometheus, "/-/ready")[0] == 200, process)

    def load(self, root):
        """Puts a tree's rules where Prometheus reads them."""
        for name in ("alerts.yaml", "recording.yaml"):
            shutil.copy(root / "dashboards/prometheus" / name, self.work / "rules" / name)

    @staticmethod
    def get(port, path, data=None):
        """Status and body; what refuses tells why in it."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", data=data, timeout=20) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def ask(self, path, **parameters):
        """The API's `data`, or the error it gives, as ValueError."""
        query = "?" + urllib.parse.urlencode(parameters) if parameters else ""
        answer = json.loads(self.get(self.prometheus, f"/api/v1/{path}{query}")[1])
        if answer["status"] != "success":
            raise ValueError(answer["error"])
        return answer["data"]

    def names(self):
        return set(self.ask("label/__name__/values"))

    # --- what goes wrong ---

    def prepare(self):
        broker = f"127.0.0.1:{self.broker}"
        made = [
            ("prepare", "Prepare", broker, ORDERS, COMMITTED, START),
            ("create", "Growth", "create", broker, "visits"),
            ("payments", "Payments", "create", broker, PAYMENTS),
        ]
        for name, process in [(args[0], self.app(*args)) for args in made]:
            self.finish(name, process)

    def provoke(self):
        """An evicted offset, new partitions, a refused commit; lag, retention, and clients that are none."""
        broker, first, second = f"127.0.0.1:{self.broker}", self.address(PODS[0]), self.address(PODS[1])
        running = {
            "orders": self.app("orders", "OrdersApp", first, ORDERS - 1),
            "pay": self.app("pay", "PaymentsApp", first, "payments", SLOW, PAYMENTS - 1),
        }
        self.app("visits", "Visits", first, "visits")
        # One group behind two kmends.
        for pod, address in zip(PODS, (first, second)):
            self.app(f"audience-{pod}", "Audience", "read", address)
        running["grow"] = self.app("grow", "Growth", "grow", broker, 4, "visits")
        self.be_refused()
        wait_for("the slow payment", 60, lambda: f"handles payment {SLOW}\n" in (self.work / "pay.log").read_text(), running["pay"])
        running["pay"].send_signal(signal.SIGSTOP)
        frozen = time.monotonic()
        self.finish("grow", running["grow"])
        self.finish("orders", running["orders"])
        # What retention does, step by step, so that the log start has a pace.
        running["expire"] = self.app("expire", "Audience", "expire", broker, 4)
        time.sleep(max(0, frozen + FROZEN - time.monotonic()))
        running["pay"].send_signal(signal.SIGCONT)
        self.certificate(2)
        self.be_refused()
        self.kmends[PODS[0]][2].send_signal(signal.SIGHUP)
        self.finish("pay", running["pay"])
        self.finish("expire", running["expire"])

    def be_refused(self):
        """An HTTP client at the Kafka port, and more clients than the third kmend takes."""
        with socket.create_connection(("127.0.0.1", self.port(PODS[0])), 5) as stray:
            stray.sendall(b"GET / HTTP/1.1\r\n\r\n")
            # An end or a reset: it is refused either way.
            with contextlib.suppress(ConnectionResetError):
                stray.recv(1)
        for _ in range(3):
            self.stack.enter_context(socket.create_connection(("127.0.0.1", self.port(PODS[2])), 5))


def start(root, binary):
    """A run whose apps have met all that they are there to meet."""
    run = Run(root, binary)
    try:
        run.start_kafka()
        run.prepare()
        run.certificate(1)
        run.start_kmend(PODS[0])
        run.start_kmend(PODS[1], commit_buffer={"write_behind": {"enabled": True}})
        files = {"enabled": True, "cert_file": str(run.work / "cert.pem"), "key_file": str(run.work / "key.pem")}
        run.start_kmend(PODS[2], listen={"tls": files}, limits={"max_connections": 1})
        run.start_prometheus()
        run.provoke()
    except BaseException:
        for log in sorted(run.work.glob("*.log")):
            print(f"--- the end of {log.name}\n{run.tail(log.stem)}", file=sys.stderr)
        run.close()
        raise
    return run
