//! may_minihttp, on one worker thread of `may`.
//!
//! Knows nothing of what is measured.

use std::io;
use std::net::SocketAddr;

use may_minihttp::{HttpServer, HttpService, Request, Response};

use super::{BODY, Served};

#[derive(Clone)]
struct Hello;

impl HttpService for Hello {
    fn call(&mut self, _: Request<'_, '_, '_>, response: &mut Response<'_>) -> io::Result<()> {
        response.header("Content-Type: text/plain").body(BODY);
        Ok(())
    }
}

pub(crate) fn serve(address: SocketAddr) -> Served {
    may::config().set_workers(1);
    let server = HttpServer(Hello).start(address)?;
    server.wait();
    Ok(())
}
