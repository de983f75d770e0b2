// What the mock says. Numbers are made by a generator with a seed: each run shows the same.

const MODES = ['offset_reset', 'partition_discovery', 'commit_buffer', 'assignment_watchdog'];

function random(seed) {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

function traffic(seed, busy) {
  const next = random(seed);
  const now = Math.floor(Date.now() / 1000);
  const of = { step_seconds: 2, at: [], requests: [], request_bytes: [], response_bytes: [], upstream_p50: [], upstream_p99: [], added_p50: [], added_p99: [], connections: [] };
  for (let i = 0; i < 300; i += 1) {
    const wave = 1 + 0.35 * Math.sin(i / 34) + 0.12 * (next() - 0.5);
    const burst = i > 205 && i < 228 ? 1.9 : 1;
    of.at.push(now - 2 * (300 - i));
    of.requests.push(busy * wave * burst);
    of.request_bytes.push(busy * 310 * wave * burst);
    of.response_bytes.push(busy * 4400 * wave * burst * (1 + 0.2 * next()));
    const idle = busy === 0 || (i > 118 && i < 124);
    of.upstream_p50.push(idle ? null : 0.0021 * (1 + 0.2 * next()) * burst ** 0.5);
    of.upstream_p99.push(idle ? null : 0.0124 * (1 + 0.6 * next()) * burst);
    of.added_p50.push(idle ? null : 0.000021 * (1 + 0.2 * next()));
    of.added_p99.push(idle ? null : 0.00011 * (1 + 0.8 * next()));
    of.connections.push(busy === 0 ? 0 : i < 60 ? 11 : i < 210 ? 14 : 13);
  }
  return of;
}

function mender(name, mode, outcomes = {}) {
  return { name, mode, outcomes };
}

export function status(more = {}) {
  return {
    version: '0.1.0', commit: '9a063df', cluster_id: 'kT9vE2xWQdGm4yRz1bHfNA', uptime_seconds: 93784,
    upstream: { up: true },
    listeners: [
      { address: '127.0.0.1:9092', node: null }, { address: '127.0.0.1:9093', node: 0 },
      { address: '127.0.0.1:9094', node: 1 }, { address: '127.0.0.1:9095', node: 2 },
    ],
    connections: { clients: 0, upstream: 0 },
    menders: MODES.map((name) => mender(name, 'repair')),
    clients: [], clients_omitted: 0, groups: [], partitions_omitted: 0,
    traffic: { step_seconds: 2, at: [], requests: [], request_bytes: [], response_bytes: [], upstream_p50: [], upstream_p99: [], added_p50: [], added_p99: [], connections: [] },
    reload: null,
    ...more,
  };
}

export function partition(topic, index, position, committed, end, state = 'fetched') {
  const lag = end === null || committed === null ? null : Math.max(0, end - committed);
  return { topic, partition: index, position, committed, end, lag, state };
}

export function member(name, client, address, partitions, more = {}) {
  return {
    member: name, client_id: client, address, instance: null, generation: 12, phase: 'stable',
    assigned: partitions.length, unfetched: partitions.filter((p) => p.state === 'unfetched').length,
    paused: partitions.filter((p) => p.state === 'paused').length, partitions, stalled: null, ...more,
  };
}

export function client(id, address, software, version, connections, faults = []) {
  return { client_id: id, address, software, version, connections, faults };
}

const FRANZ = [{ what: 'loses partitions on a protocol switch', fixed_in: '1.17.0', mender: 'assignment_watchdog' }];
const RDKAFKA = [{ what: 'finds new partitions only after 5 minutes', fixed_in: null, mender: 'partition_discovery' }];

export function empty() {
  return { status: () => status({ uptime_seconds: 42, cluster_id: null, traffic: traffic(3, 0) }), events: [] };
}

/** A morning in a shop: orders, payments, a mailer. */
export function ordinary() {
  const begin = Date.now() / 1000;
  const ago = (seconds) => begin - seconds;
  const build = () => {
    const beat = Math.floor((Date.now() / 1000 - begin) * 41);
    const orders = [];
    for (let i = 0; i < 12; i += 1) {
      const end = 84603900 + 11813 * i + beat;
      orders.push(partition('orders', i, end - (i % 3), end - [0, 2, 14, 3][i % 4], end));
    }
    orders[3] = partition('orders', 3, 84611220 + beat, 84610930 + beat, 84639339 + beat);
    const payments = [];
    for (let i = 0; i < 6; i += 1) {
      const end = 4120388 + 733 * i + Math.floor(beat / 5);
      payments.push(partition('payments', i, end, end - (i % 2), end));
    }
    payments[4] = partition('payments', 4, null, 4118207, 4123320 + Math.floor(beat / 5), 'unfetched');
    payments[5] = partition('payments', 5, null, 4119940, 4124053 + Math.floor(beat / 5), 'unfetched');
    const mails = [0, 1, 2].map((i) => partition('customer-mails', i, 90213 + i, 90210 + i, 90213 + i, i === 2 ? 'paused' : 'fetched'));
    return status({
      connections: { clients: 13, upstream: 13 },
      menders: [
        mender('offset_reset', 'repair', { repaired: 3, observed: 0 }),
        mender('partition_discovery', 'repair', { repaired: 4, no_occasion: 1 }),
        mender('commit_buffer', 'repair', { buffered: 9, replayed: 8, superseded: 1 }),
        mender('assignment_watchdog', 'observe', { reported: 1, stalled: 1, observed: 1 }),
      ],
      clients: [
        client('payments-api', '10.1.4.17:51822', 'franz-go', '1.16.1', 2, FRANZ),
        client('payments-api', '10.1.4.18:40112', 'franz-go', '1.16.1', 2, FRANZ),
        client('orders-processor-0', '127.0.0.1:38412', 'apache-kafka-java', '4.4.0', 2),
        client('orders-processor-1', '127.0.0.1:38420', 'apache-kafka-java', '4.4.0', 2),
        client('orders-processor-2', '127.0.0.1:38436', 'apache-kafka-java', '4.4.0', 2),
        client('mailer', '127.0.0.1:50066', 'librdkafka', '2.3.0', 2, RDKAFKA),
        client('', '127.0.0.1:50102', null, null, 1),
      ],
      groups: [
        {
          group: 'orders-processor', protocol: 'cooperative-sticky', kind: 'classic',
          members: [0, 1, 2].map((i) => member(`orders-processor-${i}-8a1f-${i}c`, `orders-processor-${i}`, `127.0.0.1:384${12 + 8 * i}`, orders.slice(4 * i, 4 * i + 4), { generation: 41 })),
        },
        {
          group: 'payments', protocol: 'cooperative-sticky', kind: 'classic',
          members: [
            member('kgo-41d0', 'payments-api', '10.1.4.17:51822', payments.slice(0, 3), { generation: 7 }),
            member('kgo-9bb2', 'payments-api', '10.1.4.18:40112', payments.slice(3), { generation: 7 }),
          ],
        },
        {
          group: 'mailer', protocol: 'range', kind: 'classic',
          members: [member('rdkafka-77e1', 'mailer', '127.0.0.1:50066', mails, {
            generation: 3, instance: 'mailer-0',
            stalled: { reason: 'its last commit was refused: ILLEGAL_GENERATION', for_seconds: 192, lag: 9 },
          })],
        },
      ],
      traffic: traffic(7, 38),
      reload: { at: ago(5400), ok: true, changed: ['menders.assignment_watchdog.mode'], needs_restart: ['listen.address'], error: null },
      uptime_seconds: 93784 + (Date.now() / 1000 - begin),
    });
  };
  const events = [
    { at: ago(8111), mender: 'partition_discovery', text: 'a topic has more partitions', fields: { topic: 'orders', from: 9, to: 12 } },
    { at: ago(8108), mender: 'partition_discovery', text: 'a client knows of the new partitions', fields: { topic: 'orders', from: 9, to: 12, role: 'Producer', seconds: 2.4 } },
    { at: ago(8107), mender: 'partition_discovery', text: 'a client knows of the new partitions', fields: { topic: 'orders', from: 9, to: 12, role: 'Consumer', seconds: 3.1 } },
    { at: ago(6210), level: 'WARN', mender: 'offset_reset', text: 'orders[7]: 61880412 was evicted, reset to 84591207, 22710795 records skipped', fields: { topic: 'orders', partition: 7, client_id: 'orders-processor-1', group: 'orders-processor', old: 61880412, new: 84591207, skipped: 22710795, policy: 'earliest' } },
    { at: ago(3012), mender: 'commit_buffer', text: 'a commit that a rebalance refused is kept', fields: { group: 'orders-processor', topic: 'orders', partition: 2, offset: 84627511, member: 'orders-processor-0-8a1f-0c' } },
    { at: ago(3011), mender: 'commit_buffer', text: 'a commit that a rebalance refused is kept', fields: { group: 'orders-processor', topic: 'orders', partition: 6, offset: 84674690, member: 'orders-processor-1-8a1f-1c' } },
    { at: ago(3009), mender: 'commit_buffer', text: 'a kept commit has reached the broker', fields: { group: 'orders-processor', topic: 'orders', partition: 2, offset: 84627511, age: '2.91s' } },
    { at: ago(3009), mender: 'commit_buffer', text: 'a kept commit is superseded: records may be read again, none is lost', fields: { group: 'orders-processor', topic: 'orders', partition: 6, offset: 84674690, age: '2.2s', why: 'the partition has another owner' } },
    { at: ago(931), mender: 'partition_discovery', text: 'a client does not know of new partitions, and is never idle; it will find them by itself', fields: { topic: 'customer-mails', from: 2, to: 3, role: 'Producer' } },
    { at: ago(402), level: 'WARN', mender: 'assignment_watchdog', text: 'partitions are assigned and nobody fetches them', fields: { group: 'payments', member: 'kgo-9bb2', client_id: 'payments-api', partitions: 'payments[4,5]', lag: 9226, seconds: 31, switched: true } },
    { at: ago(401), level: 'WARN', mender: 'assignment_watchdog', text: 'the member would be made to rejoin', observed: true, fields: { group: 'payments', member: 'kgo-9bb2', client_id: 'payments-api', partitions: 'payments[4,5]' } },
    { at: ago(192), level: 'WARN', mender: 'assignment_watchdog', text: 'a consumer is stalled: it lives and does nothing', fields: { group: 'mailer', member: 'rdkafka-77e1', client_id: 'mailer', reason: 'CommitRefused(22)', lag: 9, seconds: 61 } },
    { at: ago(14), level: 'WARN', mender: 'offset_reset', text: 'orders[3]: 62129856 was evicted, reset to 84603153, 22473297 records skipped', fields: { topic: 'orders', partition: 3, client_id: 'orders-processor-0', group: 'orders-processor', old: 62129856, new: 84603153, skipped: 22473297, policy: 'earliest' } },
  ];
  let n = 0;
  const live = () => ({ mender: 'commit_buffer', text: 'a kept commit has reached the broker', fields: { group: 'mailer', topic: 'customer-mails', partition: n % 3, offset: 90210 + (n += 1), age: '1.1s' } });
  return { status: build, events, live };
}

/** 1,000 partitions and 200 clients, all of them moving. */
export function big({ groups = 4, members = 50, each = 5, events = 500 } = {}) {
  const begin = Date.now();
  const build = () => {
    const beat = Math.floor((Date.now() - begin) / 10);
    const clients = [];
    const all = [];
    for (let g = 0; g < groups; g += 1) {
      const list = [];
      for (let m = 0; m < members; m += 1) {
        const id = `warehouse-${g}-consumer-${String(m).padStart(3, '0')}`;
        const address = `10.2.${g}.${m + 1}:4${1000 + m}`;
        const versions = [['apache-kafka-java', '4.4.0'], ['franz-go', '1.16.1'], ['librdkafka', '2.3.0'], ['aiokafka', '0.12.0'], ['sarama', '1.45.0']];
        const [software, version] = versions[(g * members + m) % versions.length];
        clients.push(client(id, address, software, version, 2, software === 'franz-go' ? FRANZ : []));
        const partitions = [];
        for (let p = 0; p < each; p += 1) {
          const index = m * each + p;
          const end = 5_000_000 + index * 977 + beat;
          const state = index % 97 === 96 ? 'unfetched' : index % 41 === 40 ? 'paused' : 'fetched';
          partitions.push(partition(`shipments-${g}`, index, end, end - (index % 7) * 13, end, state));
        }
        list.push(member(`${id}-5f1c`, id, address, partitions, { generation: 8 }));
      }
      all.push({ group: `warehouse-${g}`, protocol: 'cooperative-sticky', kind: 'classic', members: list });
    }
    return status({ clients, groups: all, connections: { clients: 2 * clients.length, upstream: 2 * clients.length }, traffic: traffic(beat, 4200) });
  };
  const log = [];
  for (let i = 0; i < events; i += 1) {
    log.push({
      at: Date.now() / 1000 - 2 * (events - i), level: i % 5 ? 'INFO' : 'WARN', mender: MODES[i % 4],
      text: `shipments-${i % 4}[${i % 250}]: ${62129856 + i} was evicted, reset to 84603153, ${22473297 - i} records skipped`,
      fields: { topic: `shipments-${i % 4}`, partition: i % 250, group: `warehouse-${i % 4}`, client_id: `warehouse-${i % 4}-consumer-001` },
    });
  }
  return { status: build, events: log };
}

/** Names as somebody with bad intentions chooses them; also much too long ones. */
export function hostile() {
  const html = '<img src=x onerror="window.owned=true">';
  const script = '</script><script>window.owned=true</script>';
  const bidi = 'user\u202egnp.exe\u0000\u0007\n\tname';
  const long = 'very-long-'.repeat(40);
  const names = [html, script, bidi, long, "'\"`${window.owned=true}", '__proto__', 'constructor'];
  return {
    status: () =>
      status({
        version: html, commit: script, cluster_id: long,
        listeners: [{ address: html, node: null }, { address: long, node: 3 }],
        menders: [mender(html, 'repair', { [html]: 2, __proto__: 1 }), mender(long, html, { [long]: 1 })],
        clients: names.map((name) => client(name, html, name, name, 1, [{ what: html, fixed_in: script, mender: name }])),
        groups: names.map((name) => ({
          group: name, protocol: html, kind: html,
          members: [member(name, name, name, [partition(name, 0, 1, 1, 2, 'unfetched'), partition(name, 1, null, null, null, html)], { instance: html, phase: html, stalled: { reason: html, for_seconds: 5, lag: 1 } })],
        })),
        traffic: traffic(5, 9),
        reload: { at: Date.now() / 1000, ok: false, changed: names, needs_restart: names, error: html },
      }),
    events: names.map((name) => ({ level: 'WARN', mender: name, text: `${name}[3]: 62129856 was evicted`, fields: { topic: name, partition: 3, group: name, client_id: name, [name]: name } })),
  };
}
