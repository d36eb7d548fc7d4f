//! Who is around a hub: subscribers, who publish and remember what they heard, and a stranger.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use windlass::protocol::{Cookie, HubMessage};
use windlass::{Datagram, DatagramContext, DatagramProtocol, TimerId};

pub(crate) type Shared = Rc<RefCell<Ledger>>;

/// What everybody has said and heard.
pub(crate) struct Ledger {
    pub(crate) stranger: SocketAddr,
    pub(crate) members: Vec<Member>,
    /// By publisher and number: who was subscribed for certain.
    published: BTreeMap<(u32, u32), Vec<usize>>,
    /// Messages that were heard, of all.
    pub(crate) heard: u64,
    pub(crate) phase: Phase,
    /// Whether the hub was kept from its deadlines.
    pub(crate) is_late: bool,
    /// As the hub has it.
    pub(crate) subscribed: usize,
    complaint: Option<String>,
}

/// What the members do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// They ask to be let in.
    Arrival,
    /// They publish, too.
    Talk,
    /// They say nothing at all.
    Silence,
}

#[derive(Default)]
pub(crate) struct Member {
    pub(crate) is_welcome: bool,
    heard: BTreeMap<(u32, u32), u32>,
    last: u32,
    cookie: Option<Cookie>,
}

impl Ledger {
    pub(crate) fn new(members: usize, stranger: SocketAddr) -> Shared {
        Rc::new(RefCell::new(Ledger {
            stranger,
            members: (0..members).map(|_| Member::default()).collect(),
            published: BTreeMap::new(),
            heard: 0,
            phase: Phase::Arrival,
            is_late: false,
            subscribed: 0,
            complaint: None,
        }))
    }

    /// How many were welcomed.
    pub(crate) fn welcome(&self) -> usize {
        self.members
            .iter()
            .filter(|member| member.is_welcome)
            .count()
    }

    pub(crate) fn complain(&mut self, text: &str) {
        self.complaint.get_or_insert_with(|| text.to_owned());
    }

    /// The next message of a member.
    fn publish(&mut self, by: usize) -> Vec<u8> {
        let all = 0..self.members.len();
        let audience = all.filter(|other| *other != by && self.members[*other].is_welcome);
        let audience = audience.collect();
        let member = &mut self.members[by];
        member.last += 1;
        let key = (by as u32, member.last);
        self.published.insert(key, audience);
        payload(key)
    }

    fn hear(&mut self, who: usize, bytes: &[u8]) {
        let key = |bytes: &[u8]| {
            let (by, rest) = bytes.split_first_chunk()?;
            let (number, _) = rest.split_first_chunk()?;
            Some((u32::from_be_bytes(*by), u32::from_be_bytes(*number)))
        };
        let key = key(bytes).filter(|key| self.published.contains_key(key));
        let Some(key) = key.filter(|key| payload(*key) == bytes) else {
            return self.complain("somebody heard what nobody said");
        };
        if key.0 as usize == who {
            return self.complain("somebody heard what it said itself");
        }
        *self.members[who].heard.entry(key).or_default() += 1;
        self.heard += 1;
    }

    /// Whether each message came to each member at most so often, and where nothing goes wrong
    /// once to all who were there.
    pub(crate) fn judge(&self, copies: u32, is_clean: bool) -> Result<(), String> {
        if let Some(complaint) = &self.complaint {
            return Err(complaint.clone());
        }
        for (number, member) in self.members.iter().enumerate() {
            if let Some((key, count)) = member.heard.iter().find(|(_, count)| **count > copies) {
                return Err(format!("client{number} heard {key:?} {count} times"));
            }
        }
        let missed = |(key, audience): (&(u32, u32), &Vec<usize>)| {
            let deaf = |who: &&usize| !self.members[**who].heard.contains_key(key);
            let who = audience.iter().find(deaf)?;
            Some(format!("client{who} did not hear {key:?}"))
        };
        match self.published.iter().find_map(missed) {
            Some(missed) if is_clean => Err(missed),
            _ => Ok(()),
        }
    }
}

/// What is in a message: whose it is, which one, and a filling of that length.
fn payload((by, number): (u32, u32)) -> Vec<u8> {
    let mut bytes = [by.to_be_bytes(), number.to_be_bytes()].concat();
    let len = 8 + number as usize * 97 % 400;
    bytes.resize(len, number as u8);
    bytes
}

/// Asks to be let in, again and again, and to be kept; publishes as soon as all may.
pub(crate) struct Subscriber {
    number: usize,
    to: SocketAddr,
    ledger: Shared,
    /// How often it has asked since it was last answered.
    unanswered: u32,
}

impl Subscriber {
    pub(crate) fn new(number: usize, to: SocketAddr, ledger: &Shared) -> Subscriber {
        ledger.borrow_mut().members[number].cookie = None;
        Subscriber {
            number,
            to,
            ledger: Rc::clone(ledger),
            unanswered: 0,
        }
    }

    fn ask(&mut self, cx: &mut DatagramContext<'_>) {
        let mut ledger = self.ledger.borrow_mut();
        let phase = ledger.phase;
        if phase == Phase::Silence {
            return;
        }
        self.unanswered += 1;
        let member = &mut ledger.members[self.number];
        if self.unanswered > PERSISTENCE {
            // The hub may have begun anew, and know no cookie of before.
            self.unanswered = 0;
            member.cookie = None;
            member.is_welcome = false;
        }
        let message = match member.cookie {
            None => HubMessage::Hello,
            Some(cookie) => HubMessage::Subscribe(cookie),
        };
        cx.send_to(self.to, message.to_bytes());
        if let Some(cookie) = member.cookie
            && member.is_welcome
            && phase == Phase::Talk
        {
            let payload = ledger.publish(self.number);
            cx.send_to(self.to, HubMessage::Publish(cookie, &payload).to_bytes());
        }
    }
}

impl DatagramProtocol for Subscriber {
    fn on_open(&mut self, cx: &mut DatagramContext<'_>) {
        self.ask(cx);
        let pace = 400 + 50 * self.number as u64;
        cx.intents().set_interval(Duration::from_millis(pace));
    }

    fn on_datagram(&mut self, datagram: Datagram<'_>, _: &mut DatagramContext<'_>) {
        let mut ledger = self.ledger.borrow_mut();
        let member = &mut ledger.members[self.number];
        match HubMessage::parse(datagram.bytes) {
            Some(HubMessage::Challenge(cookie)) => member.cookie = Some(cookie),
            Some(HubMessage::Welcome(cookie)) => {
                member.cookie = Some(cookie);
                member.is_welcome = true;
                self.unanswered = 0;
            }
            Some(HubMessage::Message(bytes)) => ledger.hear(self.number, bytes),
            other => ledger.complain(&format!("the hub said {other:?}")),
        }
    }

    fn on_timer(&mut self, _: TimerId, cx: &mut DatagramContext<'_>) {
        self.ask(cx);
    }
}

/// Somebody without a cookie of its own, who tries everything else: nothing that it gets is longer
/// than the shortest of its requests that is answered at all.
pub(crate) struct Stranger {
    to: SocketAddr,
    ledger: Shared,
    next: usize,
}

impl Stranger {
    pub(crate) fn new(to: SocketAddr, ledger: &Shared) -> Stranger {
        Stranger {
            to,
            ledger: Rc::clone(ledger),
            next: 0,
        }
    }
}

impl DatagramProtocol for Stranger {
    fn on_open(&mut self, cx: &mut DatagramContext<'_>) {
        cx.intents().set_interval(Duration::from_millis(90));
    }

    fn on_datagram(&mut self, datagram: Datagram<'_>, _: &mut DatagramContext<'_>) {
        let is_challenge = matches!(
            HubMessage::parse(datagram.bytes),
            Some(HubMessage::Challenge(_))
        );
        if !is_challenge || datagram.bytes.len() > HubMessage::Hello.to_bytes().len() {
            self.ledger.borrow_mut().complain("the stranger was served");
        }
    }

    fn on_timer(&mut self, _: TimerId, cx: &mut DatagramContext<'_>) {
        let ledger = self.ledger.borrow();
        // A cookie that it has overheard is of another address.
        let stolen = ledger.members.iter().find_map(|member| member.cookie);
        let stolen = stolen.unwrap_or(NO_COOKIE);
        self.next += 1;
        let guess = match self.next % 7 {
            0 => HubMessage::Hello,
            1 => HubMessage::Subscribe(NO_COOKIE),
            2 => HubMessage::Subscribe(stolen),
            3 => HubMessage::Publish(stolen, b"listen to me"),
            4 => HubMessage::Leave(stolen),
            5 => HubMessage::Publish(NO_COOKIE, b""),
            _ => HubMessage::Message(b"from the hub"),
        };
        let bytes = guess.to_bytes();
        let len = bytes.len() - self.next % 5 / 4;
        cx.send_to(self.to, &bytes[..len]);
    }
}

/// How many requests without an answer make a subscriber begin anew.
const PERSISTENCE: u32 = 6;
/// A cookie that is none.
const NO_COOKIE: Cookie = [7; 20];
