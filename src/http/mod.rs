//! HTTP/1.1 and 1.0 servers (RFC 9110, RFC 9112).
//!
//! An ordinary tenant of the reactor: a decoder and a protocol as anybody could write them. Knows
//! neither connections nor the reactor.

mod chunked;
mod decoder;
mod error;
mod fields;
mod head;
mod limits;
mod status;
mod target;

pub use decoder::{Part, Requests};
pub use error::RequestError;
pub use fields::{Fields, FieldsIter};
pub use head::{Head, Length, Method, Version};
pub use limits::Limits;
pub use status::Status;
