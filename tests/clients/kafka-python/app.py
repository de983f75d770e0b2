"""The kafka-python test app. The contract is in tests/clients/README.md."""

import logging
import os
import signal
import sys
import threading
import time
import traceback

from kafka import ConsumerRebalanceListener, KafkaConsumer, KafkaProducer, OffsetAndMetadata, TopicPartition

logging.basicConfig(level="ERROR", stream=sys.stdout, format="NOTE %(levelname)s %(name)s %(message)s")
closing, paused, holding = threading.Event(), threading.Event(), threading.Event()


def env(name, otherwise=""):
    return os.environ.get("APP_" + name) or otherwise


def say(*words):
    print(*(str(w).replace("\n", " ") for w in words), flush=True)


def key(i):
    return None if env("KEYS", "vary") == "none" else f"k{i}".encode()


def listen():
    """Commands from stdin; its end means that the test is gone."""
    for line in sys.stdin:
        match line.strip():
            case "close":
                closing.set()
            case "pause":
                paused.set()
            case "resume":
                paused.clear()
            case "pause-handler":
                holding.set()
            case "resume-handler":
                holding.clear()
    os._exit(4)


def common():
    conf = {"bootstrap_servers": env("BOOTSTRAP")}
    if env("CLIENT_ID") != "-":
        conf["client_id"] = env("CLIENT_ID", "kafka-python")
    if env("USER"):
        conf |= {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "PLAIN"}
        conf |= {"sasl_plain_username": env("USER"), "sasl_plain_password": env("PASSWORD")}
    for k, v in (kv.split("=", 1) for kv in env("PROPS").split(";") if "=" in kv):
        conf[k] = int(v) if v.isdigit() else v
    return conf


class Pausing(ConsumerRebalanceListener):
    """Pauses the partitions of PAUSE_AT when they are assigned."""

    def __init__(self, consumer):
        self.consumer = consumer

    def on_partitions_revoked(self, revoked):
        pass

    def on_partitions_assigned(self, assigned):
        wanted = env("PAUSE_AT").split(",")
        self.consumer.pause(*(tp for tp in assigned if str(tp.partition) in wanted))


def consume():
    commit, group, handler = env("COMMIT", "auto"), env("GROUP"), int(env("HANDLER_MS", "0")) / 1000
    if env("PROTOCOL", "classic") != "classic":
        raise ValueError("this app knows no group protocol but the classic one")
    conf = {
        "group_id": group or None,
        "auto_offset_reset": env("RESET", "earliest"),
        "isolation_level": env("ISOLATION", "read_uncommitted"),
        "enable_auto_commit": commit in ("auto", "default") and bool(group),
        "fetch_max_wait_ms": 500,
    }
    if commit == "auto":
        conf["auto_commit_interval_ms"] = 1000
    if env("FETCH_BYTES"):
        conf["max_partition_fetch_bytes"] = int(env("FETCH_BYTES"))
    assigned = [a.split(":") for a in env("ASSIGN").split(",") if a]

    def made():
        c = KafkaConsumer(*([] if assigned or env("PAUSE_AT") else env("TOPICS").split(",")), **common() | conf)
        if env("PAUSE_AT"):
            c.subscribe(env("TOPICS").split(","), listener=Pausing(c))
        return c

    c = made()
    if assigned:
        c.assign([TopicPartition(t, int(p)) for t, p, _ in assigned])
    for t, p, o in assigned:
        tp = TopicPartition(t, int(p))
        if o == "earliest":
            c.seek_to_beginning(tp)
        elif o == "latest":
            c.seek_to_end(tp)
        else:
            c.seek(tp, int(o))
    say("READY")
    held, done = False, {}
    # kafka-python 3.0.12 does not begin now and then: 3 starts of 70 directly on a broker, 2 of 200 through kmend,
    # with nothing in its log. The app then makes its consumer anew, and says so.
    begun, began, tries = bool(assigned), time.monotonic(), 3

    def flush():
        c.commit({tp: OffsetAndMetadata(o, "", -1) for tp, o in done.items()})
        for tp, o in done.items():
            say("COMMITTED", tp.topic, tp.partition, o)
        done.clear()

    while not closing.is_set():
        if paused.is_set() != held:
            held = paused.is_set()
            (c.pause if held else c.resume)(*c.assignment())
            say("PAUSED" if held else "RESUMED")
        if not begun and tries and time.monotonic() - began > 6:
            say("NOTE", "nothing within 6 s, assigned:", *c.assignment())
            c.close(autocommit=False)
            c = made()
            began, tries = time.monotonic(), tries - 1
        for tp, records in c.poll(timeout_ms=100).items():
            begun = True
            for m in records:
                if handler:
                    time.sleep(handler)
                if holding.is_set():
                    say("HOLDING", m.topic, m.partition, m.offset)
                    while holding.is_set():
                        time.sleep(0.01)
                say("HANDLED", m.topic, m.partition, m.offset, (m.key or b"-").decode())
                done[tp] = m.offset + 1
                if commit == "each":
                    flush()
                if closing.is_set():
                    break
        if commit == "manual" and done:
            flush()
    if commit not in ("none", "default") and done and group:
        flush()
    c.close(autocommit=commit == "default")


def produce():
    acks = env("ACKS", "all")
    conf = {"acks": acks if acks == "all" else int(acks), "enable_idempotence": env("IDEMPOTENCE", "false") == "true"}
    p = KafkaProducer(**common() | conf)
    topics, count, i = env("TOPICS").split(","), int(env("COUNT", "0")), 0
    rate, next_at = float(env("RATE", "20")), time.monotonic()
    say("READY")
    while not closing.is_set() and (count == 0 or i < count):
        if not paused.is_set():
            f = p.send(topics[i % len(topics)], f"r{i}".encode(), key=key(i))
            f.add_callback(lambda m, i=i: say("SENT", m.topic, m.partition, m.offset, f"r{i}"))
            f.add_errback(lambda e: say("ERR", repr(e)[:200]))
            i += 1
        next_at = max(next_at, time.monotonic() - 1) + 1 / rate
        time.sleep(max(0, next_at - time.monotonic()))
    p.flush(10)
    p.close(5)


if env("SIGNALS") != "default":
    signal.signal(signal.SIGTERM, lambda *_: closing.set())
threading.Thread(target=listen, daemon=True).start()
try:
    consume() if env("MODE", "consume") == "consume" else produce()
    say("CLOSED")
except Exception as e:
    traceback.print_exc()
    say("DIED", repr(e)[:300])
    os._exit(3)
os._exit(0)
