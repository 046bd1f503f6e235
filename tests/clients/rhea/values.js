// Bodies, properties and headers of every kind come back as they were sent. rhea tells no numbers
// apart that JavaScript does not, so it is their values that are compared.
'use strict';

const { check, equal, queue, rhea, sleep } = require('./scene.js');

const { types } = rhea;
const UUID = Buffer.from('0123456789abcdef0123456789abcdef', 'hex');
const ALL_OCTETS = Buffer.from(Array.from({ length: 256 }, (_, n) => n));

// What is sent, and what comes back of it.
const SCALARS = {
  true: [true, true],
  false: [false, false],
  ubyte: [types.wrap_ubyte(200), 200],
  ushort: [types.wrap_ushort(60000), 60000],
  uint: [types.wrap_uint(4000000000), 4000000000],
  'small uint': [types.wrap_uint(7), 7],
  'zero uint': [types.wrap_uint(0), 0],
  ulong: [types.wrap_ulong(9000000000000000), 9000000000000000],
  'small ulong': [types.wrap_ulong(7), 7],
  byte: [types.wrap_byte(-100), -100],
  short: [types.wrap_short(-30000), -30000],
  int: [types.wrap_int(-2000000000), -2000000000],
  'small int': [types.wrap_int(-7), -7],
  long: [types.wrap_long(-9000000000000000), -9000000000000000],
  'small long': [types.wrap_long(-7), -7],
  float: [types.wrap_float(0.25), 0.25],
  double: [types.wrap_double(0.1), 0.1],
  timestamp: [types.wrap_timestamp(1700000000123), new Date(1700000000123)],
  uuid: [types.wrap_uuid(UUID), UUID],
  binary: [types.wrap_binary(ALL_OCTETS), ALL_OCTETS],
  string: ['text: \u00e4\u20ac\u{1f600}', 'text: \u00e4\u20ac\u{1f600}'],
  'long string': ['long '.repeat(1000), 'long '.repeat(1000)],
  'empty string': ['', ''],
  symbol: [types.wrap_symbol('a-symbol'), 'a-symbol'],
};

const COMPOUND = {
  list: ['a', 1, true, [2, ['deep', []]], { in: 'map' }],
  'empty list': [],
  'long list': Array.from({ length: 1000 }, (_, n) => n),
  map: { a: 1, list: [1, 2, { deeper: ALL_OCTETS }] },
  'empty map': {},
  'large map': Object.fromEntries(
    Array.from({ length: 300 }, (_, n) => [`key ${n}`, 'value '.repeat(n)]),
  ),
};

/** Sends each message and returns what comes back. */
async function back(scene, name, messages) {
  const connection = await scene.connect();
  const sender = await scene.sender(connection, queue(name));
  const receiver = await scene.receiver(connection, queue(name));
  const came = [];
  for (const message of messages) {
    equal((await sender.outcome(message)).state, 'accepted', 'outcome');
    receiver.flow(1);
    const { message: again, delivery } = await receiver.next();
    delivery.accept();
    came.push(again);
  }
  return came;
}

/** A typed value, or what rhea makes of one in a property, as it is compared. */
const plain = (value) => {
  if (value && value.type && value.value !== undefined) return plain(value.value);
  return value;
};

async function bodyTypes(scene, name, pairs) {
  const messages = pairs.map(([, sent]) => ({ body: sent }));
  const came = await back(scene, name, messages);
  pairs.forEach(([what, , wanted], at) => equal(plain(came[at].body), wanted, what));
}

check('body-scalars', {}, (scene) =>
  bodyTypes(
    scene,
    'body-scalars',
    Object.entries(SCALARS)
      .filter(([what]) => what !== 'binary')
      .map(([what, [sent, wanted]]) => [what, sent, wanted]),
  ),
);

check('body-compound', {}, (scene) =>
  bodyTypes(
    scene,
    'body-compound',
    Object.entries(COMPOUND).map(([what, value]) => [what, value, value]),
  ),
);

check('body-sections', {}, async (scene) => {
  const { data_section: data, sequence_section: sequence } = rhea.message;
  const bodies = [
    data(Buffer.from('data')),
    data(Buffer.alloc(100000, 'x')),
    sequence([1, 'two', [3]]),
  ];
  const came = await back(
    scene,
    'body-sections',
    bodies.map((body) => ({ body })),
  );
  bodies.forEach((body, at) => {
    equal(came[at].body.typecode, body.typecode, 'section');
    equal(came[at].body.content, body.content, 'content');
  });
});

check('application-properties', {}, async (scene) => {
  const sent = Object.entries(SCALARS).map(([what, [value]]) => [what, value]);
  const wanted = Object.entries(SCALARS).map(([what, [, value]]) => [what, value]);
  const message = { application_properties: Object.fromEntries(sent), body: 'body' };
  const [came] = await back(scene, 'application-properties', [message]);
  wanted.forEach(([what, value]) => equal(plain(came.application_properties[what]), value, what));
  equal(Object.keys(came.application_properties).length, wanted.length, 'properties');
});

check('message-ids', {}, async (scene) => {
  const ids = [
    ['text', 'text'],
    [9000000000000000, 9000000000000000],
    [types.wrap_uuid(UUID), UUID],
    [types.wrap_binary(ALL_OCTETS.subarray(0, 30)), ALL_OCTETS.subarray(0, 30)],
  ];
  const messages = ids.map(([id]) => ({ message_id: id, correlation_id: id, body: 'body' }));
  const came = await back(scene, 'message-ids', messages);
  ids.forEach(([, wanted], at) => {
    equal(plain(came[at].message_id), wanted, 'message-id');
    equal(plain(came[at].correlation_id), wanted, 'correlation-id');
  });
});

check('properties', {}, async (scene) => {
  const now = Math.floor(Date.now() / 1000) * 1000;
  const wanted = {
    message_id: 'id',
    user_id: 'anonymous',
    to: queue('properties'),
    subject: 'subject',
    reply_to: 'somewhere',
    correlation_id: 'correlation',
    content_type: 'text/plain',
    content_encoding: 'utf-8',
    absolute_expiry_time: now + 3600000,
    creation_time: now - 1000,
    group_id: 'group',
    group_sequence: 17,
    reply_to_group_id: 'reply group',
  };
  const [came] = await back(scene, 'properties', [{ ...wanted, body: 'body' }]);
  for (const [name, value] of Object.entries(wanted)) {
    const found = came[name];
    if (Buffer.isBuffer(found)) equal(found.toString(), value, name);
    else equal(found instanceof Date ? found.getTime() : found, value, name);
  }
});

check('header', {}, async (scene) => {
  const sent = { durable: true, priority: 7, ttl: 60000, body: 'body' };
  const [came, bare] = await back(scene, 'header', [sent, { body: 'plain' }]);
  equal([came.durable, came.priority], [true, 7], 'durable, priority');
  equal(came.ttl > 59000 && came.ttl <= 60000, true, `ttl ${came.ttl}`);
  equal([bare.durable || false, bare.priority ?? 4], [false, 4], 'durable, priority');
});

check('annotations', {}, async (scene) => {
  const annotations = { 'x-opt-text': 'text', 'x-opt-list': [1, { deep: true }] };
  const sent = { message_annotations: annotations, footer: { 'x-sum': 7 }, body: 'body' };
  const [came] = await back(scene, 'annotations', [sent]);
  equal(came.message_annotations, annotations, 'annotations');
  equal(came.footer, { 'x-sum': 7 }, 'footer');
});

// What has expired is not delivered.
check('time-to-live', {}, async (scene) => {
  const connection = await scene.connect();
  const sender = await scene.sender(connection, queue('time-to-live'));
  await sender.send([
    { body: 'short', ttl: 100 },
    { body: 'long', ttl: 60000 },
  ]);
  await sleep(300);
  const receiver = await scene.receiver(connection, queue('time-to-live'), { credit: 10 });
  equal(await receiver.bodies(1), ['long'], 'bodies');
  await receiver.nothing();
});
