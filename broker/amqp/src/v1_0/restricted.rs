//! The restricted types of the specification that name their values.
//!
//! Those over numbers are integers with named constants: a value nobody has named survives being
//! decoded and encoded again. Those over symbols are modules of constants, since a place that holds
//! one may hold any other symbol as well.

use std::fmt;

use super::codec::RestrictedRow;

macro_rules! numbers {
    ($(
        $(#[$doc:meta])*
        $type:ident($int:ty): $source:literal $name:literal {
            $($choice:ident = $value:literal $text:literal,)*
        }
    )*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
            pub struct $type(
                /// The value on the wire.
                pub $int,
            );

            impl $type {
                $(
                    #[doc = concat!("`", $text, "` of the type `", $name, "`.")]
                    pub const $choice: Self = Self($value);
                )*

                /// The specification's name for the value, if it has one.
                pub const fn name(self) -> Option<&'static str> {
                    match self.0 {
                        $($value => Some($text),)*
                        #[allow(unreachable_patterns, reason = "both values of a boolean have names")]
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
        )*

        /// Those over numbers and booleans, for the test against the specification.
        pub const NUMBERS: &[RestrictedRow] = &[$(RestrictedRow {
            name: $name,
            source: $source,
            choices: &[$(($text, stringify!($value)),)*],
        },)*];
    };
}

macro_rules! symbols {
    ($(
        $(#[$doc:meta])*
        $module:ident $name:literal {
            $($choice:ident = $value:literal $text:literal,)*
        }
    )*) => {
        $(
            $(#[$doc])*
            pub mod $module {
                use crate::v1_0::types::Symbol;

                $(
                    #[doc = concat!("`", $text, "` of the type `", $name, "`: `", $value, "`.")]
                    pub const $choice: Symbol<'static> = Symbol::constant($value);
                )*
            }
        )*

        /// Those over symbols, for the test against the specification.
        pub const SYMBOLS: &[RestrictedRow] = &[$(RestrictedRow {
            name: $name,
            source: "symbol",
            choices: &[$(($text, $value),)*],
        },)*];
    };
}

numbers! {
    /// Which end of a link a peer is (part 2.8.1).
    Role(bool): "boolean" "role" {
        SENDER = false "sender",
        RECEIVER = true "receiver",
    }
    /// How a sender settles (part 2.8.2).
    SenderSettleMode(u8): "ubyte" "sender-settle-mode" {
        UNSETTLED = 0 "unsettled",
        SETTLED = 1 "settled",
        MIXED = 2 "mixed",
    }
    /// How a receiver settles (part 2.8.3): at once, or after the sender has.
    ReceiverSettleMode(u8): "ubyte" "receiver-settle-mode" {
        FIRST = 0 "first",
        SECOND = 1 "second",
    }
    /// What of a terminus outlives the peer (part 3.5.5).
    TerminusDurability(u32): "uint" "terminus-durability" {
        NONE = 0 "none",
        CONFIGURATION = 1 "configuration",
        UNSETTLED_STATE = 2 "unsettled-state",
    }
    /// The outcome of a SASL dialog (part 5.3.3.6).
    SaslCode(u8): "ubyte" "sasl-code" {
        OK = 0 "ok",
        AUTH = 1 "auth",
        SYS = 2 "sys",
        SYS_PERM = 3 "sys-perm",
        SYS_TEMP = 4 "sys-temp",
    }
}

symbols! {
    /// Conditions of errors that may occur anywhere (part 2.8.15).
    amqp_error "amqp-error" {
        INTERNAL_ERROR = "amqp:internal-error" "internal-error",
        NOT_FOUND = "amqp:not-found" "not-found",
        UNAUTHORIZED_ACCESS = "amqp:unauthorized-access" "unauthorized-access",
        DECODE_ERROR = "amqp:decode-error" "decode-error",
        RESOURCE_LIMIT_EXCEEDED = "amqp:resource-limit-exceeded" "resource-limit-exceeded",
        NOT_ALLOWED = "amqp:not-allowed" "not-allowed",
        INVALID_FIELD = "amqp:invalid-field" "invalid-field",
        NOT_IMPLEMENTED = "amqp:not-implemented" "not-implemented",
        RESOURCE_LOCKED = "amqp:resource-locked" "resource-locked",
        PRECONDITION_FAILED = "amqp:precondition-failed" "precondition-failed",
        RESOURCE_DELETED = "amqp:resource-deleted" "resource-deleted",
        ILLEGAL_STATE = "amqp:illegal-state" "illegal-state",
        FRAME_SIZE_TOO_SMALL = "amqp:frame-size-too-small" "frame-size-too-small",
    }
    /// Conditions of errors of connections (part 2.8.16).
    connection_error "connection-error" {
        CONNECTION_FORCED = "amqp:connection:forced" "connection-forced",
        FRAMING_ERROR = "amqp:connection:framing-error" "framing-error",
        REDIRECT = "amqp:connection:redirect" "redirect",
    }
    /// Conditions of errors of sessions (part 2.8.17).
    session_error "session-error" {
        WINDOW_VIOLATION = "amqp:session:window-violation" "window-violation",
        ERRANT_LINK = "amqp:session:errant-link" "errant-link",
        HANDLE_IN_USE = "amqp:session:handle-in-use" "handle-in-use",
        UNATTACHED_HANDLE = "amqp:session:unattached-handle" "unattached-handle",
    }
    /// Conditions of errors of links (part 2.8.18).
    link_error "link-error" {
        DETACH_FORCED = "amqp:link:detach-forced" "detach-forced",
        TRANSFER_LIMIT_EXCEEDED = "amqp:link:transfer-limit-exceeded" "transfer-limit-exceeded",
        MESSAGE_SIZE_EXCEEDED = "amqp:link:message-size-exceeded" "message-size-exceeded",
        REDIRECT = "amqp:link:redirect" "redirect",
        STOLEN = "amqp:link:stolen" "stolen",
    }
    /// When the timer of a terminus's expiry starts (part 3.5.6).
    terminus_expiry_policy "terminus-expiry-policy" {
        LINK_DETACH = "link-detach" "link-detach",
        SESSION_END = "session-end" "session-end",
        CONNECTION_CLOSE = "connection-close" "connection-close",
        NEVER = "never" "never",
    }
    /// What a source does with a message that it has sent (part 3.5.7).
    std_dist_mode "std-dist-mode" {
        MOVE = "move" "move",
        COPY = "copy" "copy",
    }
    /// What a coordinator can do (part 4.5.7).
    txn_capability "txn-capability" {
        LOCAL_TRANSACTIONS = "amqp:local-transactions" "local-transactions",
        DISTRIBUTED_TRANSACTIONS = "amqp:distributed-transactions" "distributed-transactions",
        PROMOTABLE_TRANSACTIONS = "amqp:promotable-transactions" "promotable-transactions",
        MULTI_TXNS_PER_SSN = "amqp:multi-txns-per-ssn" "multi-txns-per-ssn",
        MULTI_SSNS_PER_TXN = "amqp:multi-ssns-per-txn" "multi-ssns-per-txn",
    }
    /// Conditions of errors of transactions (part 4.5.8).
    transaction_error "transaction-error" {
        UNKNOWN_ID = "amqp:transaction:unknown-id" "unknown-id",
        TRANSACTION_ROLLBACK = "amqp:transaction:rollback" "transaction-rollback",
        TRANSACTION_TIMEOUT = "amqp:transaction:timeout" "transaction-timeout",
    }
}

macro_rules! sections {
    ($($const:ident = $code:literal $name:literal $descriptor:literal of $source:literal,)*) => {
        /// The descriptors of those sections of a message that are no composite types (part 3.2).
        pub mod section {
            $(
                #[doc = concat!("The descriptor of `", $name, "`, a described `", $source, "`.")]
                pub const $const: u64 = $code;
            )*
        }

        /// Name, symbolic descriptor, numeric descriptor and source of the sections that are no
        /// composite types, for the test against the specification.
        pub const SECTIONS: &[(&str, &str, u64, &str)] =
            &[$(($name, $descriptor, $code, $source)),*];
    };
}

sections! {
    DELIVERY_ANNOTATIONS = 0x71
        "delivery-annotations" "amqp:delivery-annotations:map" of "annotations",
    MESSAGE_ANNOTATIONS = 0x72
        "message-annotations" "amqp:message-annotations:map" of "annotations",
    APPLICATION_PROPERTIES = 0x74
        "application-properties" "amqp:application-properties:map" of "map",
    DATA = 0x75 "data" "amqp:data:binary" of "binary",
    AMQP_SEQUENCE = 0x76 "amqp-sequence" "amqp:amqp-sequence:list" of "list",
    AMQP_VALUE = 0x77 "amqp-value" "amqp:amqp-value:*" of "*",
    FOOTER = 0x78 "footer" "amqp:footer:map" of "annotations",
}
