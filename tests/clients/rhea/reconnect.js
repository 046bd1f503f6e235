// Connections that break: a small proxy in between is cut, and the client goes on by itself.
'use strict';

const net = require('node:net');
const { check, equal, event, queue, rhea } = require('./scene.js');

const COUNT = 3000;
const STEP = COUNT / 6;
const numbers = Array.from({ length: COUNT }, (_, n) => n);

/** Forwards connections until they are cut. */
class Proxy {
  constructor(target) {
    const [host, port] = target.split(':');
    this.sockets = new Set();
    this.server = net.createServer((client) => {
      const broker = net.connect(Number(port), host);
      for (const [from, to] of [
        [client, broker],
        [broker, client],
      ]) {
        this.sockets.add(from);
        from.on('error', () => {});
        from.on('close', () => {
          this.sockets.delete(from);
          to.destroy();
        });
        from.pipe(to);
      }
    });
  }

  async listen() {
    this.server.listen(0, '127.0.0.1');
    await event(this.server, ['listening']);
    return this.server.address().port;
  }

  cut() {
    this.sockets.forEach((socket) => socket.destroy());
  }

  close() {
    this.server.close();
    this.cut();
  }
}

/** Connects through a proxy, which `counted` cuts every so often, and does `work` until it is done. */
async function throughProxy(scene, work) {
  const proxy = new Proxy(scene.address);
  const port = await proxy.listen();
  const connection = rhea.create_container().connect({
    host: '127.0.0.1',
    port,
    username: 'anonymous',
    initial_reconnect_delay: 10,
    max_reconnect_delay: 100,
  });
  let opened = 0;
  let done = 0;
  let cuts = 0;
  let nextCut = STEP;
  connection.on('connection_open', () => (opened += 1));
  connection.on('disconnected', () => {});
  const counted = () => {
    done += 1;
    // Not before there is a connection again: what is on its way counts also after a cut.
    if (done >= nextCut && opened === cuts + 1) {
      cuts += 1;
      nextCut = done + STEP;
      proxy.cut();
    }
  };
  try {
    await work(connection, counted);
    equal(cuts > 1 && opened >= cuts, true, `${cuts} cuts, ${opened} connections`);
  } finally {
    connection.set_reconnect(false);
    connection.close();
    proxy.close();
  }
}

// What was acknowledged is there, in order but for what was sent again.
check('reconnect-sender', { seconds: 60 }, async (scene) => {
  await throughProxy(scene, (connection, counted) => {
    const todo = [...numbers].reverse();
    let underWay = new Map();
    const acknowledged = new Set();
    const sender = connection.open_sender(queue('reconnect-sender'));
    sender.on('sendable', () => {
      while (todo.length && sender.sendable()) {
        const number = todo.pop();
        underWay.set(sender.send({ body: number, durable: true }), number);
      }
    });
    connection.on('disconnected', () => {
      todo.push(...[...underWay.values()].sort((a, b) => b - a));
      underWay = new Map();
    });
    return new Promise((resolve) => {
      sender.on('accepted', ({ delivery }) => {
        if (!underWay.has(delivery)) return;
        acknowledged.add(underWay.get(delivery));
        underWay.delete(delivery);
        counted();
        if (acknowledged.size === COUNT) resolve();
      });
    });
  });
  const found = await drained(scene, 'reconnect-sender');
  const first = [...new Set(found)];
  equal(first, numbers, 'numbers, in order of what came first');
});

/** Everything that a queue has: more than a session's window. */
async function drained(scene, name) {
  const connection = await scene.connect();
  const found = [];
  for (;;) {
    const some = await scene.bodies(connection, queue(name));
    if (!some.length) return found;
    found.push(...some);
  }
}

// Everything arrives; what was not acknowledged before a cut comes again.
check('reconnect-receiver', { seconds: 60 }, async (scene) => {
  await scene.send(await scene.connect(), queue('reconnect-receiver'), numbers);
  const seen = new Set();
  await throughProxy(scene, (connection, counted) => {
    const receiver = connection.open_receiver({
      source: queue('reconnect-receiver'),
      credit_window: 50,
    });
    return new Promise((resolve) => {
      receiver.on('message', ({ message }) => {
        seen.add(message.body);
        counted();
        if (seen.size === COUNT) resolve();
      });
    });
  });
  equal(
    [...seen].sort((a, b) => a - b),
    numbers,
    'numbers',
  );
});
