// Credit: never more than was given, drained when asked, none for those who must wait.
'use strict';

const { check, equal, event, queue, sleep } = require('./scene.js');

const numbers = (from, to) => Array.from({ length: to - from }, (_, n) => from + n);

check('credit', {}, async (scene) => {
  const connection = await scene.connect();
  await scene.send(connection, queue('credit'), numbers(0, 100));
  const receiver = await scene.receiver(connection, queue('credit'));
  await receiver.nothing();
  let given = 0;
  for (const more of [1, 1, 2, 10, 0, 30]) {
    receiver.flow(more);
    for (const { message, delivery } of await receiver.take(more)) {
      equal(message.body, given);
      delivery.accept();
      given += 1;
    }
    await receiver.nothing();
  }
});

// Credit that is there first is used as messages come, and not beyond its end.
check('credit-before-messages', {}, async (scene) => {
  const connection = await scene.connect();
  const name = queue('credit-before-messages');
  const receiver = await scene.receiver(connection, name, { credit: 5 });
  await receiver.nothing();
  await scene.send(connection, name, numbers(0, 10));
  equal(await receiver.bodies(5), numbers(0, 5), 'bodies');
  await receiver.nothing();
  receiver.flow(5);
  equal(await receiver.bodies(5), numbers(5, 10), 'bodies');
});

// A sender has no credit before the broker gives some, and gets more as it is used up.
check('credit-sender', {}, async (scene) => {
  const connection = await scene.connect();
  const link = connection.open_sender({ target: queue('credit-sender') });
  equal(link.credit, 0, 'credit before an attach is answered');
  await event(link, ['sendable']);
  const first = link.credit;
  const sender = await scene.sender(connection, queue('credit-sender'));
  await sender.send(numbers(0, first * 3).map((body) => ({ body })));
  await sender.credit();
});

check('drain', {}, async (scene) => {
  const connection = await scene.connect();
  const receiver = await scene.receiver(connection, queue('drain'));
  equal((await receiver.drain(10)).length, 0, 'messages of an empty queue');
  equal(receiver.link.credit, 0, 'credit');
  await scene.send(connection, queue('drain'), numbers(0, 5));
  await receiver.nothing();
  const bodies = (received) => received.map(({ message }) => message.body);
  equal(bodies(await receiver.drain(10)), numbers(0, 5), 'bodies');
  equal(receiver.link.credit, 0, 'credit');
});

// A queue above its mark keeps the outcomes of its senders until it is emptier.
check(
  'flow-stop',
  { queues: { 'flow-stop': { 'qpid.flow_stop_count': 10, 'qpid.flow_resume_count': 5 } } },
  async (scene) => {
    const sender = await scene.sender(await scene.connect(), queue('flow-stop'));
    let settled = 0;
    const outcomes = [];
    for (const body of numbers(0, 20)) {
      outcomes.push(sender.settled(await sender.post({ body })).then(() => (settled += 1)));
    }
    await sleep(300);
    equal(settled < 20, true, 'some outcomes are kept');
    const receiver = await scene.receiver(await scene.connect(), queue('flow-stop'), {
      credit: 20,
    });
    (await receiver.take(20)).forEach(({ delivery }) => delivery.accept());
    await Promise.all(outcomes);
  },
);

// What a full queue has no room for is refused, and the link lives on. Without flow control, which
// would hold back outcomes before the queue is full.
check(
  'full-queue',
  {
    queues: {
      'full-queue': {
        'qpid.max_count': 10,
        'qpid.policy_type': 'reject',
        'qpid.flow_stop_count': 0,
      },
    },
  },
  async (scene) => {
    const connection = await scene.connect();
    const sender = await scene.sender(connection, queue('full-queue'));
    await sender.send(numbers(0, 10).map((body) => ({ body })));
    const { state } = await sender.outcome({ body: 10 });
    equal(['released', 'rejected'].includes(state), true, `outcome ${state}`);
    const receiver = await scene.receiver(connection, queue('full-queue'), { credit: 1 });
    (await receiver.next()).delivery.accept();
    await receiver.close();
    equal((await sender.outcome({ body: 11 })).state, 'accepted', 'outcome');
  },
);
