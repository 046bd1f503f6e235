//! The table of AMQP 1.0: every composite type of the specification.
//!
//! A row reads: name, symbolic and numeric descriptor; the Rust name; the fields in order with their
//! type (`any` for `*`), the archetype that a value must provide, `mandatory`, `multiple`, and what
//! null stands for. `tests/spec_v1_0.rs` holds it against the official XML.
//!
//! A field is an `Option` unless it is mandatory, has a default, or is `multiple`. Text, octets, lists
//! and maps are borrowed from the input.

use super::archetype::ArchetypeRow;
use super::codec::{Composite, CompositeError, CompositeRow, Descriptor, FieldRow};
use super::restricted::{
    ReceiverSettleMode, SenderSettleMode, TerminusDurability, terminus_expiry_policy,
};
use super::types::ValueRef;
use crate::wire::{EncodeError, Reader};

table! {
    // Part 2: connections, sessions and links.
    composite "open" "amqp:open:list" 0x10 = Open<'a> {
        container_id: string mandatory,
        hostname: string,
        max_frame_size: uint = 4294967295,
        channel_max: ushort = 65535,
        idle_time_out: milliseconds,
        outgoing_locales: ietf_language_tag multiple,
        incoming_locales: ietf_language_tag multiple,
        offered_capabilities: symbol multiple,
        desired_capabilities: symbol multiple,
        properties: fields,
    }
    composite "begin" "amqp:begin:list" 0x11 = Begin<'a> {
        remote_channel: ushort,
        next_outgoing_id: transfer_number mandatory,
        incoming_window: uint mandatory,
        outgoing_window: uint mandatory,
        handle_max: handle = 4294967295,
        offered_capabilities: symbol multiple,
        desired_capabilities: symbol multiple,
        properties: fields,
    }
    composite "attach" "amqp:attach:list" 0x12 = Attach<'a> {
        name: string mandatory,
        handle: handle mandatory,
        role: role mandatory,
        snd_settle_mode: sender_settle_mode = SenderSettleMode::MIXED,
        rcv_settle_mode: receiver_settle_mode = ReceiverSettleMode::FIRST,
        source: any(source),
        target: any(target),
        unsettled: map,
        incomplete_unsettled: boolean = false,
        initial_delivery_count: sequence_no,
        max_message_size: ulong,
        offered_capabilities: symbol multiple,
        desired_capabilities: symbol multiple,
        properties: fields,
    }
    composite "flow" "amqp:flow:list" 0x13 = Flow<'a> {
        next_incoming_id: transfer_number,
        incoming_window: uint mandatory,
        next_outgoing_id: transfer_number mandatory,
        outgoing_window: uint mandatory,
        handle: handle,
        delivery_count: sequence_no,
        link_credit: uint,
        available: uint,
        drain: boolean = false,
        echo: boolean = false,
        properties: fields,
    }
    composite "transfer" "amqp:transfer:list" 0x14 = Transfer<'a> {
        handle: handle mandatory,
        delivery_id: delivery_number,
        delivery_tag: delivery_tag,
        message_format: message_format,
        settled: boolean,
        more: boolean = false,
        rcv_settle_mode: receiver_settle_mode,
        state: any(delivery_state),
        resume: boolean = false,
        aborted: boolean = false,
        batchable: boolean = false,
    }
    composite "disposition" "amqp:disposition:list" 0x15 = Disposition<'a> {
        role: role mandatory,
        first: delivery_number mandatory,
        last: delivery_number,
        settled: boolean = false,
        state: any(delivery_state),
        batchable: boolean = false,
    }
    composite "detach" "amqp:detach:list" 0x16 = Detach<'a> {
        handle: handle mandatory,
        closed: boolean = false,
        error: error,
    }
    composite "end" "amqp:end:list" 0x17 = End<'a> {
        error: error,
    }
    composite "close" "amqp:close:list" 0x18 = Close<'a> {
        error: error,
    }
    composite "error" "amqp:error:list" 0x1d = Error<'a> {
        condition: symbol(error_condition) mandatory,
        description: string,
        info: fields,
    }
    // Part 3: messages, delivery states and termini.
    composite "header" "amqp:header:list" 0x70 = Header {
        durable: boolean = false,
        priority: ubyte = 4,
        ttl: milliseconds,
        first_acquirer: boolean = false,
        delivery_count: uint = 0,
    }
    composite "properties" "amqp:properties:list" 0x73 = Properties<'a> {
        message_id: any(message_id),
        user_id: binary,
        to: any(address),
        subject: string,
        reply_to: any(address),
        correlation_id: any(message_id),
        content_type: symbol,
        content_encoding: symbol,
        absolute_expiry_time: timestamp,
        creation_time: timestamp,
        group_id: string,
        group_sequence: sequence_no,
        reply_to_group_id: string,
    }
    composite "received" "amqp:received:list" 0x23 = Received {
        section_number: uint mandatory,
        section_offset: ulong mandatory,
    }
    composite "accepted" "amqp:accepted:list" 0x24 = Accepted {}
    composite "rejected" "amqp:rejected:list" 0x25 = Rejected<'a> {
        error: error,
    }
    composite "released" "amqp:released:list" 0x26 = Released {}
    composite "modified" "amqp:modified:list" 0x27 = Modified<'a> {
        delivery_failed: boolean,
        undeliverable_here: boolean,
        message_annotations: fields,
    }
    composite "source" "amqp:source:list" 0x28 = Source<'a> {
        address: any(address),
        durable: terminus_durability = TerminusDurability::NONE,
        expiry_policy: terminus_expiry_policy = terminus_expiry_policy::SESSION_END,
        timeout: seconds = 0,
        dynamic: boolean = false,
        dynamic_node_properties: node_properties,
        distribution_mode: symbol(distribution_mode),
        filter: filter_set,
        default_outcome: any(outcome),
        outcomes: symbol multiple,
        capabilities: symbol multiple,
    }
    composite "target" "amqp:target:list" 0x29 = Target<'a> {
        address: any(address),
        durable: terminus_durability = TerminusDurability::NONE,
        expiry_policy: terminus_expiry_policy = terminus_expiry_policy::SESSION_END,
        timeout: seconds = 0,
        dynamic: boolean = false,
        dynamic_node_properties: node_properties,
        capabilities: symbol multiple,
    }
    composite "delete-on-close" "amqp:delete-on-close:list" 0x2b = DeleteOnClose {}
    composite "delete-on-no-links" "amqp:delete-on-no-links:list" 0x2c = DeleteOnNoLinks {}
    composite "delete-on-no-messages" "amqp:delete-on-no-messages:list" 0x2d = DeleteOnNoMessages {}
    composite "delete-on-no-links-or-messages" "amqp:delete-on-no-links-or-messages:list" 0x2e = DeleteOnNoLinksOrMessages {}
    // Part 4: transactions.
    composite "coordinator" "amqp:coordinator:list" 0x30 = Coordinator<'a> {
        capabilities: symbol(txn_capability) multiple,
    }
    composite "declare" "amqp:declare:list" 0x31 = Declare<'a> {
        global_id: any(global_tx_id),
    }
    composite "discharge" "amqp:discharge:list" 0x32 = Discharge<'a> {
        txn_id: any(txn_id) mandatory,
        fail: boolean,
    }
    composite "declared" "amqp:declared:list" 0x33 = Declared<'a> {
        txn_id: any(txn_id) mandatory,
    }
    composite "transactional-state" "amqp:transactional-state:list" 0x34 = TransactionalState<'a> {
        txn_id: any(txn_id) mandatory,
        outcome: any(outcome),
    }
    // Part 5: SASL.
    composite "sasl-mechanisms" "amqp:sasl-mechanisms:list" 0x40 = SaslMechanisms<'a> {
        sasl_server_mechanisms: symbol mandatory multiple,
    }
    composite "sasl-init" "amqp:sasl-init:list" 0x41 = SaslInit<'a> {
        mechanism: symbol mandatory,
        initial_response: binary,
        hostname: string,
    }
    composite "sasl-challenge" "amqp:sasl-challenge:list" 0x42 = SaslChallenge<'a> {
        challenge: binary mandatory,
    }
    composite "sasl-response" "amqp:sasl-response:list" 0x43 = SaslResponse<'a> {
        response: binary mandatory,
    }
    composite "sasl-outcome" "amqp:sasl-outcome:list" 0x44 = SaslOutcome<'a> {
        code: sasl_code mandatory,
        additional_data: binary,
    }
}

archetypes! {
    /// Any performative: what a frame of AMQP begins with.
    closed Performative "frame" {
        Open<'a>, Begin<'a>, Attach<'a>, Flow<'a>, Transfer<'a>, Disposition<'a>, Detach<'a>, End<'a>, Close<'a>,
    }
    /// Any frame of SASL.
    closed SaslFrame "sasl-frame" {
        SaslMechanisms<'a>, SaslInit<'a>, SaslChallenge<'a>, SaslResponse<'a>, SaslOutcome<'a>,
    }
    /// The state of a delivery at one of its ends.
    open DeliveryState "delivery-state" {
        Received, Accepted, Rejected<'a>, Released, Modified<'a>, Declared<'a>, TransactionalState<'a>,
    }
    /// A state in which a delivery can end.
    open Outcome "outcome" {
        Accepted, Rejected<'a>, Released, Modified<'a>, Declared<'a>,
    }
    /// Where a link's messages come from.
    closed SourceKind "source" { Source<'a>, }
    /// Where a link's messages go.
    closed TargetKind "target" { Target<'a>, Coordinator<'a>, }
    /// When a node that was created for a link goes.
    open LifetimePolicy "lifetime-policy" {
        DeleteOnClose, DeleteOnNoLinks, DeleteOnNoMessages, DeleteOnNoLinksOrMessages,
    }
}
