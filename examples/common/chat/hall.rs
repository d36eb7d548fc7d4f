//! Who is where: the state that the members of the chat share. It says nothing to anybody.

use std::collections::BTreeMap;

use windlass::Token;

/// Who somebody is, and where.
pub(super) struct Seat {
    pub(super) nick: String,
    pub(super) room: String,
}

/// Who is where. In order, so that the same things are told in the same order in every run.
#[derive(Default)]
pub(super) struct Hall {
    /// By room, and by nickname. No room is empty.
    rooms: BTreeMap<String, BTreeMap<String, Token>>,
}

impl Hall {
    pub(super) fn insert(&mut self, seat: &Seat, token: Token) {
        let room = self.rooms.entry(seat.room.clone()).or_default();
        room.insert(seat.nick.clone(), token);
    }

    pub(super) fn remove(&mut self, seat: &Seat) {
        if let Some(room) = self.rooms.get_mut(&seat.room) {
            room.remove(&seat.nick);
            if room.is_empty() {
                self.rooms.remove(&seat.room);
            }
        }
    }

    /// Whether somebody has that name, in whatever room.
    pub(super) fn is_taken(&self, nick: &str) -> bool {
        self.rooms.values().any(|room| room.contains_key(nick))
    }

    /// Whoever is in a room.
    pub(super) fn members(&self, room: &str) -> impl Iterator<Item = Token> {
        let members = self.rooms.get(room).into_iter();
        members.flat_map(BTreeMap::values).copied()
    }

    /// Their names, as a line.
    pub(super) fn names(&self, room: &str) -> String {
        let members = self.rooms.get(room).into_iter();
        listed(members.flat_map(BTreeMap::keys).cloned())
    }

    /// The rooms, each with the number of its members, as a line.
    pub(super) fn rooms(&self) -> String {
        let size =
            |(name, members): (&String, &BTreeMap<_, _>)| format!("{name} ({})", members.len());
        listed(self.rooms.iter().map(size))
    }
}

/// Whether it will do as a name, of somebody or of a room: 1 to 16 letters, digits, underscores.
pub(super) fn is_name(text: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    (1..=16).contains(&text.len()) && text.bytes().all(is_word)
}

/// The first of the names, so that a full house still fits into a line.
fn listed(names: impl Iterator<Item = String>) -> String {
    let mut names: Vec<String> = names.collect();
    let more = names.len().saturating_sub(MAX_LISTED);
    names.truncate(MAX_LISTED);
    match more {
        0 => names.join(", "),
        _ => format!("{} and {more} more", names.join(", ")),
    }
}

/// Names in one line.
const MAX_LISTED: usize = 100;
