//! What runs on each shard: the engine, the front ends of the connections placed here, and the
//! sessions that are ending. The runtime's pump is its only caller.

use crate::front::{Claimant, Ending, Front, Settings, Step};
use crate::links::{self, Ended, Estate, Fate, Lasts, Links, Until};
use crate::timers::Timers;
use crate::transport::Transport;
use crate::web::{HTTP_LISTENER, Web};
use crate::{critical, notice, v1_0};
use fletch_engine::{
    self as engine, Effects, Engine, Event, Frame, Notice, PagingConfig, QueueEvent, Reply,
    Restored, SessionId, ShardId, Time, What,
};
use fletch_journal::{Done, Request, Volume, Write};
use fletch_shards::{ConnectionId, Cx, Disconnect, DiskError, Origin, Peer, Service};
use foldhash::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// Effects gathered before they are handed on: bounds what one batch of input can pile up through
/// wide fan-out, and keeps messages in the core's nearest cache from publish to delivery.
pub(crate) const EFFECTS_MAX: usize = 128;

/// What a front end works with while it handles an input.
pub(crate) struct Ctx<'a> {
    /// The turn's time.
    pub(crate) now: Time,
    /// This shard's engine.
    pub(crate) engine: &'a mut Engine,
    /// Where the engine puts what follows.
    pub(crate) fx: &'a mut Effects,
    /// For building things; what is in it between calls means nothing.
    pub(crate) scratch: &'a mut Vec<u8>,
    /// Links of this shard that are suspended.
    pub(crate) links: &'a mut Links,
}

impl Ctx<'_> {
    /// A link is left: see [`Links::leave`].
    pub(crate) fn leave(&mut self, link: SessionId, estate: Estate, lasts: Lasts, ended: Ended) {
        self.links.leave((self.now, self.engine, self.fx), link, (estate, lasts), ended);
    }

    /// What links were kept until is over: see [`Links::ended`].
    pub(crate) fn ended(&mut self, over: Until) {
        self.links.ended((self.now, self.engine, self.fx), over);
    }
}

/// Where a session's events go.
#[derive(Debug)]
enum Holder {
    Connection(ConnectionId, u16),
    /// It was a session.
    Ending(Box<Over>),
    /// No session, but a name that somebody on this connection has, or had.
    Claim(ConnectionId, Claimant),
}

/// The end of a session, on a connection, whose client is told this when it is over.
#[derive(Debug)]
struct Over {
    ending: Box<Ending>,
    conn: ConnectionId,
    farewell: Option<Box<[u8]>>,
}

/// See the module.
pub(crate) struct Shard {
    shard: ShardId,
    settings: Arc<Settings>,
    engine: Engine,
    fx: Effects,
    scratch: Vec<u8>,
    /// By [`ConnectionId::index`].
    connections: Vec<Option<Box<(ConnectionId, Transport)>>>,
    open: usize,
    sessions: HashMap<SessionId, Holder>,
    links: Links,
    next_connection: u64,
    timers: Timers<ConnectionId>,
    /// Connections with something to do at the end of the turn.
    touched: Vec<ConnectionId>,
    /// Events being handed out; kept for its memory.
    events: Vec<Event>,
    /// What WebSocket messages hold; kept for its memory.
    plain: Vec<u8>,
    stopping: bool,
}

impl Shard {
    /// The part of one shard of `shards`, with what it goes on with if the broker has a store, and its
    /// paging file.
    pub(crate) fn new(
        shard: ShardId,
        shards: u16,
        settings: Arc<Settings>,
        restored: Option<Restored>,
        paging: Option<PagingConfig>,
    ) -> Shard {
        let (purge_interval, slice) = (settings.purge_interval, engine::Config::SLICE);
        let flush_timeout = settings.flush_timeout;
        let memory = settings.queue_memory / u64::from(shards);
        let config = engine::Config {
            shard,
            shards,
            purge_interval,
            purge_batch: settings.purge_batch,
            slice,
            flush_timeout,
            memory,
            kept: engine::Config::KEPT,
            default_group: Arc::clone(&settings.default_group),
            paging,
            queues: settings.queues,
            dtx: settings.dtx,
            policies: Arc::clone(&settings.policies),
            secret: settings.secret,
        };
        let engine = match restored {
            Some(restored) => Engine::restored(&config, restored),
            None => Engine::new(&config),
        };
        Shard {
            shard,
            settings,
            engine,
            fx: Effects::default(),
            scratch: Vec::new(),
            connections: Vec::new(),
            open: 0,
            sessions: HashMap::default(),
            links: Links::default(),
            next_connection: 0,
            timers: Timers::default(),
            touched: Vec::new(),
            events: Vec::new(),
            plain: Vec::new(),
            stopping: false,
        }
    }

    /// Lets a connection handle input (or, with none, what it has to say by itself). Returns how
    /// much it consumed.
    fn drive(&mut self, cx: &mut Cx<'_, Frame>, conn: ConnectionId, input: &[u8]) -> usize {
        let mut consumed = 0;
        loop {
            let Some(entry) = self.connections.get_mut(conn.index()).and_then(Option::as_mut)
            else {
                return input.len();
            };
            let (id, transport) = &mut **entry;
            if *id != conn {
                return input.len();
            }
            let connection = transport.front();
            let mut ctx = Ctx {
                now: cx.now(),
                engine: &mut self.engine,
                fx: &mut self.fx,
                scratch: &mut self.scratch,
                links: &mut self.links,
            };
            let mut rest = &input[consumed..];
            let step = connection.process(&mut ctx, &mut rest);
            let progress = input.len() - rest.len() > consumed;
            consumed = input.len() - rest.len();
            if connection.touch() {
                self.touched.push(conn);
            }
            match step {
                Step::Blocked => {
                    self.dispatch(cx);
                    if self.stall(conn) {
                        cx.pause_reads(conn);
                        return consumed;
                    }
                }
                Step::Idle => {
                    self.dispatch(cx);
                    return consumed;
                }
                Step::More => {
                    self.dispatch(cx);
                    if !progress && self.fx.events.is_empty() && consumed == input.len() {
                        return consumed;
                    }
                }
                Step::Begin { channel, name } => {
                    let session = free_id(&self.sessions, connection);
                    self.sessions.insert(session, Holder::Connection(conn, channel));
                    connection.begin(&mut ctx, session, channel, name);
                }
                Step::Claim { claimant, name } => {
                    let id = free_id(&self.sessions, connection);
                    self.sessions.insert(id, Holder::Claim(conn, claimant));
                    connection.claim(&mut ctx, id, claimant, name);
                }
                Step::Ended { session, ending, farewell } => {
                    let resume = connection.may_resume();
                    let farewell = (!farewell.is_empty()).then(|| farewell.into());
                    self.sessions
                        .insert(session, Holder::Ending(Box::new(Over { ending, conn, farewell })));
                    if resume {
                        cx.resume_reads(conn);
                    }
                }
                Step::Closed => {
                    let endings = connection.end_sessions(&mut ctx);
                    for (session, ending) in endings {
                        let farewell = Some(Box::default());
                        self.sessions.insert(
                            session,
                            Holder::Ending(Box::new(Over { ending, conn, farewell })),
                        );
                    }
                    self.dispatch(cx);
                    self.say_goodbye(cx, conn);
                    return input.len();
                }
            }
        }
    }

    /// Lets a connection handle what its WebSocket's messages hold. Returns how much of the input was
    /// consumed.
    fn receive_wrapped(
        &mut self,
        cx: &mut Cx<'_, Frame>,
        conn: ConnectionId,
        input: &[u8],
    ) -> usize {
        let mut plain = std::mem::take(&mut self.plain);
        let (connections, origins) = (&mut self.connections, &self.settings.origins);
        let Some(web) = web_of(connections, conn) else { return input.len() };
        let (consumed, over) = web.receive(origins, input, &mut plain);
        let taken = self.drive(cx, conn, &plain);
        if let Some(web) = web_of(&mut self.connections, conn)
            && web.keep(&plain[taken..])
        {
            cx.offer_again(conn);
        }
        plain.clear();
        self.plain = plain;
        if over {
            cx.close(conn);
        }
        consumed
    }

    /// Whether nobody is connected and nothing is left of those who were.
    fn is_deserted(&self) -> bool {
        self.open == 0 && self.sessions.is_empty()
    }

    /// Whether the connection is stalled still; then it is noted that reading stops.
    fn stall(&mut self, conn: ConnectionId) -> bool {
        let entry = self.connections.get_mut(conn.index()).and_then(Option::as_mut);
        let Some(entry) = entry.filter(|e| e.0 == conn) else { return false };
        let front = entry.1.front();
        let stalled = front.is_stalled();
        if stalled {
            front.set_paused();
        }
        stalled
    }

    /// Hands the engine's events to their sessions and its frames to the mesh, until nothing is
    /// left of either.
    fn dispatch(&mut self, cx: &mut Cx<'_, Frame>) {
        loop {
            self.fx.notices.drain(..).for_each(|notice| report(&notice));
            self.fx.queue_events.drain(..).for_each(|event| trace(&event));
            for (to, frame) in self.fx.frames.drain(..) {
                cx.send(to, frame);
            }
            if self.fx.events.is_empty() {
                return;
            }
            let mut events = std::mem::take(&mut self.events);
            std::mem::swap(&mut events, &mut self.fx.events);
            for event in events.drain(..) {
                self.on_event(cx, event);
            }
            self.events = events;
        }
    }

    /// Flushes the connections that have something new to say.
    fn flush_touched(&mut self, cx: &mut Cx<'_, Frame>) {
        let mut touched = std::mem::take(&mut self.touched);
        // Flushing may make events (room given back), and those touch connections again.
        while let Some(conn) = touched.pop() {
            let mut ended = false;
            if let Some(entry) = self.connections.get_mut(conn.index()).and_then(Option::as_mut)
                && entry.0 == conn
            {
                let mut ctx = Ctx {
                    now: cx.now(),
                    engine: &mut self.engine,
                    fx: &mut self.fx,
                    scratch: &mut self.scratch,
                    links: &mut self.links,
                };
                ended = entry.1.front().turn_end(&mut ctx);
                cx.dirty(conn);
            }
            if ended {
                self.drive(cx, conn, &[]);
            }
            self.dispatch(cx);
            touched.append(&mut self.touched);
        }
        self.touched = touched;
    }

    fn on_event(&mut self, cx: &mut Cx<'_, Frame>, event: Event) {
        let session = event.session();
        let mut ctx = Ctx {
            now: cx.now(),
            engine: &mut self.engine,
            fx: &mut self.fx,
            scratch: &mut self.scratch,
            links: &mut self.links,
        };
        match self.sessions.get_mut(&session) {
            None => {}
            Some(Holder::Ending(over)) => {
                let Over { ending, conn, farewell } = &mut **over;
                let over = match event {
                    Event::Deliver { to, delivery, .. } => {
                        ending.deliver(to.tag, delivery);
                        false
                    }
                    Event::Reply { op, result, .. } => ending.reply(&mut ctx, op, result),
                    // What is held back is safe.
                    Event::Published { op, .. } | Event::Withheld { op, .. } => {
                        ending.outcome(&mut ctx, op, || Fate::Accepted)
                    }
                    Event::Refused { op, reason, .. } => {
                        ending.outcome(&mut ctx, op, || v1_0::rejected(reason))
                    }
                    Event::SubscriptionEnded { .. }
                    | Event::BranchExpired { .. }
                    | Event::Evicted { .. } => false,
                };
                if over {
                    let (conn, farewell) = (*conn, farewell.take());
                    self.sessions.remove(&session);
                    if self
                        .connections
                        .get(conn.index())
                        .and_then(Option::as_ref)
                        .is_none_or(|e| e.0 != conn)
                    {
                        // It went while its session did.
                        ctx.ended(Until::Connection(session.of_same_connection(0)));
                    }
                    if let Some(octets) = farewell {
                        self.say_farewell(cx, conn, &octets);
                    }
                }
            }
            Some(&mut Holder::Claim(conn, claimant)) => {
                self.on_claim_event(cx, (conn, claimant), event);
            }
            Some(&mut Holder::Connection(conn, channel)) => {
                let entry = self.connections.get_mut(conn.index()).and_then(Option::as_mut);
                let Some(entry) = entry.filter(|e| e.0 == conn) else { return };
                let connection = entry.1.front();
                if connection.is_refusal(&event) {
                    self.sessions.remove(&session);
                }
                connection.on_event(&mut ctx, channel, event);
                if connection.touch() {
                    self.touched.push(conn);
                    // The event may come after the turn's end: of room given by a write.
                    cx.dirty(conn);
                }
                if connection.may_resume() {
                    cx.resume_reads(conn);
                }
            }
        }
    }

    /// What concerns a name that somebody claims, or has.
    fn on_claim_event(
        &mut self,
        cx: &mut Cx<'_, Frame>,
        (conn, claimant): (ConnectionId, Claimant),
        event: Event,
    ) {
        let id = event.session();
        let mut ctx = Ctx {
            now: cx.now(),
            engine: &mut self.engine,
            fx: &mut self.fx,
            scratch: &mut self.scratch,
            links: &mut self.links,
        };
        let entry = self.connections.get_mut(conn.index()).and_then(Option::as_mut);
        let mut connection = entry.filter(|e| e.0 == conn).map(|e| e.1.front());
        match event {
            Event::Reply { op: links::op::CLAIM, result: Ok(Reply::Held(by)), .. }
                if connection.as_mut().is_some_and(|connection| {
                    let holder = match self.sessions.get(&by) {
                        Some(Holder::Claim(_, holder)) => Some(*holder),
                        _ => None,
                    };
                    !connection.shares(&mut ctx, id, claimant, (holder, by))
                }) => {}
            Event::Reply { op: links::op::CLAIM, result, .. } => {
                if result.is_err() {
                    self.sessions.remove(&id);
                }
                let unclaimed = match &mut connection {
                    Some(connection) => connection.claimed(&mut ctx, id, claimant, result),
                    None => result.ok(),
                };
                // Whoever asked is gone, and what it was given waits for the next.
                if let Some(reply) = unclaimed {
                    let (estate, lasts) = v1_0::left(&reply);
                    ctx.leave(id, estate, lasts, Ended::Connection);
                }
            }
            Event::Reply { op: links::op::CEDE, .. } => {
                ctx.links.ceded(id);
                self.sessions.remove(&id);
            }
            Event::Evicted { force: false, .. }
                if connection.as_ref().is_some_and(|connection| connection.is_container(id)) =>
            {
                ctx.engine.keep_name(ctx.now, id, ctx.fx);
            }
            // It is going already.
            Event::Evicted { force: false, .. } => {}
            Event::Evicted { .. } => {
                if !ctx.links.want((ctx.now, ctx.engine, ctx.fx), id)
                    && let Some(connection) = &mut connection
                {
                    connection.stolen(&mut ctx, id, claimant);
                }
            }
            _ => {}
        }
        let Some(connection) = connection else { return };
        if connection.touch() {
            self.touched.push(conn);
            cx.dirty(conn);
        }
        if connection.may_resume() {
            cx.resume_reads(conn);
        }
    }

    fn say_farewell(&mut self, cx: &mut Cx<'_, Frame>, conn: ConnectionId, octets: &[u8]) {
        let entry = self.connections.get_mut(conn.index()).and_then(Option::as_mut);
        let Some(entry) = entry.filter(|e| e.0 == conn) else { return };
        let front = entry.1.front();
        front.say_farewell(octets);
        cx.dirty(conn);
        if front.may_resume() {
            cx.resume_reads(conn);
        }
        self.say_goodbye(cx, conn);
    }

    /// Closes a connection that is over, once its last session has left.
    fn say_goodbye(&mut self, cx: &mut Cx<'_, Frame>, conn: ConnectionId) {
        let entry = self.connections.get_mut(conn.index()).and_then(Option::as_mut);
        if let Some(entry) = entry.filter(|e| e.0 == conn)
            && entry.1.say_goodbye()
        {
            cx.close(conn);
        }
    }

    fn arm(&mut self, conn: ConnectionId) {
        if let Some(entry) = self.connections.get_mut(conn.index()).and_then(Option::as_mut)
            && let Some(at) = entry.1.next_timeout()
        {
            self.timers.arm(conn.index(), conn, at);
        }
    }

    /// Ends every session of a connection that is gone.
    fn abandon(&mut self, cx: &mut Cx<'_, Frame>, conn: ConnectionId) {
        let Some(slot) = self.connections.get_mut(conn.index()) else { return };
        let Some(entry) = slot.take_if(|e| e.0 == conn) else { return };
        self.open -= 1;
        self.timers.forget(conn.index());
        let mut ctx = Ctx {
            now: cx.now(),
            engine: &mut self.engine,
            fx: &mut self.fx,
            scratch: &mut self.scratch,
            links: &mut self.links,
        };
        let mut entry = entry;
        let endings = entry.1.front().end_sessions(&mut ctx);
        for (session, ending) in endings {
            self.sessions
                .insert(session, Holder::Ending(Box::new(Over { ending, conn, farewell: None })));
        }
        self.dispatch(cx);
    }
}

impl Service for Shard {
    type Frame = Frame;
    type Control = Control;

    fn connected(&mut self, cx: &mut Cx<'_, Frame>, conn: ConnectionId, peer: Peer) {
        tracing::debug!(target: "broker::connection", remote = %peer.remote, "connected");
        if self.connections.len() <= conn.index() {
            self.connections.resize_with(conn.index() + 1, || None);
        }
        self.next_connection += 1;
        let first = SessionId::new(self.shard, self.next_connection);
        let front = Front::new(&self.settings, first, peer.remote, cx.now());
        let transport = match peer.origin {
            Origin::Accepted { listener: HTTP_LISTENER } => {
                Transport::Web(Box::new(Web::new(front, peer.remote)))
            }
            _ => Transport::Tcp(front),
        };
        self.connections[conn.index()] = Some(Box::new((conn, transport)));
        self.open += 1;
        if self.stopping {
            cx.abort(conn);
        }
        self.arm(conn);
    }

    fn received(&mut self, cx: &mut Cx<'_, Frame>, conn: ConnectionId, input: &[u8]) -> usize {
        let consumed = match web_of(&mut self.connections, conn) {
            None => self.drive(cx, conn, input),
            Some(_) => self.receive_wrapped(cx, conn, input),
        };
        self.arm(conn);
        consumed
    }

    fn output(&mut self, conn: ConnectionId) -> &mut Vec<u8> {
        let entry = self.connections[conn.index()].as_mut();
        entry.expect("the runtime asks for open connections only").1.output()
    }

    fn written(&mut self, cx: &mut Cx<'_, Frame>, conn: ConnectionId) {
        if let Some(entry) = self.connections.get_mut(conn.index()).and_then(Option::as_mut) {
            let mut ctx = Ctx {
                now: cx.now(),
                engine: &mut self.engine,
                fx: &mut self.fx,
                scratch: &mut self.scratch,
                links: &mut self.links,
            };
            entry.1.written(&mut ctx);
            if entry.1.front().may_resume() {
                cx.resume_reads(conn);
            }
            self.dispatch(cx);
        }
    }

    fn disconnected(&mut self, cx: &mut Cx<'_, Frame>, conn: ConnectionId, reason: Disconnect) {
        tracing::debug!(target: "broker::connection", %reason, "disconnected");
        self.abandon(cx, conn);
    }

    fn frame(&mut self, cx: &mut Cx<'_, Frame>, from: ShardId, frame: Frame) {
        self.engine.frame(cx.now(), from, frame, &mut self.fx);
        if self.fx.events.len() + self.fx.frames.len() >= EFFECTS_MAX {
            self.dispatch(cx);
        }
    }

    fn control(&mut self, _cx: &mut Cx<'_, Frame>, control: Control) {
        match control {}
    }

    fn next_deadline(&self) -> Option<Time> {
        let engine = self.engine.next_deadline();
        let timer = self.timers.next().unwrap_or(Time::NEVER);
        let next = engine.min(timer).min(self.links.next().unwrap_or(Time::NEVER));
        (next != Time::NEVER).then_some(next)
    }

    fn tick(&mut self, cx: &mut Cx<'_, Frame>) {
        let now = cx.now();
        self.engine.tick(now, &mut self.fx);
        self.links.expire((now, &mut self.engine, &mut self.fx));
        while let Some(conn) = self.timers.pop(now) {
            let Some(entry) = self.connections.get_mut(conn.index()).and_then(Option::as_mut)
            else {
                continue;
            };
            if entry.0 != conn {
                continue;
            }
            entry.1.timeout(now);
            cx.dirty(conn);
            self.drive(cx, conn, &[]);
            self.arm(conn);
        }
        self.dispatch(cx);
    }

    fn turn_end(&mut self, cx: &mut Cx<'_, Frame>) {
        self.dispatch(cx);
        loop {
            self.flush_touched(cx);
            self.engine.turn_end(cx.now(), &mut self.fx);
            self.dispatch(cx);
            if self.touched.is_empty() {
                break;
            }
            // A message that was taken back before it was written is safe by now, and its publisher hears of it: what is
            // not flushed in this turn waits for the next, which nothing else may bring about.
        }
        if self.stopping && self.is_deserted() {
            self.engine.close_journal();
        }
    }

    fn next_write(&mut self) -> Option<(Volume, usize)> {
        self.engine.next_write()
    }

    fn fill(&mut self, volume: Volume, buffer: &mut [u8]) -> Write {
        self.engine.fill(volume, buffer)
    }

    fn next_request(&mut self) -> Option<(Volume, Request)> {
        self.engine.next_request()
    }

    fn disk_done(&mut self, cx: &mut Cx<'_, Frame>, volume: Volume, done: Done) {
        let was_full = self.engine.is_full(volume);
        self.engine.disk_done(cx.now(), volume, done, &mut self.fx);
        let path = self.engine.path(volume);
        match (volume, was_full, self.engine.is_full(volume)) {
            (Volume::Journal, false, true) => tracing::warn!(target: "store", "No space left for \
                the journal in {path}: durable messages are refused until there is"),
            (Volume::Paging, false, true) => tracing::warn!(target: "store", "No space left for \
                paging in {path}: transient messages stay in memory until there is"),
            (Volume::Journal, true, false) => {
                notice!(target: "store", "There is space for the journal in {path} again")
            }
            (Volume::Paging, true, false) => {
                notice!(target: "store", "There is space for paging in {path} again")
            }
            _ => {}
        }
        if let Some((volume, damaged)) = self.engine.damage() {
            end_without_disk(volume, &damaged);
        }
        self.dispatch(cx);
    }

    fn disk_failed(&mut self, volume: Volume, error: DiskError) {
        end_without_disk(volume, &error);
    }

    fn stopping(&mut self, cx: &mut Cx<'_, Frame>, _deadline: Time) {
        self.stopping = true;
        let open: Vec<ConnectionId> =
            self.connections.iter().flatten().map(|entry| entry.0).collect();
        for conn in open {
            if let Some(entry) = self.connections[conn.index()].as_mut() {
                entry.1.close_forced(cx.now(), "Broker is shutting down");
            }
            cx.dirty(conn);
            cx.close(conn);
        }
        self.links.close((cx.now(), &mut self.engine, &mut self.fx));
        self.dispatch(cx);
    }

    fn stopped(&self) -> bool {
        self.is_deserted() && self.engine.is_journal_closed()
    }
}

/// The connection's WebSocket, if it has one.
fn web_of(
    connections: &mut [Option<Box<(ConnectionId, Transport)>>],
    conn: ConnectionId,
) -> Option<&mut Web> {
    let entry = connections.get_mut(conn.index()).and_then(Option::as_mut);
    entry.filter(|e| e.0 == conn)?.1.web()
}

/// A number for a session, or for a name. Numbers wrap; one that an old session still has is passed over.
fn free_id(taken: &HashMap<SessionId, Holder>, connection: &mut Front) -> SessionId {
    loop {
        let id = connection.next_session();
        if !taken.contains_key(&id) {
            return id;
        }
    }
}

/// Says what management is to be told.
fn report(Notice { queue, what, count, size }: &Notice) {
    match what {
        What::ThresholdCrossedUpward => notice!(target: "model",
            "Queue {queue} has grown to a threshold: {count} messages, {size} bytes"),
        What::ThresholdCrossedDownward => notice!(target: "model",
            "Queue {queue} has shrunk to a threshold: {count} messages, {size} bytes"),
        What::ThresholdExceeded => notice!(target: "model",
            "Queue {queue} exceeds a threshold: {count} messages, {size} bytes"),
        What::FlowStopped => tracing::info!(target: "broker",
            "Queue {queue}: producer flow control begins at {count} messages, {size} bytes"),
        What::FlowResumed => tracing::info!(target: "broker",
            "Queue {queue}: producer flow control ends at {count} messages, {size} bytes"),
        What::FlowIgnored => tracing::warn!(target: "model",
            "Queue {queue}: its thresholds of flow control have no effect: it is a ring, or has no \
             stop threshold"),
        What::SelfDestructed => notice!(target: "model",
            "Queue {queue} deletes itself, for it holds more than it may: {count} messages, {size} \
             bytes"),
    }
}

/// Says what has come to a queue that generates events, and what has left it.
fn trace(QueueEvent { queue, position, enqueued }: &QueueEvent) {
    match enqueued {
        Some(message) => tracing::debug!(target: "model",
            "Queue {queue}: message {position} enqueued, {} bytes", message.size()),
        None => tracing::debug!(target: "model", "Queue {queue}: message {position} dequeued"),
    }
}

/// The exit status of a broker whose disk failed: EX_IOERR.
const DISK_FAILED: i32 = 74;
/// What the log's threads get to write their last line.
const LAST_LINE: Duration = Duration::from_millis(200);

/// Ends the process: what it would go on promising, it could not keep. A start reads what is
/// on the disk.
fn end_without_disk(volume: Volume, error: &dyn std::error::Error) -> ! {
    let what = match volume {
        Volume::Journal => "the journal",
        Volume::Paging => "the paging file",
    };
    critical!("The disk of {what} failed, the broker ends: {error}");
    std::thread::sleep(LAST_LINE);
    std::process::exit(DISK_FAILED)
}

/// What helper threads ask of a shard. Management will fill it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Control {}
