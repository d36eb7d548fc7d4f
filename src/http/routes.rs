//! `Routes`: patterns with their handlers, and which of them serves a request.
//!
//! Knows paths and methods; what is done with what was found is the router's business.

use super::endpoint::{Action, Endpoint, Wrap};
use super::error::RouteError;
use super::fields::is_token;
use super::head::Head;
use super::method::Method;
use super::paths::Paths;
use super::request::Request;
use super::response::Response;

#[derive(Default)]
pub(super) struct Routes {
    paths: Paths,
    list: Vec<Route>,
    /// The route that something was added to last.
    last: usize,
}

/// A pattern with its handlers.
pub(super) struct Route {
    pub(super) pattern: String,
    pub(super) endpoints: Vec<Endpoint>,
    /// Those of the nested router that the route came from, outermost first.
    pub(super) wraps: Vec<Wrap>,
    /// Of a directory `/`: what answers at the prefix that it is nested below.
    pub(super) without_slash: Option<fn(&Request<'_>) -> Response>,
}

impl Routes {
    /// Adds what serves a method of a pattern, or all that have nothing of their own (`None`).
    pub(super) fn insert(
        &mut self,
        pattern: &str,
        method: Option<&str>,
        action: Action,
    ) -> Result<(), RouteError> {
        if method.is_some_and(|method| !is_token(method.as_bytes())) {
            return Err(RouteError::Method);
        }
        if !pattern.starts_with('/') {
            return Err(RouteError::Pattern);
        }
        let endpoint = Endpoint {
            method: method.map(str::to_owned),
            known: method.map_or(Method::Other, |name| Method::of(name.as_bytes())),
            max_body_len: None,
            action,
        };
        let known = self.list.iter().position(|route| route.pattern == pattern);
        if let Some(index) = known {
            let endpoints = &mut self.list[index].endpoints;
            if endpoints
                .iter()
                .any(|other| other.method == endpoint.method)
            {
                return Err(RouteError::Taken);
            }
            endpoints.push(endpoint);
            self.last = index;
            return Ok(());
        }
        self.paths.insert(pattern, self.list.len())?;
        self.last = self.list.len();
        self.list.push(Route {
            pattern: pattern.to_owned(),
            endpoints: vec![endpoint],
            wraps: Vec::new(),
            without_slash: None,
        });
        Ok(())
    }

    /// Adds what a nested router has, with what is around it there.
    ///
    /// # Panics
    /// It cannot be added: a mistake in the program.
    pub(super) fn insert_nested(
        &mut self,
        pattern: &str,
        endpoint: &Endpoint,
        outer: &[Wrap],
        inner: &[Wrap],
    ) {
        let method = endpoint.method.as_deref();
        if let Err(error) = self.insert(pattern, method, endpoint.action.clone()) {
            panic!("{pattern}: {error}");
        }
        let Some(route) = self.last_mut() else {
            return;
        };
        route.wraps = outer.iter().chain(inner).cloned().collect();
        if let Some(added) = route.endpoints.last_mut() {
            added.max_body_len = endpoint.max_body_len;
        }
    }

    /// The route that something was added to last.
    pub(super) fn last_mut(&mut self) -> Option<&mut Route> {
        self.list.get_mut(self.last)
    }

    /// All of them, in the order in which they were added.
    pub(super) fn list(&self) -> &[Route] {
        &self.list
    }

    pub(super) fn into_list(self) -> Vec<Route> {
        self.list
    }

    /// The route of a request's path, and what serves its method there.
    #[inline]
    pub(super) fn find<'a>(
        &'a self,
        request: &mut Request<'a>,
    ) -> Option<(&'a Route, Option<&'a Endpoint>)> {
        let head = request.head();
        let path = request.normal_path().unwrap_or(head.path_bytes());
        let found = self.paths.find(path)?;
        if let Some(params) = found.params {
            request.set_params(params);
        }
        let route = &self.list[found.route];
        Some((route, route.endpoint(head)))
    }

    /// Whether any route has a handler for a method that is not one of the standard.
    pub(super) fn knows(&self, method_name: &str) -> bool {
        let endpoints = self.list.iter().flat_map(|route| &route.endpoints);
        endpoints
            .filter_map(|endpoint| endpoint.method.as_deref())
            .any(|method| method == method_name)
    }
}

impl Route {
    #[inline]
    fn endpoint(&self, head: &Head<'_>) -> Option<&Endpoint> {
        let method = head.method();
        let is_its = |endpoint: &&Endpoint| match method {
            Method::Other => endpoint.method.as_deref() == Some(head.method_name()),
            _ => endpoint.known == method,
        };
        let own = self.endpoints.iter().find(is_its);
        own.or_else(|| self.other_endpoint(method))
    }

    /// What serves a method that has no handler of its own.
    fn other_endpoint(&self, method: Method) -> Option<&Endpoint> {
        let get = self
            .endpoints
            .iter()
            .find(|endpoint| endpoint.known == Method::Get);
        let any = self
            .endpoints
            .iter()
            .find(|endpoint| endpoint.method.is_none());
        match method {
            Method::Head => get.or(any),
            // Never meant by "any".
            Method::Trace | Method::Connect => None,
            _ => any,
        }
    }
}

/// The value of `Allow` (RFC 9110, section 10.2.1) where these routes are meant, and TRACE is
/// answered or not.
pub(super) fn allow<'a>(routes: impl IntoIterator<Item = &'a Route>, traces: bool) -> String {
    let mut names: Vec<&str> = Vec::new();
    for endpoint in routes.into_iter().flat_map(|route| &route.endpoints) {
        match endpoint.method.as_deref() {
            Some("GET") => names.extend(["GET", "HEAD"]),
            Some(name) => names.push(name),
            None => names.extend(Method::ALL.map(Method::name)),
        }
    }
    names.push("OPTIONS");
    if traces {
        names.push("TRACE");
    }
    names.sort_unstable();
    names.dedup();
    names.join(", ")
}
