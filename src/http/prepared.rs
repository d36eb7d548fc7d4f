//! `Prepared`: answers that were given before in the same second, as they went out.
//!
//! Knows which answers are alike, and nothing of how they are written.

use std::cell::RefCell;
use std::ptr;

use super::body::Body;
use super::method::{Method, Version};
use super::response::Response;
use super::status::Status;
use super::writer::Asked;
use crate::buffer::Outbox;

/// Some of the answers of this second. One copy sends what takes a dozen otherwise.
///
/// Costs at most `SLOTS` times `MAX_BODY_LEN` and a head.
#[derive(Debug, Default)]
pub(crate) struct Prepared {
    slots: [RefCell<Slot>; SLOTS],
}

#[derive(Debug, Default)]
struct Slot {
    /// The one that its date is of, since 1970.
    second: u64,
    answer: Option<Fixed>,
    bytes: Vec<u8>,
}

/// An answer of which only the date ever changes: 200 with a constant body and no fields of its
/// own, to a peer that stays. Such a response owns no memory. Two of them are alike if their
/// constants are the same ones in memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fixed {
    content_type: &'static str,
    body: &'static [u8],
}

impl Fixed {
    /// Whether `response` is such an answer.
    #[inline(always)]
    pub(crate) fn of(response: &Response, asked: &Asked) -> Option<Fixed> {
        let is_usual = asked.keeps_alive
            && asked.version == Version::Http11
            && asked.method == Method::Get
            && response.status == Status::OK
            && response.fields.capacity() == 0
            && response.shared_fields.is_none()
            && response.error.is_none();
        match response.body {
            Body::Static(body) if is_usual && body.len() <= MAX_BODY_LEN => Some(Fixed {
                content_type: response.content_type?,
                body,
            }),
            _ => None,
        }
    }

    #[inline(always)]
    fn is(self, other: Fixed) -> bool {
        ptr::eq(self.body, other.body) && ptr::eq(self.content_type, other.content_type)
    }

    #[inline(always)]
    fn slot(self) -> usize {
        (self.body.as_ptr().addr() / 16) % SLOTS
    }
}

impl Prepared {
    /// Sends the answer if it is there. Answers whether it is.
    #[inline(always)]
    pub(crate) fn put(&self, fixed: Fixed, second: u64, out: &mut Outbox) -> bool {
        let slot = self.slots[fixed.slot()].borrow();
        let is_there = slot.second == second && slot.answer.is_some_and(|own| own.is(fixed));
        if is_there {
            out.put(&slot.bytes);
        }
        is_there
    }

    /// Keeps the answer, which `write` writes, unless another one of this second is in its place.
    #[cold]
    pub(crate) fn keep(&self, fixed: Fixed, second: u64, write: impl FnOnce(&mut Vec<u8>)) {
        let slot = &mut *self.slots[fixed.slot()].borrow_mut();
        if slot.answer.is_none() || slot.second != second {
            slot.second = second;
            slot.answer = Some(fixed);
            slot.bytes.clear();
            write(&mut slot.bytes);
        }
    }
}

/// Answers that are kept.
const SLOTS: usize = 8;
/// Bytes of a body that is kept with its head.
const MAX_BODY_LEN: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_there_for_the_second_that_it_was_written_in() {
        let prepared = Prepared::default();
        let asked = Asked::USUAL;
        let of = |body: &'static str| Fixed::of(&Response::text(body), &asked).unwrap();
        static TEXT: &str = "some text, and more of it";
        let (whole, part) = (of(TEXT), of(&TEXT[..4]));
        let put = |fixed, second| {
            let mut out = Outbox::new();
            prepared
                .put(fixed, second, &mut out)
                .then(|| String::from_utf8(out.to_vec()).unwrap())
        };
        assert_eq!(put(whole, 0), None);
        prepared.keep(whole, 0, |buf| buf.extend_from_slice(b"whole"));
        // It begins at the same place and is another one all the same; it waits for its second.
        assert_eq!(put(part, 0), None);
        prepared.keep(part, 0, |_| panic!("the place is taken"));
        assert_eq!(put(whole, 0).as_deref(), Some("whole"));
        assert_eq!(put(whole, 1), None);
        prepared.keep(part, 1, |buf| buf.extend_from_slice(b"part"));
        assert_eq!(put(part, 1).as_deref(), Some("part"));
        assert_eq!(put(whole, 1), None);
    }

    #[test]
    fn an_answer_with_anything_of_its_own_is_not_prepared() {
        let asked = &Asked::USUAL;
        let check =
            |response: Response, asked: &Asked| assert!(Fixed::of(&response, asked).is_none());
        check(Response::text("a").header("B", "c"), asked);
        check(Response::text("a").header("B", "c\n"), asked);
        check(Response::text("a").status(404), asked);
        check(Response::text("a".to_owned()), asked);
        check(Response::of("a"), asked);
        let changes: [fn(&mut Asked); 3] = [
            |asked| asked.version = Version::Http10,
            |asked| asked.method = Method::Head,
            |asked| asked.keeps_alive = false,
        ];
        for change in changes {
            let mut asked = Asked::USUAL;
            change(&mut asked);
            check(Response::text("a"), &asked);
        }
    }
}
