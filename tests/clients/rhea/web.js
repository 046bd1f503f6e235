// AMQP over WebSocket: what a browser does, with the WebSocket of the package ws.
'use strict';

const WebSocket = require('ws');
const { check, equal, queue, sleep } = require('./scene.js');

const COUNT = 10000;
const MEGABYTE = 1024 * 1024;

/** A check that needs the broker's HTTP listener. */
const web = (name, run) => check(name, { web: true, seconds: 60 }, run);

/** The broker's word about a handshake with these subprotocols: the one it chose, or the status. */
function shake(scene, protocols, options = {}) {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(scene.url(), protocols, options);
    socket.on('open', () => resolve({ socket, protocol: socket.protocol }));
    socket.on('unexpected-response', (_, response) => {
      let text = '';
      response.on('data', (some) => (text += some));
      response.on('end', () => resolve({ status: response.statusCode, text }));
    });
    socket.on('error', reject);
  });
}

web('web-order', async (scene) => {
  const connection = await scene.connectWeb();
  const bodies = Array.from({ length: COUNT }, (_, n) => `message ${n}`);
  await scene.send(connection, queue('web-order'), bodies);
  const receiver = await scene.receiver(connection, queue('web-order'), { credit: 500 });
  for (const body of bodies) {
    const { message, delivery } = await receiver.next();
    equal(message.body, body);
    delivery.accept();
    if (receiver.link.credit < 250) receiver.flow(250);
  }
  await receiver.close();
  equal(await scene.bodies(connection, queue('web-order')), [], 'what is left');
});

// What comes by WebSocket and what comes by TCP meet in the same queue.
web('web-and-tcp', async (scene) => {
  const [by, plain] = [await scene.connectWeb(), await scene.connect()];
  await scene.send(by, queue('web-and-tcp'), ['from the web']);
  equal(await scene.bodies(plain, queue('web-and-tcp')), ['from the web'], 'bodies');
  await scene.send(plain, queue('web-and-tcp'), ['to the web']);
  equal(await scene.bodies(by, queue('web-and-tcp')), ['to the web'], 'bodies');
});

web('web-large', async (scene) => {
  const content = Buffer.alloc(MEGABYTE);
  for (let at = 0; at < MEGABYTE; at += 4) content.writeUInt32LE((at * 2654435761) >>> 0, at);
  const connection = await scene.connectWeb();
  await scene.send(connection, queue('web-large'), [content]);
  const receiver = await scene.receiver(connection, queue('web-large'), { credit: 1 });
  const { message, delivery } = await receiver.next();
  equal(content.equals(message.body), true, 'the same octets');
  delivery.accept();
  await receiver.close();
});

web('web-heartbeats', async (scene) => {
  const connection = await scene.connectWeb({ idle_time_out: 400 });
  await sleep(1500);
  await scene.send(connection, queue('web-heartbeats'), ['alive']);
  equal(await scene.bodies(connection, queue('web-heartbeats')), ['alive'], 'bodies');
});

// The broker chooses amqp wherever it stands, and says what it misses without.
web('web-subprotocols', async (scene) => {
  for (const protocols of ['amqp', ['mqtt', 'amqp'], ['amqp', 'binary']]) {
    const { socket, protocol } = await shake(scene, protocols);
    equal(protocol, 'amqp', 'subprotocol');
    const closed = new Promise((resolve) => socket.on('close', resolve));
    socket.close(1000);
    equal(await closed, 1000, 'code');
  }
  for (const protocols of [[], ['binary'], ['AMQP']]) {
    const { status, text } = await shake(scene, protocols);
    equal([status, text.includes('subprotocol amqp')], [400, true], text);
  }
});

web('web-origins', async (scene) => {
  const own = await shake(scene, 'amqp', { origin: scene.url().replace(/^ws/, 'http').slice(0, -1) });
  own.socket.terminate();
  equal(own.protocol, 'amqp', 'subprotocol');
  const { status, text } = await shake(scene, 'amqp', { origin: 'https://evil.example' });
  equal([status, text.includes('https://evil.example')], [403, true], text);
});

// Where AMQP ends in order, so does the WebSocket.
web('web-close', async (scene) => {
  let closed;
  class Watched extends WebSocket {
    constructor(...options) {
      super(...options);
      closed = new Promise((resolve) => this.on('close', resolve));
    }
  }
  const connection = await scene.connectWeb({}, Watched);
  await scene.end(connection);
  equal(await closed, 1000, 'code');
});
