//! `Router`: paths and methods to handlers.
//!
//! What is built up, wrapped and nested; which way a request takes through it is in `dispatch`.
//! Knows requests and responses, and nothing of how they come and go.

mod dispatch;

use std::fmt;
use std::rc::Rc;

use crate::http::endpoint::{Action, Endpoint, Handler, Next, Wrap};
use crate::http::error::RouteError;
use crate::http::request::Request;
use crate::http::response::Response;
use crate::http::routes::Routes;
use crate::http::service::Receiver;

/// A service that is put together of handlers.
///
/// A pattern is a path with parameters: `{name}` stands for one part of the path, `{*name}` at the
/// end for all that is left. Fixed parts win over parameters. Letters, digits and `-._~` that a
/// request has percent-encoded without need are decoded before a route is looked for, and nothing
/// else is (RFC 9110, section 4.2.3). A handler is a closure from `&mut Request` to [`Response`].
///
/// ```
/// use windlass::http::{Response, Router};
///
/// let router = Router::new()
///     .get("/", |_| Response::text("home"))
///     .get("/users/{id}", |request| Response::text(format!("user {}", request.param("id"))))
///     .nest("/v2", Router::new().get("/users", |_| Response::json("[]")))
///     .wrap(|request, next| next.run(request).header("X-Powered-By", "wind"));
/// # drop(router);
/// ```
///
/// What no handler is for is answered so (RFC 9110, section 15.5):
///
/// | request | answer |
/// |---|---|
/// | a path without a route | the fallback's, or 404 |
/// | HEAD, where GET has a handler | that of GET, without the body |
/// | OPTIONS on a path with a route | 204 with `Allow` |
/// | `OPTIONS *` | 204 with `Allow` of all routes |
/// | a method that others of the path have not | 405 with `Allow` |
/// | a method that nobody knows, or CONNECT without a handler | 501 |
///
/// TRACE is such a method too, unless [`Router::trace`] turns it on.
#[derive(Default)]
pub struct Router {
    routes: Routes,
    fallback: Option<Handler>,
    connect: Option<Handler>,
    wraps: Vec<Wrap>,
    traces: bool,
}

macro_rules! methods {
    ($($function:ident $method:ident)+) => { $(
        #[doc = concat!("Adds a handler for ", stringify!($method), ".")]
        ///
        /// # Panics
        /// As [`Router::method`].
        #[must_use]
        pub fn $function(
            self,
            pattern: &str,
            handler: impl Fn(&mut Request<'_>) -> Response + 'static,
        ) -> Router {
            self.method(stringify!($method), pattern, handler)
        }
    )+ };
}

impl Router {
    /// One without routes.
    pub fn new() -> Router {
        Router::default()
    }

    methods! { get GET  head HEAD  post POST  put PUT  delete DELETE  patch PATCH  options OPTIONS }

    /// Adds a handler for any method, named as it is sent.
    ///
    /// # Panics
    /// The pattern or the method is malformed, or there is a handler already: a mistake in the
    /// program, and one that shows at its start. [`Router::add`] returns it as an error.
    #[must_use]
    pub fn method(
        mut self,
        method: &str,
        pattern: &str,
        handler: impl Fn(&mut Request<'_>) -> Response + 'static,
    ) -> Router {
        if let Err(error) = self.add(Some(method), pattern, handler) {
            panic!("{method} {pattern}: {error}");
        }
        self
    }

    /// Adds a handler for all methods that have none of their own.
    ///
    /// # Panics
    /// As [`Router::method`].
    #[must_use]
    pub fn any(
        mut self,
        pattern: &str,
        handler: impl Fn(&mut Request<'_>) -> Response + 'static,
    ) -> Router {
        if let Err(error) = self.add(None, pattern, handler) {
            panic!("{pattern}: {error}");
        }
        self
    }

    /// Adds a route whose body is not put together, but given away as it arrives: `make` makes its
    /// [`Receiver`] when the head is here, or answers at once.
    ///
    /// # Panics
    /// As [`Router::method`].
    #[must_use]
    pub fn receive<R: Receiver + 'static>(
        mut self,
        method: &str,
        pattern: &str,
        make: impl Fn(&mut Request<'_>) -> Result<R, Response> + 'static,
    ) -> Router {
        let make = move |request: &mut Request<'_>| match make(request) {
            Ok(receiver) => Ok(Box::new(receiver) as Box<dyn Receiver>),
            Err(response) => Err(response),
        };
        let action = Action::Pieces(Rc::new(make));
        if let Err(error) = self.routes.insert(pattern, Some(method), action) {
            panic!("{method} {pattern}: {error}");
        }
        self
    }

    /// Adds a handler for a method, or for all that have none of their own (`None`).
    ///
    /// # Errors
    /// The pattern or the method is malformed, or there is a handler already.
    pub fn add(
        &mut self,
        method: Option<&str>,
        pattern: &str,
        handler: impl Fn(&mut Request<'_>) -> Response + 'static,
    ) -> Result<(), RouteError> {
        let action = Action::Whole(Rc::new(handler));
        self.routes.insert(pattern, method, action)
    }

    /// Allows bodies up to `len` bytes in the handlers that were added last: those of one pattern.
    #[must_use]
    pub fn max_body_len(mut self, len: usize) -> Router {
        if let Some(route) = self.routes.last_mut() {
            for endpoint in &mut route.endpoints {
                endpoint.max_body_len = Some(len);
            }
        }
        self
    }

    /// Adds the routes of another router below a prefix such as `/api`, with what is wrapped around
    /// them; its `/` becomes the prefix itself, and a directory of files there is found with a
    /// slash behind it. A slash at the prefix's end makes no difference. Its fallback is left out.
    ///
    /// # Panics
    /// As [`Router::method`].
    #[must_use]
    pub fn nest(mut self, prefix: &str, other: Router) -> Router {
        let prefix = prefix.trim_end_matches('/');
        for route in other.routes.into_list() {
            let pattern = match route.pattern.as_str() {
                "/" if route.without_slash.is_none() && !prefix.is_empty() => prefix.to_owned(),
                pattern => format!("{prefix}{pattern}"),
            };
            for endpoint in &route.endpoints {
                self.routes
                    .insert_nested(&pattern, endpoint, &other.wraps, &route.wraps);
            }
            if let Some(handler) = route.without_slash {
                if prefix.is_empty() {
                    self = self.directory(handler);
                    continue;
                }
                for endpoint in &route.endpoints {
                    let action = Action::Whole(Rc::new(move |request| handler(request)));
                    let endpoint = Endpoint {
                        action,
                        ..endpoint.clone()
                    };
                    self.routes
                        .insert_nested(prefix, &endpoint, &other.wraps, &route.wraps);
                }
            }
        }
        self
    }

    /// Answers what no route is for; 404 without it.
    #[must_use]
    pub fn fallback(mut self, handler: impl Fn(&mut Request<'_>) -> Response + 'static) -> Router {
        self.fallback = Some(Rc::new(handler));
        self
    }

    /// Answers CONNECT; [`Response::tunnel`] hands the connection over.
    #[must_use]
    pub fn connect(mut self, handler: impl Fn(&mut Request<'_>) -> Response + 'static) -> Router {
        self.connect = Some(Rc::new(handler));
        self
    }

    /// Answers TRACE on every path with the head of the request, but for fields that may hold
    /// secrets (RFC 9110, section 9.3.8). Off, because scripts in a browser must not see those.
    #[must_use]
    pub fn trace(mut self) -> Router {
        self.traces = true;
        self
    }

    /// Wraps something around all handlers, fallback and refusals included: it sees the request,
    /// runs what is within, and may change the answer; or it answers itself. What was wrapped
    /// around last is outermost.
    ///
    /// A body that is received piece by piece has begun to arrive before its answer exists: there,
    /// what is wrapped around sees an answer of 200 without a body. Fields that it adds are added
    /// to the real answer later; with another status it refuses.
    #[must_use]
    pub fn wrap(
        mut self,
        wrap: impl Fn(&mut Request<'_>, Next<'_>) -> Response + 'static,
    ) -> Router {
        self.wraps.insert(0, Wrap::Around(Rc::new(wrap)));
        self
    }

    /// As [`Router::wrap`], around the handlers that were added last: those of one pattern.
    #[must_use]
    pub fn wrap_route(
        mut self,
        wrap: impl Fn(&mut Request<'_>, Next<'_>) -> Response + 'static,
    ) -> Router {
        if let Some(route) = self.routes.last_mut() {
            route.wraps.insert(0, Wrap::Around(Rc::new(wrap)));
        }
        self
    }

    /// Puts a guard before all handlers, as [`Router::wrap`] puts something around them: it is
    /// shown a request whose body is not there yet, and lets it through or refuses it.
    ///
    /// A request with a body is shown to it twice: before the body is read, so that nothing is put
    /// together (and no `100 Continue` sent) for whoever is refused, and again with the body, since
    /// a service around the router need not have asked before. What is wrapped around a guard sees
    /// its refusals.
    ///
    /// ```
    /// use windlass::http::{Request, Response, Router};
    ///
    /// let local = |request: &mut Request<'_>| match request.header("X-Key") {
    ///     Some("7") => Ok(()),
    ///     _ => Err(Response::error(403)),
    /// };
    /// let router = Router::new().post("/", |_| Response::text("thanks")).guard(local);
    /// # drop(router);
    /// ```
    #[must_use]
    pub fn guard(
        mut self,
        guard: impl Fn(&mut Request<'_>) -> Result<(), Response> + 'static,
    ) -> Router {
        self.wraps.insert(0, Wrap::Guard(Rc::new(guard)));
        self
    }

    /// As [`Router::guard`], before the handlers that were added last: those of one pattern.
    #[must_use]
    pub fn guard_route(
        mut self,
        guard: impl Fn(&mut Request<'_>) -> Result<(), Response> + 'static,
    ) -> Router {
        if let Some(route) = self.routes.last_mut() {
            route.wraps.insert(0, Wrap::Guard(Rc::new(guard)));
        }
        self
    }

    /// The route that was added last, `/`, is a directory's: nested below a prefix it is that with
    /// a slash, and `handler` answers without.
    pub(super) fn directory(mut self, handler: fn(&Request<'_>) -> Response) -> Router {
        if let Some(route) = self.routes.last_mut() {
            route.without_slash = Some(handler);
        }
        self
    }
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let patterns = self.routes.list().iter().map(|route| &route.pattern);
        f.debug_list().entries(patterns).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Server;
    use crate::http::testing::ask;

    /// Asks a router, and expects the status and this in the answer.
    #[track_caller]
    fn check(router: Router, request_line: &str, status: u16, part: &str) {
        let request = format!("{request_line} HTTP/1.1\r\nHost: h\r\n\r\n");
        let answer = ask(&Server::new(router), request.as_bytes());
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
        assert!(answer.contains(part), "{answer}");
    }

    #[test]
    fn a_route_is_found_by_the_normal_form_of_a_path_that_handlers_see_as_it_was_sent() {
        let seen = |request: &mut Request<'_>| {
            let (head, raw) = (request.head(), request.raw_param("x"));
            Response::text(format!("{} {} {raw}", head.target(), request.path()))
        };
        let router = Router::new().get("/plain/{x}", seen);
        let part = "/%70lain/%61%2Fb?%63 /%70lain/%61%2Fb a%2Fb";
        check(router, "GET /%70lain/%61%2Fb?%63", 200, part);
    }

    fn site() -> Router {
        Router::new()
            .get("/", |_| Response::text("home"))
            .get("/a/{x}", |request| {
                Response::text(request.param("x").into_owned())
            })
            .put("/a/{x}", |_| Response::text("put"))
            .any("/any", |_| Response::text("any"))
            .get("/{*rest}", |request| {
                Response::text(request.param("rest").into_owned())
            })
            .method("PURGE", "/a/{x}", |_| Response::text("purged"))
    }

    #[test]
    fn a_path_leads_to_its_handler() {
        check(site(), "GET /", 200, "home");
        check(site(), "GET /a/b%2Fc%20d", 200, "b/c d");
        check(site(), "GET /x/y", 200, "x/y");
        check(site(), "PURGE /a/b", 200, "purged");
        check(site(), "PATCH /any", 200, "any");
        check(Router::new(), "GET /", 404, "Not Found");
    }

    #[test]
    fn a_method_without_a_handler_is_told_which_there_are() {
        check(
            site(),
            "DELETE /a/b",
            405,
            "Allow: GET, HEAD, OPTIONS, PURGE, PUT\r\n",
        );
        check(
            site(),
            "OPTIONS /a/b",
            204,
            "Allow: GET, HEAD, OPTIONS, PURGE, PUT\r\n",
        );
        check(Router::new(), "OPTIONS *", 204, "Allow: OPTIONS\r\n");
        check(site(), "BREW /a/b", 501, "");
        check(site(), "BREW /", 501, "");
        check(site(), "PURGE /", 405, "Allow");
        check(site(), "CONNECT h:1", 501, "");
        check(site(), "TRACE /any", 405, "Allow");
    }

    #[test]
    fn a_head_is_that_of_a_get_without_its_body() {
        let request = b"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n";
        let answer = ask(&Server::new(site()), request);
        assert!(answer.contains("Content-Length: 4\r\n"), "{answer}");
        assert!(answer.ends_with("\r\n\r\n"), "{answer}");
    }

    #[test]
    fn a_trace_shows_the_head_without_secrets() {
        let request = b"TRACE /a HTTP/1.1\r\nHost: h\r\nCookie: c\r\nX: y\r\n\r\n";
        let answer = ask(&Server::new(site().trace()), request);
        let body = "\r\n\r\nTRACE /a HTTP/1.1\r\nHost: h\r\nX: y\r\n\r\n";
        assert!(answer.ends_with(body), "{answer}");
    }

    #[test]
    fn a_nested_router_lies_below_its_prefix_with_what_is_wrapped_around_it() {
        let inner = Router::new()
            .get("/", |_| Response::text("inner home"))
            .get("/{x}", |request| {
                Response::text(request.param("x").into_owned())
            })
            .wrap(|request, next| next.run(request).header("Inner", "yes"));
        let outer = || Router::new().get("/", |_| Response::text("outer"));
        let both = outer().nest("/in", inner);
        let wrapped = both.wrap(|request, next| match request.path() {
            "/in/secret" => Response::error(403),
            _ => next.run(request).header("Outer", "yes"),
        });
        let server = Server::new(wrapped);
        let get = |path: &str| ask(&server, format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes());
        assert!(get("/in").contains("Inner: yes\r\nOuter: yes\r\n"));
        assert!(get("/in/x").ends_with("\r\n\r\nx"));
        assert!(get("/in/secret").starts_with("HTTP/1.1 403 "));
        assert!(!get("/").contains("Inner"));
        assert!(get("/nowhere").contains("Outer: yes"));
    }

    #[test]
    fn a_slash_at_the_end_of_a_prefix_makes_no_difference() {
        let inner = || {
            Router::new()
                .get("/", |_| Response::text("home"))
                .get("/x", |_| Response::text("x"))
        };
        for prefix in ["/in", "/in/"] {
            check(Router::new().nest(prefix, inner()), "GET /in", 200, "home");
            check(Router::new().nest(prefix, inner()), "GET /in/x", 200, "x");
        }
        for prefix in ["", "/"] {
            check(Router::new().nest(prefix, inner()), "GET /", 200, "home");
            check(Router::new().nest(prefix, inner()), "GET /x", 200, "x");
        }
    }

    #[test]
    fn a_route_that_cannot_be_is_refused() {
        let mut router = site();
        let mut add = |method, pattern| router.add(method, pattern, |_| Response::text(""));
        assert_eq!(add(Some("GET"), "/"), Err(RouteError::Taken));
        assert_eq!(add(Some("G T"), "/b"), Err(RouteError::Method));
        assert_eq!(add(Some("GET"), "b"), Err(RouteError::Pattern));
        assert_eq!(add(Some("GET"), "/{b"), Err(RouteError::Pattern));
        assert_eq!(add(Some("GET"), "/a/{y}"), Err(RouteError::Taken));
        assert_eq!(add(None, "/"), Ok(()));
    }
}
