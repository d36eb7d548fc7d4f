//! Which way a request takes through a `Router`: to its handler, or the answer that there is none.
//!
//! Knows what the router consists of, and not how it was put together.

use super::Router;
use crate::http::endpoint::{
    Action, End, MakeReceiver, Next, Wrap, Wrapped, not_implemented, without_body, yet_to_come,
};
use crate::http::method::Method;
use crate::http::normal::unescaped;
use crate::http::request::Request;
use crate::http::response::Response;
use crate::http::routes::{Route, allow};
use crate::http::service::{Accept, Service};
use crate::http::status::Status;

impl Router {
    /// Where a request arrives, and what is wrapped around that by nested routers.
    fn end<'a>(&'a self, request: &mut Request<'a>) -> (End<'a>, &'a [Wrap]) {
        let head = request.head();
        match self.routes.find(request) {
            Some((route, Some(endpoint))) => (End::Endpoint(endpoint), &route.wraps),
            Some((route, None)) => {
                let end = self.without_endpoint(route, head.method(), request);
                (end, &route.wraps)
            }
            None => (self.without_route(head.method(), head.path(), request), &[]),
        }
    }

    /// The path has a route, and the method none of its handlers.
    fn without_endpoint<'a>(
        &'a self,
        route: &Route,
        method: Method,
        request: &Request<'_>,
    ) -> End<'a> {
        match method {
            Method::Trace if self.traces => End::Trace,
            Method::Options => {
                End::Answer(Response::empty(204).header("Allow", &allow([route], self.traces)))
            }
            Method::Other if !self.routes.knows(request.head().method_name()) => not_implemented(),
            _ => End::Answer(Response::error(405).header("Allow", &allow([route], self.traces))),
        }
    }

    fn without_route<'a>(&'a self, method: Method, path: &str, request: &Request<'_>) -> End<'a> {
        match (method, path) {
            (Method::Connect, _) => self
                .connect
                .as_ref()
                .map_or_else(not_implemented, End::Handler),
            (Method::Options, "*") => {
                let allowed = allow(self.routes.list(), self.traces);
                End::Answer(Response::empty(204).header("Allow", &allowed))
            }
            (Method::Trace, _) if self.traces => End::Trace,
            (Method::Other, _) if !self.routes.knows(request.head().method_name()) => {
                not_implemented()
            }
            _ => match &self.fallback {
                Some(handler) => End::Handler(handler),
                None => End::Answer(Response::error(404)),
            },
        }
    }
}

impl Service for Router {
    #[inline]
    fn call<'a>(&'a self, request: &mut Request<'a>) -> Response {
        if request.normal_path().is_none()
            && let Some(response) = self.in_normal_form(request, Router::call)
        {
            return response;
        }
        // Most often there is a handler with nothing around it.
        if self.wraps.is_empty()
            && let Some((route, Some(endpoint))) = self.routes.find(request)
            && route.wraps.is_empty()
            && let Action::Whole(handler) = &endpoint.action
        {
            return handler(request);
        }
        let (end, inner) = self.end(request);
        let next = Next {
            outer: &self.wraps,
            inner,
            end,
        };
        next.run(request)
    }

    fn accept<'a>(&'a self, request: &mut Request<'a>) -> Accept {
        if request.normal_path().is_none()
            && let Some(accept) = self.in_normal_form(request, Router::accept)
        {
            return accept;
        }
        let (end, inner) = self.end(request);
        match end {
            End::Endpoint(endpoint) => match &endpoint.action {
                Action::Whole(_) => self.accept_whole(endpoint.max_body_len, inner, request),
                Action::Pieces(make) => self.accept_pieces(make, inner, request),
            },
            End::Handler(_) => self.accept_whole(None, inner, request),
            End::Trace | End::Answer(_) => {
                let next = Next {
                    outer: &self.wraps,
                    inner,
                    end,
                };
                Accept::Refuse(next.run(request))
            }
        }
    }
}

impl Router {
    /// Does that with a route looked for as if nothing in the path were encoded without need.
    /// `None` if nothing is.
    #[cold]
    fn in_normal_form<T>(
        &self,
        request: &mut Request<'_>,
        then: impl for<'b> FnOnce(&'b Router, &mut Request<'b>) -> T,
    ) -> Option<T> {
        let path = unescaped(request.head().path_bytes())?;
        Some(then(self, &mut request.with_normal(&path)))
    }

    /// A body is put together only for those whom every guard lets through.
    fn accept_whole(
        &self,
        max_len: Option<usize>,
        inner: &[Wrap],
        request: &mut Request<'_>,
    ) -> Accept {
        let next = Next {
            outer: &self.wraps,
            inner,
            end: End::Answer(yet_to_come()),
        };
        if next.is_refused(request) {
            return Accept::Refuse(without_body(next.run(request)));
        }
        Accept::Buffer(max_len)
    }

    fn accept_pieces(
        &self,
        make: &MakeReceiver,
        inner: &[Wrap],
        request: &mut Request<'_>,
    ) -> Accept {
        if self.wraps.is_empty() && inner.is_empty() {
            return match make(request) {
                Ok(receiver) => Accept::Stream(receiver),
                Err(response) => Accept::Refuse(response),
            };
        }
        let next = Next {
            outer: &self.wraps,
            inner,
            end: End::Answer(yet_to_come()),
        };
        let wrapped = next.run(request);
        if wrapped.status != Status::OK || wrapped.error.is_some() {
            return Accept::Refuse(without_body(wrapped));
        }
        match make(request) {
            Ok(receiver) => Accept::Stream(Box::new(Wrapped::new(receiver, wrapped))),
            Err(response) => Accept::Refuse(response.with_fields(&wrapped.fields)),
        }
    }
}
