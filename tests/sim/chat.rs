//! Chat: what one says, all hear, in the order in which it was said, and nobody hears what was
//! meant for somebody else.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use windlass::net::{Connect, Listen};
use windlass::sim::{Outcome, World, check, seeds};
use windlass::{CloseReason, Context, Intents, Lines, Protocol, Token};

use crate::SEEDS;
use crate::client::{Shared, patient, run_to_the_end};

/// The room: who is in it, and under which tokens those were who have left.
#[derive(Default)]
struct Room {
    members: Vec<(Token, String)>,
    former: Vec<(Token, String)>,
}

/// One member, on the server's side.
struct Member {
    name: Option<String>,
    room: Rc<RefCell<Room>>,
}

impl Protocol for Member {
    type Decoder = Lines;
    type Encoder = Lines;

    fn on_frame(&mut self, line: &[u8], cx: &mut Context<'_, Lines>) {
        let text = String::from_utf8_lossy(line).into_owned();
        let mut room = self.room.borrow_mut();
        let Some(name) = &self.name else {
            room.members.push((cx.token(), text.clone()));
            cx.send(format!("welcome {text}"));
            self.name = Some(text);
            return;
        };
        for (token, member) in &room.members {
            cx.send_to(*token, format!("{member} {name} {text}\n"));
        }
        // A stale token reaches nobody, whoever has its slot by now.
        for (token, member) in &room.former {
            cx.send_to(*token, format!("{member} {name} {text}\n"));
        }
    }

    fn on_close(&mut self, _: CloseReason, cx: &mut Intents) {
        let mut room = self.room.borrow_mut();
        let (gone, members) = room
            .members
            .drain(..)
            .partition(|(token, _)| *token == cx.token());
        room.members = members;
        room.former.extend::<Vec<_>>(gone);
    }
}

/// Says `count` lines, one every few milliseconds, and then listens until it has heard its own
/// last one.
struct Client {
    name: String,
    count: u32,
    said: u32,
    pace: Duration,
    heard: BTreeMap<String, u32>,
    notes: Shared,
}

impl Client {
    fn hear(&mut self, line: &str) -> Result<(), String> {
        let mut words = line.split(' ');
        let mut word = || words.next().unwrap_or_default().to_owned();
        let (to, from, number) = (word(), word(), word());
        if to != self.name {
            return Err(format!("{} heard what was meant for {to}", self.name));
        }
        let number: u32 = number.parse().map_err(|_| format!("{line:?}?"))?;
        let last = self.heard.insert(from.clone(), number);
        match last {
            Some(last) if number != last + 1 => {
                Err(format!("{from} said {last}, and then {number}"))
            }
            _ => Ok(()),
        }
    }
}

impl Protocol for Client {
    type Decoder = Lines;
    type Encoder = Lines;

    fn on_open(&mut self, cx: &mut Context<'_, Lines>) {
        self.notes.borrow_mut().opened = true;
        cx.send(&self.name);
        cx.set_interval(self.pace);
    }

    fn on_timer(&mut self, _: windlass::TimerId, cx: &mut Context<'_, Lines>) {
        if self.said < self.count {
            self.said += 1;
            let padding = "-".repeat(self.said as usize * 37 % 200);
            cx.send(format!("{} {padding}", self.said));
        }
    }

    fn on_frame(&mut self, line: &[u8], cx: &mut Context<'_, Lines>) {
        let line = String::from_utf8_lossy(line).into_owned();
        if line.starts_with("welcome ") {
            return;
        }
        if let Err(complaint) = self.hear(&line) {
            self.notes.borrow_mut().complaint = Some(complaint);
            cx.abort();
        } else if self.heard.get(&self.name) == Some(&self.count) {
            self.notes.borrow_mut().received = b"all".to_vec();
            cx.finish();
        }
    }

    fn on_close(&mut self, reason: CloseReason, _: &mut Intents) {
        self.notes.borrow_mut().closed = Some(reason);
    }
}

fn scenario(world: &mut World) -> Outcome {
    let (server, client) = (world.host("server"), world.host("client"));
    let watch = world.watch();
    let (server_watch, room) = (watch.clone(), Rc::<RefCell<Room>>::default());
    let listen = Listen::new(world.address(server, 7))
        .name("chat")
        .limits(patient());
    let join = move |_: &_| {
        let room = Rc::clone(&room);
        server_watch.over(Member { name: None, room })
    };
    world
        .reactor(server)
        .listen(listen, join)
        .expect("the port is free");
    let mut all = Vec::new();
    for number in 0..2 + world.random().below(8) {
        let notes = Shared::default();
        all.push(notes.clone());
        let protocol = Client {
            name: format!("client{number}"),
            count: world.random().below(12) as u32 + 1,
            said: 0,
            pace: Duration::from_millis(world.random().below(30) as u64 + 1),
            heard: BTreeMap::new(),
            notes,
        };
        let connect = Connect::new(world.address(server, 7))
            .name("client")
            .limits(patient());
        let protocol = watch.over(protocol);
        world
            .reactor(client)
            .connect(connect, protocol)
            .expect("an address");
        let pause = world.random().below(40) as u64;
        world.run_for(Duration::from_millis(pause))?;
    }
    run_to_the_end(world, &all)?;
    for notes in all {
        let notes = notes.borrow();
        let is_clean = notes.closed.is_some_and(CloseReason::is_clean);
        world.require(
            notes.received == b"all" || !is_clean,
            "an end in order, before everything was heard",
        )?;
    }
    Ok(())
}

#[test]
fn all_hear_everything_in_order_and_nothing_that_was_meant_for_others() {
    check(seeds(SEEDS), scenario);
}
