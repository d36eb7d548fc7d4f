//! actix-web, with one worker.
//!
//! Knows nothing of what is measured.

use std::net::SocketAddr;

use actix_web::http::KeepAlive;
use actix_web::http::header::{CONTENT_TYPE, SERVER};
use actix_web::{App, HttpResponse, HttpServer, web};

use super::{BODY, Served};

pub(crate) fn serve(address: SocketAddr) -> Served {
    let hello = || async {
        HttpResponse::Ok()
            .insert_header((SERVER, "actix"))
            .insert_header((CONTENT_TYPE, "text/plain"))
            .body(BODY)
    };
    let server = HttpServer::new(move || App::new().route("/", web::get().to(hello)))
        .keep_alive(KeepAlive::Os)
        .workers(1)
        .listen(super::listen(address)?)?
        .run();
    Ok(actix_web::rt::System::new().block_on(server)?)
}
