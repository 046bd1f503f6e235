//! Sans-IO: the head of an HTTP request, and the frames of WebSocket (RFC 6455) behind it, as far as a
//! server needs them that carries the octets of AMQP ("AMQP WebSocket Binding 1.0").
//!
//! Bytes go in by borrow; answers and frames are appended to a buffer that the caller owns. Nothing here
//! opens a socket, reads a clock or draws a random number (a server's frames are not masked), and nothing
//! panics on what a peer sends. To AMQP the content of all messages is one stream (binding, section 2.4), so
//! it is passed on as it comes: no frame and no message is ever gathered, whatever length it announces.
#![forbid(unsafe_code)]

mod frame;
mod origin;
mod reader;
mod request;

pub use frame::{CloseCode, put_binary, put_close, put_pong};
pub use origin::{OriginError, Origins};
pub use reader::{CONTROL_MAX, Closing, FRAME_MAX, FrameError, Item, Reader};
pub use request::{Answer, HEAD_MAX, HEADERS_MAX, Refusal, answer};
