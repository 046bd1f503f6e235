//! The sections of an encoded AMQP 1.0 message (part 3.2), and the few changes a broker makes to one.
//!
//! ```text
//! header? delivery-annotations?                             for one hop: made anew for each delivery
//! message-annotations? properties? application-properties?  the head
//! data+ | amqp-sequence+ | amqp-value                       the body; brokers also see messages without
//! footer?
//! ```
//!
//! [`ingest`] checks a message that came in and keeps what is for longer than one hop, octet by octet;
//! [`MessageView`] looks at what was kept, and decodes a section only when asked; [`put_header`] makes
//! the header of a delivery, and [`annotate`] adds message annotations. Looking allocates nothing.

mod annotate;
mod header;
mod ingest;
mod sections;
mod view;

pub use crate::annotated::Annotated;
pub use annotate::annotate;
pub use header::put_header;
pub use ingest::{Ingested, ingest};
pub use sections::{MessageError, Section};
pub use view::{Binaries, Body, Lists, MessageView};
