//! What the requests of the table are sent to.

use windlass::http::{Fields, Flow, Pulled, Receiver, Request, Response, Router};
use windlass::protocol::Echo;
use windlass::{Intents, Raw};

pub(crate) fn site() -> Router {
    let words = || {
        let mut words = ["one ", "two ", "three"].into_iter();
        move |out: &mut Vec<u8>| match words.next() {
            Some(word) => {
                out.extend_from_slice(word.as_bytes());
                Pulled::More
            }
            None => Pulled::End,
        }
    };
    let echo = |request: &mut Request<'_>| Response::of(request.body().to_vec());
    Router::new()
        .get("/", |_| Response::text("home"))
        .get("/host", |request| {
            Response::text(request.head().host().to_owned())
        })
        .get("/p/{x}", |request| {
            Response::text(request.param("x").into_owned())
        })
        .post("/echo", echo)
        .post("/small", echo)
        .max_body_len(4)
        .any("/any", |_| Response::text("any"))
        .get("/close", |_| Response::text("bye").close())
        .get("/empty", |_| Response::empty(204))
        .get("/same", |_| Response::text("not sent").status(304))
        .get("/stream", move |_| Response::stream(words()))
        .get("/length", move |_| Response::stream_of(13, words()))
        .connect(|request| match request.head().host() {
            "success:443" => Response::text("no tunnel"),
            _ => Response::error(501),
        })
        .get("/shout", |_| {
            Response::upgrade("shout", Echo::<Raw>::default())
        })
        .get("/interim", |_| Response::empty(103))
        .get("/reset", |_| Response::text("not sent").status(205))
        .receive("PUT", "/upload", |_| Ok(Counter(0)))
}

struct Counter(usize);

impl Receiver for Counter {
    fn on_bytes(&mut self, bytes: &[u8], _: &mut Intents) -> Flow {
        self.0 += bytes.len();
        Flow::More
    }

    fn on_end(&mut self, _: Fields<'_>, _: &mut Intents) -> Response {
        Response::text(self.0.to_string())
    }
}
