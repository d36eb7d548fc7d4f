//! Questions and answers in datagrams, over paths that lose, double, reorder and merge them, and
//! that are cut for a while: whoever asks until there is an answer gets the right one.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use windlass::net::Bind;
use windlass::sim::{Fault, Outcome, World, check, seeds};
use windlass::{CloseReason, Datagram, DatagramContext, DatagramProtocol, Intents, TimerId};

use crate::SEEDS;
use crate::hosts::{cut_one_way_for, give_room};

/// Answers with what it was asked.
struct Answerer(Rc<RefCell<u32>>);

impl DatagramProtocol for Answerer {
    fn on_datagram(&mut self, datagram: Datagram<'_>, cx: &mut DatagramContext<'_>) {
        cx.reply(datagram.bytes);
    }

    fn on_close(&mut self, _: CloseReason, _: &mut Intents) {
        *self.0.borrow_mut() += 1;
    }
}

/// What an asker has to tell.
#[derive(Default)]
struct Asked {
    /// Questions without an answer, by their number.
    open: BTreeMap<u32, Vec<u8>>,
    /// Who answered the one that everybody was asked.
    answered_all: Vec<SocketAddr>,
    complaint: Option<String>,
    /// How often it had to ask again.
    repeated: u32,
    closed: u32,
}

/// Asks one, and with question 0 everybody, again and again until there is an answer.
struct Asker {
    to: SocketAddr,
    asked: Rc<RefCell<Asked>>,
}

impl Asker {
    fn ask(&self, cx: &mut DatagramContext<'_>) {
        for question in self.asked.borrow().open.values() {
            cx.send_to(self.to, question);
        }
        let everybody = SocketAddr::from(([10, 255, 255, 255], 7));
        cx.send_to(everybody, 0_u32.to_be_bytes());
    }
}

impl DatagramProtocol for Asker {
    fn on_open(&mut self, cx: &mut DatagramContext<'_>) {
        self.ask(cx);
        cx.intents().set_interval(Duration::from_millis(700));
    }

    fn on_datagram(&mut self, datagram: Datagram<'_>, _: &mut DatagramContext<'_>) {
        let mut asked = self.asked.borrow_mut();
        let from = datagram.from.as_ip().expect("the network is IP");
        let Some(number) = datagram
            .bytes
            .first_chunk()
            .copied()
            .map(u32::from_be_bytes)
        else {
            asked.complaint = Some("an answer without a number".into());
            return;
        };
        if number == 0 {
            if !asked.answered_all.contains(&from) {
                asked.answered_all.push(from);
            }
        } else if from != self.to {
            asked.complaint = Some(format!("{from} answered, who was not asked"));
        } else if let Some(question) = asked.open.remove(&number)
            && question != datagram.bytes
        {
            asked.complaint = Some(format!("question {number} came back as something else"));
        }
    }

    fn on_timer(&mut self, _: TimerId, cx: &mut DatagramContext<'_>) {
        self.asked.borrow_mut().repeated += 1;
        self.ask(cx);
    }

    fn on_close(&mut self, _: CloseReason, _: &mut Intents) {
        self.asked.borrow_mut().closed += 1;
    }
}

fn scenario(world: &mut World) -> Outcome {
    let answerers = [world.host("anne"), world.host("bert")];
    let asker = world.host("asker");
    let ended = Rc::default();
    for host in answerers.into_iter().chain([asker]) {
        give_room(world, host);
    }
    for host in answerers {
        let bind = Bind::on("0.0.0.0:7").expect("an address").name("answers");
        let answerer = Answerer(Rc::clone(&ended));
        world
            .reactor(host)
            .bind(bind, answerer)
            .expect("it is free");
    }
    let asked = Rc::new(RefCell::new(Asked::default()));
    for number in 1..=1 + world.random().below(40) as u32 {
        let mut question = number.to_be_bytes().to_vec();
        let len = world.random().length(&(0..=500));
        question.resize(4 + len, number as u8);
        asked.borrow_mut().open.insert(number, question);
    }
    let protocol = Asker {
        to: world.address(answerers[0], 7),
        asked: Rc::clone(&asked),
    };
    let bind = Bind::on("0.0.0.0:0").expect("an address").name("questions");
    let bind = bind.broadcast(true);
    world
        .reactor(asker)
        .bind(bind, protocol)
        .expect("it is free");

    let wait = world.random().below(2_000) as u32;
    world.run_for(Duration::from_millis(wait.into()))?;
    let is_cut = world.random().chance(0.3);
    if is_cut {
        cut_one_way_for(world, asker, answerers[0], Duration::from_secs(3))?;
    }
    let is_done = |_: &mut World| {
        let asked = asked.borrow();
        (asked.open.is_empty() && asked.answered_all.len() == 2) || asked.complaint.is_some()
    };
    world.run_until(is_done, Duration::from_secs(3_600))?;
    let complaint = asked.borrow().complaint.clone();
    world.require(complaint.is_none(), complaint.unwrap_or_default())?;
    // Where nothing is lost, an answer takes no longer than the longest way and back.
    let is_lossy = is_cut || world.faults().has(Fault::LoseDatagram);
    let repeated = asked.borrow().repeated.saturating_sub(wait / 700);
    world.require(
        is_lossy || repeated <= 2,
        format_args!("nothing was lost, and it took {repeated} more rounds"),
    )?;
    world.end()?;
    world.require(
        asked.borrow().closed == 1,
        "the asker was not told of its end once",
    )?;
    world.require(
        *ended.borrow() == 2,
        "not everybody was told of their end once",
    )
}

#[test]
fn questions_are_answered_in_the_end_whatever_becomes_of_datagrams() {
    check(seeds(SEEDS), scenario);
}
