// The kafkajs test app. The contract is in tests/clients/README.md.
'use strict'
const fs = require('fs')
const net = require('net')
const readline = require('readline')
const { Kafka, logLevel } = require('kafkajs')

const env = (name, otherwise = '') => process.env['APP_' + name] || otherwise
const say = (...words) => console.log(...words.map((w) => String(w).replace(/\n/g, ' ')))
const sleep = (ms) => new Promise((done) => setTimeout(done, ms))
const topics = env('TOPICS').split(',')
let closing = false
let paused = false
let holding = false
let onPause = () => {}
let onClose = () => {}

function die(e) {
  say('DIED', String(e).slice(0, 300))
  process.exit(3)
}

function close() {
  if (closing) return
  closing = true
  onClose()
}

// Commands from stdin; its end means that the test is gone.
readline
  .createInterface({ input: process.stdin })
  .on('line', (l) => {
    if (l === 'close') close()
    if (l === 'pause-handler' || l === 'resume-handler') holding = l === 'pause-handler'
    if (l === 'pause' || l === 'resume') {
      paused = l === 'pause'
      onPause()
    }
  })
  .on('close', () => process.exit(4))
if (env('SIGNALS') !== 'default') process.on('SIGTERM', close)
process.on('unhandledRejection', die)

// kafkajs cuts an address at its first colon, so `[::1]:9092` needs a name; this one resolves here.
const v6 = env('BOOTSTRAP').match(/^\[(.*)\]:(\d+)$/)
const byName = {
  brokers: [v6 && `v6.invalid:${v6[2]}`],
  socketFactory: ({ host, port, onConnect }) =>
    net.connect({ host: host === 'v6.invalid' ? v6[1] : host, port, noDelay: true }, onConnect),
}

function login() {
  const mechanism = env('SASL', 'PLAIN').toLowerCase()
  if (mechanism !== 'oauthbearer') return { mechanism, username: env('USER'), password: env('PASSWORD') }
  return { mechanism, oauthBearerProvider: async () => ({ value: env('TOKEN') }) }
}

// The authority of the test, and a certificate where there is one.
const secure = () => ({
  ca: fs.readFileSync(env('CA')),
  ...(env('CERT') && { cert: fs.readFileSync(env('CERT')), key: fs.readFileSync(env('KEY')) }),
})

const kafka = new Kafka({
  ...(env('CLIENT_ID') !== '-' && { clientId: env('CLIENT_ID', 'kafkajs') }),
  ...(v6 ? byName : { brokers: [env('BOOTSTRAP')] }),
  logLevel: logLevel.WARN,
  logCreator: () => ({ log }) => say('NOTE', log.message, log.error ?? ''),
  ...(env('USER') && { sasl: login() }),
  ...(env('CA') && { ssl: secure() }),
  // Its own 10 s are longer than a short session: it would log in before each request.
  ...(env('REAUTH_MS') && { reauthenticationThreshold: Number(env('REAUTH_MS')) }),
})

async function consume() {
  if (env('PROTOCOL', 'classic') !== 'classic') throw new Error('kafkajs has no group protocol but the classic one')
  if (env('ASSIGN')) throw new Error('kafkajs has no consumers without a group')
  if (env('RESET', 'earliest') === 'none') throw new Error('kafkajs has no reset policy none')
  const commit = env('COMMIT', 'auto')
  const handler = Number(env('HANDLER_MS', '0'))
  const c = kafka.consumer({
    groupId: env('GROUP'),
    maxWaitTimeInMs: 500,
    readUncommitted: env('ISOLATION', 'read_uncommitted') === 'read_uncommitted',
    ...(env('FETCH_BYTES') && { maxBytesPerPartition: Number(env('FETCH_BYTES')) }),
  })
  c.on(c.events.CRASH, (e) => say('ERR crash restart=' + e.payload.restart, e.payload.error))
  const done = new Map()
  const flush = async () => {
    const offsets = [...done.entries()].map(([k, offset]) => {
      const i = k.lastIndexOf(':')
      return { topic: k.slice(0, i), partition: Number(k.slice(i + 1)), offset }
    })
    done.clear()
    await c.commitOffsets(offsets)
    for (const o of offsets) say('COMMITTED', o.topic, o.partition, o.offset)
  }
  onPause = () => {
    paused ? c.pause(topics.map((topic) => ({ topic }))) : c.resume(topics.map((topic) => ({ topic })))
    say(paused ? 'PAUSED' : 'RESUMED')
  }
  await c.connect()
  await c.subscribe({ topics, fromBeginning: env('RESET', 'earliest') === 'earliest' })
  const ended = new Promise((resolve) => (onClose = resolve))
  await c.run({
    autoCommit: commit === 'auto' || commit === 'default',
    eachBatchAutoResolve: false,
    eachBatch: async ({ batch, resolveOffset, heartbeat, isRunning }) => {
      for (const m of batch.messages) {
        if (closing || !isRunning()) break
        if (handler) await sleep(handler)
        if (holding) say('HOLDING', batch.topic, batch.partition, m.offset)
        while (holding) await sleep(10)
        say('HANDLED', batch.topic, batch.partition, m.offset, m.key ?? '-')
        resolveOffset(m.offset)
        const next = String(BigInt(m.offset) + 1n)
        if (commit === 'manual' || commit === 'each') done.set(batch.topic + ':' + batch.partition, next)
        // kafkajs would log the error and begin anew; here it ends the app.
        if (commit === 'each') await flush().catch(die)
        await heartbeat()
      }
      if (commit === 'manual' && done.size > 0) await flush()
    },
  })
  say('READY')
  if (closing) onClose()
  await ended
  await c.disconnect()
}

async function produce() {
  const idempotent = env('IDEMPOTENCE', 'false') === 'true'
  const p = kafka.producer({ idempotent, ...(idempotent && { maxInFlightRequests: 1 }) })
  const acks = { all: -1, 1: 1, 0: 0 }[env('ACKS', 'all')]
  const count = Number(env('COUNT', '0'))
  await p.connect()
  say('READY')
  const sending = new Set()
  const keyed = env('KEYS', 'vary') !== 'none'
  const rate = Number(env('RATE', '20'))
  let nextAt = performance.now()
  for (let i = 0; !closing && (count === 0 || i < count); ) {
    if (!paused) {
      const value = 'r' + i
      const send = p
        .send({ topic: topics[i % topics.length], acks, messages: [{ key: keyed ? 'k' + i : null, value }] })
        .then((rs) => rs.forEach((r) => say('SENT', r.topicName, r.partition, r.baseOffset, value)))
        .catch((e) => say('ERR', e))
        .finally(() => sending.delete(send))
      sending.add(send)
      i++
    }
    nextAt = Math.max(nextAt, performance.now() - 1000) + 1000 / rate
    await sleep(Math.max(0, nextAt - performance.now()))
  }
  await Promise.all(sending)
  await p.disconnect()
}

;(env('MODE', 'consume') === 'consume' ? consume() : produce()).then(() => {
  say('CLOSED')
  process.exit(0)
}, die)
