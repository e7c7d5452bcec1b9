//! A disk that gives no answer: nobody waits for ever, and nothing is acknowledged late.

use super::{
    full::{Asked, Disk, PATIENCE, Shop, opening, pause},
    *,
};
use crate::{
    base::CustomerId,
    engine::{Error, Ticket},
    machine::input::Answer,
};

/// A short patience. What does not hang ends in far less.
fn impatient() -> Opening {
    let opening = opening();
    Opening { limits: Limits { stall: Span::millis(800), ..opening.limits.clone() }, ..opening }
}

fn assert_stalled(error: &str, what: &str) {
    let parts = ["no answer from memory for 800ms", what, "mend it and start again"];
    assert!(parts.iter().all(|part| error.contains(part)), "{error}");
}

/// Waits until the thread that was left behind is gone.
fn await_released(disk: &Arc<Disk>) {
    let looks = (0..PATIENCE.as_millis() / 20).find(|_| {
        pause();
        !disk.is_held()
    });
    assert!(looks.is_some(), "it ends once the disk answers");
}

/// Who comes now is told why.
fn assert_stopped(shop: &Shop, what: &str) {
    let refused = shop.engine.query(|_| Ok(())).map(Ticket::wait);
    let Err(Error::Stopped { cause }) = refused else { panic!("{refused:?}") };
    assert_stalled(&cause, what);
}

#[test]
fn a_write_without_answer_stops_the_engine_and_its_late_success_acknowledges_nothing() {
    let shop = Shop::open_with(&Disk::new(), &impatient()).unwrap();
    shop.publish();
    let guard = shop.disk.hang(Asked::Write);
    let answer = shop.signup("e1").wait();
    assert!(matches!(answer, Err(Error::Unknown)), "{answer:?}");
    assert_stopped(&shop, "append");
    // The answer comes after all, and all that could have left has.
    drop(guard);
    let Shop { disk, engine, deliveries, .. } = shop;
    let closed = engine.close();
    assert!(matches!(closed, Err(Error::Stopped { .. })), "{closed:?}");
    await_released(&disk);
    assert!(deliveries.is_empty(), "nothing leaves");
    let again = Shop::open(&disk);
    assert!(matches!(again.signup("e1").wait(), Ok(Answer::Accepted | Answer::Duplicate)));
    again.check(&["e1"]);
}

#[test]
fn a_read_without_answer_keeps_nobody_waiting() {
    let disk = Disk::new();
    let shop = Shop::open(&disk);
    shop.publish();
    shop.engine.close().unwrap();
    let shop = Shop::open_with(&disk, &impatient()).unwrap();
    let _guard = disk.hang(Asked::Read);
    let ann = CustomerId::new("ann").unwrap();
    let asked = shop.engine.query(move |it| Ok(it.customer(&ann)?)).unwrap();
    let behind = shop.signup("e1");
    assert!(matches!(asked.wait(), Err(Error::Unknown)));
    assert!(matches!(behind.wait(), Err(Error::Unknown)));
    assert_stopped(&shop, "read");
    let closed = shop.engine.close();
    assert!(matches!(closed, Err(Error::Stopped { .. })), "{closed:?}");
}

#[test]
fn a_directory_that_gives_no_answer_is_not_opened_for_ever() {
    let disk = Disk::new();
    for asked in [Asked::Read, Asked::Write] {
        let _guard = disk.hang(asked);
        let opened = Shop::open_with(&disk, &impatient());
        let Err(Error::Store(error @ store::Error::Stalled { .. })) = opened.map(|_| ()) else {
            panic!("it is open")
        };
        assert_stalled(&error.to_string(), "call to");
    }
}

#[test]
fn an_engine_that_hangs_when_it_stops_is_left_behind() {
    let shop = Shop::open_with(&Disk::new(), &impatient()).unwrap();
    shop.publish();
    let _guard = shop.disk.hang(Asked::Write);
    let closed = shop.engine.close();
    let Err(Error::Stopped { cause }) = closed else { panic!("{closed:?}") };
    assert_stalled(&cause, "call to");
    // Dropping one is the same without a word.
    let shop = Shop::open_with(&Disk::new(), &impatient()).unwrap();
    shop.publish();
    let _guard = shop.disk.hang(Asked::Write);
    drop(shop.engine);
}
