//! Bytes that are not what they were, on their way through everything that makes digests of them:
//! frames, HTTP, files. (`sealed.rs` is about handshakes and sealed frames.)

mod checked;
mod files;
mod http_digests;
mod http_signed;
mod path;
