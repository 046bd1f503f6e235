// What the checks share: their list, connections, links that are driven by hand.
'use strict';

const assert = require('node:assert');
const rhea = require('rhea');
const WebSocket = require('ws');

const CHECKS = [];

// How long anything may take on a busy machine, and how long nothing must come before a check
// believes that nothing will, in milliseconds.
const PATIENCE = 20000;
const SILENCE = 250;

const queue = (name) => `rhea-${name}`;
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/**
 * Registers a check. `queues` are those it needs, with their arguments; else one of its name. One of
 * `web` needs the broker's HTTP listener.
 */
function check(name, { queues = { [name]: {} }, seconds = 30, web = false }, run) {
  const needed = Object.fromEntries(Object.entries(queues).map(([q, args]) => [queue(q), args]));
  CHECKS.push({ name, queues: needed, seconds, web, run });
}

function equal(found, wanted, what) {
  const text = (value) => JSON.stringify(value, (_, v) => (typeof v === 'bigint' ? `${v}` : v));
  const message = `${what ? `${what}: ` : ''}${text(found)} is not ${text(wanted)}`;
  assert.deepStrictEqual(found, wanted, message);
}

/** Resolves with the first of these events, or rejects when it does not come. */
function event(emitter, names, what = names.join(' or ')) {
  return new Promise((resolve, reject) => {
    const done = (settle, value) => {
      clearTimeout(timer);
      names.forEach((name, at) => emitter.removeListener(name, listeners[at]));
      settle(value);
    };
    const listeners = names.map((name) => (context) => done(resolve, { name, context }));
    const late = new Error(`no ${what}`);
    const timer = setTimeout(() => done(reject, late), PATIENCE);
    names.forEach((name, at) => emitter.on(name, listeners[at]));
  });
}

/** A sending link; each message's outcome is a promise. */
class Sender {
  constructor(link) {
    this.link = link;
    this.outcomes = new Map();
    this.sendable = [];
    for (const state of ['accepted', 'rejected', 'released', 'modified']) {
      link.on(state, ({ delivery }) => this.tell(delivery, state));
    }
    link.on('settled', ({ delivery }) => this.tell(delivery, 'settled'));
    link.on('sendable', () => this.sendable.splice(0).forEach((resolve) => resolve()));
  }

  tell(delivery, state) {
    const resolve = this.outcomes.get(delivery);
    this.outcomes.delete(delivery);
    if (resolve) resolve({ state, error: delivery.remote_state && delivery.remote_state.error });
  }

  async credit() {
    if (!this.link.sendable()) await new Promise((resolve) => this.sendable.push(resolve));
  }

  /** Sends as soon as there is credit. */
  async post(message) {
    while (!this.link.sendable()) await this.credit();
    return this.link.send(message);
  }

  settled(delivery) {
    return new Promise((resolve) => this.outcomes.set(delivery, resolve));
  }

  /** Sends a message and waits for its outcome. */
  async outcome(message) {
    return this.settled(await this.post(message));
  }

  /** Sends messages as credit allows; all must be accepted. */
  async send(messages) {
    const outcomes = [];
    for (const message of messages) {
      while (!this.link.sendable()) await this.credit();
      outcomes.push(this.settled(this.link.send(message)));
    }
    for (const { state, error } of await Promise.all(outcomes)) {
      equal(state, 'accepted', `outcome (${error})`);
    }
  }

  close() {
    const closed = event(this.link, ['sender_close', 'sender_error']);
    this.link.close();
    return closed;
  }
}

/** A receiving link whose credit and settlement are the check's. */
class Receiver {
  constructor(link) {
    this.link = link;
    this.received = [];
    this.waiting = [];
    link.on('message', ({ message, delivery }) => {
      const resolve = this.waiting.shift();
      if (resolve) resolve({ message, delivery });
      else this.received.push({ message, delivery });
    });
  }

  flow(credit) {
    this.link.flow(credit);
  }

  async next() {
    if (this.received.length) return this.received.shift();
    const late = new Error('a message that should have come did not');
    let timer;
    const came = new Promise((resolve) => this.waiting.push(resolve));
    const tooLong = new Promise((_, reject) => {
      timer = setTimeout(() => reject(late), PATIENCE);
    });
    return Promise.race([came, tooLong]).finally(() => clearTimeout(timer));
  }

  async take(count) {
    const taken = [];
    while (taken.length < count) taken.push(await this.next());
    return taken;
  }

  /** The bodies of the next messages. */
  async bodies(count) {
    return (await this.take(count)).map(({ message }) => message.body);
  }

  /** Nothing comes for a while. */
  async nothing() {
    await sleep(SILENCE);
    equal(
      this.received.map(({ message }) => message.body),
      [],
      'came and should not have',
    );
  }

  /** What comes before the broker says that there is no more, or the credit is used up. */
  async drain(credit) {
    const drained = event(this.link, ['receiver_drained', 'used_up'], 'end of draining');
    const used = () => this.link.credit === 0 && this.link.emit('used_up');
    this.link.on('message', used);
    this.link.drain = true;
    this.link.flow(credit);
    await drained;
    this.link.drain = false;
    this.link.removeListener('message', used);
    return this.received.splice(0);
  }

  close() {
    const closed = event(this.link, ['receiver_close', 'receiver_error']);
    this.link.close();
    return closed;
  }
}

/** The connections of a check. */
class Scene {
  constructor(address, http) {
    this.address = address;
    this.http = http;
    this.connections = [];
    /** Rejects when a connection or link ends that the check did not end. */
    this.broken = new Promise((_, reject) => {
      this.fail = (error) => reject(error instanceof Error ? error : new Error(String(error)));
    });
    this.broken.catch(() => {});
  }

  options(more) {
    const [host, port] = this.address.split(':');
    return { host, port: Number(port), username: 'anonymous', reconnect: false, ...more };
  }

  /** The broker's HTTP listener. */
  url() {
    return `ws://${this.http}/`;
  }

  /** A connection over WebSocket. */
  connectWeb(more = {}, Socket = WebSocket) {
    const over = rhea.websocket_connect(Socket)(this.url(), ['amqp'], {});
    return this.connect({ ...more, connection_details: over });
  }

  async connect(more = {}) {
    const container = rhea.create_container(more.container_id ? { id: more.container_id } : {});
    const connection = container.connect(this.options(more));
    this.connections.push(connection);
    container.on('error', this.fail);
    connection.on('connection_error', ({ error }) => this.fail(error));
    connection.on('protocol_error', this.fail);
    connection.on('disconnected', ({ error }) => this.fail(error || new Error('disconnected')));
    await event(connection, ['connection_open']);
    return connection;
  }

  async sender(connection, address, more = {}) {
    const target = address === null ? {} : { address };
    const link = connection.open_sender({ target, ...more });
    const sender = new Sender(link);
    await opened(link, 'sender');
    return sender;
  }

  async receiver(connection, address, { credit = 0, source = {}, ...more } = {}) {
    const link = connection.open_receiver({
      source: { address, ...source },
      credit_window: 0,
      autoaccept: false,
      ...more,
    });
    const receiver = new Receiver(link);
    await opened(link, 'receiver');
    receiver.flow(credit);
    return receiver;
  }

  /** Sends messages with these bodies over a link of its own; all must be accepted. */
  async send(connection, address, bodies) {
    const sender = await this.sender(connection, address);
    await sender.send(bodies.map((body) => ({ body })));
    await sender.close();
  }

  /** All that a queue has, taken from it. */
  async contents(connection, address) {
    const receiver = await this.receiver(connection, address);
    const received = await receiver.drain(2000);
    received.forEach(({ delivery }) => delivery.accept());
    await receiver.close();
    return received.map(({ message }) => message);
  }

  async bodies(connection, address) {
    return (await this.contents(connection, address)).map((message) => message.body);
  }

  /** The condition with which a link was refused. */
  async refusal(link, kind) {
    const { context } = await event(link, [`${kind}_error`]);
    return context[kind].error.condition;
  }

  async end(connection) {
    this.connections = this.connections.filter((other) => other !== connection);
    connection.removeAllListeners('disconnected');
    const closed = event(connection, ['connection_close', 'disconnected', 'connection_error']);
    connection.close();
    await closed.catch(() => {});
    destroy(connection);
  }

  async close() {
    const ends = this.connections.map(async (connection) => {
      const quick = Promise.race([this.end(connection), sleep(2000)]);
      await quick;
      destroy(connection);
    });
    await Promise.all(ends);
  }
}

/** Closes the socket. A WebSocket closes in order, which needs the other side. */
function destroy(connection) {
  if (connection.socket.destroy) connection.socket.destroy();
  else connection.socket.end();
}

/** Waits until a link is open; a refusal comes as an open and an error behind it. */
async function opened(link, kind) {
  const { name, context } = await event(link, [`${kind}_open`, `${kind}_error`]);
  if (name === `${kind}_error`) throw new Error(`refused: ${context[kind].error}`);
  const terminus = kind === 'sender' ? link.target : link.source;
  if (!terminus) throw new Error(`refused: ${await refused(link, kind)}`);
}

async function refused(link, kind) {
  const { context } = await event(link, [`${kind}_error`]);
  return context[kind].error;
}

module.exports = { CHECKS, Scene, Sender, check, equal, event, queue, rhea, sleep };
