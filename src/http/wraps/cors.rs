//! Cross-origin requests: which pages of other sites a browser lets see our answers.
//!
//! The server's side of CORS (WHATWG Fetch, section 3.2). Knows no routes.

use std::time::Duration;

use crate::http::endpoint::Next;
use crate::http::method::Method;
use crate::http::request::Request;
use crate::http::response::Response;

/// Tells browsers which other sites may use this one, and answers their preflight requests.
///
/// It protects no server: whoever is no browser asks as they like. Without it, browsers keep
/// answers from all other sites.
///
/// ```
/// use std::time::Duration;
/// use windlass::http::{Response, Router, wraps::Cors};
///
/// let cors = Cors::origins(["https://example.org"])
///     .methods(&["GET", "PUT"])
///     .request_fields(&["Content-Type", "Authorization"])
///     .max_age(Duration::from_secs(600));
/// let router = Router::new().get("/", |_| Response::json("{}")).wrap(cors.wrap());
/// # drop(router);
/// ```
#[derive(Clone, Debug)]
pub struct Cors {
    /// `None`: any.
    origins: Option<Vec<String>>,
    methods: String,
    request_fields: String,
    exposed_fields: String,
    allows_credentials: bool,
    max_age: Option<Duration>,
}

impl Cors {
    /// For pages of any site, which cannot send credentials then.
    pub fn any() -> Cors {
        Cors::new(None)
    }

    /// For pages of these, each written as a browser does: `https://example.org`, with a port if
    /// it is not the scheme's.
    pub fn origins<O: Into<String>>(origins: impl IntoIterator<Item = O>) -> Cors {
        Cors::new(Some(origins.into_iter().map(Into::into).collect()))
    }

    fn new(origins: Option<Vec<String>>) -> Cors {
        Cors {
            origins,
            methods: METHODS.to_owned(),
            request_fields: "Content-Type".to_owned(),
            exposed_fields: String::new(),
            allows_credentials: false,
            max_age: None,
        }
    }

    /// Methods that they may use. Default: GET, HEAD, POST, PUT, PATCH, DELETE.
    #[must_use]
    pub fn methods(mut self, methods: &[&str]) -> Cors {
        self.methods = methods.join(", ");
        self
    }

    /// Fields that their requests may have besides what is always allowed. Default: `Content-Type`.
    #[must_use]
    pub fn request_fields(mut self, names: &[&str]) -> Cors {
        self.request_fields = names.join(", ");
        self
    }

    /// Fields of answers that they may see besides what they always may. Default: none.
    #[must_use]
    pub fn exposed_fields(mut self, names: &[&str]) -> Cors {
        self.exposed_fields = names.join(", ");
        self
    }

    /// Lets them send cookies and passwords, and see what is answered to those.
    ///
    /// # Panics
    /// For pages of any site: each of them could act for whoever visits it.
    #[must_use]
    pub fn credentials(mut self) -> Cors {
        assert!(
            self.origins.is_some(),
            "credentials are for sites that are named"
        );
        self.allows_credentials = true;
        self
    }

    /// How long a browser may rely on the answer to a preflight request, in whole seconds. Default:
    /// the browser's, a few seconds.
    #[must_use]
    pub fn max_age(mut self, age: Duration) -> Cors {
        self.max_age = Some(age);
        self
    }

    /// What to wrap around handlers.
    pub fn wrap(self) -> impl Fn(&mut Request<'_>, Next<'_>) -> Response + 'static {
        move |request, next| {
            let is_preflight = request.method() == Method::Options
                && request.header("Origin").is_some()
                && request.header("Access-Control-Request-Method").is_some();
            if is_preflight {
                return self.preflight(request);
            }
            let response = next.run(request);
            let response = self.with_origin(response, request);
            match self.exposed_fields.as_str() {
                "" => response,
                names => response.header("Access-Control-Expose-Headers", names),
            }
        }
    }

    /// Answers a request that asks whether another may be sent.
    fn preflight(&self, request: &Request<'_>) -> Response {
        let mut response = self.with_origin(Response::empty(204), request);
        if !self.allows(request) {
            return response;
        }
        response = response.header("Access-Control-Allow-Methods", &self.methods);
        if !self.request_fields.is_empty() {
            response = response.header("Access-Control-Allow-Headers", &self.request_fields);
        }
        match self.max_age {
            Some(age) => response.header("Access-Control-Max-Age", &age.as_secs().to_string()),
            None => response,
        }
    }

    fn allows(&self, request: &Request<'_>) -> bool {
        let origin = request.header("Origin");
        match &self.origins {
            None => origin.is_some(),
            Some(origins) => origins.iter().any(|own| Some(own.as_str()) == origin),
        }
    }

    fn with_origin(&self, response: Response, request: &Request<'_>) -> Response {
        // A cache must not give one site what was answered to another, or to none.
        let response = match self.origins {
            None => response,
            Some(_) => response.header("Vary", "Origin"),
        };
        if !self.allows(request) {
            return response;
        }
        let origin = match self.origins {
            None => "*",
            Some(_) => request.header("Origin").unwrap_or_default(),
        };
        let response = response.header("Access-Control-Allow-Origin", origin);
        if self.allows_credentials {
            return response.header("Access-Control-Allow-Credentials", "true");
        }
        response
    }
}

const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::testing::ask;
    use crate::http::{Router, Server};

    const PREFLIGHT: &str = "Access-Control-Request-Method: PUT\r\n";

    /// The lines about other origins, in their order.
    #[track_caller]
    fn check(cors: Cors, method: &str, fields: &str, status: u16, expected: &[&str]) {
        let router = Router::new()
            .get("/", |_| Response::text("home"))
            .wrap(cors.wrap());
        let request = format!("{method} / HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
        let answer = ask(&Server::new(router), request.as_bytes());
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
        let lines = answer.lines();
        let lines: Vec<&str> = lines
            .filter_map(|line| {
                line.strip_prefix("Access-Control-")
                    .or(line.strip_prefix("Vary"))
            })
            .collect();
        assert_eq!(lines, expected);
    }

    fn some() -> Cors {
        Cors::origins(["https://a.example", "https://b.example:8443"])
    }

    #[test]
    fn a_site_that_is_named_may_see_answers_and_others_may_not() {
        let allowed = [": Origin", "Allow-Origin: https://b.example:8443"];
        check(
            some(),
            "GET",
            "Origin: https://b.example:8443\r\n",
            200,
            &allowed,
        );
        for other in [
            "https://c.example",
            "https://a.example.evil",
            "http://a.example",
            "null",
        ] {
            check(
                some(),
                "GET",
                &format!("Origin: {other}\r\n"),
                200,
                &[": Origin"],
            );
        }
        check(some(), "GET", "", 200, &[": Origin"]);
    }

    #[test]
    fn any_site_may_see_answers_without_credentials() {
        check(
            Cors::any(),
            "GET",
            "Origin: https://x\r\n",
            200,
            &["Allow-Origin: *"],
        );
        check(Cors::any(), "GET", "", 200, &[]);
        let panics = std::panic::catch_unwind(|| Cors::any().credentials());
        assert!(panics.is_err());
    }

    #[test]
    fn a_preflight_request_is_answered_without_the_handler() {
        let cors = || {
            let cors = some().credentials().request_fields(&["X-A", "X-B"]);
            cors.methods(&["PUT"])
                .exposed_fields(&["X-C"])
                .max_age(Duration::from_secs(60))
        };
        let fields = format!("Origin: https://a.example\r\n{PREFLIGHT}");
        let expected = [
            ": Origin",
            "Allow-Origin: https://a.example",
            "Allow-Credentials: true",
            "Allow-Methods: PUT",
            "Allow-Headers: X-A, X-B",
            "Max-Age: 60",
        ];
        check(cors(), "OPTIONS", &fields, 204, &expected);
        let fields = format!("Origin: https://c.example\r\n{PREFLIGHT}");
        check(cors(), "OPTIONS", &fields, 204, &[": Origin"]);
        let expected = [
            ": Origin",
            "Allow-Origin: https://a.example",
            "Allow-Credentials: true",
            "Expose-Headers: X-C",
        ];
        check(
            cors(),
            "OPTIONS",
            "Origin: https://a.example\r\n",
            204,
            &expected,
        );
    }
}
