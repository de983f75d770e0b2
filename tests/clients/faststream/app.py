"""The FastStream test app, on aiokafka. The contract is in tests/clients/README.md.

COMMIT=each is `auto_commit=False`: FastStream itself commits after each record. COMMIT=default is `auto_commit=True`.
"""

import asyncio
import logging
import os
import sys
import threading

from faststream import FastStream
from faststream.kafka import KafkaBroker
from faststream.kafka.annotations import KafkaMessage

holding = threading.Event()


def env(name, otherwise=""):
    return os.environ.get("APP_" + name) or otherwise


def say(*words):
    print(*(str(w).replace("\n", " ") for w in words), flush=True)


logging.basicConfig(level="WARNING", stream=sys.stdout, format="NOTE %(levelname)s %(name)s %(message)s")
broker = KafkaBroker(env("BOOTSTRAP"), client_id=env("CLIENT_ID", "faststream"), logger=None)
app = FastStream(broker, logger=None)


@broker.subscriber(
    env("TOPICS"),
    group_id=env("GROUP"),
    auto_commit=env("COMMIT", "default") == "default",
    auto_offset_reset=env("RESET", "earliest"),
)
async def handle(body: str, msg: KafkaMessage):
    r = msg.raw_message
    await asyncio.sleep(int(env("HANDLER_MS", "0")) / 1000)
    if holding.is_set():
        say("HOLDING", r.topic, r.partition, r.offset)
        while holding.is_set():
            await asyncio.sleep(0.01)
    say("HANDLED", r.topic, r.partition, r.offset, (r.key or b"-").decode())


@app.after_startup
async def started():
    say("READY")


def listen():
    """Commands from stdin; its end means that the test is gone."""
    for line in sys.stdin:
        match line.strip():
            case "pause-handler":
                holding.set()
            case "resume-handler":
                holding.clear()
    os._exit(4)


threading.Thread(target=listen, daemon=True).start()
try:
    asyncio.run(app.run())
    say("CLOSED")
except Exception as e:
    say("DIED", repr(e)[:300])
    os._exit(3)
os._exit(0)
