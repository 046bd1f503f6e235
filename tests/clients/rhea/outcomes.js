// What a receiver makes of a message, and what becomes of the message then.
'use strict';

const { check, equal, queue, sleep } = require('./scene.js');

const numbers = (count) => Array.from({ length: count }, (_, n) => n);

/** A receiver that was given the only message of its queue. */
async function one(scene, name) {
  const connection = await scene.connect();
  await scene.send(connection, queue(name), ['first']);
  const receiver = await scene.receiver(connection, queue(name), { credit: 1 });
  const received = await receiver.next();
  equal(received.message.delivery_count || 0, 0, 'delivery-count');
  return { connection, receiver, ...received };
}

async function gone(scene, { connection, receiver }, name) {
  await receiver.close();
  equal(await scene.bodies(connection, queue(name)), [], 'what is left');
}

check('outcome-accepted', {}, async (scene) => {
  const given = await one(scene, 'outcome-accepted');
  equal(given.message.first_acquirer, true, 'first-acquirer');
  given.delivery.accept();
  await gone(scene, given, 'outcome-accepted');
});

check('outcome-rejected', {}, async (scene) => {
  const given = await one(scene, 'outcome-rejected');
  given.delivery.reject({ condition: 'amqp:decode-error', description: 'cannot be read' });
  await gone(scene, given, 'outcome-rejected');
});

check(
  'outcome-rejected-alternate',
  { queues: { 'outcome-rejected-alternate': { 'alternate-exchange': 'amq.fanout' } } },
  async (scene) => {
    const dead = await scene.receiver(await scene.connect(), 'amq.fanout', { credit: 10 });
    const { delivery } = await one(scene, 'outcome-rejected-alternate');
    delivery.reject();
    equal(await dead.bodies(1), ['first'], 'bodies');
  },
);

check('outcome-released', {}, async (scene) => {
  const given = await one(scene, 'outcome-released');
  given.delivery.release();
  given.receiver.flow(1);
  const { message, delivery } = await given.receiver.next();
  equal(message.body, 'first');
  equal(message.delivery_count || 0, 0, 'delivery-count of a released message');
  delivery.accept();
  await gone(scene, given, 'outcome-released');
});

// Released messages come back in their places.
check('outcome-released-order', {}, async (scene) => {
  const connection = await scene.connect();
  const name = queue('outcome-released-order');
  await scene.send(connection, name, numbers(20));
  const receiver = await scene.receiver(connection, name, { credit: 10 });
  (await receiver.take(10)).forEach(({ delivery }) => delivery.release());
  await receiver.close();
  equal(await scene.bodies(connection, name), numbers(20), 'order');
});

check('outcome-modified', {}, async (scene) => {
  const { receiver, ...first } = await one(scene, 'outcome-modified');
  let { delivery } = first;
  for (let count = 1; count < 4; count += 1) {
    delivery.modified({ delivery_failed: true, message_annotations: { 'x-try': count } });
    receiver.flow(1);
    const again = await receiver.next();
    equal(again.message.body, 'first');
    equal(again.message.delivery_count, count, 'delivery-count');
    equal(again.message.message_annotations['x-try'], count, 'annotation');
    delivery = again.delivery;
  }
  delivery.accept();
});

// Not to this link again; to another it may go.
check('outcome-undeliverable-here', {}, async (scene) => {
  const name = 'outcome-undeliverable-here';
  const { connection, receiver, delivery } = await one(scene, name);
  delivery.modified({ delivery_failed: true, undeliverable_here: true });
  receiver.flow(1);
  await receiver.nothing();
  const other = await scene.receiver(connection, queue(name), { credit: 1 });
  const again = await other.next();
  equal([again.message.body, again.message.delivery_count], ['first', 1], 'body, delivery-count');
  again.delivery.accept();
});

// Messages of a link that is closed without an outcome are another's.
check('outcome-none', {}, async (scene) => {
  const connection = await scene.connect();
  await scene.send(connection, queue('outcome-none'), numbers(10));
  const receiver = await scene.receiver(connection, queue('outcome-none'), { credit: 10 });
  await receiver.take(10);
  await receiver.close();
  const again = await scene.contents(connection, queue('outcome-none'));
  equal(
    again.map(({ body, delivery_count: count }) => [body, count]),
    numbers(10).map((body) => [body, 1]),
    'bodies, delivery-counts',
  );
});

// Two receivers share the messages of a queue; neither gets what the other has.
check('competing', {}, async (scene) => {
  const receivers = [];
  for (let at = 0; at < 2; at += 1) {
    receivers.push(await scene.receiver(await scene.connect(), queue('competing')));
  }
  await scene.send(await scene.connect(), queue('competing'), numbers(1000));
  const seen = [];
  for (let turn = 0; turn < 20; turn += 1) {
    for (const receiver of receivers) {
      receiver.flow(25);
      for (const { message, delivery } of await receiver.take(25)) {
        seen.push(message.body);
        delivery.accept();
      }
    }
  }
  await sleep(1);
  equal(
    seen.sort((a, b) => a - b),
    numbers(1000),
    'all of them, once',
  );
});
