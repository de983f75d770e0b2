"""The librdkafka test app (confluent-kafka). The contract is in tests/clients/README.md."""

import os
import signal
import sys
import threading
import time
import traceback

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaException, Producer, TopicPartition

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
    conf = {
        "bootstrap.servers": env("BOOTSTRAP"),
        "log_level": 0,
        # Lost connections and the like: librdkafka goes on by itself, so they are no error of the app.
        "error_cb": lambda e: say("NOTE", e),
    }
    if env("CLIENT_ID") != "-":
        conf["client.id"] = env("CLIENT_ID", "librdkafka")
    if env("USER"):
        conf |= {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": env("SASL", "PLAIN")}
        if env("SASL") == "OAUTHBEARER":
            # The client makes an unsecured token by itself.
            conf |= {"enable.sasl.oauthbearer.unsecure.jwt": True, "sasl.oauthbearer.config": f"principal={env('USER')}"}
        else:
            conf |= {"sasl.username": env("USER"), "sasl.password": env("PASSWORD")}
    if env("CA"):
        conf |= {"security.protocol": "SASL_SSL" if env("USER") else "SSL", "ssl.ca.location": env("CA")}
    if env("CERT"):
        conf |= {"ssl.certificate.location": env("CERT"), "ssl.key.location": env("KEY")}
    return conf


def pass_through():
    return dict(kv.split("=", 1) for kv in env("PROPS").split(";") if "=" in kv)


WORDS = {"assign": "ASSIGNED", "revoke": "REVOKED", "lost": "LOST"}


def heard(word, done):
    """Says what a callback is given; the library tells no generation. What is given back is not committed later."""

    def called(_, some):
        say(word, 0, ",".join(str(p) for p in sorted(tp.partition for tp in some)))
        if word != "ASSIGNED":
            for tp in some:
                done.pop((tp.topic, tp.partition), None)

    return called


def consume():
    commit, group, handler = env("COMMIT", "auto"), env("GROUP"), int(env("HANDLER_MS", "0")) / 1000
    reset = env("RESET", "earliest")
    conf = common() | {
        "group.id": group or "unused",
        "auto.offset.reset": "error" if reset == "none" else reset,
        "isolation.level": env("ISOLATION", "read_uncommitted"),
        "enable.auto.commit": commit in ("auto", "default") and bool(group),
        "fetch.wait.max.ms": 500,
    }
    if commit != "default":
        # Offsets are stored by hand once a record is handled, else the commit on close covers what was only fetched.
        conf |= {"auto.commit.interval.ms": 1000, "enable.auto.offset.store": False}
    if env("PROTOCOL", "classic") == "consumer":
        conf["group.protocol"] = "consumer"
    if env("FETCH_BYTES"):
        # The prefetch is bounded too, so that the position stays near to what the app has handled.
        conf |= {"max.partition.fetch.bytes": int(env("FETCH_BYTES")), "queued.min.messages": 1}
        conf |= {"queued.max.messages.kbytes": 1, "fetch.queue.backoff.ms": 10}
    c, done = Consumer(conf | pass_through()), {}
    if env("ASSIGN"):
        names = {"earliest": OFFSET_BEGINNING, "latest": OFFSET_END}
        split = (a.split(":") for a in env("ASSIGN").split(","))
        c.assign([TopicPartition(t, int(p), names[o] if o in names else int(o)) for t, p, o in split])
    elif env("CALLBACKS"):
        c.subscribe(env("TOPICS").split(","), **{f"on_{on}": heard(word, done) for on, word in WORDS.items()})
    else:
        c.subscribe(env("TOPICS").split(","))
    say("READY")
    held = False

    def flush():
        offsets = [TopicPartition(t, p, o) for (t, p), o in done.items()]
        for tp in c.commit(offsets=offsets, asynchronous=False):
            if tp.error:
                raise KafkaException(tp.error)
            say("COMMITTED", tp.topic, tp.partition, tp.offset)
        done.clear()

    while not closing.is_set():
        if paused.is_set() != held:
            held = paused.is_set()
            (c.pause if held else c.resume)(c.assignment())
            say("PAUSED" if held else "RESUMED")
        m = c.poll(0.1)
        if m is None:
            if commit == "manual" and done:
                flush()
            continue
        if m.error():
            say("ERR", m.error().name(), m.error().str()[:200])
            continue
        if handler:
            time.sleep(handler)
        if holding.is_set():
            say("HOLDING", m.topic(), m.partition(), m.offset())
            while holding.is_set():
                time.sleep(0.01)
        say("HANDLED", m.topic(), m.partition(), m.offset(), (m.key() or b"-").decode())
        done[m.topic(), m.partition()] = m.offset() + 1
        if commit == "auto" and group:
            c.store_offsets(m)
        if commit == "each" or commit == "manual" and len(done) > 100:
            flush()
    if commit not in ("none", "default") and done and group:
        flush()
    c.close()


def produce():
    conf = {"acks": env("ACKS", "all"), "enable.idempotence": env("IDEMPOTENCE", "false") == "true"}
    p = Producer(common() | conf | pass_through())
    topics, count, i = env("TOPICS").split(","), int(env("COUNT", "0")), 0
    rate, next_at = float(env("RATE", "20")), time.monotonic()

    def sent(e, m):
        if e:
            say("ERR", e)
        else:
            # Without an answer (acks=0) there is no offset.
            offset = -1 if m.offset() is None else m.offset()
            say("SENT", m.topic(), m.partition(), offset, m.value().decode())

    say("READY")
    while not closing.is_set() and (count == 0 or i < count):
        if paused.is_set():
            time.sleep(0.02)
            continue
        p.produce(topics[i % len(topics)], f"r{i}".encode(), key=key(i), on_delivery=sent)
        i += 1
        next_at = max(next_at, time.monotonic() - 1) + 1 / rate
        # poll comes back as soon as it has delivered something.
        p.poll(0)
        while (left := next_at - time.monotonic()) > 0:
            p.poll(left)
    p.flush(10)


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
