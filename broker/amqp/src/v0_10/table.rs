//! The table of AMQP 0-10: every control, command and struct but those of `file` and `stream`.
//!
//! A row reads: kind, name and code; for structs the octets of size and pack flags; for commands
//! the struct of their result; the Rust names; the fields in order with their wire types; and
//! whether header and body segments may follow. `tests/spec.rs` holds it against the official XML.
//!
//! Each row becomes a struct whose fields are all `Option`, but for `bit`s, which are `bool`; what
//! must be there is for the session layer to say. Text and octets are borrowed from the input.

use crate::v0_10::codec::{BodyError, ClassRow, Compound, EntryRow, FieldRow};
use crate::wire::{EncodeError, Reader};

/// Enumerated domains of the classes here that fields hold as plain integers: the names of the ten
/// priorities say nothing that their numbers do not.
pub const DOMAINS_NOT_TYPED: &[&str] = &["delivery-priority"];

table! {
    class connection 0x01 {
        control "start" 0x01 = ConnectionStart Start<'a> {
            server_properties: map,
            mechanisms: array,
            locales: array,
        }
        control "start-ok" 0x02 = ConnectionStartOk StartOk<'a> {
            client_properties: map,
            mechanism: str8,
            response: vbin32,
            locale: str8,
        }
        control "secure" 0x03 = ConnectionSecure Secure<'a> {
            challenge: vbin32,
        }
        control "secure-ok" 0x04 = ConnectionSecureOk SecureOk<'a> {
            response: vbin32,
        }
        control "tune" 0x05 = ConnectionTune Tune {
            channel_max: uint16,
            max_frame_size: uint16,
            heartbeat_min: uint16,
            heartbeat_max: uint16,
        }
        control "tune-ok" 0x06 = ConnectionTuneOk TuneOk {
            channel_max: uint16,
            max_frame_size: uint16,
            heartbeat: uint16,
        }
        control "open" 0x07 = ConnectionOpen Open<'a> {
            virtual_host: str8,
            capabilities: array,
            insist: bit,
        }
        control "open-ok" 0x08 = ConnectionOpenOk OpenOk<'a> {
            known_hosts: array,
        }
        control "redirect" 0x09 = ConnectionRedirect Redirect<'a> {
            host: str16,
            known_hosts: array,
        }
        control "heartbeat" 0x0a = ConnectionHeartbeat Heartbeat {}
        control "close" 0x0b = ConnectionClose Close<'a> {
            reply_code: close_code,
            reply_text: str8,
        }
        control "close-ok" 0x0c = ConnectionCloseOk CloseOk {}
    }

    class session 0x02 {
        struct "header" size 1 pack 1 = Header {
            sync: bit,
        }
        struct "command-fragment" size 0 pack 0 = CommandFragment<'a> {
            command_id: sequence_no,
            byte_ranges: byte_ranges,
        }
        control "attach" 0x01 = SessionAttach Attach<'a> {
            name: vbin16,
            force: bit,
        }
        control "attached" 0x02 = SessionAttached Attached<'a> {
            name: vbin16,
        }
        control "detach" 0x03 = SessionDetach Detach<'a> {
            name: vbin16,
        }
        control "detached" 0x04 = SessionDetached Detached<'a> {
            name: vbin16,
            code: detach_code,
        }
        control "request-timeout" 0x05 = SessionRequestTimeout RequestTimeout {
            timeout: uint32,
        }
        control "timeout" 0x06 = SessionTimeout Timeout {
            timeout: uint32,
        }
        control "command-point" 0x07 = SessionCommandPoint CommandPoint {
            command_id: sequence_no,
            command_offset: uint64,
        }
        control "expected" 0x08 = SessionExpected Expected<'a> {
            commands: sequence_set,
            fragments: array,
        }
        control "confirmed" 0x09 = SessionConfirmed Confirmed<'a> {
            commands: sequence_set,
            fragments: array,
        }
        control "completed" 0x0a = SessionCompleted Completed {
            commands: sequence_set,
            timely_reply: bit,
        }
        control "known-completed" 0x0b = SessionKnownCompleted KnownCompleted {
            commands: sequence_set,
        }
        control "flush" 0x0c = SessionFlush Flush {
            expected: bit,
            confirmed: bit,
            completed: bit,
        }
        control "gap" 0x0d = SessionGap Gap {
            commands: sequence_set,
        }
    }

    class execution 0x03 {
        command "sync" 0x01 = ExecutionSync Sync {}
        command "result" 0x02 = ExecutionResult Result<'a> {
            command_id: sequence_no,
            value: struct32,
        }
        command "exception" 0x03 = ExecutionException Exception<'a> {
            error_code: error_code,
            command_id: sequence_no,
            class_code: uint8,
            command_code: uint8,
            field_index: uint8,
            description: str16,
            error_info: map,
        }
    }

    class message 0x04 {
        struct "delivery-properties" code 0x01 size 4 pack 2 = DeliveryProperties<'a> {
            discard_unroutable: bit,
            immediate: bit,
            redelivered: bit,
            priority: uint8,
            delivery_mode: delivery_mode,
            ttl: uint64,
            timestamp: datetime,
            expiration: datetime,
            exchange: str8,
            routing_key: str8,
            resume_id: str16,
            resume_ttl: uint64,
        }
        struct "fragment-properties" code 0x02 size 4 pack 2 = FragmentProperties {
            first: bit,
            last: bit,
            fragment_size: uint64,
        }
        struct "reply-to" size 2 pack 2 = ReplyTo<'a> {
            exchange: str8,
            routing_key: str8,
        }
        struct "message-properties" code 0x03 size 4 pack 2 = MessageProperties<'a> {
            content_length: uint64,
            message_id: uuid,
            correlation_id: vbin16,
            reply_to: reply_to,
            content_type: str8,
            content_encoding: str8,
            user_id: vbin16,
            app_id: vbin16,
            application_headers: map,
        }
        struct "acquired" code 0x04 size 4 pack 2 = Acquired {
            transfers: sequence_set,
        }
        struct "message-resume-result" code 0x05 size 4 pack 2 = MessageResumeResult {
            offset: uint64,
        }
        command "transfer" 0x01 = MessageTransfer Transfer<'a> {
            destination: str8,
            accept_mode: accept_mode,
            acquire_mode: acquire_mode,
        } + segments
        command "accept" 0x02 = MessageAccept Accept {
            transfers: sequence_set,
        }
        command "reject" 0x03 = MessageReject Reject<'a> {
            transfers: sequence_set,
            code: reject_code,
            text: str8,
        }
        command "release" 0x04 = MessageRelease Release {
            transfers: sequence_set,
            set_redelivered: bit,
        }
        command "acquire" 0x05 -> Acquired = MessageAcquire Acquire {
            transfers: sequence_set,
        }
        command "resume" 0x06 -> MessageResumeResult = MessageResume Resume<'a> {
            destination: str8,
            resume_id: str16,
        }
        command "subscribe" 0x07 = MessageSubscribe Subscribe<'a> {
            queue: str8,
            destination: str8,
            accept_mode: accept_mode,
            acquire_mode: acquire_mode,
            exclusive: bit,
            resume_id: str16,
            resume_ttl: uint64,
            arguments: map,
        }
        command "cancel" 0x08 = MessageCancel Cancel<'a> {
            destination: str8,
        }
        command "set-flow-mode" 0x09 = MessageSetFlowMode SetFlowMode<'a> {
            destination: str8,
            flow_mode: flow_mode,
        }
        command "flow" 0x0a = MessageFlow Flow<'a> {
            destination: str8,
            unit: credit_unit,
            value: uint32,
        }
        command "flush" 0x0b = MessageFlush Flush<'a> {
            destination: str8,
        }
        command "stop" 0x0c = MessageStop Stop<'a> {
            destination: str8,
        }
    }

    class tx 0x05 {
        command "select" 0x01 = TxSelect Select {}
        command "commit" 0x02 = TxCommit Commit {}
        command "rollback" 0x03 = TxRollback Rollback {}
    }

    class dtx 0x06 {
        struct "xa-result" code 0x01 size 4 pack 2 = XaResult {
            status: xa_status,
        }
        struct "xid" code 0x04 size 4 pack 2 = Xid<'a> {
            format: uint32,
            global_id: vbin8,
            branch_id: vbin8,
        }
        struct "get-timeout-result" code 0x02 size 4 pack 2 = GetTimeoutResult {
            timeout: uint32,
        }
        struct "recover-result" code 0x03 size 4 pack 2 = RecoverResult<'a> {
            in_doubt: array,
        }
        command "select" 0x01 = DtxSelect Select {}
        command "start" 0x02 -> XaResult = DtxStart Start<'a> {
            xid: xid,
            join: bit,
            resume: bit,
        }
        command "end" 0x03 -> XaResult = DtxEnd End<'a> {
            xid: xid,
            fail: bit,
            suspend: bit,
        }
        command "commit" 0x04 -> XaResult = DtxCommit Commit<'a> {
            xid: xid,
            one_phase: bit,
        }
        command "forget" 0x05 = DtxForget Forget<'a> {
            xid: xid,
        }
        command "get-timeout" 0x06 -> GetTimeoutResult = DtxGetTimeout GetTimeout<'a> {
            xid: xid,
        }
        command "prepare" 0x07 -> XaResult = DtxPrepare Prepare<'a> {
            xid: xid,
        }
        command "recover" 0x08 -> RecoverResult = DtxRecover Recover {}
        command "rollback" 0x09 -> XaResult = DtxRollback Rollback<'a> {
            xid: xid,
        }
        command "set-timeout" 0x0a = DtxSetTimeout SetTimeout<'a> {
            xid: xid,
            timeout: uint32,
        }
    }

    class exchange 0x07 {
        struct "exchange-query-result" code 0x01 size 4 pack 2 = ExchangeQueryResult<'a> {
            r#type: str8,
            durable: bit,
            not_found: bit,
            arguments: map,
        }
        struct "exchange-bound-result" code 0x02 size 4 pack 2 = ExchangeBoundResult {
            exchange_not_found: bit,
            queue_not_found: bit,
            queue_not_matched: bit,
            key_not_matched: bit,
            args_not_matched: bit,
        }
        command "declare" 0x01 = ExchangeDeclare Declare<'a> {
            exchange: str8,
            r#type: str8,
            alternate_exchange: str8,
            passive: bit,
            durable: bit,
            auto_delete: bit,
            arguments: map,
        }
        command "delete" 0x02 = ExchangeDelete Delete<'a> {
            exchange: str8,
            if_unused: bit,
        }
        command "query" 0x03 -> ExchangeQueryResult = ExchangeQuery Query<'a> {
            name: str8,
        }
        command "bind" 0x04 = ExchangeBind Bind<'a> {
            queue: str8,
            exchange: str8,
            binding_key: str8,
            arguments: map,
        }
        command "unbind" 0x05 = ExchangeUnbind Unbind<'a> {
            queue: str8,
            exchange: str8,
            binding_key: str8,
        }
        command "bound" 0x06 -> ExchangeBoundResult = ExchangeBound Bound<'a> {
            exchange: str8,
            queue: str8,
            binding_key: str8,
            arguments: map,
        }
    }

    class queue 0x08 {
        struct "queue-query-result" code 0x01 size 4 pack 2 = QueueQueryResult<'a> {
            queue: str8,
            alternate_exchange: str8,
            durable: bit,
            exclusive: bit,
            auto_delete: bit,
            arguments: map,
            message_count: uint32,
            subscriber_count: uint32,
        }
        command "declare" 0x01 = QueueDeclare Declare<'a> {
            queue: str8,
            alternate_exchange: str8,
            passive: bit,
            durable: bit,
            exclusive: bit,
            auto_delete: bit,
            arguments: map,
        }
        command "delete" 0x02 = QueueDelete Delete<'a> {
            queue: str8,
            if_unused: bit,
            if_empty: bit,
        }
        command "purge" 0x03 = QueuePurge Purge<'a> {
            queue: str8,
        }
        command "query" 0x04 -> QueueQueryResult = QueueQuery Query<'a> {
            queue: str8,
        }
    }
}

impl<'a> Control<'a> {
    /// Decodes a whole control segment: class, code, flags and fields.
    pub fn decode_segment(segment: &'a [u8]) -> Result<Self, BodyError> {
        let mut reader = Reader::new(segment);
        let [class, code] = reader.array().map_err(BodyError::NoCode)?;
        Self::decode(class, code, reader.rest())
    }

    /// Appends a whole control segment; nothing if there is an error.
    pub fn encode_segment(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let start = out.len();
        out.extend_from_slice(&[self.class(), self.code()]);
        self.encode_body(out).inspect_err(|_| out.truncate(start))
    }

    /// Octets that [`Self::encode_segment`] appends.
    pub fn segment_len(&self) -> usize {
        2 + self.body_len()
    }
}

impl<'a> Command<'a> {
    /// Decodes a whole command segment: class, code, the session header, flags and fields.
    pub fn decode_segment(segment: &'a [u8]) -> Result<(session::Header, Self), BodyError> {
        let mut reader = Reader::new(segment);
        let [class, code] = reader.array().map_err(BodyError::NoCode)?;
        let header = session::Header::decode(&mut reader)?;
        Ok((header, Self::decode(class, code, reader.rest())?))
    }

    /// Appends a whole command segment; nothing if there is an error.
    pub fn encode_segment(&self, sync: bool, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let start = out.len();
        out.extend_from_slice(&[self.class(), self.code()]);
        let header = session::Header { sync };
        header.encode(out).and_then(|()| self.encode_body(out)).inspect_err(|_| out.truncate(start))
    }

    /// Octets that [`Self::encode_segment`] appends.
    pub fn segment_len(&self) -> usize {
        2 + session::Header::default().encoded_len() + self.body_len()
    }

    /// Whether header and body segments may follow this command.
    pub fn has_segments(&self) -> bool {
        matches!(self, Self::MessageTransfer(_))
    }
}
