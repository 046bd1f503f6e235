//! Links that are being attached: what the engine has to be asked before the client can be answered.

use super::answer::{Answer, Ours, source_of, target_of};
use super::claim::Resumed;
use super::error::Refusal;
use super::filters::Filters;
use super::incoming::Incoming;
use super::nodes::{self, Node, Wish};
use super::properties::{Actual, Properties};
use super::subscription::{Nodes, Subscription};
use crate::front::Settings;
use crate::links::Lasts;
use crate::shard::Ctx;
use fletch_amqp::types::Map;
use fletch_amqp::v1_0::table::{Attach, Source, Target};
use fletch_amqp::v1_0::{
    Role, SenderSettleMode, TargetKind, TerminusDurability, amqp_error, std_dist_mode,
    terminus_expiry_policy,
};
use fletch_amqp::wire::EncodeError;
use fletch_engine::{Binding, DeclareQueue, Mode, Request, SessionId, Subscribe};
use std::collections::VecDeque;
use std::sync::Arc;

/// How long a subscription's queue stays without its link.
const TIMEOUT: &str = "qpid.auto_delete_timeout";

/// What becomes of an attach once everything is there that it needs.
#[derive(Debug)]
pub(super) enum Becomes {
    Incoming(Box<Incoming>),
    /// Until the engine is asked for it.
    Outgoing(Option<Subscription>),
    Coordinator,
}

/// An attach under way.
#[derive(Debug)]
pub(super) struct Attaching {
    pub(super) handle: u32,
    /// The number that its name is held under.
    pub(super) id: SessionId,
    /// How long its terminus outlives it.
    pub(super) lasts: Lasts,
    pub(super) resumed: Resumed,
    /// Of the subscription.
    pub(super) tag: u32,
    pub(super) answer: Answer,
    /// What is still to be asked, in order. A subscription is the last.
    pub(super) steps: VecDeque<Request>,
    /// What is made: deleted if a later step fails.
    pub(super) made: Option<Node>,
    pub(super) becomes: Becomes,
}

/// Who attaches.
pub(super) struct Peer<'a> {
    pub(super) settings: &'a Settings,
    pub(super) container: &'a str,
    /// The number that its subscription is to have.
    pub(super) tag: u32,
    pub(super) handle: u32,
    /// The number that the link's name is held under.
    pub(super) id: SessionId,
}

impl Attaching {
    /// Works out what an attach takes.
    pub(super) fn new(
        ctx: &Ctx<'_>,
        peer: &Peer<'_>,
        attach: &Attach<'_>,
    ) -> Result<Attaching, Refusal> {
        match attach.role {
            Role::SENDER => match target_of(attach) {
                Some(TargetKind::Target(target)) => incoming(ctx, peer, attach, &target),
                Some(TargetKind::Coordinator(_)) => coordinator(peer, attach),
                None => Err(Refusal::new(amqp_error::PRECONDITION_FAILED, "No target specified!")),
            },
            _ => match source_of(attach) {
                Some(source) => outgoing(ctx, peer, attach, &source),
                // To find a subscription that lasts, most often to end it (part 2.6.3).
                None => lasting(ctx, peer, attach),
            },
        }
    }

    fn begin(peer: &Peer<'_>, attach: &Attach<'_>, becomes: Becomes) -> Attaching {
        let (answer, steps) = (Answer::to(attach), VecDeque::new());
        let Peer { handle, tag, id, .. } = *peer;
        let (lasts, resumed) = (Lasts::default(), Resumed::default());
        Attaching { handle, id, lasts, resumed, tag, answer, steps, made: None, becomes }
    }
}

impl Attaching {
    /// Nothing of the link outlives it: another one has its name.
    pub(super) fn forget_at_end(&mut self) {
        self.lasts = Lasts::default();
        if let Becomes::Outgoing(Some(subscription)) = &mut self.becomes {
            subscription.keeps = false;
        }
    }
}

fn coordinator(peer: &Peer<'_>, attach: &Attach<'_>) -> Result<Attaching, Refusal> {
    let mut attaching = Attaching::begin(peer, attach, Becomes::Coordinator);
    attaching.answer.set_coordinator().map_err(too_long)?;
    Ok(attaching)
}

/// The node that an address, or a wish for one, stands for; and what makes it, if it has to be made.
struct Resolved {
    node: Node,
    made: Vec<Request>,
    /// It was made for the link, and goes with it.
    goes: bool,
    properties: Properties,
}

fn resolve(
    ctx: &Ctx<'_>,
    peer: &Peer<'_>,
    attach: &Attach<'_>,
    address: Option<&str>,
    dynamic: bool,
    (wish, properties): (Wish, Properties),
) -> Result<Resolved, Refusal> {
    let topology = ctx.engine.topology();
    let domain = peer.settings.domain.as_deref();
    let name: Arc<str> = match address.filter(|_| !dynamic) {
        None if dynamic => free_name(ctx, &format!("{}_{}", peer.container, attach.name)),
        address => Arc::from(nodes::local(address.unwrap_or_default(), domain)),
    };
    if let Some(node) = nodes::find(topology, &name, &wish) {
        return Ok(Resolved { node, made: Vec::new(), goes: false, properties });
    }
    if name.is_empty() {
        return Err(nodes::not_found(&name));
    }
    if !wish.wants_creation() {
        let made = nodes::on_demand(topology, &name).ok_or_else(|| nodes::not_found(&name))?;
        let (made, node) = made;
        return Ok(Resolved { node, made, goes: false, properties });
    }
    let goes = dynamic && properties.goes_with_link();
    let (request, node) = properties.clone().creation(&name, &wish, dynamic)?;
    Ok(Resolved { node, made: vec![request], goes, properties })
}

/// A name that no queue or exchange has.
fn free_name(ctx: &Ctx<'_>, wanted: &str) -> Arc<str> {
    let topology = ctx.engine.topology();
    // Names have at most 255 octets; what makes this one free comes at its end.
    let base = &wanted[..wanted.floor_char_boundary(235)];
    let free = |name: &String| topology.queue(name).is_none() && topology.exchange(name).is_none();
    let numbered = (1u64..).map(|n| format!("{base}_{n}"));
    let mut names = std::iter::once(base.to_owned()).chain(numbered);
    Arc::from(names.find(free).unwrap_or_default())
}

fn incoming(
    ctx: &Ctx<'_>,
    peer: &Peer<'_>,
    attach: &Attach<'_>,
    target: &Target<'_>,
) -> Result<Attaching, Refusal> {
    let second = attach.rcv_settle_mode == fletch_amqp::v1_0::ReceiverSettleMode::SECOND;
    let lasts = Lasts::of(target.expiry_policy, target.timeout);
    let link =
        |node, own| Becomes::Incoming(Box::new(Incoming { node, second, own, resumed: None }));
    let address = nodes::address(target.address)?;
    if address.is_none() && !target.dynamic {
        // The relay: each message says where it goes.
        let attaching = Attaching::begin(peer, attach, link(None, None));
        return Ok(Attaching { lasts, ..attaching });
    }
    let wish = Wish::of(&target.capabilities, target.dynamic);
    let properties = Properties::read(target.dynamic_node_properties)?;
    let resolved = resolve(ctx, peer, attach, address, target.dynamic, (wish, properties))?;
    let Resolved { node, made, goes, properties } = resolved;
    let actual = Actual::of(ctx.engine.topology(), &node, &made, goes);
    let own = goes.then(|| node.clone());
    let dynamic_domain = peer.settings.domain.as_deref().filter(|_| target.dynamic);
    let address = nodes::address_of(&node, dynamic_domain);
    let ours = Ours { address: &address, node: &node, properties: &properties, actual: &actual };
    let mut attaching = Attaching::begin(peer, attach, link(Some(node.clone()), own));
    attaching.lasts = lasts;
    attaching.made = (!made.is_empty()).then(|| node.clone());
    attaching.answer.set_target(target, &ours).map_err(too_long)?;
    attaching.steps.extend(made);
    Ok(attaching)
}

fn outgoing(
    ctx: &Ctx<'_>,
    peer: &Peer<'_>,
    attach: &Attach<'_>,
    source: &Source<'_>,
) -> Result<Attaching, Refusal> {
    let wish = Wish::of(&source.capabilities, source.dynamic);
    let properties = Properties::read(source.dynamic_node_properties)?;
    let address = nodes::address(source.address)?;
    let resolved = resolve(ctx, peer, attach, address, source.dynamic, (wish, properties))?;
    let Resolved { node, made, goes, properties } = resolved;
    let actual = Actual::of(ctx.engine.topology(), &node, &made, goes);
    let dynamic_domain = peer.settings.domain.as_deref().filter(|_| source.dynamic);
    let filters = Filters::read(source.filter);
    let mut attaching_made = (!made.is_empty()).then(|| node.clone());
    let mut steps = VecDeque::from(made);
    let subscribe = Subscribe {
        tag: peer.tag,
        queue: Arc::from(""),
        mode: Mode::Consume,
        settles: true,
        exclusive: false,
        selector: None,
        arguments: Map::new(),
    };
    let settled = attach.snd_settle_mode == SenderSettleMode::SETTLED;
    let (mut bound, mut lasting) = (None, None);
    let own = goes.then(|| node.clone());
    let subscribe = match &node {
        Node::Queue(name) => {
            let browse_only =
                ctx.engine.topology().queue(name).is_some_and(|queue| queue.is_browse_only());
            let copy = source.distribution_mode == Some(std_dist_mode::COPY) || browse_only;
            let mode = if copy { Mode::Browse } else { Mode::Consume };
            let selector = filters.selector()?;
            Subscribe { queue: Arc::clone(name), mode, settles: !settled, selector, ..subscribe }
        }
        Node::Exchange(exchange, kind) | Node::Topic { exchange, kind, .. } => {
            let shared = source.capabilities.contains("shared");
            let expires = source.expiry_policy != terminus_expiry_policy::NEVER;
            let global = source.capabilities.contains("global");
            let queue = subscription_queue(peer, attach.name, (shared, global), expires);
            let declare = declare_subscription(source, &node, &queue, &filters);
            steps.push_back(Request::DeclareQueue(declare));
            let binding = filters.binding(kind.name())?;
            steps.push_back(Request::Bind(Binding {
                queue: Arc::clone(&queue),
                exchange: Arc::clone(exchange),
                key: Arc::from(&*binding.key),
                arguments: binding.arguments.clone(),
            }));
            bound = Some(binding);
            lasting = (!expires).then(|| Node::Queue(Arc::clone(&queue)));
            if attaching_made.is_none() && ctx.engine.topology().queue(&queue).is_none() {
                attaching_made = Some(Node::Queue(Arc::clone(&queue)));
            }
            // What nobody else reads is sent settled, unless the client wants to settle it.
            let settles = match shared {
                true => !settled,
                false => attach.snd_settle_mode == SenderSettleMode::UNSETTLED,
            };
            // The queue takes in only what is selected.
            Subscribe { queue, settles, exclusive: !shared, ..subscribe }
        }
    };
    let mut subscription = Subscription::new(peer.handle, subscribe.mode, subscribe.settles);
    // Others wait for what a shared one holds, and a node that goes with its link takes its messages along.
    subscription.keeps = source.durable == TerminusDurability::UNSETTLED_STATE
        && !source.capabilities.contains("shared")
        && own.is_none();
    subscription.set_nodes(Nodes { own, lasting });
    let (browse, settles) = (subscribe.mode == Mode::Browse, subscribe.settles);
    steps.push_back(Request::Subscribe(subscribe));
    let address = nodes::address_of(&node, dynamic_domain);
    let ours = Ours { address: &address, node: &node, properties: &properties, actual: &actual };
    let mut attaching = Attaching::begin(peer, attach, Becomes::Outgoing(Some(subscription)));
    (attaching.steps, attaching.made) = (steps, attaching_made);
    attaching.lasts = Lasts::of(source.expiry_policy, source.timeout);
    attaching
        .answer
        .set_source(source, &ours, (&filters, bound.as_ref()), browse)
        .map_err(too_long)?;
    if !settles {
        attaching.answer.set_sender_mode(SenderSettleMode::SETTLED);
    }
    Ok(attaching)
}

/// The queue of a subscription: its container's own, or shared by the links of the container that name it, or
/// by everybody's. JMS clients put what tells links of a shared one apart behind a bar.
fn subscription_queue(
    peer: &Peer<'_>,
    link: &str,
    (shared, global): (bool, bool),
    expires: bool,
) -> Arc<str> {
    let name = link.split('|').next().unwrap_or(link);
    // One that lasts and one that does not are two, whatever they are called.
    let kind = if expires { "|volatile" } else { "" };
    Arc::from(match (shared, global) {
        (true, true) => format!("{name}{kind}"),
        (true, false) => format!("{}_{name}{kind}", peer.container),
        (false, _) => format!("{}_{link}", peer.container),
    })
}

/// What makes the queue of a subscription: as its topic says, if it is one to a topic, and the source.
fn declare_subscription(
    source: &Source<'_>,
    node: &Node,
    name: &Arc<str>,
    filters: &Filters<'_>,
) -> DeclareQueue {
    let name = Arc::clone(name);
    let expires = source.expiry_policy != terminus_expiry_policy::NEVER;
    let mut declare = match node {
        Node::Topic { topic, .. } => topic.subscription_queue(name),
        _ => DeclareQueue { name, ..DeclareQueue::default() },
    };
    declare.durable = source.durable != TerminusDurability::NONE;
    declare.auto_delete = expires;
    let arguments = &mut declare.arguments;
    if source.timeout > 0 && expires && arguments.get(TIMEOUT).is_none() {
        arguments.insert(TIMEOUT, u64::from(source.timeout));
    }
    if filters.no_local() {
        arguments.insert("no-local", true);
    }
    if let Some(selector) = filters.selector_text() {
        arguments.insert("qpid.filter", selector);
    }
    declare
}

/// A subscription that lasts, by its name alone.
fn lasting(ctx: &Ctx<'_>, peer: &Peer<'_>, attach: &Attach<'_>) -> Result<Attaching, Refusal> {
    let topology = ctx.engine.topology();
    let global = attach.name.contains("|global");
    let names = [(false, false), (true, global)];
    let mut queues =
        names.map(|kind| subscription_queue(peer, attach.name, kind, false)).into_iter();
    let exchange = |queue: &Arc<str>| {
        let queue = topology.queue(queue).filter(|queue| !queue.auto_delete)?;
        let binding = topology.bindings_of(queue.id).first()?;
        let exchange = topology.exchange(&binding.exchange)?.descriptor();
        let node = Node::Exchange(Arc::clone(&exchange.name), exchange.kind);
        Some((Arc::clone(&queue.name), node, queue.durable))
    };
    let Some((queue, node, durable)) = queues.find_map(|queue| exchange(&queue)) else {
        return Err(Refusal::not_found(format!("There is no subscription {}", attach.name)));
    };
    let settles = attach.snd_settle_mode != SenderSettleMode::SETTLED;
    let mut subscription = Subscription::new(peer.handle, Mode::Consume, settles);
    let lasting = Some(Node::Queue(Arc::clone(&queue)));
    subscription.set_nodes(Nodes { lasting, own: None });
    let mut attaching = Attaching::begin(peer, attach, Becomes::Outgoing(Some(subscription)));
    attaching.steps.push_back(Request::Subscribe(Subscribe {
        tag: peer.tag,
        queue,
        mode: Mode::Consume,
        settles,
        exclusive: false,
        selector: None,
        arguments: Map::new(),
    }));
    let durable =
        if durable { TerminusDurability::UNSETTLED_STATE } else { TerminusDurability::NONE };
    let source =
        Source { durable, expiry_policy: terminus_expiry_policy::NEVER, ..Source::default() };
    let (properties, actual) = (Properties::default(), Actual::default());
    let ours = Ours { address: node.name(), node: &node, properties: &properties, actual: &actual };
    let filters = Filters::default();
    attaching.answer.set_source(&source, &ours, (&filters, None), false).map_err(too_long)?;
    Ok(attaching)
}

fn too_long(error: EncodeError) -> Refusal {
    Refusal::invalid(error.to_string())
}
