// Which node a link reaches, and what of the node: exchanges, filters, copies, dynamic nodes.
'use strict';

const { check, equal, event, queue, rhea, sleep } = require('./scene.js');

const { types } = rhea;
const numbers = (count) => Array.from({ length: count }, (_, n) => n);
const SELECTOR = 'apache.org:selector-filter:string';

const selector = (text) => ({ [SELECTOR]: types.wrap_described(text, 0x468c00000004) });
const topicKey = (text) => ({
  'apache.org:legacy-amqp-topic-binding:string': types.wrap_described(text, 0x468c00000001),
});
const directKey = (text) => ({
  'apache.org:legacy-amqp-direct-binding:string': types.wrap_described(text, 0x468c00000000),
});

check('missing-node', { queues: {} }, async (scene) => {
  const connection = await scene.connect();
  const sender = connection.open_sender({ target: { address: 'not-there' } });
  equal(await scene.refusal(sender, 'sender'), 'amqp:not-found', 'condition');
  const receiver = connection.open_receiver({ source: { address: 'not-there' } });
  equal(await scene.refusal(receiver, 'receiver'), 'amqp:not-found', 'condition');
  // The connection lives on.
  await scene.sender(connection, 'amq.fanout');
});

check('selector', {}, async (scene) => {
  const connection = await scene.connect();
  const sender = await scene.sender(connection, queue('selector'));
  const colour = (number) => (number % 2 ? 'red' : 'blue');
  await sender.send(
    numbers(20).map((number) => ({
      application_properties: { number, colour: colour(number) },
      body: number,
    })),
  );
  const filter = selector("colour = 'red' AND number BETWEEN 5 AND 11");
  const options = { credit: 20, source: { filter } };
  const receiver = await scene.receiver(connection, queue('selector'), options);
  for (const { message, delivery } of await receiver.take(4)) {
    equal([5, 7, 9, 11].includes(message.body), true, `body ${message.body}`);
    delivery.accept();
  }
  await receiver.nothing();
  equal(Object.keys(receiver.link.source.filter).length, 1, 'filters the broker took');
  await receiver.close();
  equal((await scene.contents(connection, queue('selector'))).length, 16, 'what is left');
});

// A filter may be described by its name too.
check('selector-symbol', {}, async (scene) => {
  const connection = await scene.connect();
  const sender = await scene.sender(connection, queue('selector-symbol'));
  await sender.send(numbers(4).map((body) => ({ application_properties: { body }, body })));
  const filter = { mine: types.wrap_described('body > 1', SELECTOR) };
  const options = { credit: 4, source: { filter } };
  const receiver = await scene.receiver(connection, queue('selector-symbol'), options);
  equal(await receiver.bodies(2), [2, 3], 'bodies');
  await receiver.nothing();
});

check('selector-bad', {}, async (scene) => {
  const connection = await scene.connect();
  const source = { address: queue('selector-bad'), filter: selector("colour = = 'red'") };
  const condition = await scene.refusal(connection.open_receiver({ source }), 'receiver');
  equal(['amqp:invalid-field', 'amqp:internal-error'].includes(condition), true, condition);
});

check('browse', {}, async (scene) => {
  const connection = await scene.connect();
  await scene.send(connection, queue('browse'), numbers(10));
  for (let turn = 0; turn < 2; turn += 1) {
    const browser = await scene.receiver(connection, queue('browse'), {
      credit: 20,
      source: { distribution_mode: 'copy' },
    });
    equal(await browser.bodies(10), numbers(10), 'bodies');
    await browser.nothing();
    equal(browser.link.source.distribution_mode, 'copy', 'distribution mode');
    await browser.close();
  }
  equal(await scene.bodies(connection, queue('browse')), numbers(10), 'what is left');
});

check('request-reply', {}, async (scene) => {
  const asking = await scene.connect();
  const answering = await scene.connect();
  const replies = await scene.receiver(asking, undefined, {
    source: { dynamic: true },
    credit: 10,
  });
  const { address } = replies.link.source;
  equal(typeof address === 'string' && address !== '', true, 'address of a dynamic node');
  const server = await scene.receiver(answering, queue('request-reply'), { credit: 10 });
  const reply = await scene.sender(answering, null);
  const ask = await scene.sender(asking, queue('request-reply'));
  for (const number of numbers(10)) {
    const id = `id ${number}`;
    await ask.send([{ body: number, reply_to: address, correlation_id: id }]);
    const { message, delivery } = await server.next();
    delivery.accept();
    const to = message.reply_to;
    await reply.send([{ to, correlation_id: message.correlation_id, body: message.body * 2 }]);
    const came = await replies.next();
    equal([came.message.body, came.message.correlation_id], [number * 2, id], 'reply');
    came.delivery.accept();
  }
  // The node is gone with its link.
  await replies.close();
  await sleep(100);
  const late = answering.open_sender({ target: { address } });
  equal(await scene.refusal(late, 'sender'), 'amqp:not-found', 'condition');
});

check('anonymous-sender', {}, async (scene) => {
  const connection = await scene.connect();
  const offered = [].concat(connection.offered_capabilities);
  equal(offered.includes('ANONYMOUS-RELAY'), true, 'offered');
  const sender = await scene.sender(connection, null);
  const to = queue('anonymous-sender');
  await sender.send(numbers(10).map((body) => ({ to, body })));
  // Nowhere to go, which the reference tells nobody: the link lives on.
  await sender.outcome({ to: 'not-there', body: 'x' });
  await sender.send([{ to, body: 10 }]);
  equal(await scene.bodies(connection, to), numbers(11), 'bodies');
});

/** Receivers on an exchange, and what each of them gets of these subjects. */
async function routed(scene, exchange, wanted, subjects) {
  const connection = await scene.connect();
  const receivers = [];
  for (const [filter] of wanted) {
    const source = filter ? { filter } : {};
    receivers.push(await scene.receiver(connection, exchange, { credit: 20, source }));
  }
  const sender = await scene.sender(connection, exchange);
  await sender.send(subjects.map((subject) => ({ subject, body: subject })));
  for (const [at, [, bodies]] of wanted.entries()) {
    equal(await receivers[at].bodies(bodies.length), bodies, `receiver ${at}`);
  }
  for (const receiver of receivers) await receiver.nothing();
}

check('topic', { queues: {} }, (scene) => {
  const subjects = ['news.sport', 'news.a.b', 'weather', 'news', 'x.sport'];
  const wanted = [
    [topicKey('news.*'), ['news.sport']],
    [topicKey('news.#'), ['news.sport', 'news.a.b', 'news']],
    [topicKey('*.sport'), ['news.sport', 'x.sport']],
    [topicKey('#'), subjects],
    [topicKey('weather'), ['weather']],
  ];
  return routed(scene, 'amq.topic', wanted, subjects);
});

check('direct', { queues: {} }, (scene) => {
  const wanted = [
    [directKey('red'), ['red', 'red']],
    [directKey('blue'), ['blue']],
  ];
  return routed(scene, 'amq.direct', wanted, ['red', 'blue', 'green', 'red']);
});

check('fanout', { queues: {} }, (scene) => {
  const each = [undefined, ['a', 'b']];
  return routed(scene, 'amq.fanout', [each, each, each], ['a', 'b']);
});

// A subscription that never expires goes on collecting while its connection is away.
check('durable-subscription', { queues: {} }, async (scene) => {
  const subscribe = async () => {
    const connection = await scene.connect({ container_id: 'rhea-durable' });
    const source = { durable: 2, expiry_policy: 'never', filter: topicKey('durable.#') };
    const options = { name: 'rhea-durable', source };
    return [connection, await scene.receiver(connection, 'amq.topic', options)];
  };
  const [connection] = await subscribe();
  await scene.end(connection);
  const sender = await scene.sender(await scene.connect(), 'amq.topic');
  const subjects = ['durable.one', 'other', 'durable.two'];
  await sender.send(subjects.map((subject) => ({ subject, body: subject })));
  const [, again] = await subscribe();
  again.flow(10);
  equal(await again.bodies(2), ['durable.one', 'durable.two'], 'bodies');
  await again.nothing();
  await again.close();
});

// A link that is attached elsewhere is taken from whoever has it, with what that one holds.
check('link-stolen', {}, async (scene) => {
  const attach = async () => {
    const connection = await scene.connect({ container_id: 'rhea-stolen' });
    return scene.receiver(connection, queue('link-stolen'), { name: 'stolen', credit: 10 });
  };
  await scene.send(await scene.connect(), queue('link-stolen'), [0, 1, 2]);
  let holder = await attach();
  equal(await holder.bodies(3), [0, 1, 2], 'bodies');
  for (let turn = 0; turn < 4; turn += 1) {
    const stolen = event(holder.link, ['receiver_error']);
    const thief = await attach();
    equal(await thief.bodies(3), [0, 1, 2], 'bodies');
    const { context } = await stolen;
    equal(context.receiver.error.condition, 'amqp:link:stolen', 'condition');
    holder = thief;
  }
});
