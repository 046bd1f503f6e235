// Messages there and back: order, settlement modes, size.
'use strict';

const { createHash } = require('node:crypto');
const { check, equal, queue, sleep } = require('./scene.js');

const COUNT = 10000;
const LARGE = 64 * 1024 * 1024;
const numbers = (count) => Array.from({ length: count }, (_, n) => n);

check('order', {}, async (scene) => {
  const connection = await scene.connect();
  const bodies = numbers(COUNT).map((n) => `message ${n}`);
  await scene.send(connection, queue('order'), bodies);
  const receiver = await scene.receiver(connection, queue('order'), { credit: 500 });
  for (const body of bodies) {
    const { message, delivery } = await receiver.next();
    equal(message.body, body);
    delivery.accept();
    if (receiver.link.credit < 250) receiver.flow(250);
  }
  await receiver.close();
  equal(await scene.bodies(connection, queue('order')), [], 'what is left');
});

/** A thousand messages in this mode, there and back. */
async function bothWays(scene, name, modes, settle) {
  const connection = await scene.connect();
  const sender = await scene.sender(connection, queue(name), modes);
  if (modes.snd_settle_mode === 1) {
    for (const body of numbers(1000)) await sender.post({ body });
  } else {
    await sender.send(numbers(1000).map((body) => ({ body })));
  }
  const receiver = await scene.receiver(connection, queue(name), { credit: 1000, ...modes });
  for (const body of numbers(1000)) {
    const { message, delivery } = await receiver.next();
    equal(message.body, body);
    await settle(delivery);
  }
  await sender.close();
  await receiver.close();
  equal(await scene.bodies(connection, queue(name)), [], 'what is left');
}

check('settle-presettled', {}, (scene) =>
  bothWays(scene, 'settle-presettled', { snd_settle_mode: 1 }, (delivery) =>
    equal(delivery.remote_settled, true, 'settled'),
  ),
);

check('settle-unsettled', {}, (scene) =>
  bothWays(scene, 'settle-unsettled', { snd_settle_mode: 0, rcv_settle_mode: 0 }, (delivery) => {
    equal(delivery.remote_settled, false, 'settled');
    delivery.accept();
  }),
);

check('settle-mixed', {}, (scene) =>
  bothWays(scene, 'settle-mixed', { snd_settle_mode: 2 }, (delivery) => delivery.accept()),
);

// The receiver settles when the broker has: a message is settled twice, by both.
check('settle-second', {}, async (scene) => {
  const connection = await scene.connect();
  await scene.send(connection, queue('settle-second'), numbers(100));
  const modes = { snd_settle_mode: 0, rcv_settle_mode: 1, autosettle: false };
  const receiver = await scene.receiver(connection, queue('settle-second'), {
    credit: 100,
    ...modes,
  });
  let settled = 0;
  receiver.link.on('settled', ({ delivery }) => {
    settled += 1;
    delivery.update(true);
  });
  for (const body of numbers(100)) {
    const { message, delivery } = await receiver.next();
    equal(message.body, body);
    equal(delivery.remote_settled, false, 'settled by the broker before the outcome');
    delivery.accept();
  }
  while (settled < 100) await sleep(5);
  await receiver.close();
  equal(await scene.bodies(connection, queue('settle-second')), [], 'what is left');
});

check('large', { seconds: 60 }, async (scene) => {
  const content = Buffer.alloc(LARGE);
  for (let at = 0; at < LARGE; at += 4) content.writeUInt32LE((at * 2654435761) >>> 0, at);
  const sum = (octets) => createHash('sha256').update(octets).digest('hex');
  // rhea opens its window again when a delivery ends, not within one: all its frames must fit.
  const connection = await scene.connect({
    max_frame_size: 16 * 1024,
    session_buffer_size: { incoming: 16 * 1024 },
  });
  await scene.send(connection, queue('large'), [content]);
  const receiver = await scene.receiver(connection, queue('large'), { credit: 1 });
  const { message, delivery } = await receiver.next();
  equal(message.body.length, LARGE, 'length');
  equal(sum(message.body), sum(content), 'checksum');
  delivery.accept();
  await receiver.close();
});

// Ten senders on each of ten sessions, mixed.
check('many-links', {}, async (scene) => {
  const connection = await scene.connect();
  const senders = [];
  for (let session = 0; session < 10; session += 1) {
    const own = connection.create_session();
    own.open();
    for (let link = 0; link < 10; link += 1) {
      senders.push(scene.sender(own, queue('many-links')));
    }
  }
  const open = await Promise.all(senders);
  await Promise.all(open.map((sender) => sender.send(numbers(10).map((body) => ({ body })))));
  const receivers = await Promise.all(
    numbers(10).map(() => scene.receiver(connection, queue('many-links'), { credit: 100 })),
  );
  const taken = await Promise.all(receivers.map((receiver) => receiver.take(100)));
  equal(taken.flat().length, 1000, 'messages');
});

// The layer in which a user is told apart may be left out.
check('no-sasl', {}, async (scene) => {
  const connection = await scene.connect({ username: undefined });
  await scene.send(connection, queue('no-sasl'), ['plain']);
  equal(await scene.bodies(connection, queue('no-sasl')), ['plain'], 'bodies');
});

// A connection that is idle lives on empty frames, both ways.
check('heartbeats', {}, async (scene) => {
  const connection = await scene.connect({ idle_time_out: 400 });
  await sleep(1500);
  await scene.send(connection, queue('heartbeats'), ['alive']);
  equal(await scene.bodies(connection, queue('heartbeats')), ['alive'], 'bodies');
});
