//! ntex on tokio, with one worker.
//!
//! Knows nothing of what is measured.

use std::net::SocketAddr;

use ntex::http::header::{CONTENT_TYPE, SERVER};
use ntex::web::{self, App, HttpResponse, HttpServer};

use super::{BODY, Served};

async fn hello() -> HttpResponse {
    HttpResponse::Ok()
        .header(SERVER, "ntex")
        .header(CONTENT_TYPE, "text/plain")
        .body(BODY)
}

pub(crate) fn serve(address: SocketAddr) -> Served {
    let system = ntex::rt::System::new("peers", ntex::rt::DefaultRuntime);
    let served = system.block_on(async move {
        HttpServer::new(async || App::new().service(web::resource("/").route(web::get().to(hello))))
            .workers(1)
            .listen(super::listen(address)?)?
            .run()
            .await
    });
    Ok(served?)
}
