"""The aiokafka test app. The contract is in tests/clients/README.md."""

import asyncio
import logging
import os
import signal
import sys
import threading
import time
import traceback

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition

logging.basicConfig(level="WARNING", stream=sys.stdout, format="NOTE %(levelname)s %(name)s %(message)s")
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
        conf["client_id"] = env("CLIENT_ID", "aiokafka")
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

    async def on_partitions_revoked(self, revoked):
        pass

    async def on_partitions_assigned(self, assigned):
        wanted = env("PAUSE_AT").split(",")
        self.consumer.pause(*(tp for tp in assigned if str(tp.partition) in wanted))


async def consume():
    commit, group, handler = env("COMMIT", "auto"), env("GROUP"), int(env("HANDLER_MS", "0")) / 1000
    if env("PROTOCOL", "classic") != "classic":
        raise ValueError("aiokafka has no group protocol but the classic one")
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
    c = AIOKafkaConsumer(*([] if assigned or env("PAUSE_AT") else env("TOPICS").split(",")), **common() | conf)
    if env("PAUSE_AT"):
        c.subscribe(env("TOPICS").split(","), listener=Pausing(c))
    if assigned:
        c.assign([TopicPartition(t, int(p)) for t, p, _ in assigned])
    await c.start()
    for t, p, o in assigned:
        tp = TopicPartition(t, int(p))
        if o == "earliest":
            await c.seek_to_beginning(tp)
        elif o == "latest":
            await c.seek_to_end(tp)
        else:
            c.seek(tp, int(o))
    say("READY")
    held, done = False, {}

    async def flush():
        await c.commit(dict(done))
        for tp, o in done.items():
            say("COMMITTED", tp.topic, tp.partition, o)
        done.clear()

    while not closing.is_set():
        if paused.is_set() != held:
            held = paused.is_set()
            (c.pause if held else c.resume)(*c.assignment())
            say("PAUSED" if held else "RESUMED")
        for tp, records in (await c.getmany(timeout_ms=100, max_records=200)).items():
            for m in records:
                if handler:
                    await asyncio.sleep(handler)
                if holding.is_set():
                    say("HOLDING", m.topic, m.partition, m.offset)
                    while holding.is_set():
                        await asyncio.sleep(0.01)
                say("HANDLED", m.topic, m.partition, m.offset, (m.key or b"-").decode())
                done[tp] = m.offset + 1
                # With auto commit stop() commits the position, so what was polled is handled to its end.
                if closing.is_set() and commit not in ("auto", "default"):
                    break
                if commit == "each":
                    await flush()
        if commit == "manual" and done:
            await flush()
    if commit not in ("none", "default") and done and group:
        await flush()
    await c.stop()


async def produce():
    acks = env("ACKS", "all")
    conf = {"acks": acks if acks == "all" else int(acks), "enable_idempotence": env("IDEMPOTENCE", "false") == "true"}
    p = AIOKafkaProducer(**common() | conf)
    await p.start()
    topics, count, i, sending = env("TOPICS").split(","), int(env("COUNT", "0")), 0, set()
    rate, next_at = float(env("RATE", "20")), time.monotonic()
    say("READY")

    async def one(topic, i):
        try:
            r = await p.send_and_wait(topic, f"r{i}".encode(), key=key(i))
            say("SENT", r.topic, r.partition, r.offset, f"r{i}")
        except Exception as e:
            say("ERR", repr(e)[:200])

    while not closing.is_set() and (count == 0 or i < count):
        if not paused.is_set():
            task = asyncio.create_task(one(topics[i % len(topics)], i))
            sending.add(task)
            task.add_done_callback(sending.discard)
            i += 1
        next_at = max(next_at, time.monotonic() - 1) + 1 / rate
        await asyncio.sleep(next_at - time.monotonic())
    await asyncio.gather(*sending)
    await p.stop()


if env("SIGNALS") != "default":
    signal.signal(signal.SIGTERM, lambda *_: closing.set())
threading.Thread(target=listen, daemon=True).start()
try:
    asyncio.run(consume() if env("MODE", "consume") == "consume" else produce())
    say("CLOSED")
except Exception as e:
    traceback.print_exc()
    say("DIED", repr(e)[:300])
    os._exit(3)
os._exit(0)
