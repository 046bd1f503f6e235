//! The enumerated domains of the specification, as integers with named constants: a value nobody
//! has named survives being decoded and encoded again.

use std::fmt;

use crate::v0_10::codec::DomainRow;
use crate::v0_10::kinds::{self, Kind};
use crate::wire::{DecodeError, EncodeError, Reader};

macro_rules! domains {
    ($(
        $(#[$doc:meta])*
        $type:ident($int:ty) = $kind:ident: $base:ident $name:literal {
            $($choice:ident = $value:literal $text:literal,)*
        }
    )*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
            pub struct $type(
                /// The number on the wire.
                pub $int,
            );

            impl $type {
                $(
                    #[doc = concat!("`", $text, "` of the domain `", $name, "`.")]
                    pub const $choice: Self = Self($value);
                )*

                /// The specification's name for the value, if it has one.
                pub const fn name(self) -> Option<&'static str> {
                    match self.0 {
                        $($value => Some($text),)*
                        _ => None,
                    }
                }
            }

            impl fmt::Display for $type {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    match self.name() {
                        Some(name) => f.write_str(name),
                        None => write!(f, "{} {}", $name, self.0),
                    }
                }
            }

            impl fmt::Debug for $type {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    fmt::Display::fmt(self, f)
                }
            }

            #[allow(
                non_camel_case_types,
                dead_code,
                reason = "the specification's name; two domains belong to frames, not to fields"
            )]
            pub(crate) enum $kind {}

            impl Kind for $kind {
                type Of<'a> = $type;

                fn read<'a>(reader: &mut Reader<'a>) -> Result<$type, DecodeError> {
                    <kinds::$base as Kind>::read(reader).map($type)
                }

                fn write(value: &$type, out: &mut Vec<u8>) -> Result<(), EncodeError> {
                    <kinds::$base as Kind>::write(&value.0, out)
                }

                fn len(_: &$type) -> usize {
                    size_of::<$int>()
                }
            }
        )*

        /// Every enumerated domain, for the test against the specification.
        pub const DOMAINS: &[DomainRow] = &[$(
            DomainRow {
                name: $name,
                base: stringify!($base),
                choices: &[$(($text, $value)),*],
            },
        )*];
    };
}

domains! {
    /// What a segment of an assembly holds.
    SegmentType(u8) = segment_type: uint8 "segment-type" {
        CONTROL = 0 "control",
        COMMAND = 1 "command",
        HEADER = 2 "header",
        BODY = 3 "body",
    }

    /// Which of the two streams of a channel a frame belongs to.
    Track(u8) = track: uint8 "track" {
        CONTROL = 0 "control",
        COMMAND = 1 "command",
    }

    /// Why a connection closes.
    CloseCode(u16) = close_code: uint16 "close-code" {
        NORMAL = 200 "normal",
        CONNECTION_FORCED = 320 "connection-forced",
        INVALID_PATH = 402 "invalid-path",
        FRAMING_ERROR = 501 "framing-error",
    }

    /// Why a session is detached.
    DetachCode(u8) = detach_code: uint8 "detach-code" {
        NORMAL = 0 "normal",
        SESSION_BUSY = 1 "session-busy",
        TRANSPORT_BUSY = 2 "transport-busy",
        NOT_ATTACHED = 3 "not-attached",
        UNKNOWN_IDS = 4 "unknown-ids",
    }

    /// Why a command failed, and the session with it.
    ErrorCode(u16) = error_code: uint16 "error-code" {
        UNAUTHORIZED_ACCESS = 403 "unauthorized-access",
        NOT_FOUND = 404 "not-found",
        RESOURCE_LOCKED = 405 "resource-locked",
        PRECONDITION_FAILED = 406 "precondition-failed",
        RESOURCE_DELETED = 408 "resource-deleted",
        ILLEGAL_STATE = 409 "illegal-state",
        COMMAND_INVALID = 503 "command-invalid",
        RESOURCE_LIMIT_EXCEEDED = 506 "resource-limit-exceeded",
        NOT_ALLOWED = 530 "not-allowed",
        ILLEGAL_ARGUMENT = 531 "illegal-argument",
        NOT_IMPLEMENTED = 540 "not-implemented",
        INTERNAL_ERROR = 541 "internal-error",
        INVALID_ARGUMENT = 542 "invalid-argument",
    }

    /// Whether a transfer has to be accepted.
    AcceptMode(u8) = accept_mode: uint8 "accept-mode" {
        EXPLICIT = 0 "explicit",
        NONE = 1 "none",
    }

    /// Whether a transfer gives the message to its receiver.
    AcquireMode(u8) = acquire_mode: uint8 "acquire-mode" {
        PRE_ACQUIRED = 0 "pre-acquired",
        NOT_ACQUIRED = 1 "not-acquired",
    }

    /// Why a transfer is rejected.
    RejectCode(u16) = reject_code: uint16 "reject-code" {
        UNSPECIFIED = 0 "unspecified",
        UNROUTABLE = 1 "unroutable",
        IMMEDIATE = 2 "immediate",
    }

    /// Whether a message is durable.
    DeliveryMode(u8) = delivery_mode: uint8 "delivery-mode" {
        NON_PERSISTENT = 1 "non-persistent",
        PERSISTENT = 2 "persistent",
    }

    /// How credit is given back: by new credit alone, or by completing what was received.
    FlowMode(u8) = flow_mode: uint8 "flow-mode" {
        CREDIT = 0 "credit",
        WINDOW = 1 "window",
    }

    /// What credit counts.
    CreditUnit(u8) = credit_unit: uint8 "credit-unit" {
        MESSAGE = 0 "message",
        BYTE = 1 "byte",
    }

    /// How a step of a distributed transaction ended.
    XaStatus(u16) = xa_status: uint16 "xa-status" {
        XA_OK = 0 "xa-ok",
        XA_RBROLLBACK = 1 "xa-rbrollback",
        XA_RBTIMEOUT = 2 "xa-rbtimeout",
        XA_HEURHAZ = 3 "xa-heurhaz",
        XA_HEURCOM = 4 "xa-heurcom",
        XA_HEURRB = 5 "xa-heurrb",
        XA_HEURMIX = 6 "xa-heurmix",
        XA_RDONLY = 7 "xa-rdonly",
    }
}

impl CreditUnit {
    /// The credit value that means: as much as you like.
    pub const UNLIMITED: u32 = u32::MAX;
}
